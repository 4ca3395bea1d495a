"""Scarce, unbalanced and wrongly labelled training data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from symloss.errors import TaskError
from symloss.tasks import Conditions, load_task


def rows(split):
    return {row.numpy().tobytes(): label for row, label in zip(split.x, split.y.tolist(), strict=True)}


def test_only_training_and_validation_labels_are_noisy_at_exactly_the_rate():
    clean, noisy = load_task("digits"), load_task("digits", label_noise=0.2)
    for part, wrong in (("train", round(0.2 * 1079)), ("valid", round(0.2 * 359)), ("test", 0)):
        a, b = getattr(clean, part), getattr(noisy, part)
        assert torch.equal(a.x, b.x)
        assert int((a.y != b.y).sum()) == wrong
    spared = load_task("digits", label_noise=0.2, clean_validation=True)
    assert torch.equal(spared.valid.y, clean.valid.y)
    assert torch.equal(spared.train.y, noisy.train.y)
    assert clean.identity() != noisy.identity() != spared.identity()


def test_noise_is_symmetric():
    y = torch.zeros(9000, dtype=torch.long)
    noisy, _ = Conditions(label_noise=0.9).label(y, y, 10, 0)
    counts = noisy.bincount(minlength=10)
    assert counts[0] == 900
    assert (counts[1:] - 900).abs().max() < 4.5 * 900**0.5


def test_binary_labels_are_flipped():
    clean, noisy = load_task("breast-cancer"), load_task("breast-cancer", label_noise=0.25)
    assert noisy.train.y.unique().tolist() == [0.0, 1.0]
    assert int((clean.train.y != noisy.train.y).sum()) == round(0.25 * len(clean.train))


def test_a_long_tail_is_exponential_and_in_training_only():
    full, tailed = load_task("digits"), load_task("digits", imbalance=16)
    before, after = full.train.y.bincount(), tailed.train.y.bincount()
    expected = before * 16 ** (-torch.arange(10) / 9)
    assert (after - expected).abs().max() <= 0.5
    assert torch.equal(tailed.valid.y, full.valid.y)
    assert torch.equal(tailed.test.y, full.test.y)


def test_every_class_keeps_a_sample_of_the_longest_tail():
    assert load_task("digits", imbalance=1e9).train.y.bincount(minlength=10).min() == 1


@settings(max_examples=25)
@given(st.integers(10, 1079), st.integers(0, 5))
def test_small_training_sets_are_stratified(size, seed):
    full, small = DIGITS[0], load_task("digits", "linear", train_samples=size)
    shares = full.train.y.bincount() * size / len(full.train)
    assert len(small.train) == size
    assert (small.train.y.bincount(minlength=10) - shares).abs().max() < 1
    assert len(small.valid) == len(full.valid)


def test_scaling_sees_the_chosen_samples_only():
    small = load_task("wine", train_samples=30)
    assert small.train.x.mean(0).abs().max() < 1e-6
    assert torch.allclose(small.train.x.std(0, correction=0), torch.ones(13), atol=1e-5)
    diabetes = load_task("diabetes", train_samples=50, valid_samples=20)
    assert [len(diabetes.train), len(diabetes.valid)] == [50, 20]
    assert abs(diabetes.train.y.mean()) < 1e-6


def test_conditions_do_not_disturb_one_another():
    """The same samples are wrongly labelled in the same way, whatever else is asked for."""
    a, b = load_task("digits", label_noise=0.3), load_task("digits", label_noise=0.3, valid_samples=100)
    assert torch.equal(a.train.y, b.train.y)
    assert set(rows(b.valid)) <= set(rows(a.valid))
    tailed = load_task("digits", imbalance=4, train_samples=200)
    counts = tailed.train.y.bincount()
    assert counts.sum() == 200
    assert counts[0] / counts[9] == pytest.approx(4, rel=0.35)


def test_a_seed_repeats_and_another_does_not():
    one, same, other = (load_task("digits", seed=s, label_noise=0.2, train_samples=99) for s in (0, 0, 1))
    assert one.identity() == same.identity() != other.identity()


def test_the_name_tells_the_conditions():
    task = load_task("digits", label_noise=0.2, train_samples=60, valid_samples=50, imbalance=3, augment=True)
    said = "60 training samples, 50 validation samples, imbalance 3, label noise 0.2, augmented by crops and flips"
    assert task.name == f"digits, {said}"
    assert load_task("wine", label_noise=0.1, clean_validation=True).name == "wine, label noise 0.1 in training"
    assert load_task("digits", augment="flip").name == "digits, augmented by flips"


def test_the_recipe_records_what_was_asked_for():
    assert "options" not in load_task("wine").recipe
    task = load_task("wine", label_noise=0.1, imbalance=2.0, train_samples=40, clean_validation=True)
    assert task.recipe["options"] == {
        "label_noise": 0.1, "imbalance": 2.0, "train_samples": 40, "clean_validation": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_noise": 1.0}, "label_noise is a share from 0 up to, but not, 1; received 1.0"),
        ({"label_noise": -0.1}, "label_noise is a share"),
        ({"label_noise": float("nan")}, "label_noise is a share"),
        ({"label_noise": "0.1"}, "label_noise is a share.* received '0.1'"),
        ({"imbalance": 0.5}, "imbalance is a number of at least 1; received 0.5"),
        ({"imbalance": float("inf")}, "imbalance is a number"),
        ({"train_samples": 0}, "train_samples is a whole number of at least 1; received 0"),
        ({"train_samples": 2.5}, "train_samples is a whole number"),
        ({"train_samples": float("nan")}, "train_samples is a whole number.* received nan"),
        ({"train_samples": float("inf")}, "train_samples is a whole number"),
        ({"train_samples": True}, "train_samples is a whole number"),
        ({"valid_samples": "9"}, "valid_samples is a whole number"),
        ({"train_samples": 108}, "train_samples is 108, but there are 106 samples"),
        ({"valid_samples": 99}, "valid_samples is 99, but there are"),
        ({"train_samples": 1}, "one class only"),
        ({"clean_validation": 1}, "clean_validation is True or False; received 1"),
    ],
)
def test_what_is_out_of_range_is_refused(options, message):
    with pytest.raises(TaskError, match=message):
        load_task("wine", **options)


@pytest.mark.parametrize("option", ["label_noise", "imbalance"])
def test_regression_has_no_classes(option):
    with pytest.raises(TaskError, match=rf"{option} needs class labels; this task has real targets"):
        load_task("diabetes", **{option: 0.5 if option == "label_noise" else 2})


DIGITS = [load_task("digits", "linear")]


def test_stratified_choices_are_in_the_order_of_the_part():
    part, y = np.random.default_rng(0).permutation(60), np.arange(60) % 3
    train, _ = Conditions(train_samples=20).choose(part, part, y, "multiclass", 0)
    places = [int(np.flatnonzero(part == i)[0]) for i in train]
    assert places == sorted(places)
