"""Training together is training apart: against torch.optim.SGD on the module itself."""

from __future__ import annotations

import math

import pytest
import torch

from symloss.expression.parsing import parse
from symloss.losses import SymbolicLoss
from symloss.population.training import Sgd, Workspace, gradient_norms, matching_scale, metric, train, validation_metric
from symloss.tasks import Task
from tests.population.problems import LOSSES, MODELS, losses, task

STEPS = 12


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "optimiser", [Sgd(0.05), Sgd(0.05, 0.9), Sgd(0.05, 0.9, True, 0.01)], ids=["plain", "momentum", "nesterov"]
)
def test_a_population_is_trained_as_torch_would_each(kind: str, model: str, optimiser: Sgd) -> None:
    problem = task(kind, model)
    workspace = Workspace(problem, 16)
    found = losses(kind)
    parameters = train(workspace, workspace.loss_gradient(found), len(found), STEPS, optimiser, seed=5, batch_seed=7)
    measured = validation_metric(workspace, parameters)
    for p, text in enumerate(LOSSES[kind]):
        net, loss = problem.new_model(5), SymbolicLoss(text, kind=kind)
        options = {"momentum": optimiser.momentum, "nesterov": optimiser.nesterov}
        sgd = torch.optim.SGD(net.parameters(), 0.05, weight_decay=optimiser.weight_decay, **options)
        for index in workspace.batches(len(problem.train), STEPS, 7):
            sgd.zero_grad()
            loss(net(problem.train.x[index]), problem.train.y[index]).backward()
            sgd.step()
        for mine, theirs in zip(parameters, net.parameters(), strict=True):
            assert torch.allclose(mine[p], theirs, atol=1e-10), (text, kind)
        with torch.no_grad():
            assert measured[p] == pytest.approx(problem.metric(net.eval()(problem.valid.x), problem.valid.y))


def test_soft_targets() -> None:
    problem = task("multiclass", soft=True)
    workspace = Workspace(problem, 16)
    found = losses("multiclass")[:1]
    mine = train(workspace, workspace.loss_gradient(found), 1, STEPS, Sgd(0.1))
    reference = train(workspace, workspace.task_gradient, 1, STEPS, Sgd(0.1))
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(mine, reference, strict=True))


def test_together_is_one_at_a_time_and_chunks_agree_to_rounding() -> None:
    workspace = Workspace(task("multiclass"), 16)
    found = losses("multiclass")
    together = train(workspace, workspace.loss_gradient(found), len(found), STEPS, Sgd(0.1))
    for p, e in enumerate(found):
        alone = train(workspace, workspace.loss_gradient([e]), 1, STEPS, Sgd(0.1))
        assert all(torch.allclose(a[p], b[0], atol=1e-12) for a, b in zip(together, alone, strict=True))
    again = train(workspace, workspace.loss_gradient(found), len(found), STEPS, Sgd(0.1))
    assert all(torch.equal(a, b) for a, b in zip(together, again, strict=True))


def test_each_model_may_have_its_own_rate_and_scale() -> None:
    workspace = Workspace(task("multiclass"), 16)
    rates = torch.tensor([0.01, 0.1, 0.3], dtype=torch.float64)
    for momentum in (0.0, 0.9):
        many = train(workspace, workspace.task_gradient, 3, STEPS, Sgd(rates, momentum))
        scaled = train(workspace, workspace.task_gradient, 3, STEPS, Sgd(1.0, momentum), scale=rates)
        for p, rate in enumerate(rates.tolist()):
            one = train(workspace, workspace.task_gradient, 1, STEPS, Sgd(rate, momentum))
            assert all(torch.allclose(a[p], b[0], atol=1e-12) for a, b in zip(many, one, strict=True))
            assert all(torch.allclose(a[p], b[0], atol=1e-12) for a, b in zip(scaled, one, strict=True))


def test_divergence_is_the_worst_fitness_and_stays_alone() -> None:
    workspace = Workspace(task("regression", "linear"), 16)
    rates = torch.tensor([0.05, 1e200], dtype=torch.float64)
    measured = validation_metric(workspace, train(workspace, workspace.task_gradient, 2, 200, Sgd(rates)))
    assert measured[1] == math.inf
    assert measured[0] < 1


def test_training_stops_once_all_have_diverged(monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(task("regression", "linear"), 16)
    steps: list[int] = []
    pick = workspace.pick
    monkeypatch.setattr(workspace, "pick", lambda *arguments: steps.append(1) or pick(*arguments))
    train(workspace, workspace.task_gradient, 1, 10_000, Sgd(1e200))
    assert len(steps) < 200


def test_batches_are_shuffled_epochs() -> None:
    workspace = Workspace(task(), 16)
    batches = workspace.batches(60, 7, 0)
    assert batches.shape == (7, 16)
    assert len(set(batches[:3].flatten().tolist())) == 48
    assert len(set(batches[3:6].flatten().tolist())) == 48
    assert not torch.equal(batches[:3], batches[3:6])
    assert torch.equal(batches, Workspace(task(), 16).batches(60, 7, 0))
    assert workspace.batches(9, 2, 0).shape == (2, 9)


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    workspace = Workspace(task(model="dropout"), 16)
    train(workspace, workspace.task_gradient, 1, 3, Sgd(0.1))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_metric_is_the_task_metric_and_infinite_for_nan(kind: str) -> None:
    problem = task(kind)
    workspace = Workspace(problem, 16)
    outputs = torch.randn(2, len(problem.valid), problem.outputs, dtype=torch.float64)
    outputs[1, 3, 0] = math.nan
    values = metric(outputs.transpose(1, 2), workspace.target(problem.valid.y), workspace.kind)
    assert values == [pytest.approx(problem.metric(outputs[0], problem.valid.y)), math.inf]


def test_gradient_norms_scale_with_the_loss() -> None:
    workspace = Workspace(task("multiclass"), 16)
    own = gradient_norms(workspace, workspace.task_gradient, 1, seed=0, batch_seed=0)
    found = [parse("-2.5*y*log(f)"), parse("0.0*y*f + y")]
    norms = gradient_norms(workspace, workspace.loss_gradient(found), 2, seed=0, batch_seed=0)
    assert norms[0].item() == pytest.approx(2.5 * own.item(), rel=1e-9)
    assert matching_scale(own, norms).tolist() == [pytest.approx(0.4), 0.0]


def test_tokens_are_whole_numbers_but_rates_and_weights_are_not() -> None:
    """A model on integer tokens trains as torch would: its precision is the task's, not its inputs'."""
    tokens = torch.randint(0, 11, (60, 5), generator=torch.Generator().manual_seed(0))
    parts = [(tokens[i::2], (tokens[i::2, 0] > 5).long()) for i in range(2)]
    problem = Task(embedding_model, *parts, tokens=True)
    workspace = Workspace(problem, 16)
    assert workspace.dtype == torch.float32
    rates = torch.tensor([0.5], dtype=workspace.dtype)
    found = train(workspace, workspace.loss_gradient([parse("-0.6*y*log(0.9*f)")]), 1, STEPS, Sgd(rates), seed=5)
    net, loss = problem.new_model(5), SymbolicLoss("-0.6*y*log(0.9*f)")
    sgd = torch.optim.SGD(net.parameters(), 0.5)
    for index in workspace.batches(len(problem.train), STEPS, 0):
        sgd.zero_grad()
        loss(net(problem.train.x[index]), problem.train.y[index]).backward()
        sgd.step()
    assert all(torch.allclose(a[0], b, atol=1e-5) for a, b in zip(found, net.parameters(), strict=True))


def embedding_model() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Embedding(11, 8), torch.nn.Flatten(), torch.nn.Linear(40, 2))
