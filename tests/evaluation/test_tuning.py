"""One way to choose a learning rate: what `evaluate` chooses is what `tuned_rate` says."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from symloss.discovery.executor import Executor
from symloss.errors import EvaluationError, LossError
from symloss.evaluation import evaluate, fit, tuned_rate
from symloss.evaluation.protocol import Protocol
from symloss.evaluation.tuning import tune
from symloss.losses import SymbolicLoss
from tests.evaluation.helpers import make_task

RATES = (0.01, 0.1, 1.0, 10.0)
QUICK: dict[str, Any] = {"tuning_seeds": 2, "steps": 30, "batch_size": 20, "rates": RATES}


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_evaluate_chooses_the_same(kind: str) -> None:
    task = make_task(kind)
    lines: list[str] = []
    found = evaluate(task, "mae", seeds=2, momentum=0.5, **QUICK)
    assert tuned_rate(task, "mae", momentum=0.5, progress=lines.append, **QUICK) == found.rows[0].learning_rate
    assert [line.split(" (")[0] for line in lines] == [
        f"tuning mae: 4 learning rates, seed {k} of 2" for k in (1, 2)
    ]  # fmt: skip


def test_against_models_trained_by_torch() -> None:
    """The lowest mean validation metric of models trained one by one."""
    task = make_task("regression")
    seeds = Protocol(**QUICK).rate_seeds

    def mean(rate: float) -> float:
        models = [fit(task, "log-cosh", seed=s, steps=30, batch_size=20, learning_rate=rate) for s in seeds]
        return float(np.mean([task.metric(model(task.valid.x), task.valid.y) for model in models]))

    assert tuned_rate(task, "log-cosh", **{**QUICK, "rates": RATES[:3]}) == min(RATES[:3], key=mean)


def test_of_equals_the_nearest_to_the_untuned_rate_then_the_smallest() -> None:
    flat = SymbolicLoss("sign(y - f)")  # its gradient is zero: every rate gives the untrained model
    assert tuned_rate(make_task(), flat, learning_rate=0.3, **QUICK) == 0.1
    assert tuned_rate(make_task(), flat, learning_rate=10**-0.5, **QUICK) == 0.1


class DivergesAtOnce(nn.Module):
    """Cross-entropy where weights are small; else what drives every output to infinity."""

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(outputs, target)
        return loss if bool(outputs.abs().max() < 20) else -outputs.square().square().sum()


def test_a_rate_at_which_a_seed_diverges_comes_last() -> None:
    task, protocol = make_task(), Protocol(**QUICK)
    with Executor(task) as executor:
        found = tune(executor, protocol, {"a": DivergesAtOnce()})["a"]
    diverged = [sum(not math.isfinite(row[k]) for row in found.values) for k in range(len(RATES))]
    assert diverged[-1] == 2
    assert diverged[RATES.index(found.rate)] == min(diverged) == 0
    assert found.at_edge == (found.rate in (RATES[0], RATES[-1]))


def test_leaves_no_trace() -> None:
    state = torch.get_rng_state()
    tuned_rate(make_task(), "focal", **QUICK)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("loss", "options", "error", "said"),
    [
        ("focall", {}, LossError, "did you mean 'focal'"),
        ("huber", {}, LossError, "is for regression"),
        ("focal", {"tuning_seeds": 0}, EvaluationError, "tuning_seeds is a whole number"),
        ("focal", {"rates": []}, EvaluationError, "at least one learning rate"),
    ],
)
def test_errors(loss: str, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        tuned_rate(make_task(), loss, **{**QUICK, **options})
