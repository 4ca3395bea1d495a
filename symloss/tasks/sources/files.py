"""Files of the user's own: found, read whole, and any failure told in one line."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

from symloss.errors import TaskError


def find(root: Path, names: Sequence[str], folders: Sequence[str] = ()) -> list[Path]:
    """The files of these names in a directory, or all in one of the folders that archives unpack to.

    Args:
        root: The directory.
        names: What the files are called; each may also end in .gz.
        folders: Folders inside to look into as well.

    Returns:
        One path for each name.

    Raises:
        TaskError: If one is missing.
    """
    found: list[Path | None] = []
    for place in (root, *(root / folder for folder in folders)):
        found = [next((p for p in (place / name, place / f"{name}.gz") if p.is_file()), None) for name in names]
        if all(found):
            break
    paths = [path for path in found if path is not None]
    if len(paths) < len(names):
        raise TaskError(f"{str(root)!r:.200} does not hold all of {', '.join(names)}; give the directory that does")
    return paths


def read(path: Path) -> bytes:
    """The contents of a file, unpacked if its name ends in .gz.

    Raises:
        TaskError: If it cannot be read or is damaged.
    """
    try:
        contents = path.read_bytes()
        return gzip.decompress(contents) if path.suffix == ".gz" else contents
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TaskError(f"{path} is a damaged gzip file ({error}); get it again") from None
    except OSError as error:
        raise TaskError(f"{path} cannot be read ({error.strerror}); check the file") from None
