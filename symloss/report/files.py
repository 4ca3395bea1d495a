"""Files that are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

from symloss.errors import OutputError


def write(path: Path, content: bytes) -> None:
    """Write a file beside its place, then move it there.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        place = Path(os.path.realpath(path))
        temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
        if place.exists() and not place.is_file():  # a pipe or a device
            place.write_bytes(content)
            return
        try:
            temporary.write_bytes(content)
            temporary.replace(place)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {str(path)!r}: {getattr(error, 'strerror', None) or error}") from None
