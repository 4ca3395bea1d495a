"""Strings as rows of integer tokens, one for each character."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from symloss.tasks.splits import Array

PADDING, OTHER = 0, 1
"""Tokens behind the end of a string, and of characters that are not in the alphabet."""


def encode(texts: Sequence[str], length: int, least: int = 10) -> Array:
    """Characters as tokens, by an alphabet of those that occur often enough; labels play no part in it.

    Args:
        texts: N strings.
        length: Tokens L of each; longer strings are cut, shorter ones end in `PADDING`.
        least: Occurrences in all strings together from which on a character is in the alphabet.

    Returns:
        Tokens **[N, L]**, int64: the alphabet in the order of code points from 2 on, all other characters `OTHER`.
    """
    counts = Counter("".join(texts))
    alphabet = {c: 2 + i for i, c in enumerate(sorted(c for c, count in counts.items() if count >= least))}
    tokens = np.full((len(texts), length), PADDING, dtype=np.int64)
    for row, text in zip(tokens, texts, strict=True):
        cut = text[:length]
        row[: len(cut)] = [alphabet.get(c, OTHER) for c in cut]
    return tokens
