"""One loss explained: what it does to the gradient, to the step, to the metric, and to the minima."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symloss.analysis.explanation import Explanation
from symloss.analysis.sharpness_report import QUANTITIES
from symloss.plotting import intervals, learning_rate, smoothing
from symloss.plotting.sharpness import ratios

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_QUESTIONS = ("How large is its step?", "What does it gain?", "How flat are its minima?")


def explanation(found: Explanation) -> Figure:
    """The parts of an explanation side by side, each panel under its question.

    For classification the target's logit gradient beside label smoothing; the effective rate over training; the gain
    over the untuned task loss in its parts; and the sharpness of minima, as times that under the tuned task loss.

    Args:
        found: Of `symloss.analysis.explain`.

    Returns:
        The figure.
    """
    from matplotlib import rc_context
    from matplotlib.ticker import MaxNLocator

    from symloss.plotting import figure as style

    report, protocol = found.learning_rate, found.learning_rate.evaluation.protocol
    record: dict[str, object] = {
        "loss": found.expression or found.loss, "task": found.task, "seeds": protocol.seeds, "steps": protocol.steps,
        "batch": protocol.batch_size, "learning rate": f"{protocol.learning_rate:g}", "intervals": "95 %",
    }  # fmt: skip
    smooth, flat = found.smoothing, found.flatness
    shape, size = ((2, 2), (6.0, 5.6)) if smooth is not None else ((3, 1), (4.0, 7.2))
    figure, panels = style.new("Explanation", record, size, *shape)
    rest = [axes for row in panels for axes in row]
    with rc_context(style.STYLE):
        if smooth is not None:
            smoothing.gradient(rest[0], smooth)
            rest.pop(0).set_title("Does it smooth labels?")
        learning_rate.effective_rate(rest[0], report)
        learning_rate.gains(rest[1], report)
        views = {"as it is": False} | ({"normalised logits": True} if flat.normalised else {})
        if ratios(rest[2], flat, {label: (flat.rows[0].name, view) for label, view in views.items()}) > 0:
            intervals.ratio_axis(rest[2])
        rest[2].set_ylim(len(QUANTITIES) + 0.9, -0.5)  # room for the legend
        for axes, title in zip(rest, _QUESTIONS, strict=True):
            axes.set_title(title)
        low, high = panels[0][0].get_ylim()
        if smooth is not None:
            panels[0][0].set_ylim(low, high + 0.8 * (high - low))  # room for the legend
        low, high = rest[0].get_ylim()
        rest[0].set_ylim(low, high * (high / low) ** 0.4)
        opaque = {"frameon": True, "framealpha": 1.0, "edgecolor": "none"}
        for axes in (panels[0][0], rest[0]):
            axes.legend(loc="upper left", **opaque)
        rest[2].legend(handles=rest[2].get_legend_handles_labels()[0][1:], loc="lower right", **opaque)
        rest[0].set_ylabel(f"effective rate\n(× {found.noun})")
        rest[1].xaxis.set_major_locator(MaxNLocator(3))
        rest[1].set_ylabel("gain and its parts")
        if smooth is None:
            rest[2].set_ylabel("measure of sharpness")
    return figure
