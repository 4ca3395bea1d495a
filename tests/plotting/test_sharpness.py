"""Figures of sharpness: ratios with their intervals, densities with the eigenvalues marked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from symloss.analysis.sharpness import Sharpness
from symloss.analysis.sharpness_report import QUANTITIES
from symloss.errors import EvaluationError
from symloss.plotting import spectral_density
from tests.plotting.examples import compared, explained


def test_ratios() -> None:
    found = compared()
    for axes, normalised in zip(found.figure().axes, (False, True), strict=True):
        points = [(name, quantity) for name in ("a", "b") for quantity in QUANTITIES]
        for drawn, (name, quantity) in zip(axes.containers, points, strict=True):
            value = found.ratio(name, quantity, normalised)
            point, _, bars = drawn
            assert point.get_xdata() == [value.mean]
            if value.bounded:
                assert bars[0].get_segments()[0][:, 0] == pytest.approx([value.low, value.high])
        assert axes.get_xlabel() == "times that of\ntuned cross-entropy"
    first = found.figure().axes[0]
    assert [text.get_text() for text in first.get_yticklabels()] == list(QUANTITIES)


@pytest.mark.parametrize("factor", [0.01, 100.0])
def test_no_point_lies_outside_its_panel(factor: float) -> None:
    """The panels share an axis, which must hold the points of both."""

    def moved(one: Sharpness | None) -> Sharpness | None:
        assert one is not None
        assert one.normalised is not None
        return replace(one, normalised=replace(one.normalised, trace=factor * one.normalised.trace))

    found = compared()
    rows = [replace(r, sharpness=tuple(map(moved, r.sharpness))) if r.name == "a" else r for r in found.rows]
    found = replace(found, rows=tuple(rows))
    for axes, normalised in zip(found.figure().axes, (False, True), strict=True):
        low, high = axes.get_xlim()
        values = [found.ratio(name, quantity, normalised) for name in ("a", "b") for quantity in QUANTITIES]
        assert all(low < value.mean < high for value in values)
        assert all(low < value.low <= value.high < high for value in values if value.bounded)


@pytest.mark.parametrize("normalised", [False, True])
def test_densities(normalised: bool) -> None:
    shown = {row.name: row.sharpness[0] for row in compared().rows}
    (axes,) = spectral_density(shown, normalised).axes
    lines = axes.get_lines()
    for number, one in enumerate(shown.values()):
        assert one is not None
        one = one.normalised if normalised else one
        assert one is not None
        assert one.density is not None
        np.testing.assert_array_equal(lines[2 * number].get_data(), one.density)
        np.testing.assert_array_equal(lines[2 * number + 1].get_xdata(), one.eigenvalues)
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    assert high > max(line.get_ydata().max() for line in lines[:6:2]) > low > 0


def test_of_one() -> None:
    one = compared().rows[0].sharpness[0]
    assert one is not None
    figure = one.figure()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["Hessian", "largest eigenvalues"]


def test_what_cannot_be_drawn() -> None:
    one = compared().rows[0].sharpness[0]
    assert one is not None
    with pytest.raises(EvaluationError, match="a has no spectral density; measure it with"):
        spectral_density({"a": replace(one, density=None)})
    with pytest.raises(EvaluationError, match="was not measured for normalised logits"):
        spectral_density({"a": replace(one, normalised=None)}, normalised=True)
    with pytest.raises(EvaluationError, match="no sharpness to draw"):
        spectral_density({})


def test_an_explanation_shows_every_part() -> None:
    titles = [axes.get_title() for axes in explained("multiclass").figure().axes]
    assert titles == [
        "Does it smooth labels?",
        "How large is its step?",
        "What does it gain?",
        "How flat are its minima?",
    ]
    assert [axes.get_title() for axes in explained("regression").figure().axes] == titles[1:]
