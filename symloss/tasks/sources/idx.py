"""IDX files, the format of MNIST and of what came after it: four files in a directory."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import numpy as np

from symloss.errors import TaskError
from symloss.tasks.registry import register
from symloss.tasks.sources import files
from symloss.tasks.splits import Array, Samples

NAMES = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
FOLDERS = ("raw", "MNIST/raw", "FashionMNIST/raw")
"""Where torchvision puts them."""

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_idx(path: Path) -> Array:
    """The array of an IDX file: two zero bytes, the type, the number of axes, their lengths, and the values.

    Raises:
        TaskError: If the file is not one, or is longer or shorter than its head says.
    """
    contents = files.read(path)
    kind, axes = (contents[2], contents[3]) if len(contents) >= 4 else (0, 0)
    start = 4 + 4 * axes
    if contents[:2] != b"\0\0" or kind not in _TYPES or not axes or len(contents) < start:
        raise TaskError(f"{path} is not an IDX file: it begins with {contents[:4].hex(' ') or 'nothing'}")
    shape = tuple(np.frombuffer(contents, ">u4", axes, 4).tolist())
    dtype = np.dtype(_TYPES[kind])
    said, held = math.prod(shape) * dtype.itemsize, len(contents) - start
    if said != held:
        raise TaskError(f"{path} is damaged: it holds {held} bytes of values, its head says {said}; get it again")
    values = np.frombuffer(contents, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))


def load(root: Path) -> Samples:
    """Images **[N, 1, H, W]** and labels of the four files, with their official test part.

    Raises:
        TaskError: If a file is missing or damaged, or images and labels do not belong together.
    """
    images, labels, test_images, test_labels = map(read_idx, files.find(root, NAMES, FOLDERS))
    for x, y in ((images, labels), (test_images, test_labels)):
        if x.ndim != 3 or y.ndim != 1 or len(x) != len(y) or x.shape[1:] != images.shape[1:]:
            raise TaskError(
                f"the files in {str(root)!r:.200} do not belong together: images {list(x.shape)}, "
                f"labels {list(y.shape)}; training images are {list(images.shape)}"
            )
    x, y = np.concatenate([images, test_images]), np.concatenate([labels, test_labels])
    return Samples(x[:, None], y, test=np.arange(len(y)) >= len(labels))


_register = partial(register, loader=load, kind="multiclass")
_images = partial(_register, samples=70000, shape=(1, 28, 28), classes=10)
_own = "{train,t10k}-{images-idx3,labels-idx1}-ubyte, also .gz"

_images("mnist", source="your files", install=_own, folder="")
_images(
    "fashion-mnist",
    source="Debian",
    install="sudo apt-get install dataset-fashion-mnist",
    folder="/usr/share/datasets/fashion-mnist",
)
_register("idx", source="your files", install=_own, folder="")
