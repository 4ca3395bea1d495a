"""When an adaptive loss smooths labels and when it flattens, against losses of which it is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import symloss as sl
from symloss.analysis.adaptation import AdaptationReport, EntrySide, Look, look
from symloss.analysis.gradients import FormulaSide, MeasuredSide, unequal
from symloss.errors import LossError
from symloss.online import ResidualLoss, ScaledTaskLoss, adaptable, loss_network
from tests.evaluation.helpers import make_task

MARGINS = np.linspace(-1.0, 9.0, 50)


@pytest.mark.parametrize("label", [None, 0, 1])
@pytest.mark.parametrize("text", ["abs(log(1.2*y*f))", "square(y - f) + 0.3*tanh(y*f)"])
def test_gradients_of_entries_are_those_of_the_formula(text: str, label: int | None) -> None:
    classes = 10 if label is None else 2
    loss = sl.SymbolicLoss(text, kind="multiclass" if label is None else "binary", trainable=True)
    own, formula = EntrySide(loss, classes, label), FormulaSide(sl.parse(text), classes, label)
    np.testing.assert_allclose(own.target(MARGINS)[0], formula.target(MARGINS)[0], rtol=1e-9, atol=1e-14)
    f = unequal(classes, 1e-3)
    np.testing.assert_allclose(own.full(f), formula.full(f), rtol=1e-9, atol=1e-14)
    assert own.target_only() == formula.target_only()


@pytest.mark.parametrize("residual", [False, True])
def test_gradients_of_entries_are_those_of_the_module(residual: bool) -> None:
    network = loss_network("multiclass", 10)
    loss: nn.Module = ResidualLoss(network, "multiclass") if residual else network
    own, measured = EntrySide(loss, 10), MeasuredSide(loss, 10)
    np.testing.assert_allclose(own.target(MARGINS)[0], measured.target(MARGINS)[0], rtol=1e-7, atol=1e-12)
    f = unequal(10)
    np.testing.assert_allclose(own.full(f), measured.full(f), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("phi", [1.1, 1.3])
def test_what_smooths_labels(phi: float) -> None:
    """|log(φ y f)| rests at 1/φ, the optimum of ξ = (1 − 1/φ) C/(C − 1); up to there it pulls as cross-entropy does."""
    found = look(adaptable(f"abs(log({phi}*y*f))", "multiclass"), "multiclass", 10)
    assert found.rests == pytest.approx((1 / phi,), rel=1e-9)
    assert found.smoothing == pytest.approx((1 - 1 / phi) * 10 / 9, rel=1e-8)
    assert found.pull == pytest.approx(1.0)


@pytest.mark.parametrize(("kind", "outputs"), [("multiclass", 10), ("binary", 1), ("regression", 1)])
def test_the_task_loss_pulls_by_its_factor(kind: str, outputs: int) -> None:
    found = look(ScaledTaskLoss(kind, 2.5), kind, outputs)
    assert (found.smoothing, found.rests) == (None, ())
    assert found.pull == pytest.approx(2.5)


def report(
    pulls: tuple[float, ...], rests: tuple[tuple[float, ...], ...], kind: str = "multiclass"
) -> AdaptationReport:
    looks = tuple(Look(None, p, pull) for pull, p in zip(pulls, rests, strict=True))
    return AdaptationReport(kind, (0, 10, 100), looks, (0.1, 0.2, 0.3))


def test_when() -> None:
    found = report((2.0, 1.5, 0.9), ((), (0.8,), (0.9,)))
    assert (found.smooths, found.flattens) == ((10, 100), 100)
    assert "smooths labels after steps 10, 100" in str(found)
    assert "the loss flattens: its pull goes from 2 to 0.9, below half of its first after step 100" in str(found)
    steep = report((1.0, 2.0, 3.0), ((), (), ()))
    assert (steep.smooths, steep.flattens) == ((), None)
    assert "at no time" in str(steep)
    assert "the loss steepens: its pull goes from 1 to 3, never below half" in str(steep)
    assert "throughout" in str(report((1.0, 1.0, 1.0), ((0.9,), (0.9,), (0.9,))))
    assert "smooth" not in str(report((1.0, 1.0, 1.0), ((), (), ()), "regression"))


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_a_run(kind: str) -> None:
    options: dict[str, Any] = {"offline_steps": 6, "steps": 20, "batch_size": 16, "lr": 0.05}
    run = sl.adapt(make_task(kind), **options)
    found = sl.analysis.adaptation(run)
    assert found.steps == tuple(run.snapshots[place][0] for place in run.shown)
    assert (len(found.steps), found.steps[0], found.steps[-1]) == (8, 0, 20)
    for place, one in zip(run.shown, found.looks, strict=True):
        assert one == look(run.loss_at(place), kind, run.outputs)
    first = run.records[0]
    assert found.effective_rates[0] == first.learning_rate * first.effective_rate
    assert str(found).splitlines()[-1] in str(run)
    with pytest.raises(LossError, match="no snapshots"):
        sl.analysis.adaptation(replace(run, snapshots=(), weights=()))


def test_other_modules_have_no_shape() -> None:
    with pytest.raises(LossError, match="Linear is no sum over entries"):
        look(nn.Linear(1, 1), "multiclass", 3)
    with torch.no_grad(), pytest.raises(LossError, match="Linear"):
        look(nn.Linear(1, 1), "regression", 1)
