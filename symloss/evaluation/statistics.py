"""Means with confidence intervals over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
"""Probability with which an interval holds the mean."""


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % confidence interval; the bounds are NaN where one value alone gives none.

    Args:
        mean: Mean of the values.
        low: Lower bound.
        high: Upper bound.
    """

    mean: float
    low: float
    high: float

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return not math.isnan(self.low)

    def text(self, write: Callable[[float], str] = "{:.4g}".format) -> str:
        """The mean and, if there is one, its interval in brackets, each number as `write` writes it."""
        return f"{write(self.mean)} [{write(self.low)}, {write(self.high)}]" if self.bounded else write(self.mean)


def estimate(values: Sequence[float]) -> Estimate:
    r"""Mean and Student's interval: m ± t s / √n.

    s² = Σ (vᵢ − m)² / (n − 1), and t is the 0.975 quantile of Student's distribution with n − 1 degrees of freedom.
    Student's t rather than the bootstrap: with the ten or so seeds of an evaluation the percentiles of resampled means
    cover less than they claim, and the interval is the same in every run.

    Args:
        values: n finite numbers, n ≥ 1.

    Returns:
        The estimate. Values that are all equal give an interval of no width.

    Source: Student, *The Probable Error of a Mean*, Biometrika 6, 1908.
    """
    from scipy.special import stdtrit

    count = len(values)
    mean = sum(values) / count
    if count == 1:
        return Estimate(mean, math.nan, math.nan)
    if min(values) == max(values):
        return Estimate(values[0], values[0], values[0])
    deviation = math.sqrt(sum((v - mean) * (v - mean) for v in values) / (count - 1))
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * deviation / math.sqrt(count)
    return Estimate(mean, mean - half, mean + half)


def paired(values: Sequence[float], reference: Sequence[float]) -> Estimate:
    """Mean and interval of the differences vᵢ − rᵢ, each of one seed.

    Args:
        values: n finite numbers.
        reference: n finite numbers of the same seeds.

    Returns:
        The estimate: below zero where `values` are lower.
    """
    return estimate([v - r for v, r in zip(values, reference, strict=True)])


def compared(difference: Estimate) -> str:
    """What a difference to a reference says, lower being better.

    Returns:
        `"better"` or `"worse"` if its interval leaves out zero, `"not distinguishable"` if not, and `"undecided"` if
        there is no interval.
    """
    if not difference.bounded:
        return "undecided"
    if difference.high < 0:
        return "better"
    return "worse" if difference.low > 0 else "not distinguishable"
