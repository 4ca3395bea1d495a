"""Data sets that scikit-learn ships."""

from __future__ import annotations

from functools import partial
from typing import Any

from symloss.tasks.registry import register


def _load(name: str, image: tuple[int, ...] | None = None) -> tuple[Any, Any]:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    return bunch.data if image is None else bunch.data.reshape(-1, *image), bunch.target


_register = partial(register, source="scikit-learn", package="sklearn", install="pip install scikit-learn")

_register("digits", partial(_load, "digits", (1, 8, 8)), kind="multiclass", samples=1797, shape=(1, 8, 8), classes=10)
_register("breast-cancer", partial(_load, "breast_cancer"), kind="binary", samples=569, shape=(30,), classes=2)
_register("wine", partial(_load, "wine"), kind="multiclass", samples=178, shape=(13,), classes=3)
_register("iris", partial(_load, "iris"), kind="multiclass", samples=150, shape=(4,), classes=3)
_register("diabetes", partial(_load, "diabetes"), kind="regression", samples=442, shape=(10,))
