"""Loops compiled by Numba, with their machine code kept on the disk."""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from numba import njit

logger = logging.getLogger("symloss")

_PREPARING = "SYMLOSS_PREPARING"
_FAST = {"reassoc", "contract", "nsz"}  # sums may be reordered; NaN and infinity stay what they are
compiled_inside = njit(error_model="numpy", fastmath=_FAST)
exact_inside = njit(error_model="numpy", fastmath={"contract"})
"""For what must be added up in the order that is written."""


def cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at first use and keep the machine code on disk, where a directory can be written.

    The code runs without Python's lock, so that several threads can compute at once. Numba looks at the date of the
    function's own file alone; what was compiled before any file of its room changed is thrown away here.
    """
    try:
        compiled: Any = njit(error_model="numpy", fastmath=_FAST, cache=True, nogil=True)(function)
    except RuntimeError:  # no place for the cache
        return compiled_inside(function)
    newest = _newest(Path(function.__code__.co_filename).parent)
    for index in Path(compiled.stats.cache_path).glob(f"*.{function.__name__}-*.nbi"):
        with suppress(OSError):
            if index.stat().st_mtime < newest:
                index.unlink()
    result: Callable[..., Any] = compiled
    return result


@functools.cache
def _newest(room: Path) -> float:
    """When a file of a room, or of this one, changed last."""
    return max(path.stat().st_mtime for folder in (room, Path(__file__).parent) for path in folder.glob("*.py"))


_prepared: set[tuple[str, str]] = set()
_preparing = Lock()


def prepare(module: str, loop: Callable[..., Any], dtype: str) -> None:
    """See to it that the loops for `"float32"` or `"float64"` come from the disk.

    Code fresh from the compiler and the same code loaded from the disk may round differently, so that the first run on
    a machine would not repeat, and its workers not agree. Where they were never compiled, another process does it.

    Args:
        module: `python -m module dtype` compiles all loops of the room.
        loop: One of them, as `cached` returned it.
        dtype: `"float32"` or `"float64"`.
    """
    cache = getattr(getattr(loop, "stats", None), "cache_path", None)
    if (module, dtype) in _prepared or cache is None or os.environ.get(_PREPARING):
        return
    with _preparing:
        _prepare(module, loop, dtype, Path(cache))
    _prepared.add((module, dtype))


def _prepare(module: str, loop: Callable[..., Any], dtype: str, cache: Path) -> None:
    file = loop.py_func.__code__.co_filename  # type: ignore[attr-defined]
    mark = cache / f"prepared-{dtype}-{_newest(Path(file).parent):.6f}"
    if mark.exists():
        return
    logger.info("compiling the loops of %s for %s, once on this machine", module, dtype)
    with suppress(OSError, subprocess.SubprocessError):
        environment = {**os.environ, _PREPARING: "1"}
        command = [sys.executable, "-m", module, dtype]
        subprocess.run(command, check=True, capture_output=True, timeout=600, env=environment)
        for old in cache.glob(f"prepared-{dtype}-*"):
            old.unlink(missing_ok=True)
        mark.touch()
