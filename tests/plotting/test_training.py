"""The figure of training curves: means and intervals where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.plotting.examples import curves


def test_lines_and_bands() -> None:
    found = curves()
    (axes,) = found.figure().axes
    for name, line, band in zip(found.values, axes.get_lines(), axes.collections, strict=True):
        estimates = found.estimates(name)
        np.testing.assert_array_equal(line.get_xdata(), found.steps)
        np.testing.assert_allclose(line.get_ydata(), np.mean(found.values[name], 0))
        corners = band.get_paths()[0].vertices
        assert np.isclose(corners[:, 1].max(), max(e.high for e in estimates))
        assert line.get_label() == f"{name}, rate {found.rates[name]:.3g}"
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_ylabel() == "error rate (test)"


def test_numbers_between_decades_are_plain() -> None:
    found = curves()
    row = tuple(0.05 + 0.01 * k for k in range(len(found.steps)))
    (axes,) = (figure := replace(found, values=dict.fromkeys(found.values, (row, row))).figure()).axes
    figure.draw_without_rendering()
    texts = [label.get_text() for label in axes.get_yticklabels(minor=True) if label.get_text()]
    assert "0.06" in texts
    assert not any("times" in text for text in texts)
