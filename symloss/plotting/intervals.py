"""Means with their intervals over seeds: as a line in its band, and as points with bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from symloss.evaluation.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.ticker import Formatter

_LABEL = 34  # characters of a name that a legend can hold


def band(axes: Axes, x: Sequence[float], estimates: Sequence[Estimate], label: str, dashes: str = "-") -> None:
    """The means as a line over x, the intervals as a band; what is not finite is left out."""
    mean, low, high = (np.array([getattr(e, name) for e in estimates]) for name in ("mean", "low", "high"))
    (line,) = axes.plot(x, mean, dashes, label=label)
    axes.fill_between(x, low, high, color=line.get_color(), alpha=0.2, linewidth=0)


def bars(axes: Axes, estimates: Mapping[str, Estimate], colours: Sequence[str]) -> None:
    """Each mean as a point with its interval, one below the other, named on the axis."""
    for place, (value, colour) in enumerate(zip(estimates.values(), colours, strict=True)):
        reach = [[value.mean - value.low], [value.high - value.mean]] if value.bounded else None
        axes.errorbar(value.mean, place, xerr=reach, fmt="o", markersize=5, capsize=3, color=colour)
    axes.axvline(0.0, color="black", linewidth=0.6, zorder=0.5)
    axes.set_yticks(range(len(estimates)), list(estimates))
    axes.set_ylim(len(estimates) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def ratio_axis(axes: Axes) -> None:
    """A logarithmic axis x of ratios about 1, with plain numbers, never narrower than from ½ to 2."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    low, high = min(low, 0.5), max(high, 2.0)
    axes.set_xlim(low, high)
    subs = (1, 2, 5) if high < 30 * low else (1, 3) if high < 1000 * low else (1,)
    ticks = [m * 10.0**k for k in range(-9, 10) for m in subs if low <= m * 10.0**k <= high]
    axes.set_xticks(ticks)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def minor_numbers() -> Formatter:
    """Plain numbers between the decades of a logarithmic axis, where it is too short for decades alone."""
    from matplotlib.ticker import LogFormatter

    class Plain(LogFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return f"{x:g}" if super().__call__(x, pos) else ""

    return Plain()


def short(name: str) -> str:
    """A name that a legend can hold."""
    return name if len(name) <= _LABEL else name[: _LABEL - 1] + "…"


def training_steps(axes: Axes, steps: Sequence[int]) -> None:
    """An axis of steps on which the first ones are as well seen as the last ones: 0, 1, then logarithmic."""
    axes.set_xscale("symlog", linthresh=1.0, linscale=0.5)
    axes.set_xlim(0, max(steps))
    decades = [10**k for k in range(len(str(max(steps)))) if 10**k <= max(steps)]
    axes.set_xticks([0, *decades], ["0", *map(str, decades)])
    axes.minorticks_off()
    axes.set_xlabel("training step")
