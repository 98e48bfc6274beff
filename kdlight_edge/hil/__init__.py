"""Hardware in the loop: scenarios that run on a board, and the desk that asks for them over ssh and judges."""
