"""Strings as rows of integer tokens, one for each character."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from symloss.tasks.splits import Array

PADDING = 0
"""The token behind the end of a string."""


def encode(texts: Sequence[str], length: int) -> Array:
    """Characters as tokens, numbered from 1 in the order of their code points; labels play no part in it.

    Args:
        texts: N strings.
        length: Tokens L of each; longer strings are cut, shorter ones end in `PADDING`.

    Returns:
        Tokens **[N, L]**, int64.
    """
    alphabet = {character: 1 + i for i, character in enumerate(sorted(set("".join(texts))))}
    tokens = np.full((len(texts), length), PADDING, dtype=np.int64)
    for row, text in zip(tokens, texts, strict=True):
        cut = text[:length]
        row[: len(cut)] = [alphabet[character] for character in cut]
    return tokens
