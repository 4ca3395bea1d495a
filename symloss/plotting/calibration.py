"""Calibration diagram: accuracy against confidence, and how the confidence is spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from symloss.analysis.calibration import Calibration
from symloss.errors import LossError
from symloss.evaluation.statistics import CONFIDENCE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARKERS = "osD^v"


def calibration(models: Mapping[str, Calibration] | Calibration) -> Figure:
    """Accuracy against mean confidence in each bin, with 95 % intervals, and the share of samples in each bin.

    A model that is right as often as it says lies on the diagonal; below it, it is too sure. The intervals are exact
    ones of a binomial proportion (Clopper and Pearson, Biometrika 26, 1934).

    Args:
        models: Names to what `symloss.analysis.calibration` found, or one.

    Returns:
        The figure.

    Raises:
        LossError: If there is no model.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    shown = {"model": models} if isinstance(models, Calibration) else dict(models)
    if not shown:
        raise LossError("there is no model to draw; give at least one, such as {'found': calibration}")
    record: dict[str, object] = {
        "samples": ", ".join(str(sum(c.counts)) for c in shown.values()),
        "bins": ", ".join(str(len(c.counts)) for c in shown.values()), "intervals": f"{100 * CONFIDENCE:g} %",
    }  # fmt: skip
    figure, [[diagram], [spread]] = style.new(
        "Calibration", record, (3.6, 4.4), 2, sharex=True, height_ratios=(2.4, 1.0)
    )
    with rc_context(style.STYLE):
        diagram.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":", label="as right as sure")
        lowest = 1.0
        for number, (name, one) in enumerate(shown.items()):
            n, sure, right = (np.array(v, np.float64) for v in (one.counts, one.confidence, one.accuracy))
            full = n > 0
            reach = _intervals(right[full] * n[full], n[full])
            label = f"{name} (ECE {100 * one.error:.1f} %)"
            diagram.errorbar(
                sure[full], right[full], np.abs(reach - right[full]), marker=_MARKERS[number % len(_MARKERS)],
                markersize=3.5, linewidth=1.2, elinewidth=0.8, capsize=1.5, label=label,
            )  # fmt: skip
            edges = np.linspace(0, 1, len(n) + 1)
            spread.stairs(100 * n / n.sum(), edges, linewidth=1.4)
            lowest = min(lowest, edges[:-1][full].min())
        diagram.set_xlim(lowest, 1.0)
        diagram.set_ylim(-0.02, 1.02)
        diagram.set_ylabel("accuracy")
        spread.set_ylabel("samples (%)")
        spread.set_xlabel("confidence")
        figure.legend(handles=diagram.get_legend_handles_labels()[0], loc="outside upper left")
    return figure


def _intervals(hits: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Lower and upper bounds **[2, bins]** of proportions."""
    from scipy.special import betaincinv

    tail = (1 - CONFIDENCE) / 2
    low = np.where(hits > 0, betaincinv(np.maximum(hits, 1e-9), counts - hits + 1, tail), 0.0)
    high = np.where(hits < counts, betaincinv(hits + 1, np.maximum(counts - hits, 1e-9), 1 - tail), 1.0)
    return np.stack([low, high])
