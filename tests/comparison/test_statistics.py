from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from symloss.comparison.statistics import bootstrap, holm, mean_ranks, ranks, resampled_means, signed_rank

# --- signed ranks


@given(st.lists(st.integers(-1000, 1000).filter(bool), min_size=1, max_size=12, unique_by=abs))
def test_signed_rank_without_ties_is_scipys(differences: list[int]) -> None:
    expected = stats.wilcoxon(differences, method="exact").pvalue
    assert signed_rank(differences) == pytest.approx(expected, abs=1e-12)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9).filter(any))
def test_signed_rank_with_ties_is_that_of_all_choices_of_signs(differences: list[int]) -> None:
    sizes = np.array([d for d in differences if d])
    places = stats.rankdata(abs(sizes))
    sums = np.array([places[np.array(signs)].sum() for signs in product([True, False], repeat=len(sizes))])
    found = places[sizes > 0].sum()
    expected = min(1.0, 2 * min((sums <= found + 1e-9).mean(), (sums >= found - 1e-9).mean()))
    assert signed_rank([d / 7 for d in differences]) == pytest.approx(expected, abs=1e-12)


def test_signed_rank_takes_rounding_for_ties() -> None:
    assert signed_rank([0.3 - 0.2, 0.2 - 0.1, 0.1]) == signed_rank([1, 1, 1]) == 0.25
    assert signed_rank([0.1 + 0.2 - 0.3, 1.0, 2.0]) == signed_rank([1, 2]) == 0.5
    assert signed_rank([0.0, 0.0]) == 1.0
    assert math.isnan(signed_rank([]))


def test_signed_rank_keeps_its_promise() -> None:
    """Where signs are a coin's, p is at most α with a probability of at most α, whatever the sizes and ties."""
    for sizes in ((1, 2, 3, 4, 5, 6, 7), (1, 1, 2, 2, 2, 5, 5), (1, 1, 1, 1, 1, 1, 1)):
        found = [signed_rank(np.multiply(sizes, signs)) for signs in product([-1, 1], repeat=7)]
        for level in (0.016, 0.05, 0.1, 0.3, 0.7):
            assert np.mean([p <= level for p in found]) <= level
    assert min(found) == 2 / 2**7


def test_signed_rank_does_not_depend_on_order_or_scale() -> None:
    rng = np.random.default_rng(0)
    d = rng.normal(0.3, 1, 11)
    assert signed_rank(d) == signed_rank(rng.permutation(d)) == signed_rank(1000 * d) == signed_rank(-d)


# --- Holm


def test_holm_is_a_written_out_example() -> None:
    # in rising order 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 are 0.02, 0.03, 0.06, 0.04; the last must not fall
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9, 0.6]) == pytest.approx([1.0, 1.0, 1.0])
    assert holm([]) == []


def test_holm_leaves_out_what_is_no_test() -> None:
    found = holm([math.nan, 0.01, math.nan, 0.04])
    assert found[1::2] == pytest.approx([0.02, 0.04])
    assert math.isnan(found[0])
    assert math.isnan(found[2])


def test_holm_rarely_gives_a_false_alarm() -> None:
    rng = np.random.default_rng(0)
    alarms = [min(holm(list(rng.uniform(size=6)))) < 0.05 for _ in range(4000)]
    assert 0.035 < np.mean(alarms) < 0.06


# --- intervals


@pytest.mark.parametrize("shape", [(8, 1), (1, 8)])
def test_the_bootstrap_of_one_factor_is_scipys_at_the_expanded_level(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(1).exponential(size=8)
    tail = stats.norm.cdf(-math.sqrt(8 / 7) * stats.t.ppf(0.975, 7))
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=100_000, confidence_level=1 - 2 * tail, method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval  # fmt: skip
    found = bootstrap(values.reshape(shape).tolist())
    assert found.mean == pytest.approx(values.mean(), rel=1e-12)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.05 * values.std())


def test_both_factors_are_resampled_across_each_other() -> None:
    rng = np.random.default_rng(3)
    table = rng.normal(size=(4, 1)) + rng.normal(size=(1, 6)) + 0.3 * rng.normal(size=(4, 6))
    plain = [table[rng.integers(0, 4, 4)][:, rng.integers(0, 6, 6)].mean() for _ in range(20_000)]
    found = resampled_means(table, 20_000)
    assert found.mean() == pytest.approx(table.mean(), abs=0.02)
    assert found.std() == pytest.approx(np.std(plain), rel=0.03)
    quantiles = [0.025, 0.25, 0.75, 0.975]
    np.testing.assert_allclose(np.quantile(found, quantiles), np.quantile(plain, quantiles), atol=0.1)


def test_an_interval_is_the_same_in_every_call_and_moves_with_the_values() -> None:
    table = np.random.default_rng(4).normal(size=(5, 3))
    first, second = bootstrap(table.tolist()), bootstrap((2 * table + 1).tolist())
    assert bootstrap(table.tolist()) == first
    assert (second.low, second.high) == pytest.approx((2 * first.low + 1, 2 * first.high + 1))


def test_an_interval_needs_two_values() -> None:
    assert not bootstrap([[0.5]]).bounded
    same = bootstrap([[0.25, 0.25], [0.25, 0.25]])
    assert same.mean == pytest.approx(same.low) == pytest.approx(same.high)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("searches", "training", "spread"),
    [(5, 10, (1.0, 1.0)), (5, 10, (1.0, 0.2)), (4, 10, (1.0, 0.2)), (10, 10, (1.0, 0.5)), (1, 10, (0.0, 1.0))],
)
def test_an_interval_holds_the_truth_as_often_as_it_says(
    searches: int, training: int, spread: tuple[float, float]
) -> None:
    rng, held, plain = np.random.default_rng(5), [], []
    for _ in range(400):
        table = spread[0] * rng.normal(size=(searches, 1)) + spread[1] * rng.normal(size=(1, training))
        table = table + 0.5 * rng.normal(size=(searches, training))
        found = bootstrap(table.tolist(), 4000)
        held.append(found.low <= 0 <= found.high)
        low, high = np.quantile(resampled_means(table, 4000), [0.025, 0.975])
        plain.append(low <= 0 <= high)
    assert np.mean(held) > 0.92
    assert np.mean(held) > np.mean(plain)


# --- ranks


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_ranks_are_scipys(values: list[int]) -> None:
    assert ranks([v / 3 for v in values]) == list(stats.rankdata(values))


def test_ranks_take_rounding_for_ties() -> None:
    assert ranks([0.1 + 0.2, 0.3, 0.5]) == [1.5, 1.5, 3.0]


def test_mean_ranks_and_friedman() -> None:
    values = {"a": [0.1, 0.2, 0.3, 0.1], "b": [0.2, 0.1, 0.4, 0.2], "c": [0.3, 0.3, 0.5, 0.2]}
    found = mean_ranks(values, ["w", "x", "y", "z"])
    # columns: (1, 2, 3), (2, 1, 3), (1, 2, 3), (1, 2.5, 2.5)
    assert found.each == {"a": (1, 2, 1, 1), "b": (2, 1, 2, 2.5), "c": (3, 3, 3, 2.5)}
    assert found.mean == {"a": 1.25, "b": 1.875, "c": 2.875}
    squares = 4 * sum((mean - 2) ** 2 for mean in found.mean.values())
    ties = 1 - (2**3 - 2) / (4 * (3**3 - 3))
    assert found.p == pytest.approx(stats.chi2.sf(12 / (3 * 4) * squares / ties, 2))


@pytest.mark.parametrize(("methods", "q"), [(3, 2.343), (4, 2.569), (7, 2.949), (10, 3.164)])
def test_the_critical_distance_is_that_of_the_published_table(methods: int, q: float) -> None:
    rng = np.random.default_rng(6)
    values = {str(i): list(rng.uniform(size=14)) for i in range(methods)}
    found = mean_ranks(values, [str(i) for i in range(14)])
    assert found.distance == pytest.approx(q * math.sqrt(methods * (methods + 1) / (6 * 14)), rel=3e-4)


def test_few_methods_or_tasks_are_ranked_without_a_test() -> None:
    for values in ({"a": [0.1, 0.2], "b": [0.3, 0.1]}, {"a": [0.1], "b": [0.2], "c": [0.3]}):
        found = mean_ranks(values, ["x", "y"][: len(values["a"])])
        assert math.isnan(found.p)
        assert math.isnan(found.distance)
    assert mean_ranks({name: [0.5, 0.5] for name in "abc"}, ["x", "y"]).p == 1.0
