"""Loss networks in the engine, against autograd on the module and central differences of the definition, in float64."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from symloss.errors import LossError
from symloss.losses import Architecture, EntryNetwork, LossNetwork
from symloss.population.hypergradient import Start, one_step
from symloss.population.network_objective import NetworkObjective
from symloss.population.training import Sgd, Workspace
from tests.population.problems import task

ARCHITECTURES = [
    Architecture((8, 5)),
    Architecture((4, 3), "smooth-leaky-relu", "identity", True),
    Architecture((5,), "relu", "smooth-leaky-relu", True),
]
KINDS = [("multiclass", False), ("multiclass", True), ("binary", False), ("regression", False)]


def networks(architecture: Architecture, scale: float = 1.0) -> list[EntryNetwork]:
    return [EntryNetwork.of(architecture, architecture.initial(seed).double() / 0.9, scale) for seed in range(3)]


def workspace(kind: str, soft: bool = False) -> Workspace:
    return Workspace(task(kind, "tanh", soft=soft), 16)


def batch(own: Workspace) -> tuple[Tensor, Tensor]:
    _, target = own.pick(own.train, own.batches(len(own.train.x), 1, 3)[0])
    shape = (3, own.task.outputs, 16)
    return torch.randn(shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64), target


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize(("kind", "soft"), KINDS)
def test_gradients_at_the_logits_are_autograds(kind: str, soft: bool, architecture: Architecture) -> None:
    own, losses = workspace(kind, soft), networks(architecture, scale=1.5)
    logits, target = batch(own)
    found = own.loss_gradient(losses)(logits, target)
    assert isinstance(own.loss_gradient(losses).objective, NetworkObjective)
    for p, e in enumerate(losses):
        z = logits[p].t().clone().requires_grad_()
        LossNetwork(e, kind)(z, target if own.indices else target.t()).backward()
        torch.testing.assert_close(found[p], cast(Tensor, z.grad).t(), rtol=1e-9, atol=1e-13)


class Setting:
    """A meta-step from the same base weights for three networks."""

    def __init__(self, kind: str, soft: bool, architecture: Architecture, scale_free: bool) -> None:
        self.own, self.losses, self.scale_free = workspace(kind, soft), networks(architecture), scale_free
        self.optimiser = Sgd(0.3, 0.9, True, 0.05)
        self.initial = self.own.initial(3)
        parts = (self.own.train, self.own.valid)
        self.train, self.valid = (self.own.pick(p, self.own.batches(len(p.x), 1, i)[0]) for i, p in enumerate(parts))

    def hypergradient(self) -> Tensor:
        objective = self.own.objective(self.losses, freeze=False, shared=True)
        start = Start.at(self.own, self.initial, self.train)
        with torch.no_grad():
            return one_step(
                self.own, objective, objective.weights, start, self.valid, self.optimiser, scale_free=self.scale_free
            )

    def loss_after(self, e: EntryNetwork, weights: Tensor) -> float:
        """L_task(θ₁) by the modules themselves: the definition."""
        net, module = self.own.task.new_model(3), LossNetwork(e, self.own.kind)
        module.weights = weights
        (x, target), (x2, target2) = self.train, self.valid
        shown = [t if self.own.indices else t.t() for t in (target, target2)]
        gradient = torch.autograd.grad(module(net(x), shown[0]), list(net.parameters()))
        if self.scale_free:
            own = torch.autograd.grad(self.own.task.task_loss(net(x), shown[0]), list(net.parameters()))
            norm, wanted = (torch.cat([g.flatten() for g in gs]).norm() for gs in (gradient, own))
            gradient = tuple(g * wanted / norm for g in gradient)
        with torch.no_grad():
            for p, g in zip(net.parameters(), gradient, strict=True):
                p -= 0.3 * 1.9 * (g + 0.05 * p)
            return float(self.own.task.task_loss(net(x2), shown[1]))


@pytest.mark.parametrize("scale_free", [False, True])
@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize(("kind", "soft"), KINDS)
def test_the_hypergradient_is_central_differences(
    kind: str, soft: bool, architecture: Architecture, scale_free: bool
) -> None:
    setting, h = Setting(kind, soft, architecture, scale_free), 1e-6
    found = setting.hypergradient().view(3, -1)
    for e, row in zip(setting.losses, found, strict=True):
        steps = h * torch.eye(e.size, dtype=torch.float64)
        ends = [[setting.loss_after(e, e.weights + sign * step) for sign in (1, -1)] for step in steps]
        expected = torch.tensor([(up - down) / (2 * h) for up, down in ends], dtype=torch.float64)
        torch.testing.assert_close(row, expected, rtol=1e-5, atol=1e-7)
        assert row.abs().max() > 1e-4


def test_networks_do_not_touch_each_other() -> None:
    """The same alone and together; a network that overflows leaves the others as they are."""
    own, losses = workspace("multiclass"), networks(ARCHITECTURES[0])
    logits, target = batch(own)
    together = own.loss_gradient(losses)(logits, target)
    broken = [losses[0], losses[1].with_weights(torch.full((losses[1].size,), 1e200, dtype=torch.float64)), losses[2]]
    beside = own.loss_gradient(broken)(logits, target)
    assert not beside[1].isfinite().all()
    for p in (0, 2):
        torch.testing.assert_close(own.loss_gradient([losses[p]])(logits[p : p + 1], target)[0], together[p])
        torch.testing.assert_close(beside[p], together[p])


def test_what_cannot_be_computed_together_is_one_line() -> None:
    mixed: list[Any] = [*networks(ARCHITECTURES[0]), *networks(ARCHITECTURES[1])]
    with pytest.raises(LossError, match="have one architecture and one scale"):
        workspace("multiclass").loss_gradient(mixed)
