"""The figures of the page: charts of the numbers of a run, and matplotlib's drawings made fit to stand in HTML."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from symloss.discovery.archive import STAGES, Candidate
from symloss.discovery.result import SearchResult
from symloss.evaluation import Evaluation
from symloss.evaluation.entries import LOSS, NOUNS
from symloss.plotting import curves, surface
from symloss.plotting.runs import TIMED
from symloss.report.charts import HEIGHT, Axis, Chart, Series, span, wide

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch import Tensor

MUTED = 7
"""Style of what stands in the background."""
_THINNED = 5  # of the points that a picture for print has
_SEVERAL = (0.0, 1.0, -1.0)  # targets of a regression loss that depends on more than the residual
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_NAME = 15  # characters of a loss's name that fit beside a chart


def loss_charts(candidate: Candidate) -> list[Chart]:
    """Value and derivative of a loss beside the task loss: a chart for each target, or for all residuals."""
    loss = candidate.loss
    if loss.kind == "regression":
        several = not surface.of_residual(candidate.expression)
        drawn = curves.sample(loss, targets=_SEVERAL if several else None)
        return [
            _residuals(drawn, "loss above its lowest value", [drawn.values(i) for i in range(len(drawn.targets))]),
            _residuals(drawn, "derivative ∂ℓ/∂f", [drawn.slopes(i) for i in range(len(drawn.targets))]),
        ]
    drawn = curves.sample(loss)
    charts = []
    for label, rows in (("loss above its lowest value", drawn.values), ("derivative ∂ℓ/∂f", drawn.slopes)):
        ends = [curves.limits(rows(i), drawn.centre) for i in range(len(drawn.targets))]
        y = Axis(label, min(low for low, _ in ends), max(high for _, high in ends))
        for i, target in enumerate(drawn.targets):
            names = ["this loss", *(curve.label for curve in drawn.curves[1:])]
            series = [
                _series(n, drawn.x, row, style) for style, (n, row) in enumerate(zip(names, rows(i), strict=True))
            ]
            x = Axis("predicted probability f", 0.0, 1.0)
            charts.append(Chart(f"target y = {target:g}", x, y, tuple(reversed(series))))
    return charts


def _residuals(drawn: curves.Curves, label: str, rows: Sequence[Sequence[Tensor]]) -> Chart:
    """The loss at each target against f − y, and its references at the first."""
    low, high = curves.limits([row for target in rows for row in target[:1]] + list(rows[0]), drawn.centre)
    own = [
        _series("this loss" if len(rows) == 1 else f"this loss, y = {y:g}".replace("-", "−"), drawn.x, row[0], 2 * i)
        for i, (y, row) in enumerate(zip(drawn.targets, rows, strict=True))
    ]
    others = [_series(c.label, drawn.x, row, 1) for c, row in zip(drawn.curves[1:], rows[0][1:], strict=True)]
    x = Axis("residual f − y", float(drawn.x[0]), float(drawn.x[-1]))
    return Chart("", x, Axis(label, low, high), (*others, *reversed(own)))


def _series(name: str, x: Tensor, y: Tensor, style: int) -> Series:
    return Series(name, x[::_THINNED].tolist(), y[::_THINNED].tolist(), style=style)


def front_chart(result: SearchResult) -> Chart:
    """Every candidate that was evaluated, complexity against fitness, and the front."""
    evaluated = [c for c in result.candidates if c.stage == "evaluated" and math.isfinite(c.fitness)]
    sizes, values = [c.complexity for c in evaluated], [c.fitness for c in evaluated]
    front = [c.complexity for c in result.front], [c.fitness for c in result.front]
    y = Axis(f"{result.metric_name} (validation)", *span(values, wide(values)), log=wide(values))
    x = Axis(f"complexity ({result.front[-1].unit})", 0.0, 1.04 * max(sizes) + 1.0, whole=True)
    series = (
        Series(f"evaluated ({len(evaluated)})", sizes, values, "points", MUTED),
        Series(f"Pareto front ({len(result.front)})", *front, "step"),
        Series("", *front, "points"),
    )
    return Chart("Size against quality", x, y, series)


def history_charts(result: SearchResult) -> list[Chart]:
    """How the search went, per generation: fitness, what became of new candidates, and time."""
    history = result.history
    number = [generation.number + 1.0 for generation in history]
    x = Axis("generation", 0.3, len(number) + 0.7, whole=True)
    best, median = [g.best for g in history], [g.median for g in history]
    log = wide([*best, *median])
    fitness = Axis(f"{result.metric_name} (validation)", *span([*best, *median], log), log=log)
    middle = Series("median of the population", number, median, "points", 1)
    ended = {stage: [float(g.counts.get(stage, 0)) for g in history] for stage in STAGES}
    spent = {stage: [g.seconds.get(stage, 0.0) for g in history] for stage in TIMED}
    return [
        Chart("Quality", x, fitness, (middle, Series("best so far", number, best, "step"))),
        _stacked("Where new candidates ended", x, "new candidates", ended, (4, MUTED, 3, 5, 1, 0)),
        _stacked("Time", x, "seconds", spent, (4, 2, 3, 0)),
    ]


def _stacked(title: str, x: Axis, label: str, rows: dict[str, list[float]], styles: Sequence[int]) -> Chart:
    high = max(map(sum, zip(*rows.values(), strict=True)), default=0.0)
    series = [
        Series(name, [x.low + 0.7 + k for k in range(len(row))], row, "bars", style)
        for (name, row), style in zip(rows.items(), styles, strict=True)
        if any(row)
    ]
    return Chart(title, x, Axis(label, 0.0, 1.05 * high or 1.0), tuple(series))


def difference_chart(evaluation: Evaluation) -> Chart:
    """Each loss minus the tuned task loss, with 95 % intervals; the references are left out."""
    rows = [row for row in evaluation.rows if row.role == LOSS]
    ends = [v for row in rows for v in (row.difference.low, row.difference.mean, row.difference.high)]
    x = Axis(f"{evaluation.metric_name} minus tuned {NOUNS[evaluation.kind]}", *span([*ends, 0.0]))
    names = tuple(row.name if len(row.name) <= _NAME else row.name[: _NAME - 1] + "…" for row in rows)
    place = [float(k) for k in range(len(rows))]
    series = Series(
        "", [row.difference.mean for row in rows], place, "interval",
        low=[row.difference.low for row in rows], high=[row.difference.high for row in rows],
    )  # fmt: skip
    height = HEIGHT - 184 + 30 * max(len(rows), 2)
    return Chart(
        "Left of the line is better", x, Axis("", len(rows) - 0.5, -0.5, names=names), (series,), (0.0,), height
    )


def rates_chart(evaluation: Evaluation) -> Chart | None:
    """Mean validation metric of each tuned loss over the learning rates that were tried; None if none was tuned."""
    rates = list(evaluation.protocol.grid)
    rows = [row for row in evaluation.rows if row.tuning]
    if not rows or len(rates) < 2:
        return None
    means = [[sum(column) / len(column) for column in zip(*row.tuning, strict=True)] for row in rows]
    values = [v for row in means for v in row]
    log = wide(values)
    series = [Series(r.name, rates, m, style=k % MUTED) for k, (r, m) in enumerate(zip(rows, means, strict=True))]
    y = Axis(f"{evaluation.metric_name} (validation)", *span(values, log), log=log)
    return Chart("Tuning of the learning rate", Axis("learning rate", rates[0], rates[-1], log=True), y, tuple(series))


def embedded(figure: Figure, prefix: str, label: str) -> str:
    """A matplotlib figure as an `<svg>` element for HTML: no names but its own, nothing that points elsewhere.

    Args:
        figure: The figure.
        prefix: Of every id in it, so that several can stand in one page.
        label: What it shows, for those who cannot see it.
    """
    from matplotlib import rc_context

    content = io.BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "symloss"}):
        figure.savefig(content, format="svg", metadata={"Date": None}, transparent=True)
    root = ElementTree.fromstring(content.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style", f"{{{_SVG}}}title"):
                parent.remove(child)
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            if name == "id":
                element.set("id", f"{prefix}-{value}")
            elif name in ("href", f"{{{_XLINK}}}href"):
                element.set(name, value.replace("#", f"#{prefix}-", 1))
            elif "url(#" in value:
                element.set(name, value.replace("url(#", f"url(#{prefix}-"))
            elif name == "d":
                element.set("d", _rounded(value))
            elif name == "style":
                element.set(
                    "style",
                    re.sub(r"font-family: [^;]*; ?", "", re.sub(r"font: ([\d.]+px) [^;]*", r"font-size: \1", value)),
                )
    width = root.attrib.pop("width", "")
    root.attrib.pop("height", None)
    root.set("role", "img")
    root.set("aria-label", label)
    root.set("class", "drawing")
    root.set("style", f"max-width: {width}; stroke-linejoin: round")
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return re.sub(r">\s+<", "><", ElementTree.tostring(root, encoding="unicode"))


def _rounded(path: str) -> str:
    """The data of a path with a tenth of a point left."""
    numbers = re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), path)
    return " ".join(numbers.split())
