"""Training curves: every point is a shorter training."""

from __future__ import annotations

from typing import Any

import pytest

from symloss.analysis import training_curves
from symloss.errors import EvaluationError, LossError, TaskError
from symloss.evaluation import evaluate, fit
from tests.evaluation.helpers import make_task

QUICK: dict[str, Any] = {"seeds": 3, "steps": 30, "batch_size": 20, "learning_rate": 0.1}


def test_points_against_torch() -> None:
    """The metric of the model that `fit` trains for so many steps, at the rate of each loss."""
    task = make_task()
    assert task.test is not None
    curves = training_curves(task, {"a": "focal"}, rates={"a": 0.5}, **QUICK)
    assert curves.steps == (1, 2, 5, 10, 20, 30)
    assert list(curves.values) == ["a", "untuned cross-entropy"]
    assert curves.rates == {"a": 0.5, "untuned cross-entropy": 0.1}
    for seed, row in zip(curves.protocol.reported_seeds, curves.values["a"], strict=True):
        for step, value in zip(curves.steps, row, strict=True):
            model = fit(task, "focal", seed=seed, steps=step, batch_size=20, learning_rate=0.5)
            assert value == pytest.approx(float((model(task.test.x).argmax(1) != task.test.y).double().mean()))


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_the_end_is_what_evaluate_says(kind: str) -> None:
    task, loss = make_task(kind), "mae"
    curves = training_curves(task, loss, momentum=0.5, **QUICK)
    rows = evaluate(task, loss, tune_lr=False, tuning_seeds=1, rates=[0.1], momentum=0.5, **QUICK).rows
    for row in rows:
        if row.role != "tuned reference":
            assert tuple(seed[-1] for seed in curves.values[row.name]) == row.counted
            assert curves.estimates(row.name)[-1] == row.score
    assert "test samples of blobs after 30 steps" in str(curves)


def test_a_loss_that_is_the_task_loss_needs_no_reference() -> None:
    curves = training_curves(make_task(), "cross-entropy", **{**QUICK, "seeds": 1})
    assert list(curves.values) == ["cross-entropy"]
    assert not curves.estimates("cross-entropy")[0].bounded
    curves.figure()


def test_diverged_models_count_as_the_worst() -> None:
    curves = training_curves(make_task("regression"), {"huge": "1e12*square(y - f)"}, **QUICK)
    worst = max(v for rows in curves.values.values() for row in rows for v in row)
    assert all(row[-1] == worst for row in curves.values["huge"])


def test_several_processes() -> None:
    task = make_task()
    assert training_curves(task, "focal", **QUICK, n_jobs=2) == training_curves(task, "focal", **QUICK)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"rates": {"other": 0.1}}, EvaluationError, "rates names 'other', which is no loss here"),
        ({"rates": {"focal": -1.0}}, EvaluationError, "a learning rate lies between"),
        ({"steps": 0}, EvaluationError, "steps is a whole number"),
        ({"seeds": 0}, EvaluationError, "seeds is a whole number"),
    ],
)
def test_errors(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        training_curves(make_task(), "focal", **{**QUICK, **options})


def test_what_cannot_be_trained() -> None:
    with pytest.raises(TaskError, match="must be a Task"):
        training_curves("wine", "focal", **QUICK)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="has no test data"):
        training_curves(make_task(test=False), "focal", **QUICK)
    with pytest.raises(LossError, match="unknown loss"):
        training_curves(make_task(), "nothing-known", **QUICK)
