"""The parent's side of the SymPy process: start, ask, kill when time is up."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from typing import Any

from symloss.expression import sympy_worker

MAX_SECONDS = 1e6
"""Longest time to wait for an answer; the operating system cannot count much further."""


class _Process:
    """One worker process, and a thread that collects its lines."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable or "python3", "-P", sympy_worker.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={
                **os.environ,
                "PYTHONHASHSEED": "0",  # SymPy's results may depend on the order of sets
                "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
            },
        )
        threading.Thread(target=self._collect, daemon=True).start()

    def _collect(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed while reading
            for line in self.process.stdout:
                self.lines.put(line)
        self.lines.put("")

    def usable(self) -> bool:
        """Whether it runs, and belongs to this process rather than to the one that was forked."""
        return self.owner == os.getpid() and self.process.poll() is None

    def send(self, job: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        if self.owner != os.getpid():
            return
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()


_lock = threading.Lock()
_process: _Process | None = None


def ask(job: dict[str, Any], deadline: float) -> Generator[dict[str, Any]]:
    """The answers to a job as they come, until the last or until `time.monotonic()` reaches `deadline`.

    The process is kept for the next job; it is killed if it was too slow or if the caller stops early. Yields nothing
    if there is no time left, or if a process cannot be started here.
    """
    global _process
    deadline = min(deadline, time.monotonic() + MAX_SECONDS)
    if time.monotonic() >= deadline:  # a process that is there might answer all the same, now and then
        return
    if not _lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
        return
    finished = False
    try:
        if _process is None or not _process.usable():
            close()
            _process = _Process()
        _process.send({**job, "seconds": max(0.0, deadline - time.monotonic())})
        while not finished:
            line = _process.lines.get(timeout=max(1e-3, deadline - time.monotonic()))
            answer = json.loads(line) if line else {"done": True}
            finished = bool(line) and "done" in answer
            if "done" in answer:
                break
            yield answer
    except (OSError, ValueError, queue.Empty):
        pass
    finally:
        if not finished:
            close()
        _lock.release()


def close() -> None:
    """Kill the process if there is one; the next job starts another."""
    global _process
    if _process is not None:
        _process.kill()
        _process = None


atexit.register(close)
