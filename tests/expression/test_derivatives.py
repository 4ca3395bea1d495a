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
    for order, (table, tensor, auto) in enumerate(zip(ours[:3], tensors[:3], theirs[:3], strict=True)):
        finite = np.isfinite(auto)
        assert np.array_equal(finite, np.isfinite(table))
        size = np.abs(ours[order + 2]) if order else np.abs(ours.value)
        allowed = (1e-9 * np.abs(auto) + 1e-13 * size + 1e-13)[finite]
        assert np.all(np.abs(table - auto)[finite] <= allowed)
        assert np.all(np.abs(tensor.numpy() - auto)[finite] <= allowed)


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
            lower = ours.first_size if order == 2 else ours.value
            rounding = 1e-10 * np.abs(lower) + 1e-12 * ours[order + 2] + 1e-9
            settled = np.isfinite(ours.second_size) & (np.abs(rough - fine) <= 1e-6 * size + rounding)
            difference = np.abs(ours[order] - fine)
            assert np.all((difference <= 1e-5 * size + 10 * rounding)[settled])
