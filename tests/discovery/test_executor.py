from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from symloss.discovery.executor import FEWEST_SHARED, Executor, _pack, _unpack, split
from symloss.discovery.settings import Settings
from symloss.errors import SearchError
from symloss.expression import primitives
from symloss.tasks.task import Task
from tests.discovery.fakes import make_task

SETTINGS = Settings()
ROOT = Path(__file__).parents[2]


def square(task: Task, settings: Settings, number: int) -> tuple[int, int, int, float]:
    return number**2, os.getpid(), torch.get_num_threads(), float(task.train.x.sum())


def fail(task: Task, settings: Settings, number: int) -> None:
    raise ValueError(f"planted {number}")


def die(task: Task, settings: Settings, number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait(task: Task, settings: Settings, seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def cube_of_one(task: Task, settings: Settings, number: int) -> float:
    return float(primitives.get("cube_of_test").torch(torch.tensor(float(number))))


@given(st.integers(0, 300), st.integers(1, 40))
def test_chunks_are_balanced_ordered_and_even_in_number(count: int, chunk_size: int) -> None:
    chunks = split(count, chunk_size)
    assert [i for part in chunks for i in range(count)[part]] == list(range(count))
    sizes = [part.stop - part.start for part in chunks]
    assert all(1 <= size <= chunk_size for size in sizes)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    fewest = -(-count // chunk_size)
    assert len(chunks) in (fewest, fewest + 1)
    assert count < FEWEST_SHARED or len(chunks) % 2 == 0 or chunk_size == 1


@pytest.mark.parametrize("n_jobs", [0, 1.5, "2", None, True])
def test_a_senseless_number_of_jobs_is_refused(n_jobs: Any) -> None:
    with pytest.raises(SearchError, match="n_jobs is a number of workers"):
        Executor(make_task(), n_jobs)


def test_in_process_one_thread_inside_and_the_old_number_after() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with Executor(make_task()) as executor:
            results = list(executor.map(square, SETTINGS, [(3,), (4,)]))
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="planted"), Executor(make_task()) as executor:
            list(executor.map(fail, SETTINGS, [(1,)]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    total = float(make_task().train.x.sum())
    assert results == [(9, os.getpid(), 1, total), (16, os.getpid(), 1, total)]


def test_results_come_one_by_one() -> None:
    seen: list[int] = []

    def note(task: Task, settings: Settings, number: int) -> int:
        seen.append(number)
        return number

    with Executor(make_task()) as executor:
        results = executor.map(note, SETTINGS, [(1,), (2,), (3,)])
        assert next(results) == 1
        assert seen == [1]
        results.close()
    assert seen == [1]


def test_a_task_travels_without_its_tensors_and_is_the_same_afterwards() -> None:
    task = make_task(samples=2000)
    shell, arrays = _pack(task)
    assert len(shell) < 5000 < task.train.x.numel() * 4
    assert len(arrays) == 6
    copy = _unpack(shell, arrays)
    for mine, yours in ((task.train, copy.train), (task.valid, copy.valid), (task.test, copy.test)):
        assert torch.equal(mine.x, yours.x)
        assert torch.equal(mine.y, yours.y)
        assert mine.x.data_ptr() != yours.x.data_ptr()
    assert copy.identity() == task.identity()


def test_a_task_that_cannot_travel_is_one_line() -> None:
    lock = threading.Lock()

    def locked() -> nn.Module:
        with lock:
            return nn.Linear(2, 1)

    task = make_task()
    task.model = locked
    with pytest.raises(SearchError, match=r"cannot be sent to other processes .* use n_jobs=1") as caught:
        Executor(task, n_jobs=2)
    assert "\n" not in str(caught.value)
    assert next(Executor(task).map(square, SETTINGS, [(2,)]))[0] == 4


def test_workers() -> None:
    """One test for all that needs the same two workers: they take seconds to start on a busy machine."""
    task = make_task(samples=40_000)  # large enough to be mapped
    total = float(task.train.x.sum())
    chunks = [(i,) for i in range(7)]
    primitives.register("cube_of_test", 1, lambda xp, a: a * a * a, sympy=lambda sp, a: a**3, search=False)
    try:
        executor = Executor(task, n_jobs=2)
        executor.patience = 120.0
        with executor:
            results = list(executor.map(square, SETTINGS, chunks))
            pids = {pid for _, pid, _, _ in results}
            assert [r[0] for r in results] == [i**2 for i in range(7)]
            assert {r[2:] for r in results} == {(1, total)}, "one thread, the same data"
            assert os.getpid() not in pids
            assert len(pids) <= 2
            again = {r[1] for r in executor.map(square, SETTINGS, chunks * 3)}
            assert len(pids | again) <= 2, "the pool stays"
            assert list(executor.map(cube_of_one, SETTINGS, [(2,)])) == [8.0]
            waits = executor.map(wait, SETTINGS, [(0.0,), (60.0,), (60.0,)])
            next(waits)
            started = time.perf_counter()
            waits.close()  # stops what is running, without waiting and without a warning
        assert time.perf_counter() - started < 30
    finally:
        primitives.unregister("cube_of_test")


class Starting:
    """Workers that never get there."""

    def __init__(self, *arguments: object) -> None:
        pass

    def ready(self, patience: float) -> bool:
        return False

    def close(self, at_once: bool) -> None:
        assert not at_once


def test_while_workers_start_chunks_are_computed_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("symloss.discovery.executor._Workers", Starting)
    with Executor(make_task(), n_jobs=2) as executor:
        results = list(executor.map(square, SETTINGS, [(1,), (2,)]))
    assert [r[:2] for r in results] == [(1, os.getpid()), (4, os.getpid())]


@pytest.mark.slow
def test_what_a_worker_raises_is_raised_here() -> None:
    executor = Executor(make_task(), n_jobs=2)
    executor.patience = 120.0
    with pytest.raises(ValueError, match="planted 1"), executor:
        list(executor.map(fail, SETTINGS, [(1,)]))


@pytest.mark.slow
def test_a_worker_that_dies_is_one_line() -> None:
    executor = Executor(make_task(), n_jobs=2)
    executor.patience = 120.0
    with pytest.raises(SearchError, match="worker processes died") as caught, executor:
        list(executor.map(die, SETTINGS, [(1,), (2,)]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n_jobs", [100_000, 10**9])
def test_more_workers_than_a_machine_can_bear_are_refused(n_jobs: int) -> None:
    with pytest.raises(SearchError, match=r"n_jobs is at most \d+ on this machine .*; received 1000"):
        Executor(make_task(), n_jobs)


def place(task: Task, settings: Settings, number: int) -> tuple[int, int, str, int]:
    time.sleep(0.02 * (3 - number))  # the last is ready first
    return number, os.getpid(), threading.current_thread().name, torch.get_num_threads()


def test_threads() -> None:
    task, before = make_task(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with Executor(task, n_jobs=2, backend="threading") as executor:
            results = list(executor.map(place, SETTINGS, [(i,) for i in range(4)]))
            assert [r[0] for r in results] == [0, 1, 2, 3], "in order"
            assert {r[1] for r in results} == {os.getpid()}
            assert len({r[2] for r in results}) == 2
            assert {r[3] for r in results} == {1}
            with pytest.raises(ValueError, match="planted 1"):
                list(executor.map(fail, SETTINGS, [(1,), (2,)]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_closing_early_drops_the_chunks_that_threads_have_not_begun() -> None:
    begun: list[int] = []

    def note(task: Task, settings: Settings, number: int) -> int:
        begun.append(number)
        time.sleep(0.05)
        return number

    with Executor(make_task(), n_jobs=2, backend="threading") as executor:
        results = executor.map(note, SETTINGS, [(i,) for i in range(50)])
        assert next(results) == 0
        results.close()
    assert len(begun) < 10


INTERRUPTED = """
    import os, sys
    from symloss.discovery import runs
    from symloss.discovery.runs import discover
    from tests.discovery import fakes

    def develop(task, settings, expressions, refined):
        import time
        open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
        time.sleep(60)

    runs._PATIENCE = 120.0
    stages = fakes.Stages(fakes.fingerprints, fakes.screen, develop, fakes.tuned_rate)
    result = discover(fakes.make_task(), stages=stages, n_jobs=2, population_size=40, out=sys.argv[2])
    print(result.stopped)
"""


def _started(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A search in a process of its own, and its two workers, once both are busy."""
    script, marks = tmp_path / "script.py", tmp_path / "marks"
    script.write_text(textwrap.dedent(INTERRUPTED).replace("sys.argv[1]", repr(str(marks))))
    marks.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(script), "", str(tmp_path / "run")], env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while len(workers := [int(p.name) for p in marks.iterdir()]) < 2 and process.poll() is None:
        time.sleep(0.1)
    return process, workers


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_stops_the_workers(tmp_path: Path) -> None:
    """The signal goes to the whole process group, as from a terminal."""
    process, workers = _started(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("interrupted\n", 0), err
    assert "Traceback" not in err
    assert len(workers) == 2
    for pid in workers:
        assert not _alive(pid)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, number: signal.Signals) -> None:
    process, workers = _started(tmp_path)
    process.send_signal(number)
    process.communicate(timeout=60)  # nobody holds the pipes any more
    assert len(workers) == 2
    for pid in workers:
        assert not _alive(pid)


def _alive(pid: int) -> bool:
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.1)
    return True
