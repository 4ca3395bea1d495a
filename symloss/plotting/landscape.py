"""Landscapes: lines, and planes as contours or as surfaces, models side by side on one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from symloss.errors import EvaluationError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from symloss.analysis.surface import Landscape

STYLES = ("contour", "surface")
_LEVELS = 24
_HIGHEST = 0.98  # quantile of the values that the scale holds: a few diverged corners would flatten all else


def landscape(found: Landscape, metric: int | str = 0, style: str = "contour") -> Figure:
    """The values of one metric, for every model on the same scale and the same colours.

    A plane is drawn for the first pair of directions, a panel for each model; its colours are spaced evenly in the
    logarithm where all values are positive and span more than a factor 30. A line is drawn for every model, with the
    band of one standard deviation over the seeds. Nothing is smoothed or interpolated, no axis is rescaled. The path of
    a trajectory is drawn over the plane of its principal components.

    Args:
        found: Of `symloss.analysis.landscape`.
        metric: Which metric, by number or name.
        style: `"contour"` or `"surface"`; lines have one style.

    Returns:
        The figure.

    Raises:
        EvaluationError: If there is no such metric or style, points are missing, or no value is finite.
    """
    index = found.metrics.index(metric) if metric in found.metrics else metric
    if not isinstance(index, int) or not 0 <= index < len(found.metrics):
        raise EvaluationError(f"the metrics of this landscape are {', '.join(found.metrics)}; received {metric!r:.60}")
    if style not in STYLES:
        raise EvaluationError(f"style is one of {', '.join(STYLES)}; received {style!r:.40}")
    if not found.done.all():
        raise EvaluationError("this landscape is not complete; compute it again with the same out= to go on")
    if not np.isfinite(found.all[:, index]).any():
        raise EvaluationError(f"no value of {found.metrics[index]} is finite: there is nothing to draw")
    settings = found.settings
    line = len(found.coordinates) == 1
    record = {key: settings[key] for key in ("directions", "grid", "span", "samples")}
    record |= {
        "metric": found.metrics[index],
        "seeds" if line else "seed": settings["seeds"] if line else settings["seeds"][0],
    }
    if line:
        return _lines(found, index, record)
    return _planes(found, index, record, style)


def _labels(found: Landscape) -> list[str]:
    """What each axis measures."""
    kind = found.settings["directions"]
    if kind == "between":
        return ["from one model (0) to the other (1)"]
    shares = found.settings["explained"] or []
    names = {"random": "random direction", "pca": "principal component", "hessian": "Hessian eigenvector"}
    labels = [f"{names.get(kind, 'direction')} {k + 1}" for k in range(len(found.coordinates))]
    return [f"{label} ({share:.0%})" for label, share in zip(labels, shares, strict=True)] if shares else labels


def _lines(found: Landscape, metric: int, record: dict[str, Any]) -> Figure:
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    figure, [[axes]] = style.new("Loss along a line", record, (4.4, 3.2))
    x = found.coordinates[0]
    with rc_context(style.STYLE):
        for m, (name, dashes) in enumerate(zip(found.models, ("-", "--", "-.", ":") * len(found.models), strict=False)):
            mean, spread = found.mean(m, metric), found.spread(m, metric)
            (line,) = axes.plot(x, mean, dashes, label=name)
            if np.isfinite(spread).any():
                axes.fill_between(x, mean - spread, mean + spread, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.update_datalim(np.column_stack([x, np.zeros_like(x)]), updatey=False)  # also where nothing is finite
        axes.autoscale_view()
        axes.set_xlabel(_labels(found)[0])
        axes.set_ylabel(found.metrics[metric])
        if len(found.models) > 1:
            figure.legend(loc="outside upper left", ncols=3)
    return figure


def _planes(found: Landscape, metric: int, record: dict[str, Any], kind: str) -> Figure:
    from matplotlib import rc_context
    from matplotlib.colors import BoundaryNorm

    from symloss.plotting import figure as style

    count = len(found.models)
    values = np.where(np.isfinite(found.all[:, metric, 0]), found.all[:, metric, 0], np.inf)
    levels = _levels(values)
    options = {"subplot_kw": {"projection": "3d"}} if kind == "surface" else {"sharex": True, "sharey": True}
    figure, [panels] = style.new("Loss landscape", record, (0.9 + 2.9 * count, 3.1), 1, count, **options)
    norm = BoundaryNorm(levels, 256, extend="max")
    first, second = np.meshgrid(*found.coordinates, indexing="ij")
    with rc_context(style.STYLE):
        for axes, name, height in zip(panels, found.models, values, strict=True):
            shown = np.minimum(height, np.nextafter(levels[-1], np.inf))
            panel: Any = axes
            if kind == "surface":
                drawn = panel.plot_surface(
                    first,
                    second,
                    shown,
                    cmap="cividis",
                    norm=norm,
                    rcount=len(first),
                    ccount=len(first[0]),
                    linewidth=0,
                )
                panel.set_zlim(levels[0], levels[-1])
                panel.set_box_aspect(None, zoom=0.82)  # room for the labels
            else:
                drawn = panel.contourf(first, second, shown, levels, cmap="cividis", norm=norm, extend="max")
                panel.contour(first, second, shown, levels[::3], colors="white", linewidths=0.4)
                if all(axis[0] <= 0 <= axis[-1] for axis in found.coordinates):
                    panel.plot(0, 0, "+", color="white", markersize=7)
                if found.path is not None:
                    panel.plot(*found.path.T, ".-", color=style.VERMILLION, markersize=4, linewidth=1)
                panel.grid(False)
            panel.set_title(name if count > 1 else "")
            panel.set_xlabel(_labels(found)[0])
            if kind == "surface" or axes is panels[0]:
                panel.set_ylabel(_labels(found)[1])
        pad = 0.1 if kind == "surface" else 0.02
        figure.colorbar(drawn, ax=panels, label=found.metrics[metric], format="%.3g", pad=pad, ticks=_ticks(levels))
    return figure


def _ticks(levels: np.ndarray) -> list[float]:
    """Round numbers between the levels."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    even = np.isclose(levels[1] - levels[0], levels[-1] - levels[-2])
    locator = MaxNLocator(6) if even else LogLocator(subs=(1.0, 3.0), numticks=20)
    return [t for t in locator.tick_values(levels[0], levels[-1]) if levels[0] <= t <= levels[-1]]


def _levels(values: np.ndarray) -> np.ndarray:
    """Levels from the lowest value to nearly the highest, the same for all models."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.linspace(0.0, 1.0, _LEVELS)
    low, high = float(finite.min()), float(np.quantile(finite, _HIGHEST))
    if high <= low:
        high = low + max(abs(low), 1.0) * 1e-6
    return np.geomspace(low, high, _LEVELS) if low > 0 and high > 30 * low else np.linspace(low, high, _LEVELS)
