"""The page of a run: what is kept for it, who may see it, and the small server that hands it out."""
