"""Files that reports and commands leave behind."""

from __future__ import annotations

from pathlib import Path

from symloss.errors import OutputError
from symloss.files import replacing


def write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; into a pipe or a device as it is.

    Raises:
        OutputError: If it cannot be written.
    """
    try:
        with path.open("wb") if path.exists() and not path.is_file() else replacing(path) as file:
            file.write(content)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {str(path)!r}: {getattr(error, 'strerror', None) or error}") from None
