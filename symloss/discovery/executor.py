"""Executor: where the chunks of a generation are computed: here, in threads of this process, or by joblib's workers."""

from __future__ import annotations

import io
import os
import pickle
import signal
import uuid
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from itertools import pairwise
from multiprocessing import current_process
from threading import Thread, current_thread, main_thread
from time import sleep
from typing import Any, TypeVar

import cloudpickle
import joblib
import numpy as np
import torch

from symloss.discovery.settings import Settings
from symloss.errors import MachineError, SearchError
from symloss.expression import primitives
from symloss.loops.threads import one_blas_thread
from symloss.tasks.task import Task

T = TypeVar("T")

FEWEST_SHARED = 4
"""From this many candidates on the number of chunks is even, so that two workers are both busy."""

MOST_PER_CORE = 16
"""Workers that may be asked for, for each core."""


def split(count: int, chunk_size: int) -> list[slice]:
    """Cut `count` candidates, in order, into chunks of at most `chunk_size` whose sizes differ by one at most.

    The number of chunks is ⌈count / chunk_size⌉, rounded up to an even number from `FEWEST_SHARED` candidates on. It
    never depends on the number of workers: a batched product may round differently for another chunk, so that the
    chunks are part of what defines a search.
    """
    chunks = -(-count // chunk_size)
    if count >= FEWEST_SHARED:
        chunks = min(chunks + chunks % 2, count)
    bounds = [count * i // chunks for i in range(chunks + 1)] if chunks else []
    return [slice(start, stop) for start, stop in pairwise(bounds)]


class Executor:
    """Applies a function to chunks, in order; use it as a context manager.

    Inside the context torch and BLAS compute with one thread here and in every worker (more are slower on small
    tensors, and the results would depend on their number); afterwards the number is restored. Processes start in the
    background, and until they are there chunks are computed here, so that a short search does not wait for them. They
    stay from chunk to chunk and from search to search. The task goes to each of them once, its tensors through memory
    that joblib maps.

    Args:
        task: The task that each call is about.
        n_jobs: Workers; 1 computes in this process, -1 takes one per core.
        backend: `"threading"` for threads of this process, which is for functions that give up Python's lock, or the
            name of a backend for `joblib.parallel_config`; `"loky"` is processes on this machine.
        options: Further options of that backend.

    Raises:
        SearchError: If `n_jobs` is not a number of workers, or the task cannot be sent to other processes.
    """

    patience = 0.0
    """Seconds that the first chunks wait for workers that are still starting."""

    def __init__(self, task: Task, n_jobs: int = 1, backend: str = "loky", **options: Any) -> None:
        if isinstance(n_jobs, bool) or not isinstance(n_jobs, int) or n_jobs == 0:
            raise SearchError(f"n_jobs is a number of workers, or -1 for one per core; received {n_jobs!r}")
        cores = joblib.cpu_count()
        if n_jobs > cores * MOST_PER_CORE:
            raise SearchError(
                f"n_jobs is at most {cores * MOST_PER_CORE} on this machine ({MOST_PER_CORE} per core; one per core is "
                f"the fastest, which is -1); received {n_jobs}"
            )
        self.task = task
        self.n_jobs = n_jobs if n_jobs > 0 else max(cores + 1 + n_jobs, 1)
        self._backend = backend
        self._options = {"inner_max_num_threads": 1, **options} if backend == "loky" else options
        self._threads = ExitStack()
        self._workers: _Workers | _Threads | None = None
        alone = backend == "threading" or (self.n_jobs == 1 and backend == "loky")
        self._parcel = None if alone else (uuid.uuid4().hex, *_pack(task))

    def __enter__(self) -> Executor:
        self._threads.enter_context(_one_thread())
        if self._backend == "threading" and self.n_jobs > 1:
            self._workers = _Threads(self.n_jobs, self.task)
        elif self._parcel is not None:
            with joblib.parallel_config(self._backend, **self._options):
                self._workers = _Workers(self.n_jobs, self._parcel)
        return self

    def __exit__(self, error: type[BaseException] | None, *rest: object) -> None:
        self._threads.close()
        if self._workers is not None:
            self._workers.close(at_once=error is not None)
            self._workers = None

    def map(
        self, function: Callable[..., T], settings: Settings, chunks: Sequence[tuple[Any, ...]]
    ) -> Generator[T, None, None]:
        """`function(task, settings, *chunk)` for each chunk: results in order, each as soon as it is there.

        Closing the generator early stops the workers.

        Raises:
            SearchError: If a worker dies.
        """
        for position, chunk in enumerate(chunks):
            if self._workers is not None and self._workers.ready(self.patience):
                yield from self._workers.map(function, settings, chunks[position:])
                return
            yield function(self.task, settings, *chunk)


class _Threads:
    """Threads of this process, which share the task and what is computed once for it."""

    def __init__(self, n_jobs: int, task: Task) -> None:
        self._task = task
        self._pool = ThreadPoolExecutor(n_jobs, "symloss", torch.set_num_threads, (1,))

    def ready(self, patience: float) -> bool:
        """Threads always are."""
        return True

    def map(self, function: Callable[..., T], settings: Settings, chunks: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        results = [self._pool.submit(function, self._task, settings, *chunk) for chunk in chunks]
        try:
            for result in results:
                yield result.result()
        finally:
            for result in results:
                result.cancel()

    def close(self, at_once: bool) -> None:
        """Let go of the threads; what is being computed can only end by itself."""
        self._pool.shutdown(wait=not at_once, cancel_futures=True)


class _Workers:
    """joblib's workers, all holding one task."""

    def __init__(self, n_jobs: int, parcel: tuple[str, bytes, list[Any]]) -> None:
        self._n_jobs, self._parcel = n_jobs, parcel
        sending = {"batch_size": 1, "pre_dispatch": "all", "max_nbytes": "100K", "mmap_mode": "c"}
        self._parallel = joblib.Parallel(n_jobs, return_as="generator", **sending)
        self._parallel.__enter__()
        self._failure: BaseException | None = None
        with deaf_to_interrupts():
            greetings = self._parallel(joblib.delayed(_work)(*parcel, _greet, None, ()) for _ in range(n_jobs))
        self._starting = Thread(target=self._await_greetings, args=(greetings,), daemon=True)
        self._starting.start()

    def _await_greetings(self, greetings: Iterator[Any]) -> None:
        try:
            for _ in greetings:
                pass
        except BaseException as error:  # told to whoever asks for the workers
            self._failure = error

    def ready(self, patience: float) -> bool:
        """Whether every worker holds the task, or at least `patience` seconds later."""
        self._starting.join(patience)
        return not self._starting.is_alive()

    def map(self, function: Callable[..., T], settings: Settings, chunks: Sequence[tuple[Any, ...]]) -> Iterator[T]:
        try:
            if self._failure is not None:
                raise self._failure
            calls = (joblib.delayed(_work)(*self._parcel, function, settings, chunk) for chunk in chunks)
            results = self._parallel(calls)
            try:
                for result in results:  # noqa: UP028 (`yield from` would close the results before we are asked)
                    yield result
            except GeneratorExit:
                with suppress(_ClosedEarly):
                    results.throw(_ClosedEarly())  # joblib would warn of a generator that is merely closed
                raise
        except BrokenExecutor:
            raise MachineError(
                f"one of {self._n_jobs} worker processes died, as happens when memory runs out; "
                "use fewer n_jobs or a smaller chunk_size"
            ) from None

    def close(self, at_once: bool) -> None:
        """Let go of the workers: at once, or when those that are still starting have started."""
        if at_once or not self._starting.is_alive():
            self._parallel.__exit__(None, None, None)
        else:
            Thread(target=self._close_later, daemon=True).start()

    def _close_later(self) -> None:
        self._starting.join()
        self._parallel.__exit__(None, None, None)


class _ClosedEarly(BaseException):
    pass


_held: tuple[str, Any] = ("", None)  # a worker's task, and the key of the executor that sent it


def _work(
    key: str, shell: bytes, arrays: list[Any], function: Callable[..., T], settings: Any, chunk: tuple[Any, ...]
) -> T:
    """Run in a worker: one chunk, on the task that the worker holds."""
    global _held
    if _held[0] != key:
        torch.set_num_threads(1)
        _follow_parent()
        _held = (key, _unpack(shell, arrays))
    return function(_held[1], settings, *chunk)


@cache
def _follow_parent() -> None:
    """End this worker as soon as the process that started it is gone, even where that was killed."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            sleep(0.5)
        os._exit(1)

    if current_process().name.startswith("Loky"):  # a cluster's workers are not ours to end
        Thread(target=watch, daemon=True).start()


def _greet(task: Any, settings: Any) -> None:
    """What a worker is asked for first: to be there and to hold the task."""


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles everything but the tensors, which it collects as arrays."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.tensors: dict[int, int] = {}
        self.kept: list[torch.Tensor] = []

    def persistent_id(self, value: Any) -> int | None:
        if type(value) is not torch.Tensor or value.requires_grad or value.dtype not in _ARRAY_TYPES:
            return None
        if id(value) not in self.tensors:
            self.tensors[id(value)] = len(self.kept)
            self.kept.append(value)
        return self.tensors[id(value)]


class _Unpacker(pickle.Unpickler):
    """Reads in a worker what `_Packer` wrote in the parent process a moment ago; never a file."""

    def __init__(self, shell: bytes, arrays: list[Any]) -> None:
        super().__init__(io.BytesIO(shell))
        self.arrays = arrays

    def persistent_load(self, number: int) -> torch.Tensor:
        device, array = self.arrays[number]
        return torch.from_numpy(np.asarray(array)).clone().to(device)  # a copy: aligned, and safe to write to


_ARRAY_TYPES = (torch.float32, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool)


def _pack(task: Task) -> tuple[bytes, list[Any]]:
    """A task and the user's own primitives in a form that travels: what is not a tensor, and the tensors as arrays."""
    file = io.BytesIO()
    packer = _Packer(file)
    try:
        packer.dump((primitives.registered(), task))
    except (TypeError, AttributeError, ValueError, pickle.PicklingError, RecursionError) as error:
        raise SearchError(
            f"the task cannot be sent to other processes ({' '.join(str(error).split())}); "
            "use n_jobs=1, or a model factory and data that can be pickled"
        ) from None
    return file.getvalue(), [(str(tensor.device), tensor.cpu().numpy()) for tensor in packer.kept]


def _unpack(shell: bytes, arrays: list[Any]) -> Any:
    own, task = _Unpacker(shell, arrays).load()
    primitives.restore(own)
    return task


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C does nothing inside, nor ever in processes that start inside: a terminal sends it to those as well."""
    if current_thread() is not main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with one_blas_thread():
            yield
    finally:
        torch.set_num_threads(threads)
