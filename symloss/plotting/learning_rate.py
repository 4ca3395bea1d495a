"""A loss as a change of the learning rate: what its gain is made of, and its effective rate over training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symloss.analysis.learning_rate_report import LearningRateReport
from symloss.evaluation.entries import NOUNS
from symloss.plotting import intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def learning_rate(report: LearningRateReport) -> Figure:
    """The gain of a loss over the untuned task loss in its parts, and its effective rate over training.

    Left: ‖∇M‖ / ‖∇L_task‖, by what the loss M multiplies the learning rate, as M trains the model. Right: gains of the
    test metric with their intervals over seeds, above zero better.

    Args:
        report: Of `symloss.analysis.learning_rate`.

    Returns:
        The figure.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    protocol = report.evaluation.protocol
    record: dict[str, object] = {
        "loss": report.loss, "task": report.evaluation.task, "verdict": report.verdict,
        "learning rate": f"{protocol.learning_rate:g}", "steps": protocol.steps, "batch": protocol.batch_size,
        "seeds": protocol.seeds, "intervals": "95 %",
    }  # fmt: skip
    figure, [[rate, parts]] = style.new("Step size and shape", record, (6.0, 3.0), 1, 2, width_ratios=(1.0, 1.1))
    with rc_context(style.STYLE):
        gains(parts, report)
        effective_rate(rate, report)
        figure.legend(handles=rate.get_lines(), loc="outside upper left", ncols=2)
    return figure


def gains(axes: Axes, report: LearningRateReport) -> None:
    """The gain of a loss over the untuned task loss, its parts, and what tuning gives, with their intervals."""
    from matplotlib.ticker import MaxNLocator

    from symloss.plotting import figure as style

    noun = NOUNS[report.evaluation.kind]
    shown = {
        "gain of the loss": report.gain, "of it step size": report.step_size, "of it shape": report.shape,
        f"{noun},\ntuned": report.tuning_gain, "the loss, tuned,\nover that": report.tuned_gain,
    }  # fmt: skip
    intervals.bars(axes, shown, (style.BLACK, style.BLUE, style.VERMILLION, style.GREY, style.GREY))
    axes.axhline(2.5, color="black", linewidth=0.6, linestyle=":")
    axes.set_xlabel(f"gain in {report.evaluation.metric_name}\nover untuned {noun}")
    axes.xaxis.set_major_locator(MaxNLocator(5))


def effective_rate(axes: Axes, report: LearningRateReport) -> None:
    """By what a loss multiplies the learning rate over training, beside the task loss, which is 1."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    noun = NOUNS[report.evaluation.kind]
    intervals.band(axes, report.steps, report.effective_rate, "loss")
    axes.axhline(1.0, color="black", linestyle="--", linewidth=1, label=noun)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    low, high = min(low, 0.5), max(high, 2.0)
    axes.set_ylim(low, high)
    if high / low < 100:
        axes.set_yticks([t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= t <= high])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    intervals.training_steps(axes, report.steps)
    axes.set_ylabel(f"effective rate\n‖∇loss‖ / ‖∇{noun}‖")
