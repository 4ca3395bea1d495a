from __future__ import annotations

import math

import pytest
import torch

from symloss.losses import stable
from tests.losses.helpers import DTYPES, logits


@pytest.mark.parametrize("dtype", DTYPES)
def test_half_is_widened_and_double_stays(dtype: torch.dtype) -> None:
    x = logits(5, dtype=dtype)
    wide = stable.widen(x)
    assert wide.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert wide.to(dtype).equal(x)
    assert stable.narrow(wide, x).dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert stable.narrow(wide, x).dtype == wide.dtype


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("offset", [0.0, 100.0, -1e4])
def test_softmax_against_exact_sums(offset: float, dtype: torch.dtype) -> None:
    z = torch.tensor([3.0, -1.5, 0.25, -20.0], dtype=dtype)
    terms = [math.exp(v - 3.0) for v in z.tolist()]
    exact = torch.tensor([t / math.fsum(terms) for t in terms], dtype=torch.float64)
    rounding = torch.finfo(dtype).eps * (8 + abs(offset))  # adding the offset rounds the logits themselves
    torch.testing.assert_close(stable.softmax(z + offset, 0).double(), exact, rtol=rounding, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extremes_have_finite_values_and_gradients(dtype: torch.dtype) -> None:
    for function in (stable.sigmoid, lambda z: stable.softmax(z, 0)):
        z = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], dtype=dtype, requires_grad=True)
        f = function(z)
        (gradient,) = torch.autograd.grad((f * torch.arange(5)).sum(), z)
        assert ((f >= 0) & (f <= 1)).all()
        assert gradient.isfinite().all()


def test_sigmoid_is_the_softmax_of_two() -> None:
    z = logits(9, scale=20)
    pair = stable.softmax(torch.stack([torch.zeros_like(z), z]), 0)[1]
    torch.testing.assert_close(stable.sigmoid(z), pair, rtol=1e-13, atol=0)


def test_predictions_of_each_kind() -> None:
    z = logits(4, 3, 2)
    torch.testing.assert_close(stable.predictions("multiclass", z).sum(1), torch.ones(4, 2, dtype=z.dtype))
    torch.testing.assert_close(stable.predictions("multiclass", z[0, :, 0]).sum(), torch.ones((), dtype=z.dtype))
    torch.testing.assert_close(stable.predictions("binary", z), 1 / (1 + (-z).exp()))
    assert stable.predictions("regression", z) is z
