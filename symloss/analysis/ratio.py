"""Ratio of two means that are measured on the same seeds, with its confidence interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from symloss.evaluation.statistics import CONFIDENCE, Estimate


def ratio(part: Sequence[float], whole: Sequence[float]) -> Estimate:
    r"""Ratio of means x̄ / ḡ with Fieller's interval: every r with |x̄ − r ḡ| ≤ t s(x − r g) / √n.

    t is the 0.975 quantile of Student's distribution with n − 1 degrees of freedom. The interval is bounded if and only
    if ḡ is itself distinguishable from zero.

    Args:
        part: x, n finite numbers.
        whole: g, n finite numbers of the same seeds.

    Returns:
        The estimate; its bounds are NaN where there is no bounded interval, the ratio too where ḡ = 0.

    Source: Fieller, *Some Problems in Interval Estimation*, J. R. Stat. Soc. B 16, 1954.
    """
    from scipy.special import stdtrit

    x, g = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    n, top, bottom = len(x), float(x.mean()), float(g.mean())
    mean = top / bottom if bottom else math.nan
    if n == 1 or not bottom:
        return Estimate(mean, math.nan, math.nan)
    r = x - mean * g  # the rest has mean zero: r = mean + d solves a d² + 2 b d − c = 0
    squared = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) ** 2 / n
    a = bottom**2 - squared * float(g.var(ddof=1))
    b = squared * float(((r - r.mean()) * (g - bottom)).sum() / (n - 1))
    c = squared * float(r.var(ddof=1))
    if a <= 0:
        return Estimate(mean, math.nan, math.nan)
    half = math.sqrt(b * b + a * c)
    return Estimate(mean, mean + (-b - half) / a, mean + (-b + half) / a)
