"""Sharpness of minima, compared: against Hessians in closed form, and losses that are the same."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from symloss.analysis import SharpnessComparison, compare_sharpness
from symloss.analysis.sharpness_report import QUANTITIES
from symloss.errors import EvaluationError, LossError, TaskError
from symloss.evaluation import evaluate, fit
from symloss.tasks import Task
from tests.evaluation.helpers import CLASSES, FEATURES, make_task

QUICK: dict[str, Any] = {
    "seeds": 3, "tuning_seeds": 1, "steps": 30, "batch_size": 20, "learning_rate": 0.1, "rates": (0.01, 0.1),
}  # fmt: skip
REFERENCE = "tuned cross-entropy"


def linear_task(kind: str) -> Task:
    """Data of `make_task` under a linear model, whose Hessian is known."""
    like = make_task(kind)
    assert like.test is not None
    outputs = CLASSES if kind == "multiclass" else 1
    parts = [(part.x, part.y) for part in (like.train, like.valid, like.test)]
    return Task(lambda: nn.Linear(FEATURES, outputs), *parts, kind=kind, name="line").to(dtype=torch.float64)


def inputs(x: Tensor) -> np.ndarray:
    """With a column of ones for the bias."""
    return np.hstack([x.numpy(), np.ones((len(x), 1))])


def test_squared_error_of_a_line() -> None:
    """H = 2 XᵀX / N whatever the weights, so that no loss is flatter than another; SAM is ρ‖g‖ + ½ρ² gᵀHg / ‖g‖²."""
    task = linear_task("regression")
    found = compare_sharpness(task, "abs(y - f)", probes=400, radius=0.3, **QUICK)
    x, y = inputs(task.train.x), task.train.y.numpy()
    hessian = 2 * x.T @ x / len(x)
    for row in found.rows:
        np.testing.assert_allclose(row.values("largest eigenvalue"), np.linalg.eigvalsh(hessian)[-1], rtol=1e-6)
        for one in row.sharpness:
            assert one is not None
            assert abs(one.trace - np.trace(hessian)) < 4 * one.trace_error
        for seed, sam in zip(found.protocol.reported_seeds, row.values("SAM"), strict=True):
            loss = "abs(y - f)" if row.role == "loss" else "squared-error"
            line = fit(task, loss, seed=seed, steps=30, batch_size=20, learning_rate=row.learning_rate)
            w = np.append(line.weight.detach().numpy(), line.bias.detach().numpy())
            g = 2 * x.T @ (x @ w - y[:, 0]) / len(x)
            expected = 0.3 * np.linalg.norm(g) + 0.5 * 0.09 * g @ hessian @ g / (g @ g)
            assert sam == pytest.approx(expected, rel=1e-6)
    assert abs(found.difference("abs(y - f)").mean) < 1e-6
    assert abs(found.difference("abs(y - f)", "trace").mean) < 1e-6  # the same random signs
    assert found.ratio("abs(y - f)", "trace").mean == pytest.approx(1.0)
    assert not found.normalised
    assert "nothing to normalise" in str(found)


def test_cross_entropy_of_a_line() -> None:
    """H = Σ (diag p − p pᵀ) ⊗ x xᵀ / N, at z/s it is 1/s² of that, in the model that torch trains."""
    task = linear_task("multiclass")
    found = compare_sharpness(task, {"focal": "focal"}, part="test", **QUICK)
    assert task.test is not None
    x = inputs(task.test.x)
    for row in found.rows:
        loss = "focal" if row.role == "loss" else "cross-entropy"
        for number, seed in enumerate(found.protocol.reported_seeds):
            line = fit(task, loss, seed=seed, steps=30, batch_size=20, learning_rate=row.learning_rate)
            z = line(task.test.x).detach()
            scale = float((z - z.mean(1, keepdim=True)).square().mean().sqrt())
            for normalised, s in ((False, 1.0), (True, scale)):
                p = (z / s).softmax(1).numpy()
                blocks = np.einsum("nc,cd->ncd", p, np.eye(CLASSES)) - np.einsum("nc,nd->ncd", p, p)
                hessian = (
                    np.einsum("ncd,ni,nj->cidj", blocks, x, x).reshape(p.shape[1] * x.shape[1], -1) / len(x) / s**2
                )
                value = row.values("largest eigenvalue", normalised)[number]
                assert value == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-5)
    assert found.samples == len(task.test)


@pytest.fixture(scope="module")
def same() -> SharpnessComparison:
    return compare_sharpness(make_task(), {"a": "ce", "again": "ce", "focal": "focal"}, **QUICK)


def test_the_same_loss_twice_differs_by_exactly_nothing(same: SharpnessComparison) -> None:
    assert [row.role for row in same.rows] == ["tuned reference", "loss", "loss"]
    assert same.reference.name == "a"
    for quantity in QUANTITIES:
        for normalised in (False, True):
            found = same.difference("again", quantity, normalised)
            assert (found.mean, found.low, found.high) == (0.0, 0.0, 0.0)
            assert same.verdict("again", quantity, normalised) == "not distinguishable"
    assert same.difference("focal").mean != 0


def test_means_and_paired_differences(same: SharpnessComparison) -> None:
    focal, reference = (np.array(same[name].values("trace", True)) for name in ("focal", "a"))
    assert same.estimate("focal", "trace", True).mean == pytest.approx(focal.mean())
    found = same.difference("focal", "trace", True)
    gaps = focal - reference
    half = 4.302653 * gaps.std(ddof=1) / math.sqrt(3)  # Student's t of two degrees of freedom
    assert (found.mean, found.high) == pytest.approx((gaps.mean(), gaps.mean() + half), rel=1e-5)
    assert same.ratio("focal", "trace", True).mean == pytest.approx(focal.mean() / reference.mean())


def test_rates_are_those_of_an_evaluation_and_can_be_given(same: SharpnessComparison) -> None:
    rows = evaluate(make_task(), "focal", **QUICK).rows
    assert same["focal"].learning_rate == rows[0].learning_rate
    lines: list[str] = []
    given = compare_sharpness(
        make_task(), {"focal": "focal"}, chosen={"focal": 0.1, REFERENCE: 0.01}, progress=lines.append, **QUICK
    )
    assert [row.learning_rate for row in given.rows] == [0.1, 0.01]
    assert not any(line.startswith("tuning") for line in lines)
    assert len(lines) == 6


def test_its_forms(same: SharpnessComparison) -> None:
    text = str(same)
    assert "focal: " in text
    assert "largest eigenvalue" in text
    assert "with logits brought to one scale" in text
    numbers = json.loads(json.dumps(same.to_json(), allow_nan=False))
    assert numbers["focal"]["normalised logits"]["trace"]["values"] == list(same["focal"].values("trace", True))
    pytest.importorskip("pandas")
    assert len(same.to_dataframe()) == 3 * 2 * 5 * 3
    with pytest.raises(EvaluationError, match="there is no row 'b'"):
        same["b"]


class Explosive(nn.Module):
    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        return -outputs.square().square().sum()


def test_models_that_diverge_have_no_minimum() -> None:
    for task in (make_task(), make_task(batch_norm=True)):  # trained by the engine, and by torch
        found = compare_sharpness(task, {"bad": Explosive()}, **{**QUICK, "rates": (10.0,)})
        assert found["bad"].sharpness == (None,) * 3
        assert found.verdict("bad") == "undecided"
        assert math.isnan(found.estimate("bad").mean)
        assert "diverged and the seed is left out: bad 3 of 3" in str(found).replace("\n", " ")


def test_one_seed_decides_nothing() -> None:
    found = compare_sharpness(make_task("binary"), "mae", **{**QUICK, "seeds": 1})
    assert found.verdict("mae") == "undecided"
    assert "it takes two seeds" in str(found)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"part": "all"}, TaskError, "part is train, valid, test"),
        ({"chosen": {"other": 0.1}}, EvaluationError, "chosen names 'other'"),
        ({"chosen": {"focal": -1.0}}, EvaluationError, "a learning rate lies between"),
        ({"seeds": 0}, EvaluationError, "seeds is a whole number"),
        ({"top_k": 0}, EvaluationError, "top_k is a whole number"),
        ({"radius": -1.0}, EvaluationError, "radius is a positive number"),
    ],
)
def test_errors(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        compare_sharpness(make_task(), "focal", **{**QUICK, **options})


def test_what_cannot_be_trained() -> None:
    with pytest.raises(TaskError, match="must be a Task"):
        compare_sharpness("wine", "focal", **QUICK)  # type: ignore[arg-type]
    with pytest.raises(LossError, match="unknown loss"):
        compare_sharpness(make_task(), "nothing-known", **QUICK)
    with pytest.raises(TaskError, match="part is"):
        compare_sharpness(make_task(test=False), "focal", part="test", **QUICK)
