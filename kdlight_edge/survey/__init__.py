"""Surfaces larger than a network's input: cut into tiles, judged tile by tile, measured and reported."""
