"""Street View House Numbers, cropped digits, in the two .mat files of its authors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from symloss.errors import TaskError
from symloss.tasks.reading import carried
from symloss.tasks.registry import register
from symloss.tasks.sources import files
from symloss.tasks.splits import Array, Samples

NAMES = ("train_32x32.mat", "test_32x32.mat")


def read_mat(path: Path) -> tuple[Array, Array]:
    """Images **[N, 3, 32, 32]** and digits **[N]** of a .mat file with X [32, 32, 3, N] and y [N, 1], where 0 is 10.

    Raises:
        TaskError: If the file is damaged or holds something else.
    """
    from scipy.io import loadmat

    try:
        held: dict[str, Any] = loadmat(path, variable_names=["X", "y"])
    except Exception as error:  # whatever a damaged file leads to
        raise TaskError(f"{path} cannot be read as a .mat file ({carried(error)}); get it again") from None
    x, y = (np.asarray(held.get(name)) for name in ("X", "y"))
    if x.ndim != 4 or x.shape[:3] != (32, 32, 3) or x.dtype != np.uint8 or y.shape != (x.shape[3], 1):
        raise TaskError(
            f"{path} must hold X [32, 32, 3, N] in bytes and y [N, 1]; it has X {x.dtype} {list(x.shape)} and "
            f"y {list(y.shape)}"
        )
    if y.dtype.kind not in "ui" or y.min() < 1 or y.max() > 10:
        raise TaskError(f"{path} is damaged: labels must be 1 to 10; received {y.min()} to {y.max()}")
    return x.transpose(3, 2, 0, 1), y[:, 0].astype(np.int64) % 10


def load(root: Path) -> Samples:
    """SVHN with its official test part: images **[N, 3, 32, 32]** of ten digits."""
    (x, y), (test_x, test_y) = map(read_mat, files.find(root, NAMES))
    official = np.arange(len(y) + len(test_y)) >= len(y)
    return Samples(np.concatenate([x, test_x]), np.concatenate([y, test_y]), test=official)


register(
    "svhn", load, kind="multiclass", samples=99289, shape=(3, 32, 32), classes=10, source="your files",
    install=" and ".join(NAMES), folder="",
)  # fmt: skip
