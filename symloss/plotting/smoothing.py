"""A loss beside cross-entropy and its equivalent label smoothing: value and logit gradient of the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, log_expit

from symloss.analysis.report import SmoothingReport
from symloss.analysis.wording import number, probability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_END = 0.9999  # p up to which is drawn: losses go on to infinity in 1 - p
_DASHES = ("-", "--", "-.")
_SHOWN = (0.005, 0.995)  # quantiles that the panel of the gradient must hold: what is beyond may be the pole of a kink


def smoothing(report: SmoothingReport) -> Figure:
    """The value and the target's logit gradient against p, where the wrong classes share 1 − p equally.

    Beside the loss stand s × cross-entropy and, if there is one, its equivalent s·LSR_ξ. Values are the integral of
    the gradient along the slice, from their lowest: the loss itself but for a constant. Attractors are dotted lines.
    Of a binary loss, the label 1 is drawn.

    Args:
        report: Of `symloss.analysis.label_smoothing`.

    Returns:
        The figure.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    (margin, p), curves = _curves(report)
    part, c = report.slices[0], report.classes
    record: dict[str, object] = {"loss": report.formula or report.loss, "kind": report.kind, "classes": c}
    record |= {"verdict": report.verdict, "p*": ", ".join(map(probability, report.attractors)) or "none"}
    figure, [[values, slopes]] = style.new("Label smoothing", record, (6.4, 3.2), 1, 2)
    with rc_context(style.STYLE):
        for (name, (g, value)), dashes in zip(curves.items(), _DASHES, strict=False):
            height = _integral(g, margin) if value is None else value
            values.plot(p, height - np.nanmin(height), dashes, label=name)
        gradient(slopes, report)
        for number_, rest in enumerate(part.attractors):
            label = "p*, where it rests" if number_ == 0 else None
            values.axvline(float(expit(rest)), color=style.GREY, linestyle=":", linewidth=1, label=label)
        values.set_xlabel("probability of the target, p")
        values.set_ylabel("loss above its lowest value")
        figure.legend(handles=values.get_legend_handles_labels()[0], loc="outside upper left", ncols=4)
    return figure


def gradient(axes: Axes, report: SmoothingReport) -> None:
    """The target's logit gradient under the loss, cross-entropy and the equivalent label smoothing."""
    from symloss.plotting import figure as style

    (_, p), curves = _curves(report)
    for (name, (g, _)), dashes in zip(curves.items(), _DASHES, strict=False):
        axes.plot(p, np.where(np.isfinite(g), g, np.nan), dashes, label=name)
    evenly = np.linspace(p[0], p[-1], 1000)
    shown = np.concatenate([np.interp(evenly, p, g) for g, _ in curves.values()])
    if np.isfinite(shown).all():
        low, high = np.quantile(shown, _SHOWN)
        axes.set_ylim(min(low, 0) - 0.06 * (high - low or 1), max(high, 0) + 0.06 * (high - low or 1))
    axes.axhline(0.0, color="black", linewidth=0.6, zorder=0.5)
    for number_, rest in enumerate(report.slices[0].attractors):
        label = "p*, where it rests" if number_ == 0 else None
        axes.axvline(float(expit(rest)), color=style.GREY, linestyle=":", linewidth=1, label=label)
    axes.set_xlabel("probability of the target, p")
    axes.set_ylabel("logit gradient of the target, ∂L/∂z")


_Curves = dict[str, tuple[np.ndarray, np.ndarray | None]]


def _curves(report: SmoothingReport) -> tuple[tuple[np.ndarray, np.ndarray], _Curves]:
    """Margin and p of the points that are drawn; of each curve the gradient there, and the value where it is known."""
    part, c, scale = report.slices[0], report.classes, report.scale or 1.0
    inner = part.p <= max(_END, 1 - (1 - 1 / c) / 2)
    margin, p = part.margin[inner], part.p[inner]
    curves: _Curves = {
        "loss": (part.gradient[inner], None),
        f"{number(float(f'{scale:.3g}'))} × cross-entropy": (scale * (p - 1), -scale * log_expit(margin)),
    }
    if report.smoothing is not None:
        name = f"{number(float(f'{scale:.3g}'))} × LSR, ξ = {number(float(f'{report.smoothing:.3g}'))}"
        curves[name] = (scale * (p - 1 + report.smoothing * (c - 1) / c), None)
    return (margin, p), curves


def _integral(g: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """∫ g dm, since the other logits stay on the slice: the loss but for a constant."""
    steps = np.diff(margin) * (g[1:] + g[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(np.where(np.isfinite(steps), steps, 0.0))])
