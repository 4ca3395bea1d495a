"""Sharpness: minima of several losses beside those of the task loss, and densities of Hessian eigenvalues."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from symloss.analysis.sharpness import Sharpness
from symloss.analysis.sharpness_report import QUANTITIES, SharpnessComparison
from symloss.errors import EvaluationError
from symloss.evaluation.entries import NOUNS
from symloss.plotting import intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOWEST = 1e-6
"""Part of the largest density down to which densities are drawn."""
_MARKERS = "osD^v"


def sharpness(found: SharpnessComparison) -> Figure:
    """How many times as sharp as under the task loss the minima of each loss are, by each measure, with 95 % intervals.

    Left of the line: flatter. Beside the models as they are stand the same with normalised logits (classifiers).

    Args:
        found: Of `symloss.analysis.compare_sharpness`.

    Returns:
        The figure.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    protocol = found.protocol
    record: dict[str, object] = {
        "task": found.task, "sharpness of": NOUNS[found.kind], "data": found.part, "samples": found.samples,
        "seeds": protocol.seeds, "steps": protocol.steps, "batch": protocol.batch_size,
        "learning rates": ", ".join(f"{row.learning_rate:.3g}" for row in found.rows), "intervals": "95 %",
    }  # fmt: skip
    views = {"models as they are": False} | ({"normalised logits": True} if found.normalised else {})
    figure, [panels] = style.new(
        "Sharpness", record, (1.6 + 2.2 * len(views), 2.9), 1, len(views), sharex=True, sharey=True
    )
    with rc_context(style.STYLE):
        lowest = []
        for axes, (title, normalised) in zip(panels, views.items(), strict=True):
            series = {r.name: (r.name, normalised) for r in found.rows if r is not found.reference}
            lowest.append(ratios(axes, found, series))
            axes.set_title(title)
        if min(lowest) > 0:
            intervals.ratio_axis(panels[0])  # of all panels, which share it
        panels[0].set_ylabel("measure of sharpness")
        figure.legend(handles=panels[0].get_legend_handles_labels()[0], loc="outside upper left", ncols=2)
    return figure


def ratios(axes: Axes, found: SharpnessComparison, series: Mapping[str, tuple[str, bool]]) -> float:
    """The ratio of each quantity to that of the task loss, a colour and a marker for each of the series.

    Args:
        axes: Where.
        found: The comparison.
        series: Labels to names of losses and whether logits are normalised.

    Returns:
        The lowest end of all intervals: above zero, the axis can be logarithmic.
    """
    lowest = np.inf
    for number, (label, (name, normalised)) in enumerate(series.items()):
        offset = 0.5 * ((number + 1) / (len(series) + 1) - 0.5)
        for place, quantity in enumerate(QUANTITIES):
            value = found.ratio(name, quantity, normalised)
            reach = [[value.mean - value.low], [value.high - value.mean]] if value.bounded else None
            axes.errorbar(
                value.mean, place + offset, xerr=reach, fmt=_MARKERS[number % len(_MARKERS)], markersize=4.5, capsize=3,
                color=f"C{number}", label=intervals.short(label) if place == 0 else None,
            )  # fmt: skip
            lowest = np.nanmin([lowest, value.low, value.mean])
    reference = intervals.short(found.reference.name)
    axes.axvline(1.0, color="black", linewidth=1, linestyle="--", zorder=0.5, label=reference)
    axes.set_yticks(range(len(QUANTITIES)), QUANTITIES)
    axes.set_ylim(len(QUANTITIES) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(f"times that of\n{reference}")
    return float(lowest)


def spectral_density(found: Sharpness | Mapping[str, Sharpness], normalised: bool = False) -> Figure:
    """How the eigenvalues of Hessians are distributed, on a logarithmic axis, with the largest ones marked.

    Most lie about 0; the few large ones to the right are the sharp directions. A density has the integral 1, and is
    drawn down to a millionth of its highest value.

    Args:
        found: Of `symloss.analysis.sharpness` with `density_steps`; or names to several.
        normalised: Draw them for normalised logits.

    Returns:
        The figure.

    Raises:
        EvaluationError: If there is none, or it has no density.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    shown = {"Hessian": found} if isinstance(found, Sharpness) else dict(found)
    if not shown:
        raise EvaluationError("there is no sharpness to draw; give at least one, such as {'found': sharpness}")
    record = {"logits": "normalised" if normalised else "as they are", "losses": ", ".join(shown)}
    figure, [[axes]] = style.new("Spectral density", record, (4.6, 3.2))
    with rc_context(style.STYLE):
        highest = 0.0
        for number, (name, one) in enumerate(shown.items()):
            at, density = _density(name, one.normalised if normalised else one)
            dashes = ("-", "--", "-.", ":")[number % 4]
            (line,) = axes.plot(at, density, dashes, linewidth=1.2, label=intervals.short(name))
            marked = (one.normalised if normalised and one.normalised else one).eigenvalues
            axes.plot(
                marked, np.full(len(marked), 0.03 + 0.05 * number), "v", color=line.get_color(), markersize=4,
                transform=axes.get_xaxis_transform(),
            )  # fmt: skip
            highest = max(highest, float(density.max()))
        axes.plot([], [], "v", color=style.GREY, markersize=4, label="largest eigenvalues")
        axes.set_yscale("log")
        axes.set_ylim(_LOWEST * highest, 3 * highest)
        axes.set_xlabel("eigenvalue of the Hessian")
        axes.set_ylabel("density")
        figure.legend(handles=axes.get_legend_handles_labels()[0], loc="outside upper left", ncols=2)
    return figure


def _density(name: str, one: Sharpness | None) -> tuple[np.ndarray, np.ndarray]:
    if one is None:
        raise EvaluationError(f"{name} was not measured for normalised logits; use sharpness(..., normalised=True)")
    if one.density is None:
        raise EvaluationError(f"{name} has no spectral density; measure it with sharpness(..., density_steps=40)")
    return one.density
