from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from symloss.discovery import runs, search
from symloss.discovery.result import GenerationEvent, load_run
from symloss.discovery.run_directory import RunDirectory
from symloss.discovery.runs import discover, resume
from symloss.discovery.stages import Outcome
from symloss.errors import SearchError, SymlossError
from symloss.expression.parsing import parse
from symloss.losses.storage import load
from symloss.tasks import load_task
from tests.discovery import fakes
from tests.discovery.fakes import STAGES, make_task
from tests.discovery.runs import SMALL, Whole, essence, files

# --- the loop --------------------------------------------------------------------------------------------------------


def test_every_candidate_is_logged_with_why_it_ended(whole: Whole) -> None:
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


def test_duplicates_name_their_twin_and_have_its_fitness(whole: Whole) -> None:
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


def test_a_member_of_the_population_is_an_evaluated_candidate(whole: Whole) -> None:
    """Also in place of a duplicate: the twin's fitness belongs to the twin's expression and refined weights."""
    result, _, copies = whole
    evaluated = {(c.expression, c.fitness) for c in result.candidates if c.stage == "evaluated"}
    for copy in copies:
        saved = RunDirectory.open(copy).checkpoint()
        assert saved is not None
        assert len(saved.population) == (14 if len(saved.history) == 1 else 12), "a guess enters twice, beside it"
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
    whole: Whole,
) -> None:
    again = discover(make_task(), guesses=["square(0.5*y - f)"], **SMALL)
    assert essence(again) == essence(whole[0])
    assert again.directory is None
    other = discover(make_task(), guesses=["square(0.5*y - f)"], **{**SMALL, "seed": 2})
    assert essence(other) != essence(again)


def test_two_processes_give_the_same_bits(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_PATIENCE", 120.0)
    monkeypatch.setenv("SYMLOSS_TEST_PARENT", str(os.getpid()))
    stages = replace(STAGES, develop=fakes.develop_in_a_worker)
    result = discover(make_task(), guesses=["square(0.5*y - f)"], n_jobs=2, **{**SMALL, "stages": stages})
    assert essence(result) == essence(whole[0])


# --- guesses ---------------------------------------------------------------------------------------------------------


def test_a_guess_enters_as_it_is_and_refined(whole: Whole) -> None:
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
        ([3], "a guess is an Expression, a formula or the name of a loss; received 3"),
        (["focal"], "focal is for multiclass and binary; received kind 'regression'"),
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


def test_ctrl_c_at_any_chunk_keeps_what_was_found(whole: Whole, tmp_path: Path) -> None:
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
    assert len(result.candidates) == 38, "the guess came beside the first draw, twice"
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
