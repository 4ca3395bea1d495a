from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from symloss.errors import LossError
from symloss.evaluation.gradients import ModuleGradient, check_loss, gradient_of, is_task_loss
from symloss.losses import Architecture, EntryNetwork, LossNetwork, SymbolicLoss, get
from symloss.population.training import Workspace
from tests.evaluation.helpers import make_task

COUNT = 4


class Wrapped(nn.Module):
    """A loss from a function."""

    def __init__(self, function: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, outputs: Tensor, target: Tensor) -> object:
        return self.function(outputs, target)


def batch(workspace: Workspace, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """Logits of some models and a target, as the engine has them."""
    index = workspace.batches(len(workspace.train.x), 1, 3)[0]
    _, target = workspace.pick(workspace.train, index)
    shape = (COUNT, workspace.task.outputs, len(index))
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64), target


@pytest.mark.parametrize("kind", ["multiclass", "soft", "binary", "regression"])
@pytest.mark.parametrize("formula", ["-1.0*y*log(f)", "0.7*square(y - f) + 0.2*y*f", "abs(log(1.2*y*f))"])
def test_autograd_and_the_engine_agree(kind: str, formula: str) -> None:
    workspace = Workspace(make_task(kind), 32)
    loss = SymbolicLoss(formula, workspace.kind)
    logits, target = batch(workspace)
    engine = gradient_of(workspace, "a", loss, COUNT)
    assert not isinstance(engine, ModuleGradient)
    by_autograd = ModuleGradient(workspace, "a", loss, COUNT)(logits, target)
    torch.testing.assert_close(engine(logits, target), by_autograd, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    ("kind", "torchs"),
    [
        ("multiclass", nn.CrossEntropyLoss()),
        ("soft", nn.CrossEntropyLoss()),
        ("binary", nn.BCEWithLogitsLoss()),
        ("regression", nn.MSELoss()),
    ],
)
def test_task_loss_of_the_engine_is_torchs(kind: str, torchs: nn.Module) -> None:
    workspace = Workspace(make_task(kind), 32)
    loss = get("mse" if kind == "regression" else "cross-entropy", workspace.kind)
    assert is_task_loss(loss, workspace.task)
    assert not is_task_loss(torchs, workspace.task)
    logits, target = batch(workspace)
    engine = gradient_of(workspace, "a", loss, COUNT)
    assert not isinstance(engine, ModuleGradient)
    by_autograd = gradient_of(workspace, "b", torchs, COUNT)
    assert isinstance(by_autograd, ModuleGradient)
    torch.testing.assert_close(engine(logits, target), by_autograd(logits, target), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", ["multiclass", "soft", "binary", "regression"])
def test_loss_networks_are_the_engines(kind: str) -> None:
    workspace, architecture = Workspace(make_task(kind), 32), Architecture((4, 3))
    network = EntryNetwork.of(architecture, architecture.initial(0), 1.5)
    loss = LossNetwork(network, workspace.kind)
    logits, target = batch(workspace)
    engine = gradient_of(workspace, "a", loss, COUNT)
    assert not isinstance(engine, ModuleGradient)
    by_autograd = ModuleGradient(workspace, "a", loss, COUNT)(logits, target)
    torch.testing.assert_close(engine(logits, target), by_autograd, rtol=1e-4, atol=1e-7)


def test_class_weights_are_respected() -> None:
    workspace, architecture = Workspace(make_task(), 32), Architecture((4, 3))
    logits, target = batch(workspace)
    weight = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    for loss in (
        SymbolicLoss("-1.0*y*log(f)", weight=weight),
        LossNetwork(EntryNetwork.of(architecture, architecture.initial(0)), weight=weight),
        get("cross-entropy", weight=weight),
    ):
        assert not is_task_loss(loss, workspace.task)
        found = gradient_of(workspace, "a", loss, COUNT)(logits, target)
        torch.testing.assert_close(found, ModuleGradient(workspace, "a", loss, COUNT)(logits, target))


def test_reduction_and_ignored_class_are_respected() -> None:
    workspace = Workspace(make_task(), 32)
    logits, target = batch(workspace)
    mean = gradient_of(workspace, "a", SymbolicLoss("-1.0*y*log(f)"), COUNT)(logits, target)
    total = gradient_of(workspace, "a", SymbolicLoss("-1.0*y*log(f)", reduction="sum"), COUNT)(logits, target)
    torch.testing.assert_close(total, 32 * mean)
    for loss in (SymbolicLoss("-1.0*y*log(f)", ignore_index=1), get("cross-entropy", ignore_index=1)):
        kept = gradient_of(workspace, "a", loss, COUNT)(logits, target)
        assert not is_task_loss(loss, workspace.task)
        assert not kept[:, :, target == 1].any()
        torch.testing.assert_close(kept[:, :, target != 1], mean[:, :, target != 1] * 32 / (target != 1).sum())


def test_loss_of_all_samples_at_once_matches_central_differences() -> None:
    """The worst sample counts most: no mean over samples."""
    workspace = Workspace(make_task(), 8)
    logits, target = batch(workspace)
    loss = Wrapped(lambda z, y: nn.functional.cross_entropy(z, y, reduction="none").square().logsumexp(0))
    gradient = gradient_of(workspace, "worst", loss, COUNT)(logits, target)
    step = 1e-5
    for entry in [(0, 0, 0), (1, 2, 3), (3, 1, 7)]:
        values = []
        for sign in (1, -1):
            moved = logits.clone()
            moved[entry] += sign * step
            values.append(loss(moved[entry[0]].t(), target).item())
        assert gradient[entry].item() == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-7, abs=1e-9)


def test_each_model_keeps_a_state_of_its_own_and_the_given_module_none() -> None:
    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros((), dtype=torch.float64))

        def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
            self.calls += 1
            return self.calls * nn.functional.cross_entropy(outputs, target)

    workspace, loss = Workspace(make_task(), 32), Growing()
    logits, target = batch(workspace)
    gradient = gradient_of(workspace, "state", loss, COUNT)
    first, second = gradient(logits, target), gradient(logits, target)
    torch.testing.assert_close(first, workspace.task_gradient(logits.clone(), target))
    torch.testing.assert_close(second, 2 * first)
    assert loss.calls == 0


def test_diverged_models_are_not_shown_to_the_loss_and_do_not_touch_the_others() -> None:
    def strict(outputs: Tensor, target: Tensor) -> Tensor:
        assert outputs.isfinite().all()
        return nn.functional.cross_entropy(outputs, target)

    workspace = Workspace(make_task(), 32)
    logits, target = batch(workspace)
    expected = workspace.task_gradient(logits.clone(), target)
    logits[1, 0, 0], logits[2] = torch.nan, torch.inf
    gradient = gradient_of(workspace, "strict", Wrapped(strict), COUNT)
    found = gradient(logits, target)
    assert found[1:3].isnan().all()
    torch.testing.assert_close(found[[0, 3]], expected[[0, 3]])
    assert gradient(torch.full_like(logits, torch.nan), target).isnan().all()


def test_a_loss_may_write_on_its_targets() -> None:
    def careless(outputs: Tensor, target: Tensor) -> Tensor:
        return (outputs - target.mul_(0.5)).square().mean()

    workspace = Workspace(make_task("regression"), 32)
    logits, target = batch(workspace)
    given = target.clone()
    found = gradient_of(workspace, "careless", Wrapped(careless), COUNT)(logits, target)
    torch.testing.assert_close(found, 2 / 32 * (logits - 0.5 * given))
    assert torch.equal(target, given)


def refuse(outputs: Tensor, target: Tensor) -> Tensor:
    raise RuntimeError("several\nlines")


@pytest.mark.parametrize(
    ("loss", "says"),
    [
        (nn.CrossEntropyLoss(reduction="none"), "one number"),
        (Wrapped(lambda z, y: 3.0), "received float"),
        (Wrapped(lambda z, y: z.argmax(1).double().sum()), "differentiated"),
        (Wrapped(lambda z, y: 0 * z.sum()), "no gradient"),
        (Wrapped(refuse), "RuntimeError: several lines"),
        (nn.CrossEntropyLoss(weight=torch.ones(7, dtype=torch.float64)), "failed"),
        (nn.BCEWithLogitsLoss(), "failed"),
    ],
)
def test_unusable_modules_get_one_line_that_names_them(loss: nn.Module, says: str) -> None:
    with pytest.raises(LossError, match=says) as caught:
        check_loss(Workspace(make_task(), 32), "mine", loss)
    assert "'mine'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_module_that_cannot_be_copied() -> None:
    loss = Wrapped(lambda z, y: z.sum())
    loss.kept = torch.ones(3, requires_grad=True) * 2
    with pytest.raises(LossError, match="cannot be copied"):
        check_loss(Workspace(make_task(), 32), "mine", loss)


def test_own_subclass_is_used_as_it_is() -> None:
    class Doubled(SymbolicLoss):
        def forward(self, input: Tensor, target: Tensor) -> Tensor:
            return 2 * super().forward(input, target)

    workspace = Workspace(make_task(), 32)
    logits, target = batch(workspace)
    doubled = gradient_of(workspace, "a", Doubled("-1.0*y*log(f)"), COUNT)(logits, target)
    torch.testing.assert_close(doubled, 2 * workspace.task_gradient(logits, target), rtol=1e-9, atol=1e-13)
    assert isinstance(gradient_of(workspace, "b", get("label-smoothing"), COUNT), ModuleGradient)
