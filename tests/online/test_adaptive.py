"""AdaptiveLoss: hypergradients against central differences, SGD as a special case, layers with a state, mistakes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import symloss as sl
from symloss.errors import LossError, RunWarning
from symloss.online import AdaptiveLoss, ResidualLoss, ScaledTaskLoss, adaptable, loss_network
from symloss.online.guard import WINDOW, Guard

OPTIMISERS: dict[str, Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, 0.3),
    "weight decay": lambda p: torch.optim.SGD(p, 0.3, weight_decay=0.1),
    "momentum": lambda p: torch.optim.SGD(p, 0.2, momentum=0.9),
    "Nesterov": lambda p: torch.optim.SGD(p, 0.2, momentum=0.8, nesterov=True, weight_decay=0.05),
    "Adam": lambda p: torch.optim.Adam(p, 0.05, eps=1e-3),
    "Adam with weight decay": lambda p: torch.optim.Adam(p, 0.05, eps=1e-3, weight_decay=0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, 0.05, eps=1e-3, weight_decay=0.1),
}
KINDS = {"multiclass": 3, "binary": 1, "regression": 2}
WARM_UP = 2


class Kept(torch.optim.SGD):
    """Keeps the hypergradient instead of following it."""

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.gradients = [p.grad.clone() for p in self.param_groups[0]["params"]]


def batches(kind: str, count: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    found = []
    for _ in range(count):
        x = torch.randn(7, 4, generator=generator, dtype=torch.float64)
        y = torch.randn(7, KINDS[kind], generator=generator, dtype=torch.float64)
        found.append((x, y.argmax(1) if kind == "multiclass" else (y > 0).double() if kind == "binary" else y))
    return found


def network(outputs: int, *layers: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), *layers, nn.Tanh(), nn.Linear(5, outputs)).double()


def small_loss(kind: str) -> sl.SymbolicLoss:
    return sl.SymbolicLoss("1.1*abs(log(0.9*y*f)) + 0.2*square(1.3*f) - 0.3*y*f", kind, trainable=True)


def runs(kind: str, name: str, phi: Tensor | None = None, **options: Any) -> tuple[float, list[Tensor]]:
    """Validation loss after the last of some steps, and its hypergradient; the earlier steps leave the loss alone."""
    inner = options.get("inner_steps", 1)
    loss, model = small_loss(kind), network(KINDS[kind])
    if phi is not None:
        loss.weights.data.copy_(phi)
    optimiser = OPTIMISERS[name](model.parameters())
    meta = Kept(loss.parameters(), 0.0)
    adaptive = AdaptiveLoss(loss, model, optimiser, meta_optimiser=meta, **options)
    data = batches(kind, WARM_UP + inner + 1)
    frozen = small_loss(kind).eval()
    for x, y in data[:WARM_UP]:  # under a loss that is not differentiated: momentum and moments are not zero then
        optimiser.zero_grad()
        frozen(model(x), y).backward()
        optimiser.step()
    for x, y in data[WARM_UP:-1]:
        seen = adaptive.step(x, y, *data[-1])
    return seen.valid_loss, meta.gradients


@pytest.mark.parametrize("options", [{}, {"clip": 0.05}, {"inner_steps": 3}, {"inner_steps": 2, "clip": 0.05}], ids=str)
@pytest.mark.parametrize("name", OPTIMISERS)
def test_hypergradient_is_that_of_central_differences(name: str, options: dict[str, Any]) -> None:
    check_against_differences("multiclass", name, options)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind(kind: str) -> None:
    check_against_differences(kind, "Nesterov", {})


def check_against_differences(kind: str, name: str, options: dict[str, Any]) -> None:
    phi = small_loss(kind).weights.detach().clone()
    _, (found,) = runs(kind, name, **options)
    step, differences = 1e-5, []
    for index in range(len(phi)):
        low, high = phi.clone(), phi.clone()
        low[index] -= step
        high[index] += step
        differences.append((runs(kind, name, high, **options)[0] - runs(kind, name, low, **options)[0]) / (2 * step))
    expected = torch.tensor(differences, dtype=torch.float64)
    assert expected.abs().max() > 1e-4
    # truncation step² · third derivative ~ 1e-9; rounding 1e-16 / step ~ 1e-11
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-8)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, True)])
def test_a_multiple_of_the_task_loss_is_a_multiple_of_the_rate(momentum: float, nesterov: bool) -> None:
    """c is a power of two, so that both round alike: equal bit for bit."""
    data, factor, rate = batches("multiclass", 12), 4.0, 0.03125
    ours, theirs, loss = network(3), network(3), ScaledTaskLoss("multiclass", factor)
    optimiser = torch.optim.SGD(ours.parameters(), rate, momentum=momentum, nesterov=nesterov)
    adaptive = AdaptiveLoss(loss, ours, optimiser, meta_optimiser=torch.optim.SGD(loss.parameters(), 0.0))
    sgd = torch.optim.SGD(theirs.parameters(), factor * rate, momentum=momentum, nesterov=nesterov)
    for batch, held_out in zip(data[::2], data[1::2], strict=True):
        adaptive.step(*batch, *held_out)
        sgd.zero_grad()
        F.cross_entropy(theirs(batch[0]), batch[1]).backward()  # type: ignore[no-untyped-call]
        sgd.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_hypergradient_of_a_scaled_task_loss_in_closed_form() -> None:
    """dL_task(θ − αc∇L)/dc = −α ∇L(θ)·∇L_valid(θ′); and the slope is c times its negative over α."""
    model, loss, rate = network(3), ScaledTaskLoss("multiclass", 2.0), 0.1
    (x, y), (valid_x, valid_y) = batches("multiclass", 2)
    before = copy.deepcopy(model)
    meta = Kept(loss.parameters(), 0.0)
    seen = AdaptiveLoss(loss, model, torch.optim.SGD(model.parameters(), rate), meta_optimiser=meta).step(
        x, y, valid_x, valid_y, measure=True
    )
    g = torch.autograd.grad(F.cross_entropy(before(x), y), list(before.parameters()))
    v = torch.autograd.grad(F.cross_entropy(model(valid_x), valid_y), list(model.parameters()))
    product = sum(float((a * b).sum()) for a, b in zip(g, v, strict=True))
    assert float(meta.gradients[0]) == pytest.approx(-rate * product, rel=1e-12)
    assert seen.slope == pytest.approx(2 * product, rel=1e-12)
    assert seen.effective_rate == pytest.approx(2.0, rel=1e-12)


class TestLayersWithAState:
    def steps(self, *layers: nn.Module, adapting: bool) -> nn.Module:
        model = network(3, *layers)
        loss = ScaledTaskLoss("multiclass")
        meta = torch.optim.SGD(loss.parameters(), 0.0)
        adaptive = AdaptiveLoss(loss, model, torch.optim.SGD(model.parameters(), 0.1), meta_optimiser=meta)
        data = batches("multiclass", 6)
        torch.manual_seed(5)
        for batch, held_out in zip(data[::2], data[1::2], strict=True):
            adaptive.step(*batch, *(held_out if adapting else ()))
        return model

    @pytest.mark.parametrize("layer", [nn.BatchNorm1d(5), nn.Dropout(0.5)], ids=["batch norm", "dropout"])
    def test_adapting_does_not_disturb_training(self, layer: nn.Module) -> None:
        """The same weights, running statistics and masks as in plain training."""
        plain, adapted = (
            self.steps(copy.deepcopy(layer).double(), adapting=adapting).state_dict() for adapting in (False, True)
        )
        assert all(torch.equal(plain[name], adapted[name]) for name in plain)

    @pytest.mark.parametrize("layer", [nn.BatchNorm1d(5), nn.Dropout(0.5)], ids=["batch norm", "dropout"])
    def test_hypergradient(self, layer: nn.Module) -> None:
        """Central differences of one step with the same mask."""

        def run(factor: float) -> tuple[float, float]:
            model, loss = network(3, copy.deepcopy(layer).double()), ScaledTaskLoss("multiclass", factor)
            meta = Kept(loss.parameters(), 0.0)
            torch.manual_seed(9)
            batch, held_out = batches("multiclass", 2)
            adaptive = AdaptiveLoss(loss, model, torch.optim.SGD(model.parameters(), 0.5), meta_optimiser=meta)
            return adaptive.step(*batch, *held_out).valid_loss, float(meta.gradients[0])

        expected = (run(1 + 1e-5)[0] - run(1 - 1e-5)[0]) / 2e-5
        assert run(1.0)[1] == pytest.approx(expected, rel=1e-6)


class Square(torch.autograd.Function):
    """f², with a double backward and no forward mode."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return 2 * x * gradient


class Squared(nn.Module):
    def __init__(self, own: bool) -> None:
        super().__init__()
        self.own = own

    def forward(self, x: Tensor) -> Tensor:
        return Square.apply(x) if self.own else x.square()  # type: ignore[no-any-return]


def test_layers_without_a_forward_mode() -> None:
    """The same hypergradient, dropout included, as with a layer that has one."""
    found = []
    for own in (False, True):
        model, loss = network(3, nn.Dropout(0.5), Squared(own)), ScaledTaskLoss("multiclass")
        meta = Kept(loss.parameters(), 0.0)
        torch.manual_seed(9)
        batch, held_out = batches("multiclass", 2)
        AdaptiveLoss(loss, model, torch.optim.SGD(model.parameters(), 0.5), meta_optimiser=meta).step(*batch, *held_out)
        found.append((float(meta.gradients[0]), torch.rand(1).item()))
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_memory_is_that_of_one_step() -> None:
    """No tensor outlives its step: what is alive after few steps is what is alive after many."""
    import gc

    def alive() -> int:
        gc.collect()
        return sum(t.numel() for t in gc.get_objects() if issubclass(type(t), Tensor))

    model, loss = network(3), loss_network("multiclass", 3)
    adaptive = AdaptiveLoss(loss, model, torch.optim.Adam(model.parameters(), 0.01))
    batch, held_out = batches("multiclass", 2)
    sizes = []
    for _ in range(3):
        for _ in range(10):
            adaptive.step(*batch, *held_out)
        sizes.append(alive())
    assert sizes[1] == sizes[2]


def test_the_network_takes_the_mean_over_outputs() -> None:
    loss = loss_network("multiclass", 3, seed=2)
    z, y = torch.randn(4, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1])
    entries = loss.architecture.evaluate(F.one_hot(y, 3).double(), z.softmax(1), loss.weights)
    torch.testing.assert_close(loss(z, y), entries.mean())
    assert [shape[0] for shape in loss.architecture.shapes] == [40, 40, 1]
    assert loss.architecture.shapes[-1] == (1, 40)  # no bias before the identity


def test_residual_form() -> None:
    loss = ResidualLoss(small_loss("multiclass"), "multiclass")
    z, y = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    torch.testing.assert_close(loss(z, y), F.cross_entropy(z, y) + small_loss("multiclass")(z, y))


def test_adaptable_copies() -> None:
    own = sl.SymbolicLoss("abs(log(1.2*y*f))", "multiclass")
    copied = adaptable(own, "multiclass")
    assert isinstance(copied, sl.SymbolicLoss)
    assert (copied.trainable, own.trainable) == (True, False)
    assert copied.expression == own.expression
    assert copied.weights is not own.weights
    with pytest.raises(LossError, match="CrossEntropyLoss has no weights to adapt"):
        adaptable(nn.CrossEntropyLoss(), "multiclass")


class TestGuard:
    def test_collapsed(self) -> None:
        guard = Guard()
        for step in range(1, WINDOW):
            guard.watch(step, 1e-6, 1.0)
        assert not guard.trouble
        with pytest.warns(RunWarning, match="has collapsed at step 50: .* use a smaller meta_lr"):
            guard.watch(WINDOW, 1e-6, 1.0)

    def test_diverging(self) -> None:
        model = network(3)
        loss = ScaledTaskLoss("multiclass", -1.0)  # drives the task loss up
        adaptive = AdaptiveLoss(loss, model, torch.optim.SGD(model.parameters(), 2.0), meta_lr=1e-9)
        batch, held_out = batches("multiclass", 2)

        def train() -> None:
            for _ in range(100):
                adaptive.step(*batch, *held_out)

        with pytest.warns(RunWarning, match="training diverges under the loss"):
            train()

    def test_what_is_not_finite_ends_it_untouched(self) -> None:
        model = network(3)
        before = copy.deepcopy(model.state_dict())
        adaptive = AdaptiveLoss(
            ScaledTaskLoss("multiclass", float("inf")), model, torch.optim.SGD(model.parameters(), 0.1)
        )
        batch, held_out = batches("multiclass", 2)
        with pytest.raises(LossError, match="infinite or NaN before step 1"):
            adaptive.step(*batch, *held_out)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimiser": torch.optim.RMSprop}, "torch's SGD, Adam or AdamW; received RMSprop"),
        ({"optimiser": lambda p: torch.optim.SGD(p, 0.1, momentum=0.5, dampening=0.1)}, "cannot have dampening"),
        ({"optimiser": lambda p: torch.optim.Adam(p, amsgrad=True)}, "cannot have amsgrad"),
        ({"optimiser": lambda p: torch.optim.SGD([nn.Parameter(torch.zeros(2))], 0.1)}, "parameters of the model"),
        ({"loss": sl.SymbolicLoss("y*f")}, "no trainable parameters; a symloss loss takes trainable=True"),
        ({"loss": nn.Linear(2, 2)}, "Linear has no kind: give task_loss"),
        ({"inner_steps": 0}, "inner_steps is a whole number"),
        ({"meta_lr": -1.0}, "meta_lr is a positive number; received -1.0"),
        ({"clip": float("nan")}, "clip is a positive number"),
    ],
)  # fmt: skip
def test_mistakes(change: dict[str, object], message: str) -> None:
    model = network(3)
    options: dict[str, object] = {"loss": small_loss("multiclass"), "optimiser": OPTIMISERS["SGD"], **change}
    make, loss = options.pop("optimiser"), options.pop("loss")
    with pytest.raises(LossError, match=message) as caught:
        AdaptiveLoss(loss, model, make(model.parameters()), **options)  # type: ignore[operator,arg-type]
    assert "\n" not in str(caught.value)
