"""Statistics of methods over search seeds, training seeds and tasks: intervals, signed ranks, Holm, mean ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from symloss.evaluation.statistics import CONFIDENCE, Estimate

RESAMPLES = 20_000
FEWEST_SEARCHES = 4
"""From how many searches on an interval holds the truth as often as it says."""
LEVEL = 1 - CONFIDENCE
"""Below which a corrected p counts as a difference."""
_DIGITS = 9  # numbers that differ in later digits alone are ties
_ZERO = 1e-12  # rounding of metrics that are the same


def bootstrap(values: Sequence[Sequence[float]], resamples: int = RESAMPLES) -> Estimate:
    r"""Mean over searches and training seeds, and its 95 % interval by resampling both.

    Each resample draws S rows and, apart from that, R columns with replacement, because every search is measured with
    the same R training seeds (the "pigeonhole" bootstrap of crossed factors). The bounds are the quantiles at α' and
    1 − α' of the resampled means, with α' = Φ(−√(n / (n − 1)) t), t the 0.975 quantile of Student's distribution with
    n − 1 degrees of freedom and n the number of rows (of columns, where there is one row): plain percentiles
    (α' = 0.025) are too narrow for the few searches of a comparison. On normal numbers the interval holds the truth in
    94 to 98 % of cases from `FEWEST_SEARCHES` rows on (plain percentiles: 82 to 93 %), but where searches differ much
    more than training seeds do, in only 90 % with three rows and 79 % with two.

    Args:
        values: Numbers **[S, R]**: test metric, or its difference to a reference, of search s from training seed r.
        resamples: How many resamples; they are the same in every call.

    Returns:
        The estimate, without bounds where there is one value alone. With one row, only training seeds are resampled.

    Source: Owen, *The Pigeonhole Bootstrap*, Ann. Appl. Stat. 1, 2007; Hesterberg, *What Teachers Should Know About
    the Bootstrap*, Am. Stat. 69, 2015 (the expanded percentiles).
    """
    table = np.asarray(values, np.float64)
    mean = float(table.mean())
    count = table.shape[0] if table.shape[0] > 1 else table.shape[1]
    if count == 1:
        return Estimate(mean, math.nan, math.nan)
    low, high = np.quantile(resampled_means(table, resamples), [tail := _tail(count), 1 - tail])
    return Estimate(mean, float(low), float(high))


def resampled_means(table: NDArray[np.float64], resamples: int) -> NDArray[np.float64]:
    """Means of resamples **[resamples]** of a table **[S, R]** whose rows and columns are drawn with replacement."""
    rows, columns = _shares(table.shape, resamples)
    means: NDArray[np.float64] = np.einsum("bs,sr,br->b", rows, table, columns, optimize=False)
    return means


@lru_cache(16)
def _shares(shape: tuple[int, ...], resamples: int) -> tuple[NDArray[np.float64], ...]:
    """By what each row and each column counts in each resample, **[resamples, S]** and **[resamples, R]**."""
    rng = np.random.default_rng(0)
    return tuple(rng.multinomial(n, np.full(n, 1 / n), resamples) / n for n in shape)


def _tail(count: int) -> float:
    from scipy.special import ndtr, stdtrit

    quantile: float = stdtrit(count - 1, (1 + CONFIDENCE) / 2)
    return float(ndtr(-math.sqrt(count / (count - 1)) * quantile))


def signed_rank(differences: Sequence[float]) -> float:
    r"""Two-sided p of Wilcoxon's signed-rank test, exact, also with ties.

    W = Σ rank(|dᵢ|) over dᵢ > 0, mean ranks for ties, zeros left out; under the hypothesis all 2ⁿ choices of signs are
    equally likely, and p = min(1, 2 min(P(W ≤ w), P(W ≥ w))).

    Args:
        differences: Paired differences.

    Returns:
        p, 1 where all differences are zero, NaN where there are none. At least 2 / 2ⁿ for n differences.

    Source: Wilcoxon, *Individual Comparisons by Ranking Methods*, Biometrics Bulletin 1, 1945.
    """
    if not len(differences):
        return math.nan
    sizes = [float(f"{d:.{_DIGITS}g}") for d in differences if abs(d) > _ZERO]
    doubled = [round(2 * rank) for rank in ranks([abs(d) for d in sizes])]  # whole numbers, also of tied ranks
    ways = [1] + [0] * sum(doubled)  # of reaching each sum
    for rank in doubled:
        ways = [n + (ways[total - rank] if total >= rank else 0) for total, n in enumerate(ways)]
    found = sum(rank for rank, d in zip(doubled, sizes, strict=True) if d > 0)
    below, above = sum(ways[: found + 1]), sum(ways[found:])
    return min(1.0, 2 * min(below, above) / 2.0 ** len(sizes))


def holm(values: Sequence[float]) -> list[float]:
    """p-values corrected for their number m, so that one false alarm among all has probability 0.05.

    In rising order p̃₍ᵢ₎ = max over j ≤ i of min(1, (m − j + 1) p₍ⱼ₎).

    Args:
        values: p-values; NaN stands for no test, and stays.

    Returns:
        The corrected values in the order given.

    Source: Holm, *A Simple Sequentially Rejective Multiple Test Procedure*, Scand. J. Stat. 6, 1979.
    """
    tests = sorted((p, place) for place, p in enumerate(values) if not math.isnan(p))
    corrected, largest = list(values), 0.0
    for step, (p, place) in enumerate(tests):
        largest = max(largest, min(1.0, (len(tests) - step) * p))
        corrected[place] = largest
    return corrected


def ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, the lowest value first; equal values share the mean of their ranks."""
    known = [float(f"{v:.{_DIGITS}g}") for v in values]
    return [sum(w < v for w in known) + (sum(w == v for w in known) + 1) / 2 for v in known]


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of k methods over N tasks; lower is better.

    Args:
        mean: Mean rank of each method.
        each: Ranks of each method **[N]**, in the order of `tasks`.
        tasks: The tasks that every method has a result on.
        p: Of Friedman's test that all methods are alike; NaN for fewer than 3 methods or 2 tasks.
        distance: Nemenyi's critical distance: mean ranks further apart than this differ, at 0.05 for all pairs
            together. NaN like `p`.
    """

    mean: Mapping[str, float]
    each: Mapping[str, tuple[float, ...]]
    tasks: tuple[str, ...]
    p: float
    distance: float


def mean_ranks(values: Mapping[str, Sequence[float]], tasks: Sequence[str]) -> Ranks:
    r"""Rank the methods on every task, average, and test whether they differ at all (Friedman).

    The critical distance is q √(k (k + 1) / (6 N)), q the 0.95 quantile of the studentized range of k groups over √2.

    Args:
        values: For each method its metric on each task **[N]**, lower is better.
        tasks: Names of the N tasks.

    Returns:
        The ranks.

    Source: Demšar, *Statistical Comparisons of Classifiers over Multiple Data Sets*, JMLR 7, 2006.
    """
    names, count = list(values), len(tasks)
    columns = [ranks([values[name][place] for name in names]) for place in range(count)]
    each = {name: tuple(column[i] for column in columns) for i, name in enumerate(names)}
    mean = {name: sum(own) / count if count else math.nan for name, own in each.items()}
    p = distance = math.nan
    if len(names) >= 3 and count >= 2:
        from scipy.stats import friedmanchisquare, studentized_range

        differ = any(len(set(column)) > 1 for column in columns)
        p = float(friedmanchisquare(*each.values()).pvalue) if differ else 1.0
        q = float(studentized_range.ppf(CONFIDENCE, len(names), math.inf)) / math.sqrt(2)
        distance = q * math.sqrt(len(names) * (len(names) + 1) / (6 * count))
    return Ranks(mean, each, tuple(tasks), p, distance)
