"""Training curves of several losses, with their intervals over seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from symloss.analysis.training import TrainingCurves
from symloss.plotting import intervals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DASHES = ("-", "--", "-.", ":")


def training_curves(curves: TrainingCurves) -> Figure:
    """The test metric over training: a line for the mean of each loss, its band the 95 % interval over seeds.

    Args:
        curves: Of `symloss.analysis.training_curves`.

    Returns:
        The figure.
    """
    from matplotlib import rc_context
    from matplotlib.ticker import FuncFormatter

    from symloss.plotting import figure as style

    protocol = curves.protocol
    record: dict[str, object] = {
        "task": curves.task, "seeds": protocol.seeds, "batch": protocol.batch_size,
        "learning rates": ", ".join(f"{rate:.3g}" for rate in curves.rates.values()), "intervals": "95 %",
    }  # fmt: skip
    figure, [[axes]] = style.new("Training curves", record, (4.4, 3.4))
    with rc_context(style.STYLE):
        means: list[float] = []
        plain = FuncFormatter(lambda value, _: f"{value:g}")
        for number, name in enumerate(curves.values):
            found = curves.estimates(name)
            label = intervals.short(name)
            intervals.band(axes, curves.steps, found, f"{label}, rate {curves.rates[name]:.3g}", _DASHES[number % 4])
            means += [estimate.mean for estimate in found]
        if min(means) > 0:
            axes.set_yscale("log")
            axes.set_ylim(0.8 * min(means), 1.25 * max(means))
            axes.yaxis.set_major_formatter(plain)
            axes.yaxis.set_minor_formatter(intervals.minor_numbers())
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(plain)
        axes.xaxis.set_minor_formatter(intervals.minor_numbers())
        axes.set_xlim(curves.steps[0], max(curves.steps[-1], 2))
        axes.set_xlabel("training step")
        axes.set_ylabel(f"{curves.metric_name} (test)")
        figure.legend(handles=axes.get_lines(), loc="outside upper left")
    return figure
