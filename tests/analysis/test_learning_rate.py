"""Step size and shape: losses of which the split is known."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from symloss.analysis import learning_rate
from symloss.analysis.learning_rate import checkpoints
from symloss.analysis.learning_rate_report import VERDICTS, Measured
from symloss.errors import EvaluationError, LossError, TaskError
from symloss.evaluation import fit
from symloss.losses import get
from symloss.tasks import Task
from tests.evaluation.helpers import CLASSES, FEATURES, make_task

QUICK: dict[str, Any] = {
    "seeds": 4, "tuning_seeds": 1, "steps": 30, "batch_size": 20, "learning_rate": 0.02, "rates": (0.02, 0.2, 2.0),
}  # fmt: skip
TASK_LOSSES = {
    "multiclass": "-{0!r}*y*log(f)",
    "binary": "-{0!r}*y*log(f) - {0!r}*(1 - y)*log(1 - f)",
    "regression": "{0!r}*square(y - f)",
}


def indifferent() -> nn.Module:
    """A model that gives every class the same probability at first, whatever its seed."""
    model = nn.Sequential(nn.Linear(FEATURES, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    with torch.no_grad():
        model[2].weight.zero_()
        model[2].bias.zero_()
    return model


def indifferent_task() -> Task:
    like = make_task()
    assert like.test is not None
    parts = [(part.x, part.y) for part in (like.train, like.valid, like.test)]
    return Task(indifferent, *parts, kind="multiclass", name="blobs").to(dtype=torch.float64)


PURE_SHAPE = f"{3 / 972!r}*y*pow(f, -4.0)"
"""Of the slope −3 at f = 1/3, as cross-entropy; much steeper where the target is less probable."""


# What it concludes


@pytest.mark.parametrize("kind", TASK_LOSSES)
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}])
def test_a_scaled_task_loss_is_all_step_size(kind: str, options: dict[str, Any]) -> None:
    c = 4.0 if kind != "regression" else 2.0
    report = learning_rate(TASK_LOSSES[kind].format(c), make_task(kind), **QUICK, **options)
    m = report.measured
    assert m.matched == pytest.approx(m.untuned, rel=1e-9)
    assert m.boosted == pytest.approx(m.loss, rel=1e-9)
    np.testing.assert_allclose(report.ratios, c, rtol=1e-9)
    assert [rate.mean for rate in report.effective_rate] == pytest.approx([c] * len(report.steps), rel=1e-9)
    assert report.step_size.mean == pytest.approx(report.gain.mean)
    assert report.shape.mean == pytest.approx(0.0, abs=1e-9)
    assert report.interaction.mean == pytest.approx(0.0, abs=1e-9)


def test_all_step_size() -> None:
    report = learning_rate(TASK_LOSSES["multiclass"].format(8.0), make_task(), **QUICK)
    assert report.verdict == "all step size"
    assert (report.share.mean, report.share.low, report.share.high) == pytest.approx((1.0, 1.0, 1.0))
    assert "step size explains 100 % [100, 100] of that" in report.statement
    assert report.shape.mean == report.shape.low == report.shape.high == 0.0


def test_no_step_size() -> None:
    """At first the gradients are those of cross-entropy in every parameter, so that nothing is rescaled."""
    report = learning_rate(PURE_SHAPE, indifferent_task(), **{**QUICK, "learning_rate": 0.03, "steps": 20, "seeds": 10})
    assert [row[0] for row in report.ratios] == pytest.approx([1.0] * 10, rel=1e-12)
    assert report.measured.matched == report.measured.loss
    assert report.measured.boosted == report.measured.untuned
    assert report.verdict == "no step size"
    assert (report.share.mean, report.share.low, report.share.high) == (0.0, 0.0, 0.0)
    assert report.step_size.mean == report.step_size.high == 0.0
    assert report.shape.mean == pytest.approx(report.gain.mean)
    assert report.gain.low > 0.01
    assert "step size explains 0 % [0, 0] of that" in report.statement


@pytest.mark.parametrize("loss", ["cross-entropy", TASK_LOSSES["multiclass"].format(0.1)])
def test_no_gain(loss: str) -> None:
    report = learning_rate(loss, make_task(), **QUICK)
    assert report.verdict == "no gain"
    assert report.gain.mean <= 0
    assert "than that of untuned cross-entropy" in report.statement or "distinguishable" in report.statement


def test_a_scaled_loss_has_the_same_shape() -> None:
    """A factor moves the gain to the step size and leaves the matched training as it is."""
    one, four = (learning_rate(f"-{c!r}*y*log(f) + {c!r}*y*square(f)", make_task(), **QUICK) for c in (1.0, 4.0))
    assert four.measured.matched == pytest.approx(one.measured.matched, rel=1e-9)
    np.testing.assert_allclose(np.array(four.ratios)[:, 0], 4 * np.array(one.ratios)[:, 0], rtol=1e-9)


# The numbers behind it


def test_the_evaluation_beside_it() -> None:
    """The untuned and the tuned columns are those of `evaluate`, on the same seeds."""
    report = learning_rate("focal", make_task(), **QUICK)
    rows = {row.role: row for row in report.evaluation.rows}
    assert report.measured.untuned == rows["untuned reference"].values
    assert report.measured.tuned == rows["tuned reference"].values
    assert report.measured.tuned_loss == rows["loss"].values
    assert report.tuned_gain.mean == pytest.approx(-rows["loss"].difference.mean)


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.05}])
def test_four_trainings_against_torch(options: dict[str, float]) -> None:
    """Each cell of the table, trained by torch's own SGD on the loss times its factor."""
    task, focal, plain = make_task(double=True), get("focal"), nn.CrossEntropyLoss()
    report = learning_rate("focal", task, **QUICK, **options)
    assert task.test is not None
    for place, seed in enumerate(report.evaluation.protocol.reported_seeds[:2]):
        rho = report.ratios[place][0]
        for name, loss, factor in (("boosted", plain, rho), ("matched", focal, 1 / rho), ("loss", focal, 1.0)):
            shared: dict[str, Any] = {"seed": seed, "steps": 30, "batch_size": 20, "learning_rate": 0.02}
            model = fit(task, Scaled(loss, factor), **shared, **options)
            wrong = (model(task.test.x).argmax(1) != task.test.y).double().mean()
            assert getattr(report.measured, name)[place] == pytest.approx(float(wrong))


class Scaled(nn.Module):
    """A loss times a factor."""

    def __init__(self, loss: nn.Module, factor: float) -> None:
        super().__init__()
        self.loss, self.factor = loss, factor

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        return self.factor * self.loss(outputs, target)


def test_effective_rate_against_autograd() -> None:
    """‖∇M‖ / ‖∇CE‖ of the model that `fit` trains for so many steps, on the batch that comes next."""
    task = make_task()
    report = learning_rate("focal", task, **QUICK)
    seed, focal = report.evaluation.protocol.reported_seeds[1], get("focal")
    assert report.steps == (0, 1, 2, 5, 10, 20, 30)
    size, count = 20, len(task.train)
    for place, step in enumerate(report.steps[1:], 1):
        model = fit(task, "focal", seed=seed, steps=step, batch_size=size, learning_rate=0.02)
        generator = torch.Generator().manual_seed(seed)
        epochs = [torch.randperm(count, generator=generator).view(-1, size) for _ in range(8)]
        index = torch.cat(epochs)[step]
        lengths = []
        for loss in (focal, nn.CrossEntropyLoss()):
            value = loss(model(task.train.x[index]), task.train.y[index])
            slopes = torch.autograd.grad(value, list(model.parameters()))
            lengths.append(math.sqrt(sum(float(s.square().sum()) for s in slopes)))
        assert report.ratios[1][place] == pytest.approx(lengths[0] / lengths[1], rel=1e-8)


def test_parts_add_up() -> None:
    report = learning_rate("mae", make_task("regression"), **QUICK)
    assert report.step_size.mean + report.shape.mean == pytest.approx(report.gain.mean)
    m = report.measured
    gains = np.subtract(m.untuned, m.loss)
    assert report.gain.mean == pytest.approx(gains.mean())
    assert report.share.mean == pytest.approx(report.step_size.mean / gains.mean())
    assert report.tuning_gain.mean == pytest.approx(np.subtract(m.untuned, m.tuned).mean())


def test_diverged_trainings_count_as_the_worst() -> None:
    """The step of a huge loss explodes; the same loss rescaled is the squared error."""
    report = learning_rate("1e12*square(y - f)", make_task("regression"), **QUICK)
    assert all(report.diverged.loss)
    assert not any(report.diverged.matched + report.diverged.untuned)
    assert min(report.measured.loss) >= max(report.measured.untuned)
    assert report.measured.matched == pytest.approx(report.measured.untuned)
    assert "trainings diverged" in str(report)
    assert report.verdict == "no gain"
    assert math.isnan(report.ratios[0][-1])
    report.figure()


def test_any_module_and_stateful_models() -> None:
    quick = {**QUICK, "seeds": 2}
    torch_own = learning_rate(nn.CrossEntropyLoss(label_smoothing=0.1), make_task(batch_norm=True), **quick)
    own = learning_rate("label-smoothing", make_task(batch_norm=True), **quick)
    assert torch_own.measured == own.measured
    np.testing.assert_allclose(torch_own.ratios, own.ratios, rtol=1e-9)


def test_several_processes_and_repeats() -> None:
    task, quick = make_task(), {**QUICK, "seeds": 2, "steps": 10}
    lines: list[str] = []
    first = learning_rate("focal", task, **quick, progress=lines.append)
    assert lines[-1] == "step size and shape of focal: seed 2 of 2"
    assert learning_rate("focal", task, **quick, n_jobs=2) == first


# Forms


def test_it_prints() -> None:
    report = learning_rate("focal", make_task(), **QUICK)
    text = str(report)
    assert text.startswith(f"focal: {report.verdict}. At learning rate 0.02 its error rate is ")
    for line in ("  step size ", "  shape ", "tuned cross-entropy ", "step 30 ", "gain of the loss, both tuned"):
        assert f"\n{line}" in text
    assert report.verdict in VERDICTS


def test_one_seed_decides_nothing() -> None:
    report = learning_rate("focal", make_task(), **{**QUICK, "seeds": 1})
    assert report.verdict == "undecided"
    assert "one seed decides nothing" in str(report)
    report.figure()


def test_dataframe() -> None:
    pytest.importorskip("pandas")
    report = learning_rate("focal", make_task(), **QUICK)
    table = report.to_dataframe()
    assert list(table["seed"]) == list(report.evaluation.protocol.reported_seeds)
    assert list(table["boosted"]) == list(report.measured.boosted)
    assert list(table["initial_ratio"]) == [row[0] for row in report.ratios]
    assert len(report.to_dataframe(over_training=True)) == 4 * len(report.steps)


WAVE = np.array([0.1, -0.1] * 4)
CASES: dict[str, tuple[Any, ...]] = {  # untuned, boosted, matched, loss; numbers are the same for all eight seeds
    "all step size": (0.5, 0.3, 0.5, 0.3),
    "no step size": (0.5, 0.5, 0.3, 0.3),
    "step size and shape": (0.5, 0.4, 0.4, 0.3),
    "step size, against its shape": (0.5, 0.2, 0.6, 0.3),
    "shape, against its step size": (0.5, 0.6, 0.2, 0.3),
    "step size, perhaps shape": (0.5 + WAVE, 0.3 + WAVE, 0.49, 0.29),
    "shape, perhaps step size": (0.5 + WAVE, 0.49, 0.3 + WAVE, 0.29),
    "undecided": (0.5, 0.45 + 2 * WAVE, 0.45 - 2 * WAVE, 0.4),
    "no gain": (0.5, 0.4, 0.6, 0.5),
}


@pytest.mark.parametrize("verdict", CASES)
def test_verdicts(verdict: str) -> None:
    columns = [tuple(float(v) for v in np.broadcast_to(cell, 8)) for cell in CASES[verdict]]
    like = learning_rate("focal", make_task(), **{**QUICK, "seeds": 1, "steps": 1})
    report = replace(like, measured=Measured(*columns, *columns[:2]))
    assert report.verdict == verdict
    assert f": {verdict}. At learning rate" in report.statement
    assert set(CASES) == set(VERDICTS)


def test_checkpoints() -> None:
    assert checkpoints(1) == (0, 1)
    assert checkpoints(10) == (0, 1, 2, 5, 10)
    assert checkpoints(300) == (0, 1, 2, 5, 10, 20, 50, 100, 200, 300)
    assert checkpoints(2000)[-2:] == (1000, 2000)


@pytest.mark.parametrize(
    ("loss", "options", "error", "said"),
    [
        ("focal", {"seeds": 0}, EvaluationError, "seeds is a whole number"),
        ("nothing-known", {}, LossError, "unknown loss"),
        ("sign(f)*y", {}, LossError, "no finite gradient at the initial weights"),
    ],
)
def test_errors(loss: str, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        learning_rate(loss, make_task(), **{**QUICK, **options})


def test_without_test_data() -> None:
    with pytest.raises(TaskError, match="no test data"):
        learning_rate("focal", make_task(test=False), **QUICK)
