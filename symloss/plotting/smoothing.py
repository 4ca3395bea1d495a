"""A loss beside cross-entropy and its equivalent label smoothing: value and logit gradient of the target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, log_expit

from symloss.analysis.report import SmoothingReport
from symloss.analysis.wording import number, probability

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_END = 0.9999  # p up to which is drawn: losses go on to infinity in 1 - p
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

    part, c, scale = report.slices[0], report.classes, report.scale or 1.0
    inner = part.p <= max(_END, 1 - (1 - 1 / c) / 2)
    margin, p = part.margin[inner], part.p[inner]
    share = (report.smoothing or 0.0) * (c - 1) / c
    curves = {
        "loss": (part.gradient[inner], None),
        f"{number(float(f'{scale:.3g}'))} × cross-entropy": (scale * (p - 1), -scale * log_expit(margin)),
    }
    if report.smoothing is not None:
        name = f"{number(float(f'{scale:.3g}'))} × LSR, ξ = {number(float(f'{report.smoothing:.3g}'))}"
        curves[name] = (scale * (p - 1 + share), None)
    record: dict[str, object] = {"loss": report.loss, "kind": report.kind, "classes": c, "verdict": report.verdict}
    record |= {"p*": ", ".join(map(probability, report.attractors)) or "none"}
    figure, [[values, slopes]] = style.new("Label smoothing", record, (6.4, 3.2), 1, 2)
    with rc_context(style.STYLE):
        for (name, (g, value)), dashes in zip(curves.items(), ("-", "--", "-."), strict=False):
            height = _integral(g, margin) if value is None else value
            values.plot(p, height - np.nanmin(height), dashes, label=name)
            slopes.plot(p, np.where(np.isfinite(g), g, np.nan), dashes)
        evenly = np.linspace(p[0], p[-1], 1000)
        shown = np.concatenate([np.interp(evenly, p, g) for g, _ in curves.values()])
        if np.isfinite(shown).all():
            low, high = np.quantile(shown, _SHOWN)
            slopes.set_ylim(min(low, 0) - 0.06 * (high - low or 1), max(high, 0) + 0.06 * (high - low or 1))
        slopes.axhline(0.0, color="black", linewidth=0.6, zorder=0.5)
        for axes, title in ((values, "loss above its lowest value"), (slopes, "logit gradient of the target, ∂L/∂z")):
            for number_, rest in enumerate(part.attractors):
                label = "p*, where it rests" if number_ == 0 else None
                axes.axvline(float(expit(rest)), color=style.GREY, linestyle=":", linewidth=1, label=label)
            axes.set_xlabel("probability of the target, p")
            axes.set_ylabel(title)
        figure.legend(handles=values.get_legend_handles_labels()[0], loc="outside upper left", ncols=4)
    return figure


def _integral(g: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """∫ g dm, since the other logits stay on the slice: the loss but for a constant."""
    steps = np.diff(margin) * (g[1:] + g[:-1]) / 2
    return np.concatenate([[0.0], np.cumsum(np.where(np.isfinite(steps), steps, 0.0))])
