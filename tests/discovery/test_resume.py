from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from symloss.discovery.result import GenerationEvent, load_run
from symloss.discovery.run_directory import RunDirectory
from symloss.discovery.runs import discover, resume
from symloss.errors import RunError, RunWarning, SearchError
from symloss.expression import primitives
from tests.discovery.fakes import STAGES, make_task
from tests.discovery.runs import SMALL, Whole, essence, files

ROOT = Path(__file__).parents[2]


# --- kill and resume -------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the process runs after it."""


def test_resumed_after_any_generation_it_ends_the_same(whole: Whole, tmp_path: Path) -> None:
    result, directory, copies = whole
    assert len(copies) == 5
    for number, copy in enumerate(copies):
        torn = tmp_path / f"torn-{number}"
        shutil.copytree(copy, torn)
        logged = [json.loads(line) for line in (torn / "candidates.jsonl").read_text().splitlines()]
        line = json.dumps({**logged[0], "id": len(logged) + 1, "generation": number + 1})
        with (torn / "candidates.jsonl").open("a") as file:
            file.write(line + "\n" + line[:40])
        (torn / "checkpoint.json.tmp").write_text('{"format": 1, "vers')
        (torn / "front.csv").unlink()
        for run in (copy, torn):
            assert load_run(run).stopped == "not finished"
            again = resume(run, make_task(), stages=STAGES)
            assert essence(again) == essence(result)
            assert files(run) == files(directory)


@pytest.mark.parametrize("end", [Killed, KeyboardInterrupt])
def test_cut_off_at_any_write_it_ends_the_same(
    whole: Whole,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: type[BaseException],
) -> None:
    """Each write in turn is cut off: candidates.jsonl torn, any other file just before it takes the old one's place."""
    result, directory, _ = whole
    fsync, writes, moment, out = os.fsync, 0, 0, tmp_path

    def dying_fsync(descriptor: int) -> None:
        nonlocal writes
        writes += 1
        if writes == moment:
            log = out / "candidates.jsonl"
            if log.exists() and os.fstat(descriptor).st_ino == log.stat().st_ino:
                os.ftruncate(descriptor, log.stat().st_size - 40)
            raise end
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", dying_fsync)
    for moment in range(5, 200, 3):
        writes, out = 0, tmp_path / str(moment)
        try:
            found = discover(make_task(), out=out, guesses=["square(0.5*y - f)"], **SMALL)
        except Killed:
            pass
        else:
            assert essence(load_run(out)) == essence(found)
        if writes < moment:
            assert moment > 5 * 6, "five generations write at least six times each"
            return
        writes = -1000
        assert essence(resume(out, make_task(), stages=STAGES)) == essence(result), f"cut off at write {moment}"
        assert files(out) == files(directory)
    pytest.fail("the run never ended by itself")


def test_a_stage_or_callback_that_fails_loses_nothing(whole: Whole, tmp_path: Path) -> None:
    def fail(event: GenerationEvent) -> None:
        if event.generation.number == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        discover(make_task(), out=tmp_path / "run", guesses=["square(0.5*y - f)"], callbacks=[fail], **SMALL)
    assert len(load_run(tmp_path / "run").history) == 3
    assert essence(resume(tmp_path / "run", make_task(), stages=STAGES)) == essence(whole[0])


def test_a_finished_run_resumes_to_the_same_or_goes_on(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole[1], run)
    assert essence(resume(run, make_task(), stages=STAGES)) == essence(whole[0])
    longer = resume(run, make_task(), stages=STAGES, generations=7)
    assert len(longer.history) == 7
    direct = discover(make_task(), guesses=["square(0.5*y - f)"], **{**SMALL, "generations": 7})
    assert essence(longer) == essence(direct)
    assert load_run(run).settings.generations == 7
    with pytest.raises(SearchError, match=r"a resumed run may change generations.*received 'seed'"):
        resume(run, make_task(), seed=3)


SLEEPER = """
    import sys, time
    from symloss.discovery.runs import discover
    from tests.discovery import fakes

    def develop(*arguments):
        time.sleep(0.02)
        return fakes.develop(*arguments)

    stages = fakes.Stages(fakes.fingerprints, fakes.screen, develop, fakes.tuned_rate)
    settings = dict(population_size=12, generations=5, seed=1, chunk_size=3, guesses=["square(0.5*y - f)"])
    tell = lambda event: print(event, flush=True)
    discover(fakes.make_task(), out=sys.argv[1], stages=stages, callbacks=[tell], **settings)
"""


@pytest.mark.slow
@pytest.mark.parametrize("generations", [0, 1, 3])
def test_sigkill(whole: Whole, tmp_path: Path, generations: int) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(SLEEPER))
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "run")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    while not (tmp_path / "run" / "checkpoint.json").exists():
        time.sleep(0.01)
    for _ in range(generations):
        process.stdout.readline()
    time.sleep(0.013)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert load_run(tmp_path / "run").stopped == "not finished"
    assert essence(resume(tmp_path / "run", make_task(), stages=STAGES)) == essence(whole[0])


# --- the wrong directory, task or call -------------------------------------------------------------------------------


def test_the_wrong_task_is_one_line(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole[2][1], run)
    before = files(run)
    with pytest.raises(RunError, match=r"a task of your own \('planted'\): call resume\(directory, task\)"):
        resume(run, stages=STAGES)
    for other in (make_task(samples=25), make_task(name="other")):
        with pytest.raises(RunError, match="the task is not that of") as caught:
            resume(run, other, stages=STAGES)
        assert "\n" not in str(caught.value)
    primitives.register("twice_of_test", 1, lambda xp, a: 2 * a, sympy=lambda sp, a: 2 * a)
    try:
        with pytest.raises(RunError, match=r"draws from other primitives \(twice_of_test\)"):
            resume(run, make_task(), stages=STAGES)
    finally:
        primitives.unregister("twice_of_test")
    assert files(run) == before
    RunDirectory.open(run, writing=True).close()


def test_nothing_is_deleted_where_files_do_not_fit_together(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole[2][1], run)
    before = files(run)
    saved = json.loads((run / "checkpoint.json").read_text())
    emptied = {"history": [], "generation": 0, "population": [], "candidates": 0}
    for change in ({"candidates": 3}, {"candidates": 0}, emptied):
        (run / "checkpoint.json").write_text(json.dumps({**saved, **change}))
        with pytest.raises(RunError, match="do not fit together"):
            resume(run, make_task(), stages=STAGES)
        with pytest.raises(RunError, match="do not fit together"):
            load_run(run)
    (run / "checkpoint.json").write_text(json.dumps(saved))
    assert files(run) == before


def test_other_versions_are_told_of(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run-\udcff"  # a name that is not UTF-8
    shutil.copytree(whole[2][1], run)
    saved = json.loads((run / "checkpoint.json").read_text())
    assert set(saved["versions"]) == {"symloss", "python", "torch", "numpy", "numba", "cma"}
    older = {**saved["versions"], "torch": "1.0\ud800"}
    del older["numba"]  # as runs wrote it that are older
    (run / "checkpoint.json").write_text(json.dumps({**saved, "versions": older}))
    with pytest.warns(RunWarning, match=r"computed with torch 1\.0.?, now [^;]*: what follows may differ") as caught:
        again = resume(run, make_task(), stages=STAGES)
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)
    assert caught[0].filename == __file__
    assert (run / "log.txt").read_text().count(r"run-\udcff was computed with torch 1.0\ud800, now ") == 1
    assert essence(again) == essence(whole[0])
    assert files(run) == files(whole[1]), "the versions are now those of this process"


@pytest.mark.parametrize("device", ["meta", "cpu:-1", "\x00", "é", "x" * 10_000])
def test_a_device_without_data_is_one_line(whole: Whole, tmp_path: Path, device: str) -> None:
    with pytest.raises(SearchError, match=r"device .* cannot be used") as caught:
        discover(make_task(), device=device, **SMALL)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    run = tmp_path / "run"
    shutil.copytree(whole[2][1], run)
    config = (run / "config.toml").read_text()
    (run / "config.toml").write_text(config.replace('device = "cpu"', 'device = "meta"'))
    with pytest.raises(SearchError, match="device 'meta' cannot be used"):
        resume(run, make_task(), stages=STAGES)


def test_a_task_whose_name_utf8_cannot_hold_is_resumed(tmp_path: Path) -> None:
    first = discover(make_task("a\ud800b"), out=tmp_path / "run", **{**SMALL, "generations": 1})
    assert essence(resume(tmp_path / "run", make_task("a\ud800b"), stages=STAGES)) == essence(first)


def test_candidates_without_a_checkpoint_are_not_thrown_away(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole[2][1], run)
    (run / "checkpoint.json").unlink()
    with pytest.raises(RunError, match=r"has candidates but no checkpoint.json"):
        resume(run, make_task(), stages=STAGES)
    assert load_run(run).front, "what was found can still be read"


def test_an_existing_run_is_not_overwritten_by_accident(whole: Whole, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole[2][1], run)
    before = files(run)
    with pytest.raises(RunError, match="holds a run already"):
        discover(make_task(), out=run, **SMALL)
    assert files(run) == before
    result = discover(make_task(), out=run, overwrite=True, **SMALL)
    assert essence(load_run(run)) == essence(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "magic"}, "unknown method 'magic'; there is: evomal, random, gp-lfl, taylorglo, ml3"),
        ({"method": []}, r"unknown method \[\]; there is: evomal, random, gp-lfl, taylorglo, ml3"),
        ({"guesses": 3}, "guesses are Expressions, formulas or names of losses; received 3"),
        ({"callbacks": 3}, "callbacks are functions; received 3"),
        ({"callbacks": [3]}, "callbacks are functions; received 3"),
        ({"n_jobs": "2"}, "n_jobs is a number of workers"),
        ({"n_jobs": 1.5}, "n_jobs is a number of workers"),
        ({"populationsize": 3}, "unknown setting 'populationsize'"),
        ({"population_size": 0}, "population_size .* received 0"),
        ({"n_jobs": 0}, "n_jobs is a number of workers"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
    ],
)
def test_a_bad_call_is_one_line_and_leaves_no_directory(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(SearchError, match=message) as caught:
        discover(make_task(), out=tmp_path / "run", **{**SMALL, **arguments})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
