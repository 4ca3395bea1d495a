"""Files that are whole at any instant: written beside their place, then moved there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends without an exception.

    The content is on disk before it takes the old one's place, so that either of them is there after a kill or a power
    cut. After an exception the old one stays and nothing else. Links are followed, permissions of what is replaced are
    kept, and of several writers at once the last one wins.

    Args:
        path: File to make or to replace, in a directory that exists.

    Raises:
        OSError: If it cannot be written, or is there and is no file: renaming over a device would take it away.
        ValueError: If it is no path.
    """
    place = Path(os.path.realpath(path))
    if place.exists() and not place.is_file():
        kind = "a directory" if place.is_dir() else "a pipe or a device"
        raise OSError(errno.EINVAL, f"it is no file that could be replaced, but {kind}", os.fspath(path))
    temporary = place.with_name(f".{place.name[:50]}.{uuid4().hex[:12]}.tmp")
    try:
        with temporary.open("xb") as file:
            with suppress(OSError):  # nothing was there, or the file system has no permissions
                temporary.chmod(stat.S_IMODE(place.stat().st_mode))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
    finally:
        with suppress(OSError):
            temporary.unlink()
    with suppress(OSError):  # not every system can; a power cut may then bring the old content back, whole
        directory = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
