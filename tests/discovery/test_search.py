from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symloss.discovery import search
from symloss.discovery.executor import Executor
from symloss.discovery.result import GenerationEvent, SearchResult, load_run
from symloss.discovery.run_directory import RunDirectory
from symloss.discovery.runs import discover, resume
from symloss.discovery.stages import Outcome
from symloss.errors import RunError, RunWarning, SearchError, SymlossError
from symloss.expression import primitives
from symloss.expression.parsing import parse
from symloss.losses.storage import load
from symloss.tasks import load_task
from tests.discovery import fakes
from tests.discovery.fakes import STAGES, make_task

SMALL: dict[str, Any] = {"population_size": 12, "generations": 5, "seed": 1, "chunk_size": 3, "stages": STAGES}
ROOT = Path(__file__).parents[2]


def essence(result: SearchResult) -> dict[str, Any]:
    """All of a result that must be the same bit for bit: everything but times and the place on disk."""
    return {
        "candidates": [replace(c, seconds=0.0) for c in result.candidates],
        "history": [replace(g, seconds={}) for g in result.history],
        "front": [replace(c, seconds=0.0) for c in result.front],
        "stopped": result.stopped,
        "learning_rate": result.learning_rate,
    }


def files(directory: Path) -> dict[str, Any]:
    """The content of a run directory, without times."""

    def timeless(text: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(text)
        values.pop("seconds")
        for entry in values.get("history", ()):
            entry.pop("seconds")
        return values

    read = {name: (directory / name).read_text() for name in ("config.toml", "front.csv", "best.json")}
    rows = [timeless(line) for line in (directory / "candidates.jsonl").read_text().splitlines()]
    return {**read, "rows": rows, "checkpoint": timeless((directory / "checkpoint.json").read_text())}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, Path, list[Path]]:
    """An undisturbed run, its directory, and copies of it after each generation."""
    top = tmp_path_factory.mktemp("whole")
    copies: list[Path] = []

    def copy(event: GenerationEvent) -> None:
        copies.append(top / f"after-{event.generation.number}")
        shutil.copytree(top / "run", copies[-1])

    result = discover(make_task(), out=top / "run", callbacks=[copy], guesses=["square(0.5*y - f)"], **SMALL)
    return result, top / "run", copies


# --- the loop --------------------------------------------------------------------------------------------------------


def test_every_candidate_is_logged_with_why_it_ended(whole: tuple[SearchResult, Path, list[Path]]) -> None:
    result, _, _ = whole
    assert [c.id for c in result.candidates] == list(range(len(result.candidates)))
    assert result.stopped == "all generations done"
    assert len(result.history) == 5
    assert result.candidates[0].generation == 0
    assert {c.generation for c in result.candidates} == set(range(5))
    for c in result.candidates:
        assert (c.stage == "evaluated") == (c.reason == "")
        assert math.isfinite(c.fitness) or c.stage != "evaluated"
    by_generation = [Counter(c.stage for c in result.candidates if c.generation == g.number) for g in result.history]
    assert [{k: v for k, v in g.counts.items() if v} for g in result.history] == by_generation
    assert sum(result.counts.values()) == len(result.candidates)
    assert {"zero gradient", "duplicate", "rejected", "evaluated"} <= {k for k, v in result.counts.items() if v}
    best = [g.best for g in result.history]
    assert best == sorted(best, reverse=True)
    assert best[-1] == result.best.fitness


def test_nothing_is_judged_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither what was rejected nor what is unchanged; a twin is judged again only if it is smaller than all before."""
    judged: dict[str, list[tuple[str, int]]] = {"screen": [], "develop": []}

    def note(stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noting(task: Any, settings: Any, expressions: Any, *rest: Any) -> Any:
            keys = fakes.fingerprints(expressions, task.kind)
            judged[stage] += [(str(key), e.size) for key, e in zip(keys, expressions, strict=True)]
            return function(task, settings, expressions, *rest)

        return noting

    noting = replace(STAGES, screen=note("screen", fakes.screen), develop=note("develop", fakes.develop))
    result = discover(make_task(), **{**SMALL, "generations": 8, "stages": noting})
    assert result.counts["duplicate"] > 5
    for found in judged.values():
        smallest: dict[str, int] = {}
        for key, size in found:
            assert size < smallest.get(key, size + 1)
            smallest[key] = size
    rejected = {c.fingerprint for c in result.candidates if c.stage == "rejected"}
    developed = {c.fingerprint for c in result.candidates if c.stage in ("evaluated", "diverged")}
    assert any(c.stage == "duplicate" and c.fingerprint in rejected - developed for c in result.candidates)


def test_duplicates_name_their_twin_and_have_its_fitness(whole: tuple[SearchResult, Path, list[Path]]) -> None:
    result, _, _ = whole
    duplicates = [c for c in result.candidates if c.stage == "duplicate"]
    for c in duplicates:
        assert c.duplicate_of is not None
        twin = result.candidates[c.duplicate_of]
        assert twin.stage != "duplicate"
        assert (twin.fitness, twin.fingerprint) == (c.fitness, c.fingerprint)
        assert c.reason == f"duplicate of #{twin.id} ({twin.stage})"
    assert any(
        c.duplicate_of is not None and result.candidates[c.duplicate_of].generation == c.generation for c in duplicates
    )


def test_a_member_of_the_population_is_an_evaluated_candidate(whole: tuple[SearchResult, Path, list[Path]]) -> None:
    """Also in place of a duplicate: the twin's fitness belongs to the twin's expression and refined weights."""
    result, _, copies = whole
    evaluated = {(c.expression, c.fitness) for c in result.candidates if c.stage == "evaluated"}
    for copy in copies:
        saved = RunDirectory.open(copy).checkpoint()
        assert saved is not None
        assert len(saved.population) == 12
        assert all((m.expression, m.fitness) in evaluated for m in saved.population if math.isfinite(m.fitness))


def test_nan_is_never_best() -> None:
    def develop(task: Any, settings: Any, expressions: Any, refined: Any) -> list[Outcome]:
        values = [math.nan if i % 2 else 0.5 + fakes.draw(e, "v") for i, e in enumerate(expressions)]
        return [Outcome(e, "evaluated", "", v, 0.0) for e, v in zip(expressions, values, strict=True)]

    result = discover(make_task(), **{**SMALL, "stages": replace(STAGES, develop=develop)})
    assert any(c.stage == "evaluated" and c.fitness == math.inf for c in result.candidates)
    assert all(math.isfinite(c.fitness) for c in result.front)
    assert result.best.fitness == min(c.fitness for c in result.candidates)
    assert math.isfinite(result.history[-1].median)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    whole: tuple[SearchResult, Path, list[Path]],
) -> None:
    again = discover(make_task(), guesses=["square(0.5*y - f)"], **SMALL)
    assert essence(again) == essence(whole[0])
    assert again.directory is None
    other = discover(make_task(), guesses=["square(0.5*y - f)"], **{**SMALL, "seed": 2})
    assert essence(other) != essence(again)


def test_two_processes_give_the_same_bits(
    whole: tuple[SearchResult, Path, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Executor, "patience", 120.0)
    monkeypatch.setenv("SYMLOSS_TEST_PARENT", str(os.getpid()))
    stages = replace(STAGES, develop=fakes.develop_in_a_worker)
    result = discover(make_task(), guesses=["square(0.5*y - f)"], n_jobs=2, **{**SMALL, "stages": stages})
    assert essence(result) == essence(whole[0])


# --- guesses ---------------------------------------------------------------------------------------------------------


def test_a_guess_enters_as_it_is_and_refined(whole: tuple[SearchResult, Path, list[Path]]) -> None:
    result, _, _ = whole
    plain, refined = result.candidates[:2]
    guess = parse("square(0.5*y - f)")
    assert plain.expression == guess
    assert refined.expression == guess.with_weights([w * 1.1 for w in guess.weights])
    assert plain.fingerprint == refined.fingerprint
    assert "duplicate" not in (plain.stage, refined.stage)
    assert discover(make_task(), guesses=[guess], **SMALL).candidates[0] == replace(plain, seconds=0.0)
    assert discover(make_task(), guesses=guess, **SMALL).config == result.config


def test_a_search_never_ends_worse_than_its_guess() -> None:
    def develop(task: Any, settings: Any, expressions: Any, refined: Any) -> list[Outcome]:
        """Refinement and every other expression are worse than the guess as it is."""
        values = [0.5 if e == parse("0.5*y - f") else 1 + fakes.draw(e, "v") for e in expressions]
        changed = [e.with_weights([2.0] * (e.size - 1)) if r else e for e, r in zip(expressions, refined, strict=True)]
        return [Outcome(e, "evaluated", "", v, 0.0) for e, v in zip(changed, values, strict=True)]

    stages = replace(STAGES, develop=develop, screen=lambda task, settings, expressions: [False] * len(expressions))
    result = discover(make_task(), guesses=["0.5*y - f"], **{**SMALL, "stages": stages})
    assert result.best.expression == parse("0.5*y - f")
    assert result.best.fitness == 0.5


def test_a_rejected_guess_is_logged_and_without_refinement_it_enters_once() -> None:
    reject = lambda task, settings, es, refined: [Outcome(e, "diverged", "planted", math.inf, 0.0) for e in es]  # noqa: E731
    stages = replace(STAGES, develop=reject)
    with pytest.raises(SearchError):
        discover(make_task(), guesses=["0.5*y - f"], **{**SMALL, "stages": stages})
    once = discover(make_task(), guesses=["0.5*y - f"], refine=False, **SMALL)
    assert sum(c.expression.nodes == ("sub", "y", "f") for c in once.candidates[:2]) == 1


@pytest.mark.parametrize(
    ("guesses", "message"),
    [
        (["y - "], "the text ends where"),
        (["abs(y)"], "a guess must contain y and f"),
        (["y - f"] * 7, "do not fit a population of 12"),
        ([3], "a guess is an Expression or its text"),
    ],
)
def test_a_bad_guess_is_one_line_and_leaves_no_directory(tmp_path: Path, guesses: list[Any], message: str) -> None:
    with pytest.raises(SymlossError, match=message) as caught:
        discover(make_task(), guesses=guesses, out=tmp_path / "run", **SMALL)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


# --- reasons to stop -------------------------------------------------------------------------------------------------


def test_the_target_stops_it() -> None:
    best = [g.best for g in discover(make_task(), **SMALL).history]
    generation = next(i for i, b in enumerate(best) if b == min(best))
    result = discover(make_task(), target_fitness=min(best), **SMALL)
    assert result.stopped == "target fitness reached"
    assert len(result.history) == generation + 1
    assert result.best.fitness == min(best)


def test_the_time_limit_stops_it_between_chunks_and_keeps_what_was_found(tmp_path: Path) -> None:
    calls = []

    def develop(*arguments: Any) -> list[Outcome]:
        calls.append(1)
        time.sleep(0.2)
        return fakes.develop(*arguments)

    stages = replace(STAGES, develop=develop, screen=lambda task, settings, expressions: [True] * len(expressions))
    settings = {**SMALL, "stages": stages, "population_size": 40}
    result = discover(make_task(), time_limit=0.3, out=tmp_path / "run", **settings)
    assert result.stopped == "time limit reached"
    assert len(calls) == 2
    assert result.history == ()
    assert 1 <= result.counts["evaluated"] <= 6
    assert essence(load_run(tmp_path / "run")) == essence(result)
    assert load(tmp_path / "run" / "best.json").expression == result.best.expression
    again = resume(tmp_path / "run", make_task(), stages=replace(stages, develop=fakes.develop), time_limit=1e6)
    plain = discover(make_task(), **{**settings, "stages": replace(stages, develop=fakes.develop)})
    assert essence(again) == essence(plain)


def test_ctrl_c_at_any_chunk_keeps_what_was_found(whole: tuple[SearchResult, Path, list[Path]], tmp_path: Path) -> None:
    reference = essence(whole[0])
    for moment in range(1, 50):
        count = 0

        def develop(*arguments: Any, moment: int = moment) -> list[Outcome]:
            nonlocal count
            count += 1
            if count == moment:
                raise KeyboardInterrupt
            return fakes.develop(*arguments)

        out = tmp_path / str(moment)
        stages = replace(STAGES, develop=develop)
        result = discover(make_task(), guesses=["square(0.5*y - f)"], out=out, **{**SMALL, "stages": stages})
        if result.stopped == "all generations done":
            assert moment > 5
            break
        assert result.stopped == "interrupted"
        done = [c for c in reference["candidates"] if c.generation < len(result.history)]
        assert essence(result)["candidates"][: len(done)] == done
        assert set(essence(result)["candidates"]) <= set(reference["candidates"])
        assert essence(load_run(out)) == essence(result)
        if moment > 1:
            assert result.front
            assert load(out / "best.json").expression == result.best.expression
        assert essence(resume(out, make_task(), stages=STAGES)) == reference
        assert files(out) == files(whole[1])
    else:
        pytest.fail("the run never ended by itself")


def test_ctrl_c_before_anything_was_evaluated_still_returns_a_result() -> None:
    def interrupt(*arguments: Any) -> list[bool]:
        raise KeyboardInterrupt

    result = discover(make_task(), **{**SMALL, "stages": replace(STAGES, screen=interrupt)})
    assert result.stopped == "interrupted"
    assert result.front == []
    assert "no candidate was evaluated" in str(result)
    with pytest.raises(SearchError, match="no candidate was evaluated before the search stopped"):
        _ = result.best


def test_all_candidates_rejected_is_one_line_and_logged(tmp_path: Path) -> None:
    stages = replace(STAGES, screen=lambda task, settings, expressions: [False] * len(expressions))
    with pytest.raises(
        SearchError, match=r"all 240 candidates of 20 initial populations were rejected .* guesses"
    ) as caught:
        discover(make_task(), out=tmp_path / "run", **{**SMALL, "redraws": 0, "stages": stages})
    assert "\n" not in str(caught.value)
    assert len(load_run(tmp_path / "run").candidates) == 240


def test_a_rejected_initial_population_is_drawn_again() -> None:
    draws = []

    def fingerprints(expressions: Any, kind: Any) -> list[str | None]:
        draws.append(len(expressions))
        return fakes.fingerprints(expressions, kind)

    def screen(task: Any, settings: Any, expressions: Any) -> list[bool]:
        return [len(draws) == 3] * len(expressions)

    def develop(task: Any, settings: Any, expressions: Any, refined: Any) -> list[Outcome]:
        outcomes = fakes.develop(task, settings, expressions, refined)
        return [
            o if r else replace(o, stage="diverged", fitness=math.inf) for o, r in zip(outcomes, refined, strict=True)
        ]

    stages = replace(STAGES, fingerprints=fingerprints, screen=screen, develop=develop)
    result = discover(
        make_task(), guesses=["0.125*y - f"], **{**SMALL, "redraws": 0, "generations": 1, "stages": stages}
    )
    assert len(draws) == 3
    assert len(result.candidates) == 36
    assert result.front
    assert sum(0.125 in c.expression.weights for c in result.candidates) == 2, "the guess enters the first draw only"


def test_scale_free_tunes_the_rate_once(tmp_path: Path) -> None:
    calls = []

    def tuned(task: Any, settings: Any) -> float:
        calls.append(settings.learning_rate)
        return 0.123

    rates = set()

    def develop(task: Any, settings: Any, *rest: Any) -> list[Outcome]:
        rates.add(settings.learning_rate)
        return fakes.develop(task, settings, *rest)

    stages = replace(STAGES, tuned_rate=tuned, develop=develop)
    result = discover(
        make_task(), scale_free=True, learning_rate=0.5, out=tmp_path / "run", **{**SMALL, "stages": stages}
    )
    more = resume(tmp_path / "run", make_task(), stages=stages, generations=7)
    assert (calls, rates) == ([0.5], {0.123})
    assert result.learning_rate == more.learning_rate == 0.123
    assert result.settings.learning_rate == 0.5
    assert json.loads((tmp_path / "run" / "best.json").read_text())["notes"]["learning_rate"] == 0.123


# --- kill and resume -------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: nothing in the process runs after it."""


def test_resumed_after_any_generation_it_ends_the_same(
    whole: tuple[SearchResult, Path, list[Path]], tmp_path: Path
) -> None:
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
    whole: tuple[SearchResult, Path, list[Path]],
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


def test_a_stage_or_callback_that_fails_loses_nothing(
    whole: tuple[SearchResult, Path, list[Path]], tmp_path: Path
) -> None:
    def fail(event: GenerationEvent) -> None:
        if event.generation.number == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        discover(make_task(), out=tmp_path / "run", guesses=["square(0.5*y - f)"], callbacks=[fail], **SMALL)
    assert len(load_run(tmp_path / "run").history) == 3
    assert essence(resume(tmp_path / "run", make_task(), stages=STAGES)) == essence(whole[0])


def test_a_finished_run_resumes_to_the_same_or_goes_on(
    whole: tuple[SearchResult, Path, list[Path]], tmp_path: Path
) -> None:
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
def test_sigkill(whole: tuple[SearchResult, Path, list[Path]], tmp_path: Path, generations: int) -> None:
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


def test_the_wrong_task_is_one_line(whole: tuple[SearchResult, Path, list[Path]], tmp_path: Path) -> None:
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


def test_nothing_is_deleted_where_files_do_not_fit_together(
    whole: tuple[SearchResult, Path, list[Path]], tmp_path: Path
) -> None:
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


def test_other_versions_are_told_of(whole: tuple[SearchResult, Path, list[Path]], tmp_path: Path) -> None:
    run = tmp_path / "run-\udcff"  # a name that is not UTF-8
    shutil.copytree(whole[2][1], run)
    saved = json.loads((run / "checkpoint.json").read_text())
    assert set(saved["versions"]) == {"symloss", "python", "torch", "numpy", "numba"}
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
def test_a_device_without_data_is_one_line(
    whole: tuple[SearchResult, Path, list[Path]], tmp_path: Path, device: str
) -> None:
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


def test_candidates_without_a_checkpoint_are_not_thrown_away(
    whole: tuple[SearchResult, Path, list[Path]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(whole[2][1], run)
    (run / "checkpoint.json").unlink()
    with pytest.raises(RunError, match=r"has candidates but no checkpoint.json"):
        resume(run, make_task(), stages=STAGES)
    assert load_run(run).front, "what was found can still be read"


def test_an_existing_run_is_not_overwritten_by_accident(
    whole: tuple[SearchResult, Path, list[Path]], tmp_path: Path
) -> None:
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
        ({"method": "magic"}, "unknown method 'magic'; there is: evomal"),
        ({"method": []}, r"unknown method \[\]; there is: evomal"),
        ({"guesses": 3}, "guesses are Expressions or their texts; received 3"),
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


# --- progress and the result -----------------------------------------------------------------------------------------


def test_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    discover(make_task(), **SMALL)
    assert capsys.readouterr() == ("", "")
    discover(make_task(), progress=True, **SMALL)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("  ")[0] for line in err.splitlines()] == [f"generation {i}/5" for i in range(1, 6)]
    assert "best 0." in err.splitlines()[-1]
    events: list[GenerationEvent] = []
    result = discover(make_task(), progress=events.append, callbacks=[events.append], **SMALL)
    assert capsys.readouterr() == ("", "")
    assert len(events) == 10
    assert events[-1].best == result.best
    assert list(events[-1].front) == result.front
    assert [e.generation for e in events[::2]] == list(result.history)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    discover(make_task(), **SMALL)
    assert len(capsys.readouterr().err.splitlines()) == 5
    discover(make_task(), progress=False, **SMALL)
    assert capsys.readouterr() == ("", "")


def test_the_result_prints_itself_with_the_pick_marked(whole: tuple[SearchResult, Path, list[Path]]) -> None:
    result, _, _ = whole
    lines = str(result).splitlines()
    assert lines[0].startswith("evomal on planted: 5 generations, ")
    assert lines[0].endswith("(all generations done)")
    table = lines[3 : 3 + len(result.front)]
    assert "mean squared error" in lines[2]
    assert [int(line[1:].split()[0]) for line in table] == [c.complexity for c in result.front]
    assert [line[0] for line in table] == [" "] * (len(table) - 1) + [">"]
    assert "> pick: lowest mean squared error on validation data; of equals the fewest nodes" in str(result)
    for stage, count in result.counts.items():
        assert (f"{count} {stage}" in lines[-1]) == bool(count)


def test_the_pick_may_trade_fitness_for_simplicity(whole: tuple[SearchResult, Path, list[Path]]) -> None:
    result, _, _ = whole
    assert len(result.front) > 1
    assert result.pick() == result.best == result.front[-1]
    assert result.pick(tolerance=1e9) == result.front[0]
    second = result.front[-2]
    assert result.pick(second.fitness / result.best.fitness - 1 + 1e-9) == second


def test_the_result_as_a_table(whole: tuple[SearchResult, Path, list[Path]], monkeypatch: pytest.MonkeyPatch) -> None:
    result, _, _ = whole
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SearchError, match="needs pandas, which is absent; run: pip install pandas"):
        result.to_dataframe()
    monkeypatch.undo()
    pytest.importorskip("pandas")
    table = result.to_dataframe()
    assert len(table) == len(result.candidates)
    assert table[table.pick].id.tolist() == [result.best.id]
    assert sorted(table[table.front].complexity) == [c.complexity for c in result.front]
    assert parse(table.expression[result.best.id]) == result.best.expression


def test_the_front_in_latex(whole: tuple[SearchResult, Path, list[Path]]) -> None:
    text = whole[0].latex()
    assert text.count(r"\\") == len(whole[0].front) + 1
    assert text.count(r"\textbf") == 1
    assert text.startswith(r"\begin{tabular}{rrl}")


# --- the real judges -------------------------------------------------------------------------------------------------

QUICK: dict[str, Any] = {"population_size": 10, "generations": 2, "refinement_steps": 3, "fitness_steps": 20}


def test_a_real_search_resumes_by_the_recipe_of_its_task(tmp_path: Path) -> None:
    copies: list[Path] = []

    def copy(event: GenerationEvent) -> None:
        copies.append(tmp_path / f"after-{event.generation.number}")
        shutil.copytree(tmp_path / "run", copies[-1])

    task = load_task("wine", model="mlp", seed=3, hidden=(8,))
    whole = discover(task, out=tmp_path / "run", guesses=["-y*log(f)"], callbacks=[copy], **QUICK)
    for run in copies:
        assert essence(resume(run)) == essence(whole)
        assert files(run) == files(tmp_path / "run")
    guess = whole.candidates[0]
    assert guess.stage == "evaluated"
    assert whole.best.fitness <= guess.fitness < 1
    assert whole.metric_name == "error rate"
    assert whole.best.loss.kind == "multiclass"


def test_initial_draws_are_bounded() -> None:
    assert 1 < search.INITIAL_DRAWS <= 100


def test_twins_and_losses_without_gradient_make_room_for_new_proposals() -> None:
    """What costs microseconds to find out takes no place in the population, and stays in the log."""
    settings = {**SMALL, "population_size": 30, "generations": 4}
    once = discover(make_task(), **{**settings, "redraws": 0})
    again = discover(make_task(), **{**settings, "redraws": 5})
    stale = ("zero gradient", "duplicate")
    assert len(once.candidates) <= 30 * 4 < len(again.candidates)
    judged = [sum(c.stage not in stale for c in result.candidates) for result in (once, again)]
    assert judged[1] > judged[0]
    assert [c.id for c in again.candidates] == list(range(len(again.candidates)))
    assert {c.stage for c in again.candidates} >= set(stale)
    assert again.candidates == discover(make_task(), **{**settings, "redraws": 5}, n_jobs=1).candidates
