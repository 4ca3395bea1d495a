from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from symloss.errors import TaskError
from symloss.tasks import split_indices, standardise


@given(
    st.lists(st.integers(0, 4), min_size=3, max_size=200),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["multiclass", "regression"]),
)
def test_parts_hold_every_sample_once_in_stratified_shares(labels, seed, kind):
    y = np.array(labels)
    x = np.arange(len(y), dtype=float)[:, None]
    parts = split_indices(x, y, kind, seed)
    assert sorted(np.concatenate(parts)) == list(range(len(y)))
    if kind == "multiclass":
        for label in set(labels):
            total, (_, valid, test) = (y == label).sum(), [(y[part] == label).sum() for part in parts]
            assert abs(valid - 0.2 * total) <= 0.6 or (valid == 1 and total >= 3)
            assert valid == test
            assert valid >= (total >= 3)
    again = split_indices(x, y, kind, seed)
    assert all(map(np.array_equal, parts, again))


def test_regression_parts_have_the_same_distribution_of_targets():
    y = np.random.default_rng(0).normal(size=1000)
    parts = split_indices(np.arange(1000.0)[:, None], y[:, None], "regression", 0)
    deciles = np.quantile(y, np.linspace(0.1, 0.9, 9))
    for part in parts:
        share = np.searchsorted(deciles, y[part])
        assert np.abs(np.bincount(share, minlength=10) - len(part) / 10).max() <= 2


def test_the_split_is_the_same_on_every_machine():
    """A known answer: a change of the generator would silently change every recorded result."""
    x, y = np.arange(10.0)[:, None], np.arange(10) % 2
    train, valid, test = split_indices(x, y, "multiclass", 0)
    assert [part.tolist() for part in (train, valid, test)] == KNOWN
    assert split_indices(x, y, "multiclass", 1)[0].tolist() != KNOWN[0]


KNOWN = [[5, 2, 0, 7, 6, 1], [9, 4], [3, 8]]


@given(st.lists(st.integers(0, 20), min_size=5, max_size=80), st.integers(0, 1000))
def test_identical_inputs_are_never_in_two_parts(values, seed):
    x = np.array(values, dtype=float)[:, None] * np.array([1.0, -1.0])
    parts = split_indices(x, np.array(values) % 2, "multiclass", seed)
    rows = [{tuple(row + 0.0) for row in x[part]} for part in parts]
    assert rows[0].isdisjoint(rows[1] | rows[2])
    assert rows[1].isdisjoint(rows[2])
    assert sum(map(len, parts)) == len(values)


def test_soft_targets_are_stratified_by_their_largest():
    y = np.eye(2)[np.arange(100) % 2] * 0.8 + 0.1
    _, valid, _ = split_indices(np.arange(100.0)[:, None], y, "multiclass", 0)
    assert y[valid].argmax(1).mean() == 0.5


@pytest.mark.parametrize("seed", [-1, 0.5, "0", None])
def test_bad_seeds(seed):
    with pytest.raises(TaskError, match="whole number of at least 0"):
        split_indices(np.ones((3, 1)), np.arange(3), "multiclass", seed)


def test_standardised_tables_have_training_statistics_only():
    generator = torch.Generator().manual_seed(0)
    train, test = torch.randn(2, 50, 3, generator=generator, dtype=torch.float64) * 7 + 1e3
    a, b = standardise(train, test)
    assert torch.allclose(a.mean(0), torch.zeros(3, dtype=torch.float64), atol=1e-10)
    assert torch.allclose(a.std(0, correction=0), torch.ones(3, dtype=torch.float64))
    assert torch.allclose(b, (test - train.mean(0)) / train.std(0, correction=0))
    assert torch.equal(standardise(train, test * 100)[0], a)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -3e8, 1e-30])
def test_constant_columns_are_safe(value):
    train = torch.full((41, 2), value, dtype=torch.float64)
    train[:, 1] = torch.arange(41)
    a, b = standardise(train, train + 1)
    assert torch.isfinite(a).all()
    assert torch.isfinite(b).all()
    assert a[:, 0].abs().max() < 1e-6
    assert b[:, 0] == pytest.approx(1, abs=1e-6)


def test_images_are_standardised_per_channel():
    images = torch.rand(30, 2, 4, 5, dtype=torch.float64) * torch.tensor([1.0, 255.0])[:, None, None]
    (a,) = standardise(images)
    assert torch.allclose(a.mean((0, 2, 3)), torch.zeros(2, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(a.std((0, 2, 3), correction=0), torch.ones(2, dtype=torch.float64))
    order = images[:, 0].flatten().argsort()
    assert (a[:, 0].flatten()[order].diff() >= 0).all()  # one scale for all pixels keeps their order


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), st.booleans()), min_size=8, max_size=120),
    st.integers(0, 1000),
)
def test_an_official_test_part_stays_and_nothing_of_it_is_trained_on(samples, seed):
    values, labels, official = (np.array(column) for column in zip(*samples, strict=True))
    x = values[:, None].astype(np.uint8)
    train, valid, test = split_indices(x, labels, "multiclass", seed, test=official)
    assert sorted(test) == np.flatnonzero(official).tolist()
    tested = set(values[official])
    assert set(train) | set(valid) == {i for i in np.flatnonzero(~official) if values[i] not in tested}
    assert set(train).isdisjoint(valid)
    assert set(values[train]).isdisjoint(values[valid])


def test_a_fifth_of_the_official_training_part_is_for_validation():
    x, y, official = np.arange(700.0)[:, None], np.arange(700) % 7, np.arange(700) >= 600
    train, valid, test = split_indices(x, y, "multiclass", 0, test=official)
    assert [len(part) for part in (train, valid, test)] == [481, 119, 100]  # 17 of each class of 85 or 86
    assert set(np.bincount(y[valid])) == {17}


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=10, max_size=150), st.integers(0, 1000))
def test_groups_are_never_divided_and_equal_inputs_stay_in_the_later_part(samples, seed):
    values, groups = (np.array(column) for column in zip(*samples, strict=True))
    x = values[:, None].astype(float)
    parts = split_indices(x, values % 2, "multiclass", seed, groups=groups)
    inside = [set(groups[part]) for part in parts]
    seen = [set(values[part]) for part in parts]
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert inside[a].isdisjoint(inside[b])
        assert seen[a].isdisjoint(seen[b])
    assert len(set(np.concatenate(parts))) == sum(map(len, parts))
    assert set(values) == set.union(*seen)


def test_groups_have_their_shares():
    groups = np.repeat(np.arange(50), 4)
    parts = split_indices(np.arange(200.0)[:, None], np.arange(200) % 4, "multiclass", 0, groups=groups)
    assert [len(part) for part in parts] == [120, 40, 40]
