"""Hardware in the loop: scenarios that run on a board; scripts/desk asks for them over ssh and judges."""
