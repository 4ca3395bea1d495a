"""Calibration against its definition, and where it is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from symloss.analysis import calibration
from symloss.errors import LossError


def drawn(kind: str, count: int = 4000, sharpness: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and classes drawn from their own softmax; then the logits are made sharper."""
    generator = torch.Generator().manual_seed(0)
    z = 2 * torch.randn(count, 1 if kind == "binary" else 4, generator=generator, dtype=torch.float64)
    if kind == "binary":
        y = torch.bernoulli(z.sigmoid(), generator=generator)
    else:
        y = torch.multinomial(z.softmax(1), 1, generator=generator).squeeze(1)
    return sharpness * z, y


@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_a_model_that_knows_is_calibrated(kind: str) -> None:
    found = calibration(*drawn(kind))
    assert found.error < 0.03
    assert abs(found.overconfidence) < 0.02
    sure, unsure = calibration(*drawn(kind, sharpness=4.0)), calibration(*drawn(kind, sharpness=0.3))
    assert sure.error == pytest.approx(sure.overconfidence, abs=0.02)
    assert sure.overconfidence > 0.1
    assert unsure.overconfidence < -0.1
    assert "more confident than right" in str(sure)
    assert "less confident than right" in str(unsure)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_definition(bins: int) -> None:
    """A loop over the bins, in NumPy."""
    z, y = drawn("multiclass", 500)
    f = torch.softmax(z, 1).numpy()
    sure, right = f.max(1), f.argmax(1) == y.numpy()
    found = calibration(z, y, bins)
    error = 0.0
    for k in range(bins):
        inside = (sure > k / bins) & (sure <= (k + 1) / bins)
        assert found.counts[k] == inside.sum()
        if inside.any():
            assert found.confidence[k] == pytest.approx(sure[inside].mean())
            assert found.accuracy[k] == pytest.approx(right[inside].mean())
            error += inside.mean() * abs(sure[inside].mean() - right[inside].mean())
        else:
            assert math.isnan(found.accuracy[k])
    assert found.error == pytest.approx(error)
    assert found.overconfidence == pytest.approx(sure.mean() - right.mean())
    assert found.largest_error >= found.error - 1e-12


def test_by_hand() -> None:
    """Two samples at confidence 0.75, one of them right; one at 0.95, right: 2/3 · 0.25 + 1/3 · 0.05."""
    z = torch.tensor([[0.75, 0.25], [0.25, 0.75], [0.95, 0.05]]).log()
    found = calibration(z, torch.tensor([0, 0, 0]), bins=10)
    assert found.error == pytest.approx(2 / 3 * 0.25 + 1 / 3 * 0.05)
    assert found.largest_error == pytest.approx(0.25)
    assert found.overconfidence == pytest.approx((0.25 + 0.25 - 0.05) / 3)


def test_a_binary_logit_is_a_difference_of_two() -> None:
    z, y = drawn("binary", 300)
    two = torch.cat([torch.zeros_like(z), z], 1)
    expected = calibration(two, y.flatten().long())
    for outputs, targets in ((z, y), (z.flatten(), y.flatten()), (z, y.flatten().long())):
        assert np.array_equal(calibration(outputs, targets).accuracy, expected.accuracy, equal_nan=True)


def test_certainty_is_in_the_last_bin() -> None:
    found = calibration(torch.tensor([[1000.0, 0.0]]), torch.tensor([1]), bins=3)
    assert found.counts == (0, 0, 1)
    assert found.error == 1.0


@pytest.mark.parametrize(
    ("outputs", "targets", "bins", "said"),
    [
        (torch.zeros(3, 2), torch.zeros(4), 15, "outputs are logits of shape"),
        (torch.zeros(3, 2, 2), torch.zeros(3), 15, "outputs are logits of shape"),
        (torch.zeros(0, 2), torch.zeros(0), 15, "outputs are logits of shape"),
        (torch.full((3, 2), torch.nan), torch.zeros(3), 15, "not finite"),
        (torch.zeros(3, 2), torch.zeros(3), 0, "bins is a whole number"),
        (torch.zeros(3, 2), torch.zeros(3), 10**12, "bins is a whole number"),
        (torch.zeros(3, 2), torch.tensor([0, 1, 2]), 15, "classes from 0 to 1 for 2 classes; received 2"),
        (torch.zeros(3, 2), torch.tensor([0, 1, -100]), 15, "received -100"),
        (torch.zeros(3, 2), torch.tensor([0, 1, 0.5]), 15, "received 0.5"),
        (torch.zeros(3), torch.tensor([1, 1, -1]), 15, "received -1"),
        (np.zeros((3, 2)), torch.zeros(3), 15, "outputs are a tensor; received ndarray"),
        (torch.zeros(3, 2), [0, 1, 0], 15, "targets are a tensor; received list"),
    ],
)
def test_errors(outputs: Any, targets: Any, bins: int, said: str) -> None:
    with pytest.raises(LossError, match=said):
        calibration(outputs, targets, bins)
