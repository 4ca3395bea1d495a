"""The vectorised functions against NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numba import njit

from symloss.loops import vector_math

GRID = np.concatenate([np.linspace(-87, 87.9, 20_001), np.linspace(-1, 1, 5_001), [1e-30, -1e-30, 1e-7, 0.0]])


@njit(error_model="numpy")
def _exp(x: Any, out: Any) -> None:
    for j in range(len(x)):
        out[j] = vector_math.exp(x[j])


@njit(error_model="numpy")
def _log(x: Any, out: Any) -> None:
    for j in range(len(x)):
        out[j] = vector_math.log(x[j])


@njit(error_model="numpy")
def _tanh(x: Any, out: Any) -> None:
    for j in range(len(x)):
        out[j] = vector_math.tanh(x[j])


@pytest.mark.parametrize(
    ("mine", "reference", "grid"),
    [
        (_exp, np.exp, GRID),
        (_tanh, np.tanh, GRID),
        (_log, np.log, np.exp(GRID)),
        (_log, np.log, 1 + GRID[-5_000:] / 10),
    ],
)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_within_two_units_in_the_last_place(
    mine: Callable[..., None], reference: Any, grid: np.ndarray, kind: type
) -> None:
    x = grid.astype(kind)
    out = np.empty_like(x)
    mine(x, out)
    expected = reference(x.astype(np.float64))
    unit = np.finfo(kind).eps
    assert np.all(np.abs(out - expected) <= 2 * unit * np.maximum(np.abs(expected), 1e-38))


@pytest.mark.parametrize("mine", [_exp, _log, _tanh])
def test_not_a_number_and_infinity(mine: Callable[..., None]) -> None:
    for kind in (np.float32, np.float64):
        out = np.empty(2, kind)
        mine(np.array([np.nan, np.inf], kind), out)
        assert np.isnan(out[0])
        assert out[1] == (1 if mine is _tanh else np.inf)


def test_they_are_for_compiled_code() -> None:
    for function in (vector_math.exp, vector_math.log, vector_math.tanh):
        with pytest.raises(NotImplementedError):
            function(1.0)
