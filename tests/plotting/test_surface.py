"""Surfaces of losses that depend on more than the residual."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib.axes import Axes
from matplotlib.contour import QuadContourSet

from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.losses import get, names
from symloss.plotting import loss_curves
from symloss.plotting.surface import of_residual
from tests.strategies import expressions


def contours(axes: Axes) -> list[QuadContourSet]:
    return [c for c in axes.collections if isinstance(c, QuadContourSet)]


@pytest.mark.parametrize("name", names("regression"))
def test_known_losses_are_of_the_residual(name: str) -> None:
    expression = get(name, "regression").expression
    assert expression is not None
    assert of_residual(expression)
    assert len(loss_curves(name, kind="regression").axes) == 2


def test_what_is_of_the_residual() -> None:
    """A constant, and what depends on y alone, change no derivative."""
    for formula in ("square(y - f) + square(y)", "abs(f - y) - 3.0", "square(f) - 2.0*(y*f)", "y - f"):
        assert of_residual(parse(formula)), formula
    for formula in ("square(f)", "y*f", "square(y - f)*y", "square(y - f) + 0.001*abs(f)"):
        assert not of_residual(parse(formula)), formula


def test_levels_lie_where_they_should() -> None:
    """ℓ = (y − f)² y² has the slope 2 (f − y) y²: zero, drawn thick, where f = y or y = 0, red above f = y."""
    figure = loss_curves("square(y - f)*square(y)", kind="regression", raw=True)
    _, value, _, slope = figure.axes
    filled, lines = contours(value)
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        y, f = path.vertices.T
        np.testing.assert_allclose((y - f) ** 2 * y**2, level, atol=0.02 * filled.levels.max())
    filled, lines = contours(slope)
    assert list(filled.levels) == pytest.approx(list(-filled.levels[::-1]))
    assert 0.0 in lines.levels
    assert lines.get_linewidths()[list(lines.levels).index(0.0)] == max(lines.get_linewidths()) == 1.4
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):
        y, f = path.vertices.T
        np.testing.assert_allclose(2 * (f - y) * y**2, level, atol=0.02 * filled.levels.max())
    assert (slope.get_xlabel(), slope.get_ylabel()) == ("target y", "prediction f")
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "f = y"


@settings(max_examples=30)
@given(expressions(max_depth=4, max_size=20))
def test_any_formula_is_drawn(part: Expression) -> None:
    """Poles, overflow and flat losses included."""
    figure = loss_curves(f"{part} + 0.1*f", kind="regression")
    assert len(figure.axes) == (2 if of_residual(parse(f"{part} + 0.1*f")) else 4)


def test_nothing_finite() -> None:
    loss_curves("exp(exp(exp(9.0*abs(f) + 99.0)))*y + f", kind="regression").savefig(io.BytesIO())
