"""The one style of all figures, and the figure that keeps the settings it was made from.

This module loads matplotlib, so the other modules of the room import it inside their functions.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping
from typing import Any

from cycler import cycler
from matplotlib import rc_context
from matplotlib.axes import Axes

from symloss.discovery.result import readable
from symloss.expression.expression import Expression
from symloss.expression.figure import ShownFigure

BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, YELLOW, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442", "#000000",
)  # fmt: skip
"""Colours that the colour-blind can tell apart (Okabe and Ito, https://jfly.uni-koeln.de/color/)."""
GREY = "0.45"

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.labelsize": 9,
    "axes.prop_cycle": cycler(color=(BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, YELLOW, BLACK)),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 9,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "pdf.fonttype": 42,
    "svg.hashsalt": "symloss",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
}
_FOOTER_POINTS = 6.0
_FORMULA = 180
_TITLES = {"png": "Title", "svg": "Title", "pdf": "Title"}
_DESCRIPTIONS = {"png": "Description", "svg": "Description", "pdf": "Subject"}
_DATES = {"svg": "Date", "pdf": "CreationDate"}


class RecordedFigure(ShownFigure):
    """A figure with the settings behind it, in a footer and in the metadata of PNG, SVG and PDF files.

    Args:
        title: What it shows, for the metadata.
        record: Settings by name; what is long is cut off in the footer (an expression is rounded first), and whole in
            the metadata.
        options: Of matplotlib's `Figure`.
    """

    def __init__(self, title: str, record: Mapping[str, object], **options: Any) -> None:
        super().__init__(**options)
        self.title, self.record = title, dict(record)
        text = " · ".join(f"{name} {_short(value)}" for name, value in self.record.items())
        columns = int(self.get_figwidth() * 72 / (0.64 * _FOOTER_POINTS))  # a digit is 0.636 of the size wide
        # a label of the figure, not a text in it: the layout then leaves room for it
        self.supxlabel(
            textwrap.fill(text, columns, break_on_hyphens=False),
            x=0.01, ha="left", fontsize=_FOOTER_POINTS, color=GREY, parse_math=False,
        )  # fmt: skip

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib's, with title and settings in the metadata, and no date: equal figures give equal files."""
        suffix = os.path.splitext(os.fspath(fname))[1][1:] if isinstance(fname, str | os.PathLike) else ""
        kind = str(options.get("format") or suffix or "png").lower()
        own: dict[str, Any] = {}
        if kind in _TITLES:
            description = "; ".join(f"{name}: {value}" for name, value in self.record.items())
            own = {_TITLES[kind]: self.title, _DESCRIPTIONS[kind]: description}
        if kind in _DATES:
            own[_DATES[kind]] = None
        own |= options.pop("metadata", None) or {}
        if own:
            options["metadata"] = own
        with rc_context(STYLE):
            super().savefig(fname, **options)


def _short(value: object) -> str:
    text = readable(value, _FORMULA) if isinstance(value, Expression) else str(value)
    return text if len(text) <= _FORMULA else text[: _FORMULA - 1] + "…"


def new(
    title: str, record: Mapping[str, object], size: tuple[float, float], rows: int = 1, columns: int = 1, **grid: Any
) -> tuple[RecordedFigure, list[list[Axes]]]:
    """A figure of `rows` by `columns` panels, `size` in inches; to be drawn into under `rc_context(STYLE)`."""
    with rc_context(STYLE):
        figure = RecordedFigure(title, record, figsize=size, dpi=200, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **grid)
    return figure, [list(row) for row in axes]
