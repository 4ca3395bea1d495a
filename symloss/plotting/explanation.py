"""One loss explained: what it does to the gradient, to the step, to the metric, and to the minima."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symloss.analysis.explanation import Explanation
from symloss.plotting import learning_rate, smoothing
from symloss.plotting.sharpness import ratios

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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

    from symloss.plotting import figure as style

    report, protocol = found.learning_rate, found.learning_rate.evaluation.protocol
    record: dict[str, object] = {
        "loss": found.expression or found.loss, "task": found.task, "seeds": protocol.seeds, "steps": protocol.steps,
        "batch": protocol.batch_size, "learning rate": f"{protocol.learning_rate:g}", "intervals": "95 %",
    }  # fmt: skip
    smooth, flat = found.smoothing, found.flatness
    shape, size = ((2, 2), (6.8, 5.8)) if smooth is not None else ((1, 3), (9.6, 3.2))
    figure, panels = style.new("Explanation", record, size, *shape)
    rest = [axes for row in panels for axes in row]
    with rc_context(style.STYLE):
        if smooth is not None:
            axes = rest.pop(0)
            smoothing.gradient(axes, smooth)
            axes.set_title("Does it smooth labels?")
            axes.legend(fontsize=7)
        for axes, title in zip(
            rest, ("How large is its step?", "What does it gain?", "How flat are its minima?"), strict=True
        ):
            axes.set_title(title)
        learning_rate.effective_rate(rest[0], report)
        rest[0].legend(fontsize=7)
        learning_rate.gains(rest[1], report)
        views = {"as it is": False} | ({"normalised logits": True} if flat.normalised else {})
        name = flat.rows[0].name
        ratios(rest[2], flat, {label: (name, view) for label, view in views.items()})
        rest[2].legend(fontsize=7)
    return figure
