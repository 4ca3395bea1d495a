from __future__ import annotations

from symloss.tasks.text import encode


def test_characters_are_numbered_in_the_order_of_code_points():
    assert encode(["ba", "é", ""], 3).tolist() == [[2, 1, 0], [3, 0, 0], [0, 0, 0]]


def test_long_strings_are_cut():
    assert encode(["abcd"], 2).tolist() == [[1, 2]]
