"""The SymPy process: kept between jobs, killed when time is up, usable from threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sympy

from symloss.expression import sympy_process, sympy_worker
from symloss.expression.parsing import parse
from symloss.expression.simplification import simplify

Y, F = sympy.Symbol("y", real=True), sympy.Symbol("f", real=True)
HANGS = sympy.Pow(sympy.Pow(2 * F, 4096, evaluate=False), 2**62, evaluate=False)  # 2^(2^74) has too many digits


@pytest.fixture(scope="module", autouse=True)
def _no_process_stays() -> Iterator[None]:
    yield
    sympy_process.close()


def job(form: sympy.Expr) -> dict[str, object]:
    return {"task": "is_zero", "positive": False, "forms": [sympy_worker.encode(form)]}


def pid() -> int | None:
    return sympy_process._process.process.pid if sympy_process._process else None


def test_it_answers_and_is_kept() -> None:
    assert list(sympy_process.ask(job((Y + F) ** 2 - Y**2 - 2 * Y * F - F**2), time.monotonic() + 30)) == [
        {"proved": True}
    ]
    first = pid()
    assert list(sympy_process.ask(job(Y - F), time.monotonic() + 30)) == [{"proved": False}]
    assert pid() == first is not None


@pytest.mark.parametrize(
    ("task", "form", "expected"),
    [
        ("roots", 2 * F - 1, [0.5]),
        ("roots", (1 - F) * sympy.sign(sympy.log(5 * F / 4)), [1.0, 0.8]),
        ("roots", F * sympy.exp(F) * sympy.sin(F) - F**F, []),
        ("limit", (F - sympy.Rational(1, 4)) * sympy.sign(F), [0.75]),
        ("limit", 1 / (1 - F), []),
    ],
)
def test_roots_and_limits(task: str, form: sympy.Expr, expected: list[float]) -> None:
    answers = list(sympy_process.ask({"task": task, "forms": [sympy_worker.encode(form)]}, time.monotonic() + 30))
    found = [float(sympy_worker.decode(answer["rows"])) for answer in answers]
    assert found == [pytest.approx(value) for value in expected]


def test_it_is_killed_when_time_is_up_and_started_again() -> None:
    list(sympy_process.ask(job(Y - F), time.monotonic() + 30))
    process = sympy_process._process
    assert process is not None
    start = time.monotonic()
    assert list(sympy_process.ask(job(HANGS), start + 0.4)) == []
    assert time.monotonic() - start < 3
    assert process.process.poll() is not None
    assert pid() is None
    assert list(sympy_process.ask(job(Y - Y + 0 * F), time.monotonic() + 30)) == [{"proved": True}]


def test_it_survives_the_death_of_its_process() -> None:
    list(sympy_process.ask(job(Y - F), time.monotonic() + 30))
    process = sympy_process._process
    assert process is not None
    process.process.kill()
    process.process.wait()
    assert list(sympy_process.ask(job(Y - F), time.monotonic() + 30)) == [{"proved": False}]


def test_a_caller_that_stops_early_leaves_nothing_behind() -> None:
    answers = sympy_process.ask({"task": "simplify", "forms": [sympy_worker.encode(Y * F + Y)]}, time.monotonic() + 30)
    assert "rows" in next(answers)
    answers.close()
    assert pid() is None
    assert not sympy_process._lock.locked()


def test_no_time_asks_nothing() -> None:
    assert list(sympy_process.ask(job(Y), time.monotonic() - 1)) == []


def test_without_time_a_process_that_is_there_is_neither_asked_nor_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(sympy_process.ask(job(Y - Y), time.monotonic() + 30))
    before = pid()
    assert before is not None
    monkeypatch.setattr(sympy_process._Process, "send", lambda *_: pytest.fail("it was asked"))
    assert list(sympy_process.ask(job(Y - Y), time.monotonic())) == []
    assert pid() == before


def test_threads_take_turns() -> None:
    e = parse("y*f + y*log(f)")
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: str(simplify(e, seconds=30)), range(4)))
    assert results == ["y*(f + log(f))"] * 4
    assert threading.active_count() < 10


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_process_starts_its_own() -> None:
    list(sympy_process.ask(job(Y - F), time.monotonic() + 30))
    assert sympy_process._process is not None
    sympy_process._process.owner = -1  # what a fork sees: the pid is another's
    before = sympy_process._process.process
    assert list(sympy_process.ask(job(Y - F), time.monotonic() + 30)) == [{"proved": False}]
    assert sympy_process._process.process is not before
    assert before.poll() is None  # the parent's process is not the child's to kill
    before.kill()
    before.wait()
    for pipe in (before.stdin, before.stdout):
        if pipe:
            pipe.close()
