"""Families of losses: what the largest do, beside the known loss that is nearest, and which primitives they use."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, cast

import numpy as np

from symloss.analysis.behaviour import (
    PROBABILITIES,
    RESIDUALS,
    SHARES,
    TARGETS,
    Array,
    grid,
    known,
)
from symloss.analysis.families_report import FamiliesReport, Family
from symloss.errors import LossError
from symloss.population.predictions import Kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SHOWN = 6
_COLUMNS = 3
_PRIMITIVES = 12
_TITLE = 23  # characters in a line
_LABELS = {
    "multiclass": "target's probability", "binary": "probability p, label 1", "regression": "residual f − y",
}  # fmt: skip


def families(report: FamiliesReport) -> Figure:
    """The six largest families, a panel each, and how many losses use each primitive.

    A panel shows the gradient at the target's output where the wrong classes are alike (binary: for label 1;
    regression: at the middle target), every curve divided by its mean magnitude: thin the members, thick the
    representative, dashed the nearest loss of the catalogue.

    Args:
        report: Of `symloss.analysis.families`.

    Returns:
        The figure.

    Raises:
        LossError: If every loss was left out.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    if not report.families:
        raise LossError("every loss was left out for want of a finite gradient; there is no family to draw")
    shown = report.families[:_SHOWN]
    rows = -(-len(shown) // _COLUMNS)
    record: dict[str, object] = {
        "kind": report.kind, "losses": len(report.members), "families": len(report.families),
        "shown": len(shown), "distance": f"{report.distance:g}", "left out": len(report.left_out),
    }  # fmt: skip
    figure, panels = style.new("Families of losses", record, (6.0, 1.75 * rows + 2.2), rows + 1, _COLUMNS)
    flat = [axes for row in panels[:-1] for axes in row]
    with rc_context(style.STYLE):
        for axes, family in zip(flat, shown, strict=False):
            _draw(axes, family, report.kind, (style.BLUE, style.VERMILLION))
        for axes in flat[len(shown) :]:
            axes.remove()
        for row in panels[:-1]:
            row[0].set_ylabel("gradient of the loss\nover its mean size")
        for axes in flat[max(len(shown) - _COLUMNS, 0) : len(shown)]:
            axes.set_xlabel(_LABELS[report.kind])
        for axes in panels[-1][1:]:
            axes.remove()
        spec = panels[-1][0].get_subplotspec()
        assert spec is not None
        panels[-1][0].set_subplotspec(spec.get_gridspec()[rows, :])
        _primitives(panels[-1][0], report, style.BLUE)
        figure.legend(handles=flat[0].get_lines()[-3:], loc="outside upper left", ncols=3)
    return figure


def _draw(axes: Axes, family: Family, kind: str, colours: tuple[str, str]) -> None:
    names, references = known(cast(Kind, kind))
    x, curves = _curve(family.gradients, kind)
    _, reference = _curve(references[names.index(family.nearest)][None], kind)
    axes.axhline(0.0, color="black", linewidth=0.6, zorder=0.5)
    for curve in curves:
        axes.plot(x, curve, color=colours[0], alpha=0.3, linewidth=0.6, label="members")
    axes.plot(x, curves[0], color=colours[0], label="representative")
    axes.plot(x, reference[0], "--", color=colours[1], linewidth=1.2, label="nearest known loss")
    count = len(family.members)
    match = family.name or f"nearest: {family.nearest}, {family.nearest_distance:.2g} apart"
    axes.set_title("\n".join([f"{count} loss{'es' * (count > 1)}", *textwrap.wrap(match, _TITLE)]), fontsize=8.5)


def _curve(rows: Array, kind: str) -> tuple[Array, Array]:
    """What a panel shows of gradients **[n, C · points]**: x **[m]** and curves **[n, m]**, in units of their mean."""
    at = grid(cast(Kind, kind))
    if kind == "regression":
        middle = slice(TARGETS // 2 * RESIDUALS, (TARGETS // 2 + 1) * RESIDUALS)
        x, part = (at.f - at.y)[0, middle], rows[:, middle]
    else:  # multiclass: the first of the shares, in which the wrong classes are alike
        x, part = at.f[0, :PROBABILITIES], rows[:, :PROBABILITIES]
        assert SHARES[0] == 0.5
    size = np.abs(part).mean(1, keepdims=True)
    curves: Array = part / np.where(size > 0, size, 1.0)
    return x.numpy(), curves


def _primitives(axes: Axes, report: FamiliesReport, colour: str) -> None:
    shown = report.primitives[:_PRIMITIVES]
    axes.bar([name for name, _ in shown], [100 * share for _, share in shown], color=colour, width=0.7)
    axes.set_ylabel("losses that\nuse it (%)")
    axes.set_xlabel("primitive")
    axes.set_ylim(0, 100)
    axes.grid(visible=False, axis="x")
