"""The figure of a smoothing report, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes

from symloss.analysis import label_smoothing


def curves(axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {line.get_label(): line.get_data() for line in axes.get_lines() if len(line.get_xdata()) > 2}


def test_values_and_gradients() -> None:
    """ACE: |log(φ1 p)| with gradient ∓(1 − p); LSR: −A log p − B log((1 − p)/9) with gradient p − A."""
    report = label_smoothing("abs(log(1.25*y*f))", seconds=0)
    figure = report.figure()
    values, slopes = figure.axes
    named, steps = curves(values), list(curves(slopes).values())
    scale = report.scale
    assert scale is not None
    p, height = named["loss"]
    np.testing.assert_allclose(height, np.abs(np.log(1.25 * p)), atol=1e-4)
    np.testing.assert_allclose(steps[0][1][p < 0.799], p[p < 0.799] - 1, atol=1e-12)
    np.testing.assert_allclose(steps[0][1][p > 0.801], 1 - p[p > 0.801], atol=1e-12)
    p, height = named[f"{scale:.3g} × cross-entropy"]
    np.testing.assert_allclose(height, -scale * np.log(p / p[-1]), atol=1e-9)
    p, height = named[f"{scale:.3g} × LSR, ξ = 0.222"]
    smoothed = -0.8 * np.log(p) - 0.2 * np.log((1 - p) / 9)
    np.testing.assert_allclose(height, scale * (smoothed - smoothed.min()), atol=1e-3)
    np.testing.assert_allclose(steps[2][1], scale * (p - 0.8), atol=1e-9)
    marks = [line for line in slopes.get_lines() if len(set(line.get_xdata())) == 1]
    assert marks[0].get_xdata()[0] == pytest.approx(0.8)


def test_what_is_said() -> None:
    figure = label_smoothing("focal", 7, seconds=0).figure()
    assert [axes.get_xlabel() for axes in figure.axes] == ["probability of the target, p"] * 2
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "loss"
    assert len(labels) == 2  # no smoothing, no p*
    assert figure.record == {"loss": "focal", "kind": "multiclass", "classes": 7, "verdict": "none", "p*": "none"}


def test_the_footer_has_a_rounded_formula_and_the_metadata_the_whole_one() -> None:
    weight = 1.2345678901234567
    figure = label_smoothing(f"abs(log({weight!r}*y*f))", seconds=0).figure()
    footer = figure.get_supxlabel()
    assert footer.startswith("loss abs(log(1.235*y*f)) · kind multiclass")
    assert figure.record["loss"].weights.count(weight) == 1


def test_poles_and_infinities() -> None:
    """Neither the pole at a kink nor an overflow spoils a panel."""
    _, slopes = label_smoothing("sqrt(log(1.3*y*f))", seconds=0).figure().axes
    low, high = slopes.get_ylim()
    assert -5 < low < 0 < high < 5
    for loss in ("-y*log(f) + y*exp(exp(exp(9.0*f)))", "sign(f)*y", "y*log(f)"):
        for count in (2, 1000):
            label_smoothing(loss, count, seconds=0).figure().savefig("/dev/null", format="png")
