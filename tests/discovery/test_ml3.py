from __future__ import annotations

import base64
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from symloss.discovery import ml3 as module
from symloss.discovery.methods import METHODS
from symloss.discovery.ml3 import ARCHITECTURE, develop, teach
from symloss.discovery.pupil import Pupil
from symloss.discovery.result import load_run
from symloss.discovery.run_directory import RunDirectory
from symloss.discovery.runs import discover, resume
from symloss.discovery.settings import Settings
from symloss.errors import RunError, SearchError
from symloss.losses import Architecture, LossNetwork
from symloss.population.training import Sgd, Workspace, train
from tests.discovery.test_methods import QUICK, make_task
from tests.population.problems import task

SETTINGS = Settings(batch_size=16, refinement_steps=40, fitness_steps=5, learning_rate=0.3, refinement_rate=0.01)


def pupils(count: int = 3) -> list[Pupil]:
    return [Pupil.of(ARCHITECTURE, ARCHITECTURE.initial(seed)) for seed in range(count)]


def mean_task_loss(workspace: Workspace, pupil: Pupil) -> float:
    """Task loss on the validation part after one step from each of 40 initial weights that teaching never saw."""
    total = 0.0
    for seed in range(40):
        parameters = train(workspace, workspace.loss_gradient([pupil]), 1, 1, Sgd(0.3), seed=seed)
        logits = workspace.network.evaluate(parameters, workspace.valid.x)
        total += workspace.task.task_loss(logits[0].t(), workspace.valid.y).item()
    return total


def taught(workspace: Workspace, settings: Settings, given: list[Pupil]) -> list[Pupil]:
    result = [pupil for pupil in teach(workspace, settings, given) if pupil is not None]
    assert len(result) == len(given)
    return result


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_teaching_makes_a_step_under_the_loss_better(kind: str) -> None:
    workspace = Workspace(task(kind), 16)
    for before, after in zip(pupils(), taught(workspace, SETTINGS, pupils()), strict=True):
        assert mean_task_loss(workspace, after) < mean_task_loss(workspace, before)
        assert after.steps == 40


def test_two_generations_are_one_of_twice_the_steps() -> None:
    """Adam's moments, the base weights and the batches go on where they were."""
    workspace = Workspace(task(), 16)
    half, whole = replace(SETTINGS, refinement_steps=20), SETTINGS
    twice = taught(workspace, half, taught(workspace, half, pupils()))
    once = taught(workspace, whole, pupils())
    assert twice == once
    assert [p.moments for p in twice] == [p.moments for p in once]
    again = taught(workspace, half, [replace(p, steps=0, moments=()) for p in taught(workspace, half, pupils())])
    assert again != once, "the test can tell"


def test_each_generation_teaches_all_further_and_the_best_of_all_is_kept() -> None:
    result = discover(make_task(), method="ml3", **QUICK)
    for generation in range(3):
        steps = [c.expression.steps for c in result.candidates if c.generation == generation]
        assert steps == [3 * (generation + 1)] * 6
    assert result.best.fitness == min(c.fitness for c in result.candidates)
    assert len(result.front) == 1
    assert (result.best.complexity, result.best.unit) == (2650, "weights")
    assert "network 2-50-50-1 (relu, softplus) after" in str(result)
    assert isinstance(result.best.loss, LossNetwork)


def test_a_scale_free_search_keeps_the_factor_in_the_loss(tmp_path: Path) -> None:
    result = discover(make_task(), method="ml3", scale_free=True, out=tmp_path / "run", **QUICK)
    assert result.best.scale != 1
    loss = result.best.loss
    assert isinstance(loss, LossNetwork)
    assert loss.network.scale == result.best.scale
    plain = LossNetwork(replace(loss.network, scale=1.0))
    z, y = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.arange(4) % 3
    torch.testing.assert_close(loss(z, y), result.best.scale * plain(z, y))
    assert load_run(tmp_path / "run").best == replace(result.best)


def broken(number: int) -> Any:
    """`develop` that makes one network NaN at its second teaching."""

    def teach_broken(workspace: Workspace, settings: Settings, given: list[Pupil]) -> list[Pupil | None]:
        return [
            p if p is None or p.steps != 6 or i != number else None
            for i, p in enumerate(teach(workspace, settings, given))
        ]

    return teach_broken


def test_a_network_that_is_no_longer_finite_ends_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "teach", broken(1))
    settings = {**QUICK, "population_size": 2, "chunk_size": 8, "generations": 4}
    result = discover(make_task(), method="ml3", out=tmp_path / "run", **settings)
    assert [(c.generation, c.stage) for c in result.candidates] == [
        (0, "evaluated"), (0, "evaluated"), (1, "evaluated"), (1, "diverged"), (2, "evaluated"), (3, "evaluated"),
    ]  # fmt: skip
    ended = result.candidates[3]
    assert ended.reason == "weights became infinite or NaN"
    assert ended.fitness == math.inf
    saved = RunDirectory.open(tmp_path / "run").checkpoint()
    assert saved is not None
    assert [bool(m.expression.moments) for m in saved.population] == [True, False]
    assert resume(tmp_path / "run", make_task(), generations=5).candidates[-1].stage == "evaluated"


def test_base_models_that_overflow_leave_one_line() -> None:
    """Steps of 10³⁰: the gradient in the weights is not finite, every network ends, and so does the search."""
    outcomes = develop(make_task(), replace(SETTINGS, learning_rate=1e6, fitness_steps=50), pupils(2), [False] * 2)
    assert all(o.stage in ("diverged", "evaluated") for o in outcomes)

    def nothing(task: Any, settings: Any, given: list[Pupil], refined: Any) -> list[Any]:
        return [replace(o, stage="diverged", fitness=math.inf) for o in outcomes[:1] * len(given)]

    stages = replace(METHODS["ml3"].stages, develop=nothing)
    with pytest.raises(SearchError, match="were rejected or diverged") as caught:
        discover(make_task(), method="ml3", stages=stages, **QUICK)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ml3") / "run"
    discover(make_task(), method="ml3", out=path, **{**QUICK, "generations": 1, "population_size": 2})
    return path


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", "!!!", "is damaged"),
        ("weights", 3, "weights are base64 text"),
        ("weights", "AAAA", "has 2650 weights of 4 or 8 bytes; received 3 bytes"),
        ("weights", base64.b64encode(b"\xff" * 4 * 2650).decode(), "must be finite"),
        ("hidden", "50", "hidden is a list"),
        ("hidden", [50, 10**9], "at most 40000 weights"),
        ("activation", "exec", "activation is one of"),
        ("steps", -1, "steps is a count"),
        ("steps", 4, "expression is not the formula"),
        ("moments", ["AAAA"], "moments are two or none"),
        ("moments", ["AAAA", "AAAA"], "received 3 bytes"),
    ],
)
def test_a_damaged_network_is_one_line(made: Path, tmp_path: Path, name: str, value: Any, message: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(made, run)
    if name == "moments":
        saved = json.loads((run / "checkpoint.json").read_text())
        saved["population"][0]["network"][name] = value
        (run / "checkpoint.json").write_text(json.dumps(saved))
    else:
        rows = [json.loads(line) for line in (run / "candidates.jsonl").read_text().splitlines()]
        rows[0]["network"][name] = value
        (run / "candidates.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(RunError, match=message) as caught:
        load_run(run)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_with_other_weights_does_not_fit(made: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(made, run)
    saved = json.loads((run / "checkpoint.json").read_text())
    saved["population"][0]["network"]["weights"] = Pupil.of(ARCHITECTURE, ARCHITECTURE.initial(99)).to_json()["weights"]
    (run / "checkpoint.json").write_text(json.dumps(saved))
    with pytest.raises(RunError, match="a member of the population is no candidate"):
        load_run(run)


def test_a_pupil_round_trips() -> None:
    a = Architecture((3, 2), "smooth-leaky-relu", "identity", True)
    pupil = Pupil.of(a, a.initial(0).double() / 3)
    pupil = replace(pupil, steps=7, moments=(pupil.packed, pupil.packed[::-1]))
    again = Pupil.from_json(json.loads(json.dumps(pupil.to_json(moments=True))))
    assert (again, again.moments) == (pupil, pupil.moments)
    assert Pupil.from_json(pupil.to_json()).moments == ()
