"""Arrays that take long to make are made once and kept under the user's cache directory."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from symloss.files import replacing
from symloss.tasks.splits import Array

logger = logging.getLogger("symloss")

_CHECKSUM = "sha256"


def directory() -> Path:
    """Where arrays are kept: $XDG_CACHE_HOME/symloss, or what the system has in its place."""
    if own := os.environ.get("XDG_CACHE_HOME"):
        return Path(own) / "symloss"
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "symloss" / "Cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "symloss"


def kept(name: str, origin: object, make: Callable[[], Mapping[str, Array]]) -> dict[str, Array]:
    """Named arrays, from the disk if they were made before from the same origin.

    A file is written whole or not at all, and read only if its checksum is right: a damaged one is made anew. Where
    nothing can be written, the arrays are made each time.

    Args:
        name: Beginning of the file's name.
        origin: Everything that the arrays depend on, such as versions; another origin is another file.
        make: Makes the arrays.

    Returns:
        The arrays.
    """
    digest = hashlib.sha256(repr(origin).encode()).hexdigest()[:16]
    path = directory() / f"{name}-{digest}.npz"
    if path.exists():
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            logger.warning("%s is damaged; it is made again", path)
    arrays = dict(make())
    try:
        _write(path, arrays)
    except OSError as error:
        logger.info("%s cannot be kept in %s (%s)", name, path.parent, error.strerror)
    return arrays


def _read(path: Path) -> dict[str, Array]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    if str(arrays.pop(_CHECKSUM)) != _checksum(arrays):
        raise ValueError("wrong checksum")
    return arrays


def _write(path: Path, arrays: Mapping[str, Array]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.savez_compressed(file, **arrays, **{_CHECKSUM: np.array(_checksum(arrays))})  # type: ignore[arg-type]


def _checksum(arrays: Mapping[str, Array]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
