"""What holds for every search method, on a small task with the real stages."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import symloss as sl
from symloss.discovery import runs
from symloss.discovery.methods import METHODS
from symloss.discovery.result import GenerationEvent, SearchResult, load_run
from symloss.discovery.runs import discover, resume
from symloss.errors import SearchError
from symloss.tasks.task import Task
from tests.discovery.runs import essence, files
from tests.evaluation import helpers

QUICK: dict[str, Any] = {
    "population_size": 6, "generations": 3, "seed": 2, "refinement_steps": 3, "fitness_steps": 8, "batch_size": 16,
    "rejection_steps": 20, "confirmations": 1, "chunk_size": 2, "learning_rate": 0.1,
}  # fmt: skip


def make_task(kind: str = "multiclass") -> Task:
    return helpers.make_task(kind)


Run = tuple[SearchResult, Path, list[Path]]


@pytest.fixture(scope="module", params=METHODS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An undisturbed run of each method, its directory, and copies of it after each generation."""
    top = tmp_path_factory.mktemp(request.param)
    copies: list[Path] = []

    def copy(event: GenerationEvent) -> None:
        copies.append(top / f"after-{event.generation.number}")
        shutil.copytree(top / "run", copies[-1])

    state = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    result = discover(make_task(), method=request.param, out=top / "run", callbacks=[copy], **QUICK)
    assert (np.random.get_state()[1] == state[0]).all(), "NumPy's global generator is left alone"  # noqa: NPY002
    assert torch.random.get_rng_state().equal(state[1])
    return result, top / "run", copies


def test_cut_off_after_any_generation_it_ends_the_same(run: Run, tmp_path: Path) -> None:
    result, directory, copies = run
    for number, copy in enumerate(copies):
        torn = tmp_path / f"torn-{number}"
        shutil.copytree(copy, torn)
        with (torn / "candidates.jsonl").open("a") as file:
            file.write('{"id": 400')
        again = resume(torn, make_task())
        assert essence(again) == essence(result)
        assert files(torn) == files(directory)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(run: Run) -> None:
    result, _, _ = run
    method = result.config.method
    assert essence(discover(make_task(), method=method, **QUICK)) == essence(result)
    assert essence(discover(make_task(), method=method, **{**QUICK, "seed": 3})) != essence(result)


@pytest.mark.parametrize("method", [m if m != "ml3" else pytest.param(m, marks=pytest.mark.slow) for m in METHODS])
def test_two_workers_give_the_same_bits(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, or (networks) processes."""
    monkeypatch.setattr(runs, "_PATIENCE", 120.0)
    one, two = (discover(make_task(), method=method, n_jobs=n_jobs, **QUICK) for n_jobs in (1, 2))
    assert essence(one) == essence(two)


def test_a_run_can_be_read_shown_and_used(run: Run, tmp_path: Path) -> None:
    result, directory, _ = run
    again = load_run(directory)
    assert essence(again) == essence(result)
    assert again.config.method == result.config.method
    assert result.config.method in str(again)
    assert f"{result.best.complexity}" in str(again)
    assert r"\begin{tabular}" in again.latex()
    assert len(again.to_dataframe()) == len(result.candidates)
    best, module = sl.load(directory / "best.json"), result.best.loss
    z, y = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.arange(5) % 3
    assert best(z, y).equal(module(z, y))
    for figure in (sl.plotting.history(again), sl.plotting.front(again), sl.plotting.loss_curves(best)):
        figure.savefig(tmp_path / "figure.png")
    found = sl.evaluate(make_task(), {"found": directory}, seeds=2, tuning_seeds=1, rates=[0.1, 0.2, 0.3], steps=5)
    assert len(found["found"].values) == 2
    assert sl.analysis.label_smoothing(directory, classes=3, seconds=0).verdict


def test_every_generation_judges_as_many_candidates(run: Run) -> None:
    """Proposals beyond them replace twins; elites and reproductions need no judging."""
    result, _, _ = run
    for generation in result.history:
        new = sum(generation.counts.values())
        if result.config.method in ("taylorglo", "ml3"):
            assert generation.counts["evaluated"] + generation.counts["diverged"] == new == 6
        elif result.config.method == "random" or generation.number == 0:
            assert new >= 6
            assert new - sum(generation.counts[s] for s in ("duplicate", "zero gradient")) <= 6


@pytest.mark.parametrize("kind", ["soft", "binary", "regression"])
@pytest.mark.parametrize("method", METHODS)
def test_every_kind_of_task(method: str, kind: str) -> None:
    result = discover(make_task(kind), method=method, **{**QUICK, "generations": 2, "scale_free": method != "gp-lfl"})
    assert math.isfinite(result.best.fitness)
    assert len(result.history) == 2
    record = json.loads(json.dumps(result.best.to_json()))
    assert type(result.best).from_json(record, result.kind) == result.best


def test_random_search_breeds_nothing_and_takes_guesses_once() -> None:
    result = discover(make_task(), method="random", guesses=["-1.0*y*log(f)"], **QUICK)
    formulas = [c.expression.nodes for c in result.candidates if c.stage != "duplicate"]
    guess = sl.parse("-1.0*y*log(f)").nodes
    assert [c.generation for c in result.candidates if c.expression.nodes == guess][:2] == [0, 0]
    assert result.candidates[0].expression == sl.parse("-1.0*y*log(f)")
    assert len(set(formulas)) > len(formulas) * 0.9
    assert any(w not in (1.0, -1.0) and abs(w - 1) > 3e-3 for c in result.candidates for w in c.expression.weights), (
        "its weights are refined, as EvoMAL's are"
    )
    plain = discover(make_task(), method="random", refine=False, **QUICK)
    assert all(abs(w - 1) < 0.01 for c in plain.candidates for w in c.expression.weights)


def test_gp_lfl_has_no_weights() -> None:
    result = discover(make_task(), method="gp-lfl", guesses=["-2.0*y*log(f)"], **QUICK)
    assert result.settings.refine is False
    assert result.candidates[0].expression == sl.parse("-2.0*y*log(f)")
    assert all(w == 1 for c in result.candidates[1:] if c.generation for w in c.expression.weights if w != -2.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "cma"}, "unknown method 'cma'; there is: evomal, random, gp-lfl, taylorglo, ml3"),
        ({"method": "taylorglo", "guesses": ["y - f"]}, "taylorglo searches polynomials and takes no guesses"),
        ({"method": "taylorglo", "population_size": 1}, "taylorglo needs a population_size of at least 2; received 1"),
        ({"method": "ml3", "guesses": ["y - f"]}, "ml3 learns networks and takes no guesses"),
        ({"method": "ml3", "refine": False}, "ml3 .* needs refine=True"),
        ({"method": "ml3", "refinement_steps": 0}, "ml3 .* needs refinement_steps of at least 1"),
        ({"method": "ml3", "inner_steps": 2}, "ml3 .* needs inner_steps=1"),
        ({"method": "random", "guesses": ["abs(y)"]}, "a guess must contain y and f"),
    ],
)
def test_a_bad_call_is_one_line_and_leaves_no_directory(
    tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(SearchError, match=message) as caught:
        discover(make_task(), out=tmp_path / "run", **{**QUICK, **arguments})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
