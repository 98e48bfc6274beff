"""Facts about boards: what they are, what they can do and how they feel; standard library only."""
