"""NumPy archives (.npz) of numbers: x and y, or both for training and test."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from symloss.errors import TaskError
from symloss.tasks.architectures.sizes import unknown
from symloss.tasks.splits import Array, Samples


def read_npz(path: Path, target: str | None = None) -> Samples:
    """Inputs and targets of an archive with the arrays x and y, or x_train, y_train, x_test and y_test.

    Images **[N, H, W]** become **[N, 1, H, W]**; those with channels last, **[N, H, W, K]** with K of 1 or 3, become
    **[N, K, H, W]**. Names are looked up without regard to case. Objects, which could execute code, are not read.

    Args:
        path: The file.
        target: Name of the array of targets, if it is not y.

    Raises:
        TaskError: If the file is damaged, holds objects, or lacks an array.
    """
    held = _arrays(path)
    y_name = "y" if target is None else target.lower()
    parts = [(x, y) for x, y in (("x_train", f"{y_name}_train"), ("x_test", f"{y_name}_test")) if {x, y} <= set(held)]
    if len(parts) < 2:
        parts = [("x", y_name)]
    for name in (name for pair in parts for name in pair if name not in held):
        raise unknown(f"array of {path.name!r}:", name, held)
    xs, ys = [_images(held[x]) for x, _ in parts], [_flat(held[y]) for _, y in parts]
    for (x_name, y_of), x, y in zip(parts, xs, ys, strict=True):
        if x.ndim < 2 or y.ndim != 1 or len(x) != len(y) or x.shape[1:] != xs[0].shape[1:] or not len(x):
            raise TaskError(
                f"{path}: {x_name} must be [N, features, ...], of one shape in all parts, and {y_of} [N]; received "
                f"{list(held[x_name].shape)} and {list(held[y_of].shape)}"
            )
    kinds = ["words" if y.dtype.kind == "U" else "numbers" for y in ys]
    if len(set(kinds)) > 1:
        raise TaskError(f"{path}: {parts[0][1]} holds {kinds[0]}, {parts[1][1]} {kinds[1]}; make them alike")
    test = np.arange(sum(map(len, ys))) >= len(ys[0]) if len(parts) == 2 else None
    return Samples(np.concatenate(xs), np.concatenate(ys), test=test)


def _arrays(path: Path) -> dict[str, Array]:
    """All arrays of numbers or words, by their names in lower case."""
    try:
        with path.open("rb") as file:
            held = np.load(file, allow_pickle=False)
            if isinstance(held, np.ndarray):
                raise TaskError(f"{path} holds a single array; write it with numpy.savez, x and y by their names")
            with held:
                return {name.lower(): np.asarray(held[name]) for name in held.files}
    except TaskError:
        raise
    except ValueError as error:
        if "pickle" in str(error):
            raise TaskError(f"{path} holds objects, which could execute code; store numbers alone") from None
        raise TaskError(f"{path} is no archive of arrays ({error}); write it with numpy.savez") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, AttributeError, KeyError, MemoryError) as error:
        raise TaskError(f"{path} is damaged or no archive of arrays ({error}); write it with numpy.savez") from None


def _images(x: Array) -> Array:
    if x.ndim == 3:
        return x[:, None]
    last = x.ndim == 4 and x.shape[3] in (1, 3) and x.shape[1] not in (1, 3)
    return x.transpose(0, 3, 1, 2) if last else x


def _flat(y: Array) -> Array:
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
