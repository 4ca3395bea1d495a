from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from symloss.evaluation.statistics import Estimate, compared, estimate, paired

samples = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


@given(samples)
def test_interval_is_that_of_scipy(values: list[float]) -> None:
    if np.std(values) <= 1e-9 * np.abs(values).max():  # scipy has no interval without spread
        return
    ours = estimate(values)
    theirs = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    scale = max(map(abs, values))
    assert ours.mean == pytest.approx(np.mean(values), rel=1e-12, abs=1e-12 * scale)
    assert (ours.low, ours.high) == pytest.approx(theirs, rel=1e-9, abs=1e-9 * scale)


def test_paired_interval_is_that_of_scipys_paired_test() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=12)
    values = reference + rng.normal(0.3, 0.2, size=12)
    ours, theirs = paired(values.tolist(), reference.tolist()), scipy.stats.ttest_rel(values, reference)
    low, high = theirs.confidence_interval(0.95)
    assert (ours.mean, ours.low, ours.high) == pytest.approx(((values - reference).mean(), low, high), rel=1e-10)
    assert (compared(ours) != "not distinguishable") == (theirs.pvalue < 0.05)


def test_pairing_removes_what_seeds_have_in_common() -> None:
    common = [0.0, 10.0, 20.0, 30.0]
    values = [c - 1 + e for c, e in zip(common, [0.0, 0.1, -0.1, 0.0], strict=True)]
    assert compared(paired(values, common)) == "better"
    assert compared(paired(values, common[::-1])) == "not distinguishable"


def test_two_values_have_a_closed_form() -> None:
    half = math.tan(0.475 * math.pi) * 3 / 2  # the 0.975 quantile of Cauchy's law times |a - b| / 2
    assert estimate([1.0, 4.0]) == Estimate(2.5, pytest.approx(2.5 - half), pytest.approx(2.5 + half))


def test_interval_covers_the_mean_as_often_as_it_says() -> None:
    draws = np.random.default_rng(1).normal(2.0, 3.0, size=(3000, 5)).tolist()
    covered = [e.low <= 2.0 <= e.high for e in map(estimate, draws)]
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 3000))


def test_equal_values_have_an_interval_without_width_and_one_value_has_none() -> None:
    assert estimate([0.1] * 7) == Estimate(0.1, 0.1, 0.1)
    assert not estimate([0.1]).bounded
    assert estimate([0.1]).mean == 0.1


@pytest.mark.parametrize(
    ("interval", "word"),
    [
        ((-2.0, -1.0), "better"),
        ((1.0, 2.0), "worse"),
        ((-1.0, 2.0), "not distinguishable"),
        ((0.0, 0.0), "not distinguishable"),
        ((math.nan, math.nan), "undecided"),
    ],
)
def test_verdict_follows_from_the_interval(interval: tuple[float, float], word: str) -> None:
    assert compared(Estimate(0.5, *interval)) == word
