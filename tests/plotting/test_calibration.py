"""The calibration diagram: every bin where it belongs, with exact binomial intervals."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest

from symloss.analysis import Calibration
from symloss.errors import LossError
from symloss.plotting import calibration

NAN = math.nan
ONE = Calibration((0, 4, 10, 6), (NAN, 0.4, 0.6, 0.9), (NAN, 0.0, 0.7, 1.0))


def test_points_and_intervals() -> None:
    diagram, spread = calibration(ONE).axes
    line, _, (reach,) = diagram.containers[0]
    assert line.get_xdata().tolist() == [0.4, 0.6, 0.9]
    assert line.get_ydata().tolist() == [0.0, 0.7, 1.0]
    for segment, hits, n in zip(reach.get_segments(), (0, 7, 6), (4, 10, 6), strict=True):
        exact = binomtest(hits, n).proportion_ci()
        assert segment[:, 1] == pytest.approx([exact.low, exact.high], abs=1e-6)
    assert spread.patches[0].get_data().values.tolist() == [0, 20, 50, 30]
    assert diagram.get_xlim() == (0.25, 1.0)


def test_several_models() -> None:
    figure = calibration({"a": ONE, "b": ONE})
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["as right as sure", f"a (ECE {100 * ONE.error:.1f} %)", f"b (ECE {100 * ONE.error:.1f} %)"]
    with pytest.raises(LossError, match="there is no model to draw"):
        calibration({})
