"""California housing, read from a file of the package arfs without importing it: its dependencies are heavy."""

from __future__ import annotations

import io
import zipfile
from importlib.metadata import distribution

import numpy as np

from symloss.tasks.registry import register
from symloss.tasks.splits import Array


def _load() -> tuple[Array, Array]:
    """Eight properties of 20 640 blocks of houses **[20640, 8]** and their median value **[20640]**."""
    path = distribution("arfs").locate_file("arfs/dataset/data/housing.zip")
    with zipfile.ZipFile(str(path)) as archive:
        text = archive.read("housing.csv").decode()
    table = np.loadtxt(io.StringIO(text), delimiter=",", skiprows=1)
    return table[:, :-1], table[:, -1]


register(
    "california", _load, kind="regression", samples=20640, shape=(8,), source="arfs", package="arfs",
    install="pip install --no-deps arfs==3.0.0",
)  # fmt: skip
