"""Derivatives of whole trees: the table's chain rule, automatic differentiation and central differences agree."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings

from symloss.expression.expression import Expression
from tests.expression.helpers import EDGES, GENERIC, autograd_jet, jet, plane
from tests.strategies import expressions


@settings(max_examples=80)
@given(expressions(max_depth=4))
def test_the_table_agrees_with_autograd_everywhere(e: Expression) -> None:
    y, f = plane(EDGES)
    with np.errstate(all="ignore"):
        ours = jet(e, y, f, np)
    tensors = jet(e, torch.tensor(y), torch.tensor(f), torch)
    theirs = autograd_jet(e, y, f)
    for table, tensor, auto in zip(ours, tensors, theirs, strict=True):
        finite = np.isfinite(auto) & np.isfinite(table)
        assert np.array_equal(np.isfinite(auto), np.isfinite(table))
        scale = 1e-12 * (1 + np.abs(auto[finite]).max(initial=0.0))
        np.testing.assert_allclose((table + 0 * y)[finite], auto[finite], rtol=1e-7, atol=scale)
        np.testing.assert_allclose((tensor.numpy() + 0 * y)[finite], auto[finite], rtol=1e-7, atol=scale)


@settings(max_examples=80)
@given(expressions(max_depth=4, primitives="all"))
def test_the_table_agrees_with_central_differences(e: Expression) -> None:
    """Where two step sizes agree, and so neither a kink nor rounding is near."""
    y, f = plane(GENERIC)
    f = 1.03 * f + 0.007
    with np.errstate(all="ignore"):
        ours = jet(e, y, f, np)
        for order in (1, 2):
            rough, fine = (
                (jet(e, y, f + h, np)[order - 1] - jet(e, y, f - h, np)[order - 1]) / (2 * h) for h in (2e-5, 1e-5)
            )
            size = np.maximum(np.abs(rough), np.abs(fine))
            rounding = 1e-10 * np.abs(ours[order - 1]) + 1e-9
            settled = np.abs(rough - fine) <= 1e-6 * size + rounding
            difference = np.abs(ours[order] - fine)[settled]
            assert np.all(difference <= 1e-5 * size[settled] + 10 * rounding[settled] if settled.any() else True)
