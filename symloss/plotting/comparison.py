"""A comparison: differences to the tuned task loss on every task, and the mean ranks over tasks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from symloss.comparison import Comparison, Score
from symloss.comparison.plan import REFERENCES, SEARCH, TUNED, Method
from symloss.errors import EvaluationError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 4
_REACH = 5.0  # how many times the median reach of a panel's intervals is drawn; what is beyond is marked at the edge


def comparison(found: Comparison) -> Figure:
    """For each task the paired differences to the tuned task loss, with intervals; below them the mean ranks.

    A panel has one line for each method: the mean with its 95 % bootstrap interval, and a small dot for each search.
    What lies far beyond the others is marked by an arrow at the edge, with its mean. Below, each dot is the rank on one
    task and the diamond the mean; the band reaches from the tuned task loss to Nemenyi's critical distance on either
    side: a method in it is not told apart.

    Args:
        found: Of `symloss.compare`.

    Returns:
        The figure.

    Raises:
        EvaluationError: If no cell is finished.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    if not found.facts:
        raise EvaluationError("there is nothing to draw: no cell of the comparison is finished")
    tasks = [choice.label for choice in found.plan.tasks if choice.label in found.facts]
    methods = [method for method in found.plan.methods if method not in REFERENCES]
    columns = min(_COLUMNS, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    heights = [0.19 * len(methods) + 0.75] * rows + [0.19 * len(found.ranks.mean) + 0.75]
    size = (max(6.4, 1.6 + 1.75 * columns), sum(heights) + 0.9)
    figure, axes = style.new(
        "Differences to the tuned task loss", _record(found), size, rows + 1, columns, height_ratios=heights
    )
    with rc_context(style.STYLE):
        for place in range(rows * columns):
            panel = axes[place // columns][place % columns]
            if place < len(tasks):
                _task(panel, found, tasks[place], methods, named=place % columns == 0)
            else:
                panel.set_axis_off()
        grid = axes[-1][0].get_gridspec()
        assert grid is not None
        for panel in axes[-1]:
            panel.remove()
        _ranks(figure.add_subplot(grid[-1, :]), found)
        figure.legend(handles=_handles(), loc="outside upper left", ncols=4)
    return figure


def _record(found: Comparison) -> dict[str, object]:
    p = found.plan.protocol
    steps = sorted({cell.definition["protocol"]["steps"] for cell in found.plan.cells})
    return {
        "search seeds": len(found.plan.seeds), "training seeds": p.seeds, "steps": ", ".join(map(str, steps)),
        "learning rates": f"{len(p.grid)} for each loss, on validation data",
        "intervals": "95 %, bootstrap over searches and training seeds, each by itself",
        "unfinished cells": found.pending,
    }  # fmt: skip


def _looks(score: Score) -> tuple[str, str]:
    """Colour and marker of where the interval lies."""
    from symloss.plotting import figure as style

    d = score.difference
    if d is None or not d.bounded or d.low <= 0 <= d.high:
        return style.GREY, "o"
    return (style.BLUE, "s") if d.high < 0 else (style.VERMILLION, "D")


def _handles() -> list[object]:
    from matplotlib.lines import Line2D

    from symloss.plotting import figure as style

    looks = (
        ("lower than the tuned task loss", style.BLUE, "s"), ("interval holds zero", style.GREY, "o"),
        ("higher", style.VERMILLION, "D"),
    )  # fmt: skip
    found = [Line2D([], [], color=c, marker=m, markersize=4, label=name) for name, c, m in looks]
    dots = Line2D([], [], color=style.GREY, marker=".", markersize=3, linestyle="", label="one search")
    return [*found, dots]


def _task(axes: Axes, found: Comparison, task: str, methods: list[Method], named: bool) -> None:
    from symloss.plotting import figure as style

    facts = found.facts[task]
    factor = 1.0 if facts.kind == "regression" else 100.0
    scores = {m: found.score(task, m.label) for m in methods}
    edge = _edge([s for s in scores.values() if s.difference is not None])
    reference = found.values(task, next(m for m in REFERENCES if m.kind == TUNED))
    for place, (method, score) in enumerate(scores.items()):
        if score.difference is None:
            axes.text(0.5, place, "missing", transform=axes.get_yaxis_transform(), ha="center", va="center", fontsize=7,
                      color=style.GREY)  # fmt: skip
            continue
        colour, marker = _looks(score)
        d, incomplete = score.difference, not score.complete
        bounds = (d.low, d.high) if d.bounded else (d.mean, d.mean)
        axes.plot(np.clip(bounds, -edge, edge) * factor, [place] * 2, color=colour, linewidth=1.4)
        if method.kind == SEARCH:
            each = (found.values(task, method) - reference[0]).mean(1)
            each = each[abs(each) <= edge]
            axes.plot(each * factor, [place + 0.22] * len(each), ".", markersize=3, color=colour, alpha=0.6)
        if abs(d.mean) > edge:
            beyond = math.copysign(edge, d.mean) * factor
            axes.plot(beyond, place, ">" if d.mean > 0 else "<", markersize=5, color=colour, clip_on=False)
            side, align = (-5, "right") if d.mean > 0 else (5, "left")
            axes.annotate(
                f"{d.mean * factor:+.3g}", (beyond, place), (side, 0), textcoords="offset points", ha=align,
                va="center", fontsize=6, color=colour, backgroundcolor="white",
            )  # fmt: skip
        else:
            face = "white" if incomplete else colour
            axes.plot(d.mean * factor, place, marker, markersize=4, color=colour, markerfacecolor=face)
    axes.axvline(0.0, color="black", linewidth=0.8, zorder=0.5)
    axes.set_xlim(-1.08 * edge * factor, 1.08 * edge * factor)
    labels = [method.label for method in methods] if named else []
    axes.set_yticks(range(len(methods)), labels or [""] * len(methods))
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_title(task, loc="left")
    axes.set_xlabel(f"Δ {'squared error' if facts.kind == 'regression' else 'test error, points'}", fontsize=7)
    axes.tick_params(axis="x", labelsize=7)


def _edge(scores: list[Score]) -> float:
    """How far from zero is drawn."""
    reach = [max(abs(v) for v in (d.mean, d.low, d.high) if math.isfinite(v)) for s in scores if (d := s.difference)]
    return min(max(reach), _REACH * float(np.median(reach))) * 1.05 if any(reach) else 1e-3


def _ranks(axes: Axes, found: Comparison) -> None:
    from symloss.comparison.table import shown
    from symloss.plotting import figure as style

    ranks = found.ranks
    if not ranks.tasks:
        axes.set_axis_off()
        axes.text(0, 0.5, "no mean ranks: there is no task on which nothing is missing", transform=axes.transAxes)
        return
    names = sorted(ranks.mean, key=lambda name: ranks.mean[name])
    tuned = next(m.label for m in REFERENCES if m.kind == TUNED)
    if tuned in ranks.mean and not math.isnan(ranks.distance):
        middle = ranks.mean[tuned]
        axes.axvspan(middle - ranks.distance, middle + ranks.distance, color=style.SKY, alpha=0.2, linewidth=0)
    for place, name in enumerate(names):
        values, counts = np.unique(ranks.each[name], return_counts=True)
        axes.scatter(values, [place] * len(values), s=8.0 * counts, color=style.GREY, alpha=0.5, linewidth=0)
        axes.plot(ranks.mean[name], place, "D", markersize=5, color=style.BLACK if name == tuned else style.BLUE)
    axes.set_yticks(range(len(names)), [shown(found, name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0.8, len(names) + 0.2)
    axes.set_xticks(range(1, len(names) + 1))
    axes.grid(visible=False, axis="y")
    title = f"ranks on {len(ranks.tasks)} of {len(found.plan.tasks)} tasks (dots, larger for several), and their mean"
    if not math.isnan(ranks.p):
        title += f"\nFriedman p = {ranks.p:.2g}; band: not told apart from the tuned task loss (Nemenyi)"
    axes.set_title(title, loc="left")
    axes.set_xlabel("rank, 1 the lowest")
