"""Reports to be drawn, each made once."""

from __future__ import annotations

from functools import cache

import torch

from symloss import analysis
from symloss.analysis import Calibration, Explanation, LearningRateReport, SharpnessComparison, TrainingCurves
from tests.evaluation.helpers import make_task


@cache
def learning_rate_report() -> LearningRateReport:
    """Of the focal loss on a small task."""
    return analysis.learning_rate(
        "focal", make_task(), seeds=3, tuning_seeds=1, steps=20, batch_size=20, rates=(0.02, 0.2, 2.0)
    )


@cache
def curves() -> TrainingCurves:
    """Of the focal loss on a small task."""
    return analysis.training_curves(make_task(), {"a": "focal"}, rates={"a": 0.5}, seeds=3, steps=20, batch_size=20)


@cache
def calibrated() -> Calibration:
    """Of logits drawn at random."""
    generator = torch.Generator().manual_seed(0)
    return analysis.calibration(torch.randn(200, 3, generator=generator), torch.arange(200) % 3)


@cache
def compared() -> SharpnessComparison:
    """The minima of two losses on a small task."""
    return analysis.compare_sharpness(
        make_task(), {"a": "focal", "b": "mae"}, seeds=3, tuning_seeds=1, steps=20, batch_size=20, rates=(0.2, 2.0),
        density_steps=8,
    )  # fmt: skip


@cache
def explained(kind: str) -> Explanation:
    """A loss on a small task of this kind."""
    loss = "square(y - f) + 0.5*abs(y - f)" if kind == "regression" else "abs(log(1.2*y*f))"
    return analysis.explain(
        loss, make_task(kind), seeds=3, tuning_seeds=1, steps=20, batch_size=20, rates=(0.02, 0.2)
    )  # fmt: skip
