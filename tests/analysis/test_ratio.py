"""Fieller's interval against the definition it comes from."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from symloss.analysis.ratio import ratio


def sample(seed: int, n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    whole = 1.0 + 0.3 * rng.standard_normal(n)
    return 0.6 * whole + 0.2 * rng.standard_normal(n), whole


@pytest.mark.parametrize("seed", range(5))
def test_the_bounds_are_where_the_t_test_turns(seed: int) -> None:
    """x − r g has mean zero with p > 0.05 inside the interval, with p = 0.05 at its ends."""
    part, whole = sample(seed)
    found = ratio(part, whole)
    assert found.low < found.mean < found.high
    for bound in (found.low, found.high):
        assert ttest_1samp(part - bound * whole, 0.0).pvalue == pytest.approx(0.05, rel=1e-6)
    assert ttest_1samp(part - found.mean * whole, 0.0).pvalue == pytest.approx(1.0)


def test_coverage() -> None:
    """About 95 of 100 intervals hold the ratio 0.6 that the samples were drawn with."""
    intervals = [ratio(*sample(seed)) for seed in range(400)]
    assert 0.92 < np.mean([found.low <= 0.6 <= found.high for found in intervals]) < 0.98


def test_a_fixed_share_has_no_width() -> None:
    _, whole = sample(0)
    assert ratio(whole, whole) == ratio(2 * whole, 2 * whole)
    assert (ratio(whole, whole).low, ratio(whole, whole).high) == (1.0, 1.0)
    zero = ratio(0 * whole, whole)
    assert (zero.mean, zero.low, zero.high) == (0.0, 0.0, 0.0)


def test_no_interval() -> None:
    """A whole that may be zero bounds no share, nor does one seed."""
    assert not ratio([1.0, 1.0, 1.0], [1.0, -1.0, 0.5]).bounded
    assert ratio([1.0], [2.0]).mean == 0.5
    assert not ratio([1.0], [2.0]).bounded
    assert math.isnan(ratio([1.0, 2.0], [1.0, -1.0]).mean)
