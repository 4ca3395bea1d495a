"""Class weights, in every loss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import symloss as sl
from symloss.errors import LossError
from symloss.losses import Loss, SymbolicLoss, catalogue, get, linear_loss, load

WEIGHT = torch.tensor([0.5, 2.0, 0.0, 1.3], dtype=torch.float64)
FORMULAS = ("-1.0*y*log(f)", "square(y - f)", "-1.0*y*log(f) + 0.2*f", "tanh(y*f) - y*square(log(f))")


def batch(extra: tuple[int, ...] = (), seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(9, 4, *extra, generator=generator, dtype=torch.float64)
    return z, torch.randint(4, (9, *extra), generator=generator)


def gradient(loss: Any, z: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    z = z.clone().requires_grad_()
    value = loss(z, target)
    return value.detach(), torch.autograd.grad(value.sum(), z)[0]


@pytest.mark.parametrize("extra", [(), (3,), (2, 3)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("make", [lambda **o: SymbolicLoss(FORMULAS[0], **o), lambda **o: get("cross-entropy", **o)])
def test_cross_entropy_is_torch_own(make: Any, reduction: str, extra: tuple[int, ...]) -> None:
    z, target = batch(extra)
    options = {"weight": WEIGHT, "reduction": reduction, "ignore_index": 3}

    def torch_own(z: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(z, target, **options)

    torch.testing.assert_close(gradient(make(**options), z, target), gradient(torch_own, z, target))


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_sample_has_the_weight_of_its_class(formula: str) -> None:
    z, target = batch((3,))
    each = SymbolicLoss(formula, reduction="none")(z, target)
    wanted = {"none": WEIGHT[target] * each, "sum": (WEIGHT[target] * each).sum()}
    wanted["mean"] = wanted["sum"] / WEIGHT[target].sum()
    for reduction, value in wanted.items():
        torch.testing.assert_close(SymbolicLoss(formula, reduction=reduction, weight=WEIGHT)(z, target), value)


@pytest.mark.parametrize("formula", FORMULAS)
def test_one_hot_targets_weigh_the_same_and_the_mean_is_over_samples(formula: str) -> None:
    z, target = batch()
    hot = F.one_hot(target, 4).double()
    for reduction in ("none", "sum"):
        loss = SymbolicLoss(formula, reduction=reduction, weight=WEIGHT)
        torch.testing.assert_close(loss(z, hot), loss(z, target))
    loss = SymbolicLoss(formula, weight=WEIGHT)
    torch.testing.assert_close(loss(z, hot), SymbolicLoss(formula, reduction="sum", weight=WEIGHT)(z, target) / 9)


@pytest.mark.parametrize("name", catalogue.names("multiclass"))
def test_every_named_loss_takes_them(name: str) -> None:
    z, target = batch()
    each = get(name, "multiclass", "none")(z, target)
    weighted = get(name, "multiclass", "none", weight=WEIGHT)
    if name != "label-smoothing":  # there each class of the smoothed target has its own, as in torch
        torch.testing.assert_close(weighted(z, target), WEIGHT[target] * each)
    ones, none = get(name, "multiclass", weight=torch.ones(4, dtype=torch.float64)), get(name, "multiclass")
    torch.testing.assert_close(gradient(ones, z, target), gradient(none, z, target))
    assert "weight" in ones.state_dict()
    assert "weight" not in none.state_dict()


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_saved_exported_and_fused_with_a_layer(formula: str, reduction: str, tmp_path: Path) -> None:
    loss = SymbolicLoss(formula, reduction=reduction, ignore_index=1, weight=WEIGHT)
    z, target = batch()
    loss.save(tmp_path / "loss.json")
    names: dict[str, Any] = {}
    exec(compile(loss.source(), "loss.py", "exec"), names)
    for other in (load(tmp_path / "loss.json"), names["loss"]):
        torch.testing.assert_close(other(z, target), loss(z, target))
        torch.testing.assert_close(other(z, z.softmax(1)), loss(z, z.softmax(1)))
    hidden, layer = torch.randn(9, 5, dtype=torch.float64), torch.randn(4, 5, dtype=torch.float64)
    torch.testing.assert_close(linear_loss(hidden, layer, target, loss, chunk=2), loss(hidden @ layer.T, target))


def test_misfits_are_one_line(tmp_path: Path) -> None:
    z, target = batch()
    for wrong in (torch.ones(3), torch.ones(5, dtype=torch.float64)):
        with pytest.raises(LossError, match=rf"weight has {len(wrong)} numbers; the logits have 4 classes"):
            SymbolicLoss(FORMULAS[1], weight=wrong)(z, target)
    for wrong in ([1.0, 2.0], torch.ones(2, 2), torch.ones(4, dtype=torch.int64)):
        with pytest.raises(LossError, match="weight must be a floating tensor with one number per class"):
            get("focal", weight=wrong)
    with pytest.raises(LossError, match="weight is for classes, kind 'multiclass'"):
        get("squared-error", "regression", weight=torch.ones(4))
    with pytest.raises(LossError, match="give the loss without weight"):
        sl.analysis.label_smoothing(SymbolicLoss(FORMULAS[0], weight=WEIGHT))
    path = tmp_path / "loss.json"
    SymbolicLoss(FORMULAS[0], weight=WEIGHT).save(path)
    for text in ('"ones"', "[1.0, true]", "[1e999]", "{}"):
        path.write_text(path.read_text().replace('"weight": [', f'"weight": {text}, "was": ['))
        with pytest.raises(LossError, match="'weight' must be a list of numbers"):
            load(path)
        path.unlink()
        SymbolicLoss(FORMULAS[0], weight=WEIGHT).save(path)


def test_it_is_shown() -> None:
    loss: Loss = get("focal", weight=WEIGHT)
    assert "weight=..." in repr(loss)
