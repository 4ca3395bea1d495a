from __future__ import annotations

from symloss.tasks.text import OTHER, PADDING, encode


def test_characters_are_numbered_in_the_order_of_code_points():
    assert encode(["ba", "é", ""], 3, least=1).tolist() == [[3, 2, 0], [4, 0, 0], [0, 0, 0]]


def test_rare_characters_are_one_token_and_long_strings_are_cut():
    tokens = encode(["aaaab", "aax"], 4, least=3)
    assert tokens.tolist() == [[2, 2, 2, 2], [2, 2, OTHER, PADDING]]
