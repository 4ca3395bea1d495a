"""A loss that adapts: its shape over training, how the model learns under it, and how it scales the step."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symloss.errors import LossError
from symloss.online.result import Adaptation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
_PREDICTION, _LOSS = "prediction f", "loss ℓ(y, f), lowest at 0"
_MOMENT, _LAST = 350, 2000  # milliseconds that a picture of an animation stays


def adaptation(found: Adaptation, beside: Sequence[Adaptation] = ()) -> Figure:
    """The loss's shape over training as small multiples, learning curves, and the effective rate.

    Each small panel has the loss at its own zero (its value where it is lowest is taken off): only its slope acts. The
    shape before is drawn in grey in every later panel. A dotted line is where the loss rests: beyond that probability
    of the target it pushes it down, as label smoothing does.

    Args:
        found: Of `symloss.adapt`.
        beside: Other runs of the same task, such as its controls, drawn into the learning curves.

    Returns:
        The figure.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    runs = [found, *beside]
    rows = math.ceil(len(found.shown) / _COLUMNS)
    with rc_context(style.STYLE):
        figure = style.RecordedFigure(
            "Adaptive loss", _record(found), figsize=(7.2, 2.6 + 1.7 * rows), dpi=200, layout="constrained"
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


def animation(found: Adaptation) -> bytes:
    """The loss's shape over training as an animated GIF: one picture for each snapshot, on the same axes.

    Args:
        found: Of `symloss.adapt`.

    Returns:
        The content of the file.

    Raises:
        LossError: If the run kept no shapes.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    from symloss.plotting import figure as style

    if not found.snapshots:
        raise LossError("this run has no shapes to animate; use a formula or a network, and at least one step")
    top = max(float((curve - curve.min(1, keepdims=True)).max()) for _, curve in found.snapshots)
    figure, ((axes,),) = style.new("Adaptive loss", _record(found), (4.6, 3.4))
    figure.set_dpi(120)
    canvas: Any = FigureCanvasAgg(figure)
    pictures = []
    for place, (step, _) in enumerate(found.snapshots):
        with rc_context(style.STYLE):
            axes.clear()
            _shape(axes, found, place, grey=place > 0, rests=())
            axes.set_ylim(-0.03 * top, 1.03 * top)
            axes.set_title(_after(step), loc="left")
            axes.set_xlabel(f"{_PREDICTION} (grey: before training)")
            axes.set_ylabel(_LOSS)
            axes.legend(loc="upper center")
            canvas.draw()
        figure.set_layout_engine("none")  # that of the first picture is kept
        picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        pictures.append(picture.quantize(64, dither=Image.Dither.NONE))
    file = io.BytesIO()
    times = [_MOMENT] * (len(pictures) - 1) + [_LAST]
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0, optimize=True)
    return file.getvalue()


def _record(found: Adaptation) -> dict[str, object]:
    """Settings for a figure's footer."""
    own = found.settings
    return {
        "task": found.task, "method": own.method, "offline steps": found.offline, "optimiser": own.optimiser,
        "rate": f"{found.learning_rate:.3g}", "meta rate": own.meta_lr, "batch": own.batch_size, "seed": own.seed,
    }  # fmt: skip


def _shapes(found: Adaptation, panels: Sequence[Axes], frame: Figure) -> None:
    first = found.snapshots[0][0]
    rests = _rests(found)
    for axes, place in zip(panels, found.shown, strict=False):
        step = found.snapshots[place][0]
        _shape(axes, found, place, grey=step != first, rests=rests[place])
        axes.set_title(_after(step), loc="left")
    for axes in panels[len(found.shown) :]:
        axes.set_visible(False)
    frame.supxlabel(f"{_PREDICTION} (grey: the loss before training)", fontsize=9)
    frame.supylabel(_LOSS, fontsize=9)
    handles = {str(line.get_label()): line for axes in panels for line in axes.get_lines()}
    shown = [line for label, line in handles.items() if not label.startswith("_")]
    if len(found.shown) < len(panels):
        frame.legend(handles=shown, loc="lower right", bbox_to_anchor=(0.98, 0.2))
    else:
        panels[0].legend(handles=shown, loc="best")


def _shape(axes: Axes, found: Adaptation, place: int, grey: bool, rests: Sequence[float]) -> None:
    """ℓ at one moment, over the first in grey, with the probabilities at which it rests."""
    from symloss.plotting import figure as style

    targets, predictions = found.curves
    for row, y in enumerate(targets):
        colour, dash = ((style.BLUE, "-"), (style.VERMILLION, "--"))[row]
        if grey:
            before = found.snapshots[0][1][row]
            axes.plot(predictions, before - before.min(), dash, color="0.75", lw=1)
        curve = found.snapshots[place][1][row]
        axes.plot(predictions, curve - curve.min(), dash, color=colour, label=f"target y = {y:g}")
    for number, rest in enumerate(rests):
        label = "_" if number else "rests here"
        axes.axvline(rest, color=style.GREEN, lw=1, ls=":", label=label)


def _rests(found: Adaptation) -> dict[int, Sequence[float]]:
    """For each snapshot that is shown the target's probabilities at which the loss stops pulling it up."""
    from symloss.analysis.adaptation import adaptation as analysed

    try:
        looks = analysed(found).looks
    except LossError:
        return dict.fromkeys(found.shown, ())
    return {place: look.rests for place, look in zip(found.shown, looks, strict=True)}


def _after(step: int) -> str:
    return f"after {step} steps" if step else "before training"


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
