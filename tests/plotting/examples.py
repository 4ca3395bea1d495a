"""Reports to be drawn, each made once."""

from __future__ import annotations

from functools import cache

from symloss import analysis
from symloss.analysis import LearningRateReport
from tests.evaluation.helpers import make_task


@cache
def learning_rate_report() -> LearningRateReport:
    """Of the focal loss on a small task."""
    return analysis.learning_rate(
        "focal", make_task(), seeds=3, tuning_seeds=1, steps=20, batch_size=20, rates=(0.02, 0.2, 2.0)
    )
