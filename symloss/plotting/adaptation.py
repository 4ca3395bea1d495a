"""A loss that adapts: its shape over training, how the model learns under it, and how it scales the step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from symloss.online.result import Adaptation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4


def adaptation(found: Adaptation, beside: Sequence[Adaptation] = ()) -> Figure:
    """The loss's shape over training as small multiples, learning curves, and the effective rate.

    Each small panel has the loss at its own zero (its value where it is lowest is taken off): only its slope acts. The
    shape before is drawn in grey in every later panel.

    Args:
        found: Of `symloss.adapt`.
        beside: Other runs of the same task, such as its controls, drawn into the learning curves.

    Returns:
        The figure.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    runs = [found, *beside]
    rows = max(1, math.ceil(len(found.snapshots) / _COLUMNS)) if found.snapshots else 0
    own = found.settings
    record: dict[str, object] = {
        "task": found.task, "method": own.method, "offline steps": found.offline, "optimiser": own.optimiser,
        "rate": f"{found.learning_rate:.3g}", "meta rate": own.meta_lr, "batch": own.batch_size, "seed": own.seed,
    }  # fmt: skip
    with rc_context(style.STYLE):
        figure = style.RecordedFigure(
            "Adaptive loss", record, figsize=(7.2, 2.6 + 1.7 * rows), dpi=200, layout="constrained"
        )
        if rows:
            frames: Any = figure.subfigures(2, 1, height_ratios=(1.7 * rows, 2.6))
            above, below = frames
            _shapes(found, above.subplots(rows, _COLUMNS, squeeze=False, sharex=True, sharey=True).ravel(), above)
        else:
            below = figure.subfigures()
        left, right = below.subplots(1, 2)
        _learning(runs, left)
        _effective_rate(runs, right)
        left.legend(loc="upper right")
    return figure


def _shapes(found: Adaptation, panels: Sequence[Axes], frame: Figure) -> None:
    from symloss.plotting import figure as style

    targets, predictions = found.curves
    first = found.snapshots[0][1]
    for axes, (step, curves) in zip(panels, found.snapshots, strict=False):
        for place, y in enumerate(targets):
            colour, dash = ((style.BLUE, "-"), (style.VERMILLION, "--"))[place]
            if step != found.snapshots[0][0]:
                axes.plot(predictions, first[place] - first[place].min(), dash, color="0.75", lw=1)
            axes.plot(predictions, curves[place] - curves[place].min(), dash, color=colour, label=f"target y = {y:g}")
        axes.set_title(f"after {step} steps" if step else "before training", loc="left")
    for axes in panels[len(found.snapshots) :]:
        axes.set_visible(False)
    frame.supxlabel("prediction f (grey: the loss before training)", fontsize=9)
    frame.supylabel("loss ℓ(y, f), lowest at 0", fontsize=9)
    lines = list(panels[len(found.snapshots) - 1].get_lines())[-2 * len(targets) :]
    shown = [line for line in lines if not str(line.get_label()).startswith("_")]
    if len(found.snapshots) < len(panels):
        frame.legend(handles=shown, loc="lower right", bbox_to_anchor=(0.98, 0.2))
    else:
        panels[0].legend(handles=shown, loc="best")


def _learning(runs: Sequence[Adaptation], axes: Axes) -> None:
    for run, dash in zip(runs, ("-", "--", "-.", ":") * len(runs), strict=False):
        steps = [record.step for record in run.records]
        label = f"{run.settings.method}, rate {run.learning_rate:.3g}"
        axes.plot(steps, [record.valid_metric for record in run.records], dash, label=label)
    _scale(axes, [record.valid_metric for run in runs for record in run.records])
    axes.set_xlabel("training step")
    axes.set_ylabel(f"{runs[0].metric_name} (validation)")


def _effective_rate(runs: Sequence[Adaptation], axes: Axes) -> None:
    for run, dash in zip(runs, ("-", "--", "-.", ":") * len(runs), strict=False):
        steps = [record.step for record in run.records]
        axes.plot(steps, [record.learning_rate * record.effective_rate for record in run.records], dash)
    _scale(axes, [record.learning_rate * record.effective_rate for run in runs for record in run.records])
    axes.set_xlabel("training step")
    axes.set_ylabel("effective rate α ‖∇M‖ / ‖∇L$_{task}$‖")


def _scale(axes: Axes, values: Sequence[float]) -> None:
    """A logarithmic axis, in ordinary numbers, where values span more than half a decade; else from 0."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    finite = [value for value in values if math.isfinite(value)]
    if not finite or min(finite) <= 0 or max(finite) < 3 * min(finite):
        axes.set_ylim(bottom=0)
        return
    axes.set_yscale("log")
    wide = max(finite) > 100 * min(finite)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if wide else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
