"""Few-shot learners: how good variants are, how they adapt, and what they learned of losses and step sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from symloss.fewshot.inspection import LossShape
from symloss.fewshot.result import Curve, Scores
from symloss.plotting.intervals import band

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_UNITS = {"accuracy": "test accuracy (%)", "mean squared error": "mean squared error"}


def fewshot_scores(scores: Mapping[str, Scores], record: Mapping[str, object] | None = None) -> Figure:
    """The mean of each variant with its 95 % interval over tasks, one below the other.

    Args:
        scores: Of `NPBML.evaluate`, by variant.
        record: Settings to record in the figure.

    Returns:
        The figure.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    first = next(iter(scores.values()))
    noted = {**(record or {}), "tasks": len(first.values), "intervals": "95 %, over tasks"}
    figure, ((axes,),) = style.new("Few-shot learners", noted, (6.4, 1.2 + 0.32 * len(scores)))
    with rc_context(style.STYLE):
        factor = 100.0 if first.metric == "accuracy" else 1.0
        for place, found in enumerate(scores.values()):
            own = _scaled(found.values, factor)
            reach = [[own.mean - own.low], [own.high - own.mean]] if own.bounded else None
            axes.errorbar(own.mean, place, xerr=reach, fmt="o", markersize=5, capsize=3, color=style.BLUE)
        axes.set_yticks(range(len(scores)), list(scores))
        axes.set_ylim(len(scores) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(_UNITS[first.metric])
    return figure


def fewshot_curves(curves: Mapping[str, Curve], record: Mapping[str, object] | None = None) -> Figure:
    """The metric after each number of inner steps, also beyond the trained number (dotted).

    Args:
        curves: Of `NPBML.curve`, by variant.
        record: Settings to record in the figure.

    Returns:
        The figure.
    """
    from matplotlib import rc_context
    from matplotlib.ticker import MaxNLocator

    from symloss.plotting import figure as style

    first = next(iter(curves.values()))
    noted = {**(record or {}), "tasks": first.values.shape[1], "bands": "95 % over tasks"}
    figure, ((axes,),) = style.new("Adaptation", noted, (5.6, 3.4))
    with rc_context(style.STYLE):
        factor = 100.0 if first.metric == "accuracy" else 1.0
        for (name, curve), dash in zip(curves.items(), ("-", "--", "-.", ":") * len(curves), strict=False):
            band(axes, range(len(curve.values)), [_scaled(row, factor) for row in curve.values], name, dash)
        for trained in sorted({curve.trained for curve in curves.values()}):
            axes.axvline(trained, color=style.GREY, linestyle=":", linewidth=1)
            axes.annotate(
                "trained", (trained, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -3),
                textcoords="offset points", va="top", fontsize=7, color=style.GREY,
            )  # fmt: skip
        axes.set_xlabel("inner steps")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_ylabel(_UNITS[first.metric])
        if first.metric != "accuracy":
            axes.set_yscale("log")
        axes.legend(loc="best")
    return figure


def fewshot_loss(shape: LossShape, record: Mapping[str, object] | None = None) -> Figure:
    """The learned loss of a sample beside L_base, with and without FiLM, where samples of tasks lie; FiLM per layer.

    Args:
        shape: Of `fewshot.loss_shape`.
        record: Settings to record in the figure.

    Returns:
        The figure.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    noted = {**(record or {}), "tasks": len(shape.samples)}
    panels = 2 if shape.modulation else 1
    figure, (row,) = style.new("Learned loss", noted, (3.8 * panels, 3.4), 1, panels)
    colours = (style.ORANGE, style.GREEN, style.PURPLE, style.SKY)
    with rc_context(style.STYLE):
        axes = row[0]
        for task, (places, values) in enumerate(shape.samples[:4]):
            axes.plot(
                places, values, "osD^"[task], color=colours[task], markersize=2.5, linewidth=0, alpha=0.7,
                label=f"samples of task {task + 1}",
            )  # fmt: skip
        axes.plot(shape.at, shape.base, "--", color=style.GREY, label="L_base")
        axes.plot(shape.at, shape.plain, "-.", color=style.VERMILLION, label="learned, without its FiLM")
        axes.plot(shape.at, shape.learned, "-", color=style.BLUE, label="learned: L_base + L^S")
        multiclass = shape.kind == "multiclass"
        axes.set_xlabel("logit of the target above all others" if multiclass else "prediction minus target")
        axes.set_ylabel("loss of a support sample")
        axes.legend(loc="best", fontsize=7)
        if shape.modulation:
            _modulation(row[1], shape.modulation, colours)
    return figure


def fewshot_steps(steps: Mapping[str, Any], rate: float, record: Mapping[str, object] | None = None) -> Figure:
    """Learned step sizes of each tensor as distributions, beside the inner learning rate that they started from.

    Args:
        steps: Of `fewshot.step_sizes`.
        rate: α.
        record: Settings to record in the figure.

    Returns:
        The figure.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    figure, ((axes,),) = style.new("Step sizes", {**(record or {}), "α": rate}, (5.6, 1.4 + 0.3 * len(steps)))
    with rc_context(style.STYLE):
        axes.axvline(rate, color=style.GREY, linestyle="--", linewidth=1, label=f"α = {rate:g}, at the start")
        _spread(axes, list(steps.values()), style.BLUE, "learned: 5, 25, 50, 75 and 95 %")
        axes.set_yticks(range(len(steps)), [f"layer {name}" if name.isdigit() else name for name in steps])
        axes.set_ylim(len(steps) - 0.5, -0.5)
        axes.set_xlabel("step size")
        axes.grid(visible=False, axis="y")
        figure.legend(loc="outside upper right", ncols=2)
    return figure


def _modulation(axes: Axes, modulation: Mapping[str, Any], colours: Sequence[str]) -> None:
    """1 + γ of each layer: for each task its spread over channels."""
    names = list(modulation)
    tasks = min(4, len(next(iter(modulation.values()))))
    for task in range(tasks):
        shift = 0.7 * ((task + 0.5) / tasks - 0.5)
        _spread(axes, [modulation[n][task] for n in names], colours[task], f"task {task + 1}", shift)
    axes.axvline(1.0, color="black", linewidth=0.6)
    axes.set_yticks(range(len(names)), [f"layer {n}" for n in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("FiLM of the encoder: 1 + γ over channels\n(5, 25, 50, 75 and 95 %)")
    axes.grid(visible=False, axis="y")


def _spread(axes: Axes, rows: Sequence[Any], colour: str, label: str, shift: float = 0.0) -> None:
    for place, values in enumerate(rows):
        low, lower, middle, upper, high = np.quantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
        own = label if place == 0 else None
        axes.plot([low, high], [place + shift] * 2, color=colour, linewidth=1, label=own)
        axes.plot([lower, upper], [place + shift] * 2, color=colour, linewidth=3.5, solid_capstyle="butt")
        axes.plot(middle, place + shift, "o", color=colour, markersize=4, markeredgecolor="white", markeredgewidth=0.6)


def _scaled(values: Any, factor: float) -> Any:
    from symloss.evaluation.statistics import estimate

    return estimate((factor * values).tolist())
