"""The figure of a learning-rate report: the numbers of the report, where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from tests.plotting.examples import learning_rate_report


def test_gains() -> None:
    report = learning_rate_report()
    _, parts = report.figure().axes
    gains = report.gain, report.step_size, report.shape, report.tuning_gain, report.tuned_gain
    for drawn, gain in zip(parts.containers, gains, strict=True):
        point, _, (reach,) = drawn
        assert point.get_xdata() == [gain.mean]
        assert reach.get_segments()[0][:, 0] == pytest.approx([gain.low, gain.high])
    assert [text.get_text() for text in parts.get_yticklabels()][:3] == [
        "gain of the loss", "of it step size", "of it shape",
    ]  # fmt: skip
    assert parts.get_xlabel() == "gain in error rate\nover untuned cross-entropy"


def test_effective_rate() -> None:
    report = learning_rate_report()
    rate, _ = report.figure().axes
    line, reference = rate.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), report.steps)
    np.testing.assert_allclose(line.get_ydata(), np.exp(np.log(report.ratios).mean(0)), rtol=1e-12)
    assert set(reference.get_ydata()) == {1.0}
    (band,) = rate.collections
    height = band.get_paths()[0].vertices[:, 1]
    assert height.min() == pytest.approx(min(estimate.low for estimate in report.effective_rate))
    assert height.max() == pytest.approx(max(estimate.high for estimate in report.effective_rate))
    assert rate.get_yscale() == "log"
    assert rate.get_xlim() == (0, 20)
