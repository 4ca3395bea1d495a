"""The hypergradient against central differences, plain double backward and a closed form, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from symloss.expression.parsing import parse
from symloss.population.hypergradient import Start, one_step, several_steps
from symloss.population.predictions import predict
from symloss.population.training import Sgd, Workspace
from tests.population.problems import MODELS, losses, task

KINDS = ("multiclass", "binary", "regression")


class Setting:
    """A meta-step on a small task."""

    def __init__(self, kind: str, model: str, optimiser: Sgd, scale_free: bool = False, steps: int = 1) -> None:
        self.workspace = Workspace(task(kind, model), 16)
        self.task, self.expressions, self.optimiser, self.scale_free = (
            self.workspace.task,
            losses(kind),
            optimiser,
            scale_free,
        )
        self.objective = self.workspace.objective(self.expressions, freeze=False, shared=True)
        self.weights = self.objective.weights
        self.initial = self.workspace.initial(3)
        rows = self.workspace.batches(len(self.task.train), steps, 0)
        self.train = [self.workspace.pick(self.task.train, row) for row in rows]
        self.valid = self.workspace.pick(self.task.valid, self.workspace.batches(len(self.task.valid), 1, 1)[0])

    def one_step(self) -> Tensor:
        start = Start.at(self.workspace, self.initial, self.train[0])
        with torch.no_grad():
            return one_step(
                self.workspace,
                self.objective,
                self.weights,
                start,
                self.valid,
                self.optimiser,
                scale_free=self.scale_free,
            )

    def loss_after(self, p: int, phi: Tensor) -> Tensor:
        """L_task(θ_K) of one candidate by the module itself: the definition."""
        net, o = self.task.new_model(3), self.optimiser
        theta = dict(net.named_parameters())
        fixed = {k: v.clone() for k, v in net.named_buffers()}

        def run(state: dict[str, Tensor], x: Tensor) -> Tensor:
            return torch.func.functional_call(net, (state, {k: v.clone() for k, v in fixed.items()}), (x,))

        for x, target in self.train:
            out = run(theta, x)
            f = predict(out.t().unsqueeze(0), self.workspace.kind)[0]
            y = torch.nn.functional.one_hot(target, 3).t().double() if self.workspace.indices else target
            loss = self.expressions[p].evaluate(y, f, torch, phi).sum() / len(x)
            own = torch.autograd.grad(
                self.task.task_loss(out, target if self.workspace.indices else target.t()),
                list(theta.values()),
                retain_graph=True,
            )
            gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
            if self.scale_free:
                norm = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()
                wanted = torch.stack([g.square().sum() for g in own]).sum().sqrt()
                gradient = tuple(g * wanted / norm for g in gradient)
            rate = o.learning_rate * (1 + o.momentum if o.nesterov else 1)
            theta = {k: v - rate * (g + o.weight_decay * v) for (k, v), g in zip(theta.items(), gradient, strict=True)}
        x, target = self.valid
        return self.task.task_loss(run(theta, x), target if self.workspace.indices else target.t())

    def central_differences(self, h: float = 1e-5) -> Tensor:
        result = []
        for p, e in enumerate(self.expressions):
            for k in range(e.size - 1):
                low, high = (torch.tensor(e.weights, dtype=torch.float64) for _ in range(2))
                low[k] -= h
                high[k] += h
                result.append((self.loss_after(p, high) - self.loss_after(p, low)).item() / (2 * h))
        return torch.tensor(result, dtype=torch.float64)

    def double_backward(self) -> Tensor:
        result = []
        for p, e in enumerate(self.expressions):
            phi = torch.tensor(e.weights, dtype=torch.float64, requires_grad=True)
            result.append(torch.autograd.grad(self.loss_after(p, phi), phi)[0])
        return torch.cat(result)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scale_free", [False, True])
def test_one_step_is_double_backward(kind: str, model: str, scale_free: bool) -> None:
    for optimiser in (Sgd(0.1), Sgd(0.1, 0.9, True, 0.05)):
        setting = Setting(kind, model, optimiser, scale_free)
        expected = setting.double_backward()
        assert expected.abs().max() > 1e-4
        assert torch.allclose(setting.one_step(), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale_free", [False, True])
def test_one_step_is_central_differences(kind: str, scale_free: bool) -> None:
    # truncation h² L''' / 6 and rounding 1e-16 L / h are both below 1e-8 at h = 1e-5 for losses of order 1
    setting = Setting(kind, "tanh", Sgd(0.1, 0.9, True, 0.05), scale_free)
    assert torch.allclose(setting.one_step(), setting.central_differences(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["dense", "deep", "convolution"])
@pytest.mark.parametrize("method", ["hvp", "double-backward"])
def test_several_steps(kind: str, model: str, method: str) -> None:
    setting = Setting(kind, model, Sgd(0.1, weight_decay=0.05), steps=3)
    found = several_steps(
        setting.workspace, setting.expressions, setting.weights, setting.initial, setting.train, setting.valid,
        setting.optimiser, method=method,
    )  # fmt: skip
    assert torch.allclose(found, setting.double_backward(), rtol=1e-8, atol=1e-10)


def test_linear_model_with_squared_error_in_closed_form() -> None:
    """ℓ = (w₁ (w₂ y - w₃ f))² and f = X θ: every derivative is a matrix product."""
    workspace = Workspace(task("regression", "linear"), 16)
    e = parse("square(1.3*(0.9*y - 1.1*f))")
    objective = workspace.objective([e], freeze=False, shared=True)
    rate = 0.05
    x, target = workspace.pick(workspace.train, workspace.batches(60, 1, 0)[0])
    valid = workspace.pick(workspace.valid, workspace.batches(60, 1, 1)[0])
    weight, bias = workspace.initial(3)
    start = Start.at(workspace, [weight, bias], (x, target))
    found = one_step(workspace, objective, objective.weights, start, valid, Sgd(rate))

    a, b, c = e.weights[0], e.weights[1], e.weights[2]
    design = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    held_out = torch.cat([valid[0], torch.ones(len(valid[0]), 1, dtype=torch.float64)], 1)
    theta, y, z = torch.cat([weight[0], bias]), target[0], valid[1][0]
    f = design @ theta
    residual = b * y - c * f
    stepped = theta + rate * 2 * a * a * c / len(x) * design.t() @ residual
    v = 2 / len(z) * held_out.t() @ (held_out @ stepped - z)
    factor = rate * 2 / len(x)
    derivatives = [
        factor * 2 * a * c * design.t() @ residual,  # of the step θ₁, in a
        factor * a * a * c * design.t() @ y,  # in b
        factor * a * a * design.t() @ (residual - c * f),  # in c
    ]
    assert torch.allclose(found, torch.stack([v @ d for d in derivatives]), rtol=1e-10)


def test_candidates_do_not_touch_each_other() -> None:
    setting = Setting("multiclass", "dense", Sgd(0.1))
    together, offset = setting.one_step(), 0
    for e in list(setting.expressions):
        alone = Setting("multiclass", "dense", Sgd(0.1))
        alone.expressions = [e]
        alone.objective = alone.workspace.objective([e], freeze=False, shared=True)
        alone.weights = alone.objective.weights
        assert torch.allclose(alone.one_step(), together[offset : offset + e.size - 1], atol=1e-14)
        offset += e.size - 1
