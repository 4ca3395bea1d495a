"""Any torch module is trained and refined as a plain loop over the module itself would."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from symloss.discovery.refinement import refine
from symloss.discovery.settings import Settings
from symloss.errors import TaskError
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.losses import SymbolicLoss
from symloss.population.functional import FunctionalNetwork
from symloss.population.hypergradient import Start, one_step, several_steps
from symloss.population.networks import DenseNetwork
from symloss.population.separate import SeparateNetwork
from symloss.population.training import Sgd, Workspace, train, validation_metric
from symloss.tasks import Task
from symloss.tasks.models import seeded
from tests.population import problems
from tests.population.zoo import ZOO, Perceptron

STOPPED = {"spectral_norm", "KeepsItsFeatures", "hook_on_a_parameter"}
"""These stop or change gradients: autograd's are not the derivatives that differences measure, in torch either."""
ONCE = {"SparseBag"}  # torch has no second derivatives of bags
INEXACT = {"weight_norm", "weight_norm_by_hooks"}  # torch's second derivative of `_weight_norm` fails its gradgradcheck
TEXTS = ["-1.0*y*log(f)", "square(0.7*y - 1.2*f)"]
SEED, STEPS = 5, 9


def task(build: Any) -> Task:
    data = problems.task("multiclass")
    return Task(build, (data.train.x, data.train.y), (data.valid.x, data.valid.y)).to(dtype=torch.float64)


def weighted(expression: Expression, weights: Sequence[float]) -> SymbolicLoss:
    return SymbolicLoss(expression.with_weights(tuple(weights)))


def plain(workspace: Workspace, loss: nn.Module, batches: Tensor, optimiser: Sgd, batch_seed: int) -> nn.Module:
    """A model of the task trained in a loop of torch alone."""
    problem = workspace.task
    model = problem.new_model(SEED)
    parameters = [p for p in model.parameters() if p.requires_grad]
    sgd = torch.optim.SGD(parameters, optimiser.learning_rate, optimiser.momentum, nesterov=optimiser.nesterov)
    with seeded(batch_seed):
        for index in batches:
            sgd.zero_grad()
            loss(model(problem.train.x[index]), problem.train.y[index]).backward()
            for p in parameters:
                if p.grad is not None:  # torch's own weight decay refuses sparse gradients
                    p.grad = (p.grad.to_dense() if p.grad.is_sparse else p.grad) + optimiser.weight_decay * p.detach()
            sgd.step()
    return model


@pytest.mark.parametrize("name", ZOO)
def test_trained_as_by_torch(name: str) -> None:
    workspace = Workspace(task(ZOO[name]), 16)
    found, optimiser = [parse(text) for text in TEXTS], Sgd(0.1, 0.9, True, 0.01)
    batches = workspace.batches(60, STEPS, 7)
    parameters = train(workspace, workspace.loss_gradient(found), 2, STEPS, optimiser, seed=SEED, batch_seed=7)
    measured = validation_metric(workspace, parameters)
    for p, text in enumerate(TEXTS):
        model = plain(workspace, SymbolicLoss(text), batches, optimiser, 7)
        trained = [q for q in model.parameters() if q.requires_grad]
        assert all(torch.allclose(a[p], b, atol=1e-10) for a, b in zip(parameters, trained, strict=True))
        valid = workspace.valid
        with torch.no_grad():
            outputs = model.eval()(valid.x)
        assert measured[p] == pytest.approx(workspace.task.metric(outputs, valid.y))


def difference(workspace: Workspace, found: Sequence[Expression], batches: Tensor, optimiser: Sgd) -> Tensor:
    """The hypergradient by central differences over plain loops (truncation and rounding below 1e-8 at h = 1e-5)."""
    h, result = 1e-5, []
    index = workspace.batches(60, 1, 1)[0]
    x, y = workspace.valid.x[index], workspace.valid.y[index]
    for e in found:
        for k in range(e.size - 1):
            after = []
            for sign in (-1, 1):
                weights = [w + sign * h * (i == k) for i, w in enumerate(e.weights)]
                with seeded(11):
                    model = plain_in_place(workspace, weighted(e, weights), batches, optimiser)
                    after.append(workspace.task.task_loss(model(x), y).item())
            result.append((after[1] - after[0]) / (2 * h))
    return torch.tensor(result, dtype=torch.float64)


def plain_in_place(workspace: Workspace, loss: nn.Module, batches: Tensor, optimiser: Sgd) -> nn.Module:
    """As `plain`, but it draws from the generator as it is and leaves it where it then is."""
    problem = workspace.task
    model = problem.new_model(SEED)
    parameters = [p for p in model.parameters() if p.requires_grad]
    for index in batches:
        value = loss(model(problem.train.x[index]), problem.train.y[index])
        gradients = torch.autograd.grad(value, parameters, allow_unused=True)
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                if g is not None:
                    g = g.to_dense() if g.is_sparse else g
                    p -= optimiser.first_step * (g + optimiser.weight_decay * p)
    return model


@pytest.mark.parametrize("name", [name for name in ZOO if name not in STOPPED | ONCE])
def test_the_hypergradient_is_that_of_the_plain_loop(name: str) -> None:
    workspace = Workspace(task(ZOO[name]), 16)
    found, optimiser = [parse(text) for text in TEXTS], Sgd(0.1, 0.9, True, 0.01)
    batches = workspace.batches(60, 1, 0)
    objective = workspace.objective(found, freeze=False, shared=True)
    valid = workspace.pick(workspace.valid, workspace.batches(60, 1, 1)[0])
    with seeded(11), torch.no_grad():
        start = Start.at(workspace, workspace.initial(SEED), workspace.pick(workspace.train, batches[0]))
        mine = one_step(workspace, objective, objective.weights, start, valid, optimiser)
    expected = difference(workspace, found, batches, optimiser)
    assert expected.abs().max() > 1e-4
    assert torch.allclose(mine, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in ZOO if name not in STOPPED | ONCE | INEXACT])
def test_so_is_that_of_several_steps(name: str) -> None:
    workspace = Workspace(task(ZOO[name]), 16)
    found, optimiser = [parse(text) for text in TEXTS], Sgd(0.1, weight_decay=0.01)
    batches = workspace.batches(60, 3, 0)
    rows = [workspace.pick(workspace.train, row) for row in batches]
    valid = workspace.pick(workspace.valid, workspace.batches(60, 1, 1)[0])
    weights = torch.tensor([w for e in found for w in e.weights], dtype=torch.float64)
    with seeded(11), torch.no_grad():
        mine = several_steps(workspace, found, weights, workspace.initial(SEED), rows, valid, optimiser)
    assert torch.allclose(mine, difference(workspace, found, batches, optimiser), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["stack_with_a_parameter_of_its_own", "hook_on_a_parameter", "forward_of_its_own"])
def test_a_stack_with_something_of_its_own_is_not_a_dense_network(name: str) -> None:
    assert DenseNetwork.recognise(ZOO[name]()) is None


def test_spectral_norm_is_double_backward() -> None:
    """The power iteration of the first forward pass is there in the second."""
    workspace = Workspace(task(ZOO["spectral_norm"]), 16)
    e, optimiser = parse(TEXTS[1]), Sgd(0.1)
    objective = workspace.objective([e], freeze=False, shared=True)
    batch, valid = (
        workspace.pick(part, workspace.batches(60, 1, k)[0])
        for k, part in enumerate((workspace.train, workspace.valid))
    )
    with torch.no_grad():
        start = Start.at(workspace, workspace.initial(SEED), batch)
        mine = one_step(workspace, objective, objective.weights, start, valid, optimiser)
    model, phi = workspace.task.new_model(SEED), torch.tensor(e.weights, dtype=torch.float64, requires_grad=True)
    f, y = torch.softmax(model(batch[0]), 1), nn.functional.one_hot(batch[1], 3).double()
    theta = dict(model.named_parameters())
    value = e.evaluate(y, f, torch, phi).sum() / len(f)
    gradient = torch.autograd.grad(value, list(theta.values()), create_graph=True)
    stepped = {k: p - 0.1 * g for (k, p), g in zip(theta.items(), gradient, strict=True)}
    after = torch.func.functional_call(model, stepped, (valid[0],))
    (expected,) = torch.autograd.grad(workspace.task.task_loss(after, valid[1]), phi)
    assert torch.allclose(mine, expected, rtol=1e-8, atol=1e-12)


def test_parts_keep_the_mode_that_they_have() -> None:
    workspace = Workspace(task(ZOO["batch_norm_at_rest"]), 16)
    network, separate = workspace.network, SeparateNetwork(lambda: workspace.task.new_model(0))
    parameters = [p.unsqueeze(0) for p in workspace.initial(0)]
    assert torch.allclose(*(n.evaluate(parameters, workspace.valid.x) for n in (network, separate)))
    assert isinstance(network, FunctionalNetwork)
    for model in (network.model, separate._copies[0]):
        assert [part.training for part in model.children()] == [True, False, True, True, True]


# What cannot be done is one line


class FailsInTraining(Perceptron):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise KeyError("no such\nkey")
        return super().forward(x)


class TwoOutputsInTraining(Perceptron):
    def forward(self, x: Tensor) -> Any:
        output = super().forward(x)
        return (output, output) if self.training else output


class WithoutGradient(Perceptron):
    class Step(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.sign()

        @staticmethod
        def backward(ctx: Any, bar: Tensor) -> Tensor:
            raise ValueError("no gradient here")

    def forward(self, x: Tensor) -> Tensor:
        return self.Step.apply(super().forward(x))


class FailsLater(Perceptron):
    def forward(self, x: Tensor) -> Tensor:
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > 3:
            raise OverflowError("enough")
        return super().forward(x)


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (FailsInTraining, r"failed on inputs of shape \[16, 6\]: KeyError: 'no such\\nkey'"),
        (TwoOutputsInTraining, r"shape \[B, C\] in training mode too; received tuple"),
        (WithoutGradient, "cannot be trained .* ValueError: no gradient here"),
    ],
)
def test_a_model_that_fails_is_one_line(build: Any, says: str) -> None:
    with pytest.raises(TaskError, match=says) as caught:
        Workspace(task(build), 16)
    assert "\n" not in str(caught.value)


def test_so_is_one_that_fails_later() -> None:
    workspace = Workspace(task(FailsLater), 16)
    with pytest.raises(TaskError, match="OverflowError: enough"):
        train(workspace, workspace.task_gradient, 1, STEPS, Sgd(0.1))


@pytest.mark.parametrize("steps", [1, 2])
def test_a_model_without_second_derivatives_trains_but_is_not_refined(steps: int) -> None:
    settings = Settings(batch_size=16, refinement_steps=1, inner_steps=steps)
    with pytest.raises(TaskError, match=r"differentiated twice.*_embedding_bag_backward.*--no-refine"):
        refine(Workspace(task(ZOO["SparseBag"]), 16), settings, [parse(TEXTS[1])])
