"""Curves of losses, against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes

import symloss as sl
from symloss.errors import LossError
from symloss.plotting import loss_curves


def lines(axes: Axes) -> list[tuple[np.ndarray, np.ndarray]]:
    """The curves of a panel; the line at zero is none."""
    return [(line.get_xdata(), line.get_ydata()) for line in axes.get_lines() if not line.get_label().startswith("_")]


def test_classification() -> None:
    """Cross-entropy: −log f with slope −1/f for y = 1, nothing for y = 0."""
    figure = loss_curves("cross-entropy", ["squared-error"], raw=True)
    value_1, value_0, slope_1, slope_0 = figure.axes
    f, values = lines(value_1)[0]
    np.testing.assert_allclose(values, -np.log(f), atol=1e-12)
    np.testing.assert_allclose(lines(slope_1)[0][1], -1 / f, rtol=1e-12)
    assert np.all(lines(value_0)[0][1] == 0)
    assert np.all(lines(slope_0)[0][1] == 0)
    np.testing.assert_allclose(lines(value_1)[1][1], (1 - f) ** 2, atol=1e-12)
    np.testing.assert_allclose(lines(slope_1)[1][1], -2 * (1 - f), rtol=1e-12)
    np.testing.assert_allclose(lines(slope_0)[1][1], 2 * f, rtol=1e-12)
    assert 0 < f[0] < 0.01
    assert 0.99 < f[-1] < 1
    assert [axes.get_title() for axes in figure.axes[:2]] == ["target y = 1", "target y = 0"]


def test_regression() -> None:
    """Value and slope against the residual, at y = 0."""
    value, slope = loss_curves("huber", raw=True, kind="regression").axes
    r, values = lines(value)[0]
    np.testing.assert_allclose(values, np.where(abs(r) <= 1, r**2 / 2, abs(r) - 0.5), atol=1e-12)
    np.testing.assert_allclose(lines(slope)[0][1], np.clip(r, -1, 1), atol=1e-12)
    np.testing.assert_allclose(lines(value)[1][1], r**2, atol=1e-12)
    assert slope.get_xlabel() == "residual f − y"


def test_binary() -> None:
    """A loss of one probability is symmetric: ℓ(0, f) = ℓ(1, 1 − f)."""
    value_1, value_0, *_ = loss_curves(sl.losses.get("focal", "binary")).axes
    np.testing.assert_allclose(lines(value_1)[0][1], lines(value_0)[0][1][::-1], atol=1e-9)


def test_what_does_not_matter_is_taken_out() -> None:
    """A factor and a constant leave the training as it is, and the picture too, except for the factor in the legend."""
    figure = loss_curves("-3.0*y*log(f) - 50.0")
    for axes in figure.axes:
        own, reference = lines(axes)
        np.testing.assert_allclose(own[1], reference[1], atol=1e-9)
    assert lines(figure.axes[0])[0][1].min() == 0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["-3.0*y*log(f) - 50.0", "cross-entropy × 3"]


def test_a_reference_without_slopes_is_left_alone() -> None:
    figure = loss_curves("f - y*f")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["f - y*f", "cross-entropy"]


def test_poles_do_not_flatten_the_rest() -> None:
    """The slope of √|log| is infinite where the logarithm is zero; the panel shows what is around it."""
    _, _, slope, _ = loss_curves("sqrt(log(2.0*y*f))", ["mae"]).axes
    values = lines(slope)[0][1]
    low, high = slope.get_ylim()
    assert np.nanmax(np.abs(values)) > 20
    assert max(-low, high) < 20


def test_values_that_are_not_finite_are_left_out() -> None:
    figure = loss_curves("exp(exp(exp(8.0*f)))*y + f", ["mae"])
    figure.savefig("/dev/null", format="png")
    assert np.isnan(lines(figure.axes[0])[0][1]).any()


def test_rows_share_their_scale() -> None:
    axes = loss_curves("abs(log(1.2*y*f)) + 9.0*square(y - f)").axes
    assert axes[0].get_ylim() == axes[1].get_ylim()
    assert axes[2].get_ylim() == axes[3].get_ylim()
    for panel in axes:
        low, high = panel.get_ylim()
        assert low < 0 < high


def test_labels() -> None:
    long = " + ".join(["abs(log(1.23456789*y*f))"] * 20)
    figure = loss_curves(long, [])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["loss of 119 nodes"]
    assert figure.record["loss"] == sl.parse(long)  # type: ignore[attr-defined]


def test_one_text_is_one_reference() -> None:
    """A text is a sequence of letters, of which f alone would be a loss."""
    one, several = (loss_curves("huber", given, "regression") for given in ("mse", ["mse"]))
    assert one.record == several.record  # type: ignore[attr-defined]
    assert str(loss_curves("focal", "f").record["references"]).startswith("f × ")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("loss", "options", "said"),
    [
        ("label-smoothing", {}, "has no formula"),
        ("focal", {"references": ["label-smoothing"]}, "label-smoothing has no formula"),
        ("focal", {"references": "label-smoothing"}, "label-smoothing has no formula"),
        ("huber", {"kind": "multiclass"}, "huber is for regression"),
        ("f", {"kind": "ternary"}, "kind must be one of"),
        ("y", {}, "must contain the prediction f"),
    ],
)
def test_errors(loss: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(LossError, match=said):
        loss_curves(loss, **options)  # type: ignore[arg-type]
