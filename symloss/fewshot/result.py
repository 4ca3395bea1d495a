"""What is measured over tasks: a metric for each, its mean and the 95 % interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symloss.evaluation.statistics import Estimate, estimate, paired

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Scores:
    """A metric over tasks.

    Args:
        values: One for each task **[T]**.
        metric: `"accuracy"`, or `"mean squared error"`.
        steps: Inner steps.
    """

    values: Values
    metric: str
    steps: int

    @property
    def estimate(self) -> Estimate:
        """Mean and Student's 95 % interval over tasks."""
        return estimate(self.values.tolist())

    @property
    def mean(self) -> float:
        """Mean over tasks."""
        return self.estimate.mean

    @property
    def interval(self) -> tuple[float, float]:
        """Bounds of the 95 % interval of the mean; NaN for a single task."""
        return self.estimate.low, self.estimate.high

    def minus(self, other: Scores) -> Estimate:
        """Mean and interval of the differences to another learner on the same tasks."""
        return paired(self.values.tolist(), other.values.tolist())

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        low, high = self.interval
        return {
            "metric": self.metric, "steps": self.steps, "tasks": len(self.values), "mean": self.mean,
            "low": low if np.isfinite(low) else None, "high": high if np.isfinite(high) else None,
            "values": self.values.tolist(),
        }  # fmt: skip

    def __str__(self) -> str:
        return f"{self.metric} {text(self.estimate, self.metric)}, {len(self.values)} tasks, {self.steps} inner steps"

    __repr__ = __str__


@dataclass(frozen=True, eq=False, repr=False)
class Curve:
    """A metric over tasks after each number of inner steps.

    Args:
        values: **[steps + 1, T]**.
        metric: `"accuracy"`, or `"mean squared error"`.
        trained: Inner steps that the learner was trained with.
    """

    values: Values
    metric: str
    trained: int

    def estimates(self) -> list[Estimate]:
        """Mean and interval after each number of steps."""
        return [estimate(row.tolist()) for row in self.values]

    def __str__(self) -> str:
        rows = [f"{step} steps: {text(e, self.metric)}" for step, e in enumerate(self.estimates())]
        return "\n".join([f"{self.metric}, {self.values.shape[1]} tasks", *rows])

    __repr__ = __str__


def text(found: Estimate, metric: str) -> str:
    """A mean and its interval: accuracies in per cent."""
    return found.text((lambda v: f"{100 * v:.2f} %") if metric == "accuracy" else "{:.4g}".format)
