"""CIFAR-10 and CIFAR-100 in their binary version (the one for Python is a pickle, which could execute anything)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from symloss.errors import TaskError
from symloss.tasks.registry import register
from symloss.tasks.sources import files
from symloss.tasks.splits import Array, Samples

_PIXELS = 3 * 32 * 32
_PICKLES = ("cifar-10-batches-py", "cifar-100-python")


def read_binary(path: Path, labels: int, classes: int) -> tuple[Array, Array]:
    """Images **[N, 3, 32, 32]** and labels **[N]** of a .bin file.

    Args:
        path: The file: for each image its label bytes, then its pixels, red, green and blue.
        labels: Label bytes of an image; the last one counts.
        classes: Number of classes.

    Raises:
        TaskError: If the file is damaged.
    """
    contents, row = files.read(path), labels + _PIXELS
    if not contents or len(contents) % row:
        raise TaskError(
            f"{path} is damaged or of another format: it has {len(contents)} bytes, no multiple of {row}; "
            'get the "binary version" again'
        )
    rows = np.frombuffer(contents, np.uint8).reshape(-1, row)
    y = rows[:, labels - 1].astype(np.int64)
    if y.max() >= classes:
        raise TaskError(f"{path} is damaged: a label is {y.max()}, the {classes} classes are 0 to {classes - 1}")
    return rows[:, labels:].reshape(-1, 3, 32, 32), y


def _load(root: Path, train: Sequence[str], test: str, folder: str, labels: int, classes: int) -> Samples:
    try:
        paths = files.find(root, [*train, test], [folder])
    except TaskError as error:
        if any((root / name).is_dir() for name in _PICKLES):
            raise TaskError(f"{error}; pickles, the version for Python, are not read") from None
        raise
    parts = [read_binary(path, labels, classes) for path in paths]
    official = np.repeat(np.arange(len(parts)) == len(parts) - 1, [len(y) for _, y in parts])
    return Samples(np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts]), test=official)


def cifar10(root: Path) -> Samples:
    """CIFAR-10 with its official test part: images **[N, 3, 32, 32]** in ten classes."""
    return _load(root, [f"data_batch_{i}.bin" for i in range(1, 6)], "test_batch.bin", "cifar-10-batches-bin", 1, 10)


def cifar100(root: Path) -> Samples:
    """CIFAR-100 with its official test part and its fine labels: images **[N, 3, 32, 32]** in a hundred classes."""
    return _load(root, ["train.bin"], "test.bin", "cifar-100-binary", 2, 100)


_register = partial(register, kind="multiclass", samples=60000, shape=(3, 32, 32), source="your files", folder="")

_register("cifar10", cifar10, classes=10, install="data_batch_1.bin ... data_batch_5.bin, test_batch.bin")
_register("cifar100", cifar100, classes=100, install="train.bin, test.bin (the binary version)")
