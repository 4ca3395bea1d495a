"""Refinement, fitness, and the way of a candidate through the stages."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from symloss.discovery import stages
from symloss.discovery.executor import Executor
from symloss.discovery.fitness import fitness, task_loss_fitness, tuned_rate
from symloss.discovery.refinement import _refine_by_steps, optimiser_of, refine
from symloss.discovery.runs import discover
from symloss.discovery.settings import Settings
from symloss.errors import SearchError, TaskError
from symloss.expression import primitives
from symloss.expression.parsing import parse
from symloss.losses import SymbolicLoss
from symloss.population import dense
from symloss.population.training import Sgd, Workspace, train, validation_metric
from symloss.tasks import Task, load_task
from tests.population.problems import losses, task

QUICK = {"batch_size": 16, "refinement_steps": 30, "fitness_steps": 30, "learning_rate": 0.1}


def mean_task_loss(workspace: Workspace, e: object, rate: float) -> float:
    """Task loss on the validation part after one step from each of 40 initial weights."""
    total = 0.0
    for seed in range(40):
        parameters = train(workspace, workspace.loss_gradient([e]), 1, 1, Sgd(rate), seed=seed)
        logits = workspace.network.evaluate(parameters, workspace.valid.x)
        total += workspace.task.task_loss(logits[0].t(), workspace.valid.y).item()
    return total


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
@pytest.mark.parametrize("inner_steps", [1, 2])
def test_refinement_makes_a_step_under_the_loss_better(kind: str, inner_steps: int) -> None:
    workspace = Workspace(task(kind), 16)
    settings = Settings(**QUICK, refinement_rate=0.02, inner_steps=inner_steps)
    start = losses(kind)[:2]
    refined = refine(workspace, settings, start)
    for before, after in zip(start, refined, strict=True):
        assert after is not None
        assert after.nodes == before.nodes
        assert mean_task_loss(workspace, after, 0.1) < mean_task_loss(workspace, before, 0.1)


def test_refinement_is_the_same_alone_and_together() -> None:
    workspace, settings = Workspace(task("multiclass"), 16), Settings(**QUICK)
    found = losses("multiclass")
    together = refine(workspace, settings, found)
    for e, expected in zip(found, together, strict=True):
        (alone,) = refine(workspace, settings, [e])
        assert alone is not None
        assert expected is not None
        assert alone.weights == pytest.approx(expected.weights, abs=1e-9)
    assert [e.weights for e in refine(workspace, settings, found) if e] == [e.weights for e in together if e]


def test_scale_free_refinement_does_not_grow_the_step() -> None:
    """Cross-entropy has nothing to gain but the step size: without it, its overall weight must not drift."""
    workspace = Workspace(task("multiclass"), 16)
    e = parse("mul(-1.0, y*log(f))")
    (free,) = refine(workspace, Settings(**QUICK, scale_free=True), [e])
    (plain,) = refine(workspace, Settings(**QUICK), [e])
    assert free is not None
    assert plain is not None
    assert free.weights[0] == pytest.approx(-1.0, abs=1e-6)
    assert plain.weights[0] < -1.02


def test_a_refinement_that_blows_up_is_noticed() -> None:
    workspace = Workspace(task("regression"), 16)
    bad = parse("square(exp(exp(9.0*square(y - 5.0*f))))")
    assert refine(workspace, Settings(**QUICK), [bad, parse("square(y - f)")])[0] is None
    (outcome,) = stages.develop(workspace.task, Settings(**QUICK), [bad], [True])
    assert (outcome.stage, outcome.fitness) == (stages.DIVERGED, math.inf)


def test_inner_steps_go_with_plain_descent_only() -> None:
    with pytest.raises(SearchError, match="use 1"):
        refine(Workspace(task(), 16), Settings(**QUICK, inner_steps=2, momentum=0.9), losses("multiclass"))


def test_fitness_is_plain_training_and_validation() -> None:
    problem, settings = task("multiclass"), Settings(**QUICK, seed=4)
    workspace = Workspace(problem, 16)
    measured, scales = fitness(workspace, settings, [parse("-1.0*y*log(f)")])
    model = problem.new_model(4)
    sgd, loss = torch.optim.SGD(model.parameters(), 0.1), SymbolicLoss("-1.0*y*log(f)")
    for index in workspace.batches(len(problem.train), 30, 4):
        sgd.zero_grad()
        loss(model(problem.train.x[index]), problem.train.y[index]).backward()
        sgd.step()
    assert measured == [pytest.approx(problem.metric(model(problem.valid.x), problem.valid.y))]
    assert scales == [1.0]
    assert task_loss_fitness(workspace, settings, [0.1]) == measured


def test_scale_free_fitness_does_not_depend_on_the_scale() -> None:
    workspace, settings = Workspace(task("multiclass"), 16), Settings(**QUICK, scale_free=True)
    measured, scales = fitness(workspace, settings, [parse("-1.0*y*log(f)"), parse("-0.01*y*log(f)")])
    assert measured[0] == measured[1]
    assert scales == [pytest.approx(1.0), pytest.approx(100.0)]


def test_the_rate_is_tuned_for_the_task_loss() -> None:
    workspace, settings = Workspace(task("multiclass"), 16), Settings(**{**QUICK, "learning_rate": 1e-3})
    rate, _ = tuned_rate(workspace, settings)
    assert rate > 1e-3
    assert settings.confirmations == 4
    confirmed = replace(settings, confirmations=0)
    assert tuned_rate(workspace, confirmed)[1] == min(task_loss_fitness(workspace, settings, [rate, 1e-3]))


def test_a_rate_is_not_chosen_for_the_luck_of_one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """At rate 1 the seed of the search does best, and a seed of the confirmations diverges."""

    def measured(workspace: Workspace, settings: Settings, rates: list[float], seed: int = 0) -> list[float]:
        luck = 0.1 if seed == settings.seed else math.inf
        return [luck if rate == pytest.approx(1.0) else 0.2 + abs(math.log10(rate) + 1) for rate in rates]

    monkeypatch.setattr("symloss.discovery.fitness.task_loss_fitness", measured)
    workspace, settings = Workspace(task("multiclass"), 16), Settings(**{**QUICK, "confirmations": 2})
    assert tuned_rate(workspace, settings) == (pytest.approx(0.1), pytest.approx(0.2))
    assert tuned_rate(workspace, replace(settings, confirmations=0))[0] == pytest.approx(1.0)


@pytest.mark.parametrize("resplit", [False, True])
def test_a_confirmation_is_a_training_of_its_own(resplit: bool) -> None:
    """Fitness is the mean over the seeds, with `resplit` each on a division of its own: plain loops on those."""
    problem = task("multiclass")
    settings = Settings(**{**QUICK, "confirmations": 3, "resplit": resplit, "learning_rate": 0.3})
    workspace, loss = Workspace(problem, settings.batch_size), parse("-1.0*y*log(f)")
    known = ("bar", settings.seed, settings.fitness_steps, optimiser_of(settings))
    workspace.remembered(known, lambda: math.inf)  # every loss is better than the task loss
    (measured,), _ = fitness(workspace, settings, [loss])
    seeds = [settings.seed, *(500_009 + 101 * settings.seed + k for k in range(3))]
    places = [problem.resplit(seed) if resplit and k else problem for k, seed in enumerate(seeds)]
    single = replace(settings, confirmations=0, resplit=False)
    alone = [
        fitness(Workspace(place, settings.batch_size), replace(single, seed=seed), [loss])[0][0]
        for place, seed in zip(places, seeds, strict=True)
    ]
    assert measured == pytest.approx(sum(alone) / 4)
    assert len(set(alone)) > 1


@pytest.mark.parametrize("scale_free", [False, True])
def test_fitness_at_the_best_of_several_rates(scale_free: bool) -> None:
    """It is the best of trainings at each rate, and the factor is the one that makes the loss train at it."""
    settings = Settings(**{**QUICK, "confirmations": 0, "scale_free": scale_free, "learning_rate": 0.01})
    workspace = Workspace(task("multiclass"), settings.batch_size)
    found = [parse("-1.0*y*log(f)"), parse("square(y - f)"), parse("-30.0*y*log(f)")]
    measured, scales = fitness(workspace, replace(settings, fitness_rates=5), found)
    rates = [0.01 * 10 ** (k / 2) for k in (0, -1, 1, -2, 2)]
    alone = [fitness(workspace, replace(settings, learning_rate=rate), found) for rate in rates]
    for i, value in enumerate(measured):
        values = [single[0][i] for single in alone]
        assert value == min(values)
        best = values.index(min(values))
        assert scales[i] == pytest.approx(alone[best][1][i] * rates[best] / 0.01)
    assert len(set(scales)) > 1


@pytest.mark.parametrize("option", ["imbalance", "clean_validation"])
def test_data_that_were_made_different_are_not_pooled(option: str) -> None:
    noisy = load_task("digits", label_noise=0.2, **{option: 2.0 if option == "imbalance" else True})
    with pytest.raises(SearchError, match=f"which {option} makes different; leave one out"):
        discover(noisy, resplit=True)


def test_the_optimiser_has_the_rate() -> None:
    rate, settings = 0.3, Settings(**QUICK)
    assert optimiser_of(settings, rate).learning_rate == rate


def test_the_way_of_each_candidate() -> None:
    problem, settings = task("multiclass"), Settings(**QUICK)
    found = [parse("-1.0*y*log(f)"), parse("y*log(f)"), parse("square(y - f)"), parse("y*log(f)")]
    outcomes = stages.develop(problem, settings, found, [True, True, False, False])
    assert [o.stage for o in outcomes] == [stages.EVALUATED, stages.REJECTED_AFTER, stages.EVALUATED, stages.EVALUATED]
    assert outcomes[0].expression.weights != found[0].weights
    assert outcomes[2].expression == found[2]
    assert outcomes[1].fitness == math.inf
    assert "improve" in outcomes[1].reason
    assert all(o.seconds > 0 for o in outcomes)
    assert stages.screen(problem, settings, found) == [True, False, True, False]
    assert stages.develop(problem, settings, [], []) == []
    unrefined = stages.develop(problem, Settings(**QUICK, refine=False), found[:1], [True])
    assert unrefined[0].expression == found[0]


def test_a_diverged_training_is_the_worst_not_the_best() -> None:
    problem = task("regression", "linear")
    settings = Settings(**{**QUICK, "learning_rate": 1e6, "fitness_steps": 300})
    (outcome,) = stages.develop(problem, settings, [parse("square(y - f)")], [False])
    assert (outcome.stage, outcome.fitness) == (stages.DIVERGED, math.inf)


def test_validation_uses_evaluation_mode() -> None:
    """Dropout is off when fitness is measured: the same parameters have one fitness."""
    workspace = Workspace(task(model="dropout"), 16)
    parameters = train(workspace, workspace.task_gradient, 1, 3, Sgd(0.1))
    assert len({tuple(validation_metric(workspace, parameters)) for _ in range(5)}) == 1


def test_one_workspace_for_one_task() -> None:
    a, b = task(), task("binary")
    settings = Settings(**QUICK)
    assert stages.workspace(a, settings) is stages.workspace(a, settings)
    assert stages.workspace(b, settings) is not stages.workspace(a, settings)
    assert stages.workspace(a, Settings(batch_size=8)) is not stages.workspace(a, settings)


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
@pytest.mark.parametrize("model", ["linear", "dense", "tanh", "deep"])
@pytest.mark.parametrize("extra", [{}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.02}, {"scale_free": True}])
def test_compiled_refinement_is_the_loop_over_exact_hypergradients(
    kind: str, model: str, extra: dict[str, Any]
) -> None:
    workspace, settings, found = Workspace(task(kind, model), 16), Settings(**QUICK, **extra), losses(kind)
    objective = workspace.objective(found, freeze=False, shared=True)
    assert dense.refinable(workspace, settings.refinement_steps)
    expected = _refine_by_steps(workspace, settings, found, objective)
    refined = [w for e in refine(workspace, settings, found) if e for w in e.weights]
    assert refined == pytest.approx(expected.tolist(), abs=1e-7)


def test_compiled_refinement_with_soft_targets() -> None:
    workspace, settings, found = Workspace(task(soft=True), 16), Settings(**QUICK), losses("multiclass")
    expected = _refine_by_steps(workspace, settings, found, workspace.objective(found, freeze=False, shared=True))
    assert [w for e in refine(workspace, settings, found) if e for w in e.weights] == pytest.approx(expected.tolist())


def test_chunks_of_dense_networks_agree_bit_for_bit() -> None:
    workspace, settings, found = Workspace(task(), 16), Settings(**QUICK), losses("multiclass")
    together = refine(workspace, settings, found)
    apart = [refine(workspace, settings, [e])[0] for e in found]
    assert together == apart
    assert fitness(workspace, settings, found)[0] == [fitness(workspace, settings, [e])[0][0] for e in found]


def test_threads_where_everything_is_compiled_loops_else_processes() -> None:
    settings = Settings(**QUICK)
    assert stages.backend(task(), settings) == "threading"
    assert stages.backend(task(), Settings(**{**QUICK, "inner_steps": 2})) == "loky"
    assert stages.backend(task("multiclass", "dropout"), settings) == "loky"
    primitives.register("cube_of_stages", 1, lambda xp, a: a * a * a, sympy=lambda sp, a: a**3, search=False)
    try:
        assert stages.backend(task(), settings) == "loky"
    finally:
        primitives.unregister("cube_of_stages")


@pytest.mark.parametrize("scale_free", [False, True])
def test_threads_give_the_same_bits(scale_free: bool) -> None:
    settings = {**QUICK, "population_size": 16, "generations": 2, "scale_free": scale_free, "chunk_size": 3}
    one, two = (discover(task(), n_jobs=jobs, progress=False, **settings) for jobs in (1, 3))
    assert [replace(c, seconds=0.0) for c in one.candidates] == [replace(c, seconds=0.0) for c in two.candidates]
    assert sum(c.stage == "evaluated" for c in one.candidates) > 4


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_workers_of_any_kind_develop_to_the_same_bits(backend: str) -> None:
    settings, own = Settings(**QUICK), task()
    chunks = [([e], [True]) for e in losses("multiclass")]
    here = [stages.develop(own, settings, *chunk) for chunk in chunks]
    with Executor(own, 2, backend) as executor:
        executor.patience = 120.0
        there = list(executor.map(stages.develop, settings, chunks))
    plain = [[replace(o, seconds=0.0) for o in outcomes] for outcomes in (*here, *there)]
    assert plain[: len(here)] == plain[len(here) :]


def test_a_search_with_a_model_that_fails_in_training_is_one_line() -> None:
    class Grumpy(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                raise RuntimeError("not today\nor tomorrow")
            return super().forward(x)

    data = task()
    with pytest.raises(TaskError, match="RuntimeError: not today or tomorrow") as caught:
        discover(Task(lambda: Grumpy(6, 3), data.train, data.valid), population_size=4, generations=1)
    assert "\n" not in str(caught.value)
