"""Figures of a search: how it went, and the front that it found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from symloss.discovery.archive import STAGES
from symloss.discovery.result import SearchResult
from symloss.errors import SearchError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TIMED = ("propose", "fingerprint", "screen", "develop")


def history(result: SearchResult) -> Figure:
    """How a search went, per generation: fitness, what became of the new candidates, and the time it took.

    Args:
        result: Of `discover`, `resume` or `load_run`.

    Returns:
        A figure of three panels: best fitness so far and median of the population; new candidates by the stage at which
        they ended; seconds by stage.

    Raises:
        SearchError: If no generation is done.
    """
    from matplotlib import rc_context
    from matplotlib.ticker import MaxNLocator

    from symloss.plotting import figure as style

    generations = result.history
    if not generations:
        raise SearchError(f"no generation was done before the search stopped ({result.stopped}); there is no history")
    ends = (style.BLACK, "0.72", style.ORANGE, style.YELLOW, style.VERMILLION, style.BLUE)
    number = [generation.number + 1 for generation in generations]
    figure, rows = style.new(
        "History of a search", _record(result), (5.0, 5.6), 3, sharex=True, height_ratios=(1.15, 1.15, 0.8)
    )
    (fitness,), (ended,), (time,) = rows
    with rc_context(style.STYLE):
        best = [_shown(generation.best) for generation in generations]
        median = [_shown(generation.median) for generation in generations]
        fitness.step(number, best, where="mid", color=style.BLUE, label="best so far")
        fitness.plot(number, median, "o", markersize=3, color=style.VERMILLION, label="median of the population")
        _decades(fitness, [*best, *median])
        fitness.set_ylabel(f"{result.metric_name}\n(validation)", parse_math=False)
        _bars(ended, number, {stage: [g.counts.get(stage, 0) for g in generations] for stage in STAGES}, ends)
        ended.set_ylabel("new candidates")
        spent = {stage: [g.seconds.get(stage, 0.0) for g in generations] for stage in TIMED}
        _bars(time, number, spent, (style.PURPLE, style.GREEN, style.ORANGE, style.BLUE))
        time.set_ylabel("time (s)")
        time.set_xlabel("generation")
        time.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        time.set_xlim(0.3, len(number) + 0.7)
        for axes in (fitness, ended, time):
            _legend(axes, 4 if axes is time else 3)
    return figure


def front(result: SearchResult) -> Figure:
    """Every candidate that was evaluated, complexity against fitness, with the Pareto front and the pick.

    Args:
        result: Of `discover`, `resume` or `load_run`.

    Returns:
        The figure.

    Raises:
        SearchError: If no candidate was evaluated.
    """
    from matplotlib import rc_context
    from matplotlib.ticker import MaxNLocator

    from symloss.plotting import figure as style

    pick = result.best  # or an error that says why there is none
    evaluated = [c for c in result.candidates if c.stage == "evaluated" and math.isfinite(c.fitness)]
    figure, ((axes,),) = style.new("Pareto front", _record(result) | {"pick": pick.expression}, (5.0, 3.6))
    with rc_context(style.STYLE):
        axes.plot(
            [c.complexity for c in evaluated], [c.fitness for c in evaluated], "o", markersize=3,
            markeredgewidth=0, color="0.7", label=f"evaluated ({len(evaluated)})",
        )  # fmt: skip
        sizes, values = [c.complexity for c in result.front], [c.fitness for c in result.front]
        axes.step(sizes, values, where="post", color=style.BLUE, linewidth=1.0)
        axes.plot(sizes, values, "o", markersize=4, color=style.BLUE, label=f"Pareto front ({len(sizes)})")
        label = f"pick: {pick.complexity} {pick.unit}, {result.metric_name} {pick.fitness:.3g}"
        axes.plot(pick.complexity, pick.fitness, "*", markersize=11, color=style.VERMILLION, label=label)
        _decades(axes, [c.fitness for c in evaluated])
        axes.set_ylabel(f"{result.metric_name} (validation)", parse_math=False)
        axes.set_xlabel(f"complexity ({pick.unit} of the {'formula' if pick.unit == 'nodes' else 'network'})")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        _legend(axes, 2)
    return figure


def _record(result: SearchResult) -> dict[str, object]:
    """The settings that a reader asks for first; config.toml has all."""
    settings, task = result.settings, result.config.task
    model = task.get("recipe", {}).get("model")
    record: dict[str, object] = {
        "task": f"{task['name']}, {model}" if model else task["name"],
        "method": result.config.method,
        "seed": settings.seed,
        "population": settings.population_size,
        "generations": f"{len(result.history)} of {settings.generations}",
        "refinement steps": settings.refinement_steps if settings.refine else 0,
        "training steps": settings.fitness_steps,
        "batch": settings.batch_size,
        "learning rate": f"{result.learning_rate or settings.learning_rate:.4g}",
    }
    return record | ({"scale-free": "yes"} if settings.scale_free else {})


def _shown(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _decades(axes: Axes, values: list[float]) -> None:
    """A logarithmic axis where values are positive and span more than a decade, with plain numbers on it."""
    from matplotlib.ticker import LogLocator

    finite = [value for value in values if math.isfinite(value)]
    if not finite or min(finite) <= 0 or max(finite) < 10 * min(finite):
        return
    axes.set_yscale("log")
    if max(finite) < 1000 * min(finite):
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: "")


def _legend(axes: Axes, columns: int) -> None:
    """Above the panel, so that it hides nothing."""
    legend = axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, fontsize=7.5, columnspacing=1.2, handlelength=1.4
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)


def _bars(axes: Axes, x: list[int], rows: Mapping[str, Sequence[float]], colours: Sequence[str]) -> None:
    """Stacked bars, one colour per row; rows of zeros are left out."""
    bottom = [0.0] * len(x)
    for (name, heights), colour in zip(rows.items(), colours, strict=True):
        if any(heights):
            axes.bar(x, heights, 0.85, bottom=bottom, color=colour, linewidth=0, label=name)
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
