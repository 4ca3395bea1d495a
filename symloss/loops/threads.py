"""One thread for the matrix products inside compiled loops."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager
from importlib import import_module

from threadpoolctl import ThreadpoolController


@functools.cache
def _controller() -> ThreadpoolController:
    """What sets the threads of the loaded libraries, which are looked for once: that takes milliseconds."""
    import_module("scipy.linalg.cython_blas")  # the loops' own, which would be loaded at their first call only
    return ThreadpoolController()


def one_blas_thread() -> AbstractContextManager[object]:
    """A context in which BLAS computes with one thread."""
    context: AbstractContextManager[object] = _controller().limit(limits=1, user_api="blas")
    return context
