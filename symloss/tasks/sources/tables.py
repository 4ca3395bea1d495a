"""Tables of the user's own: .csv, .tsv and .npz files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from symloss.errors import TaskError
from symloss.tasks.architectures.sizes import unknown
from symloss.tasks.registry import DataSet
from symloss.tasks.sources.arrays import read_npz
from symloss.tasks.sources.csv_files import read_csv
from symloss.tasks.splits import Array, Samples
from symloss.tasks.task import KINDS

TABLES = {".csv": read_csv, ".tsv": read_csv, ".npz": read_npz}
"""What reads a file of which suffix: it is called with the path and the name of the target, and returns `Samples`."""

FEW = 20
"""Whole numbers of at most so many different values are taken for classes."""


def table(path: Path, target: str | None = None, kind: str | None = None) -> DataSet:
    """The data set of one file.

    Args:
        path: A file whose suffix is in `TABLES`.
        target: Name of the column or array of targets; None is the last column, or the array y.
        kind: "multiclass", "binary" or "regression"; None tells by the targets: words, or whole numbers of at most
            20 different values, are classes.

    Returns:
        A record that is not registered. Classes are numbered in the order of their labels.

    Raises:
        TaskError: If the file is missing or damaged, or does not hold such data.
    """
    if kind is not None and kind not in KINDS:
        raise unknown("kind of task", kind, KINDS)
    try:
        there = path.is_file()
    except OSError as error:
        raise TaskError(f"cannot look for {path.name[-60:]!r}: {error.strerror}") from None
    if not there:
        raise TaskError(f"there is no file {str(path)!r:.300}")
    samples = TABLES[path.suffix.lower()](path, target)
    y = np.asarray(samples.y)
    labels = np.unique(y)
    few = y.dtype.kind in "biu" or (y.dtype.kind == "f" and bool((y == np.round(y)).all()))
    if kind is None:
        classes = y.dtype.kind == "U" or (few and y.ndim == 1 and len(labels) <= FEW)
        kind = "regression" if not classes else "binary" if len(labels) == 2 else "multiclass"
    if kind == "regression" and y.dtype.kind == "U":
        raise TaskError(f"{path} has words such as {str(labels[0])!r:.60} for targets; regression needs numbers")
    if kind != "regression" and y.ndim == 1:
        samples = _classes(path, samples, labels, kind)
    name = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "table"
    return DataSet(name, lambda: samples, kind, source=str(path))


def _classes(path: Path, samples: Samples, labels: Array, kind: str) -> Samples:
    """The same with the number of its class for each label."""
    shown = ", ".join(str(label)[:30] for label in labels[:4]) + (", ..." if len(labels) > 4 else "")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise TaskError(f"{path} has targets that are NaN or infinite; remove or replace them")
    if len(labels) < 2:
        raise TaskError(f"{path} has one class only ({shown}) in {len(samples)} samples; give at least two")
    if kind == "binary" and len(labels) > 2:
        raise TaskError(f"{path} has {len(labels)} classes ({shown}), a binary task two; use kind='multiclass'")
    if len(labels) > len(samples) // 2:
        raise TaskError(
            f"{path} has {len(labels)} different targets ({shown}) in {len(samples)} samples, too many for classes; "
            "choose the column with target=... (--target), or kind='regression'"
        )
    return Samples(samples.x, np.searchsorted(labels, samples.y), samples.test, samples.groups)
