"""Words and shapes that are drawn into pictures."""

import numpy as np

from kdlight_edge.sinks import ink


def test_words_that_are_too_long_are_cut_in_the_middle() -> None:
    words = ink.shortened("a very long name of a label that nobody reads", 18, 120)
    assert "..." in words
    assert ink.width_of(words, 18) <= 120
    assert ink.shortened("short", 18, 120) == "short"


def test_letters_have_ink_and_round_corners_are_round() -> None:
    paper = np.zeros((60, 200, 3), np.uint8)
    ink.text(paper, "crack · 97%", (10, 40), 24, ink.WHITE, bold=True)
    assert 100 < (paper > 128).all(axis=2).sum() < 4000
    card = np.zeros((40, 40, 3), np.uint8)
    ink.rounded(card, (0, 0, 40, 40), 12, ink.WHITE)
    assert card[0, 0].max() == 0
    assert (card[20, 0] == ink.WHITE).all()
