"""The figure of families, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes

from symloss.analysis import families


def curves(axes: Axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {line.get_label(): line.get_data() for line in axes.get_lines() if not line.get_label().startswith("_")}


def test_curves() -> None:
    """Cross-entropy has the gradient p − 1 of the target's logit, whatever its scale."""
    panel, bars = families(["-7.0*y*log(f)", "-y*log(f)"]).figure().axes
    for name, (p, g) in curves(panel).items():
        assert (name, len(p)) in {(n, 57) for n in ("members", "representative", "nearest known loss")}
        np.testing.assert_allclose(g, (p - 1) / (1 - p).mean(), rtol=1e-9)
    assert panel.get_title() == "2 losses\ncross-entropy"
    assert {t.get_text(): b.get_height() for t, b in zip(bars.get_xticklabels(), bars.patches, strict=True)} == {
        "log": 100.0, "mul": 100.0,
    }  # fmt: skip


def test_other_kinds() -> None:
    panel, _ = families("squared-error", "regression").figure().axes
    residual, g = curves(panel)["representative"]
    np.testing.assert_allclose(g, residual / np.abs(residual).mean(), rtol=1e-9)
    assert panel.get_xlabel() == "residual f − y"
    panel, _ = families("cross-entropy", "binary").figure().axes
    p, g = curves(panel)["nearest known loss"]
    np.testing.assert_allclose(g, (p - 1) / (1 - p).mean(), rtol=1e-9)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_a_panel_for_each_of_the_largest(count: int) -> None:
    """Losses f^k y: far apart, each a family of its own."""
    report = families([f"y*pow(f, {10.0 * k!r})" for k in range(1, 10)][:count], distance=0.001)
    figure = report.figure()
    assert len(report.families) == count
    assert len(figure.axes) == min(count, 6) + 1
    assert figure.axes[0].get_title().startswith("1 loss\nnearest: ")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["members", "representative", "nearest known loss"]
