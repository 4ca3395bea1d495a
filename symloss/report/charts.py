"""Charts as SVG in the colours of the page, light or dark, with the numbers behind them for the page's script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any, Literal

WIDTH, HEIGHT = 360, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 10, 12, 40
_FAR = 4.0  # panels above and below the panel up to which a line is followed


@dataclass(frozen=True)
class Axis:
    """One axis.

    Args:
        label: What it measures, with the unit.
        low: From.
        high: To.
        log: Whether it is logarithmic.
        whole: Whether only whole numbers are ticks.
        names: Ticks by name, instead of numbers.
    """

    label: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    names: tuple[str, ...] = ()

    def share(self, value: float) -> float:
        """Where a value lies between the ends, 0 to 1; NaN where a logarithm has none."""
        if self.log:
            if value <= 0:
                return math.nan
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Values and their texts."""
        if self.names:
            return [(float(place), name) for place, name in enumerate(self.names)]
        values = self._decades() if self.log else self._steps()
        return [(value, text(value)) for value in values]

    def _decades(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        wide = last - first > 3
        every = max(1, math.ceil((last - first) / 6))
        values = [float(f"{m}e{k}") for k in range(first, last + 1, every) for m in ((1,) if wide else (1, 2, 5))]
        return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]

    def _steps(self) -> list[float]:
        rough = (self.high - self.low) / 5
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
        step = max(1.0, step) if self.whole else step
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(k * step, 12) for k in range(first, last + 1)]


@dataclass(frozen=True)
class Series:
    """Some numbers under one name.

    Args:
        name: In the legend.
        x: Numbers along the first axis.
        y: Numbers along the second; None or not finite where there is none.
        form: `"line"`, `"step"`, `"points"`, `"bars"` (stacked on those before) or `"interval"` (a point and a bar of
            `low` to `high` along the first axis).
        style: Number of the colour and dashes, from 0.
        low: Lower ends of intervals.
        high: Upper ends of intervals.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    form: Literal["line", "step", "points", "bars", "interval"] = "line"
    style: int = 0
    low: Sequence[float] = field(default=())
    high: Sequence[float] = field(default=())


@dataclass(frozen=True)
class Chart:
    """A chart.

    Args:
        title: What it shows, in a few words.
        x: The first axis.
        y: The second axis.
        series: What is drawn, the last on top.
        marks: Values of x at which a vertical line stands.
        height: Of the drawing.
    """

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]
    marks: tuple[float, ...] = ()
    height: int = HEIGHT

    def svg(self, identity: str) -> str:
        """The `<svg>` element, with `identity` as the name under which the page's script finds its numbers."""
        left = _LEFT + (46 if self.y.names else 0)
        box = (left, _TOP, WIDTH - left - _RIGHT, self.height - _TOP - _BOTTOM)
        label = escape(f"{self.title}: {self.y.label or ', '.join(self.y.names)} against {self.x.label}")
        drawing = "".join([*self._axes(box), *self._marks(box), *self._lines(box, identity)])
        return (
            f'<svg class="chart" viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{label}" '
            f'data-chart="{escape(identity)}">{drawing}</svg>'
        )

    def numbers(self) -> dict[str, Any]:
        """What the page's script needs to tell the values under the pointer."""
        left = _LEFT + (46 if self.y.names else 0)
        followed = [s for s in self.series if s.form in ("line", "step", "bars")]
        return {
            "box": [left, _TOP, WIDTH - left - _RIGHT, self.height - _TOP - _BOTTOM],
            "x": [self.x.low, self.x.high, self.x.log, self.x.label],
            "y": [self.y.low, self.y.high, self.y.log],
            "at": [_short(v) for v in followed[0].x] if followed else [],
            "series": [[s.name, s.style, [_short(v) for v in s.y]] for s in followed],
        }

    def _axes(self, box: tuple[int, int, int, int]) -> list[str]:
        left, top, width, height = box
        parts = ['<g class="axes">']
        for value, name in self.x.ticks():
            at = _pixel(left + width * self.x.share(value))
            parts.append(f'<path class="grid" d="M{at} {top}v{height}"/>')
            parts.append(f'<text x="{at}" y="{top + height + 15}" text-anchor="middle">{escape(name)}</text>')
        for value, name in self.y.ticks():
            level = top + height * (1 - self.y.share(value))
            parts.append(f'<path class="grid" d="M{left} {_pixel(level)}h{width}"/>')
            parts.append(f'<text x="{left - 6}" y="{_pixel(level + 3.6)}" text-anchor="end">{escape(name)}</text>')
        if not self.y.log and not self.y.names and self.y.low < 0 < self.y.high:
            parts.append(f'<path class="zero" d="M{left} {_pixel(top + height * (1 - self.y.share(0.0)))}h{width}"/>')
        parts.append(
            f'<text class="label" x="{left + width / 2:g}" y="{self.height - 6}" text-anchor="middle">'
            f"{escape(self.x.label)}</text>"
            f'<text class="label" transform="translate(11 {top + height / 2:g}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y.label)}</text></g>"
        )
        return parts

    def _marks(self, box: tuple[int, int, int, int]) -> list[str]:
        left, top, width, height = box
        places = [_pixel(left + width * self.x.share(mark)) for mark in self.marks]
        return [f'<path class="mark" d="M{place} {top}v{height}"/>' for place in places]

    def _lines(self, box: tuple[int, int, int, int], identity: str) -> list[str]:
        left, top, width, height = box
        clip = f"clip-{escape(identity)}"
        parts = [
            f'<clipPath id="{clip}"><rect x="{left}" y="{top - 4}" width="{width}" height="{height + 8}"/></clipPath>'
            f'<g clip-path="url(#{clip})">'
        ]
        base = [0.0] * len(self.series[0].x) if self.series else []
        for series in self.series:
            points = [
                (left + width * self.x.share(x), top + height * (1 - _held(self.y.share(y))))
                for x, y in zip(series.x, series.y, strict=True)
            ]
            if series.form == "bars":
                parts += self._bars(series, base, box)
                base = [low + more for low, more in zip(base, series.y, strict=True)]
            elif series.form == "points":
                drawn = "".join(f"M{_pixel(x)} {_pixel(y)}h0" for x, y in points if math.isfinite(x + y))
                parts.append(f'<path class="points p{series.style}" d="{drawn}"/>')
            elif series.form == "interval":
                parts += self._intervals(series, points, box)
            else:
                parts.append(f'<path class="line s{series.style}" d="{_path(points, series.form == "step")}"/>')
        return [*parts, "</g>"]

    def _bars(self, series: Series, base: list[float], box: tuple[int, int, int, int]) -> list[str]:
        left, top, width, height = box
        half = 0.42 * width * (self.x.share(1.0) - self.x.share(0.0))
        drawn = []
        for x, low, more in zip(series.x, base, series.y, strict=True):
            if more > 0:
                a, b = (top + height * (1 - self.y.share(v)) for v in (low, low + more))
                drawn.append(
                    f"M{_pixel(left + width * self.x.share(x) - half)} {_pixel(b)}h{_pixel(2 * half)}V{_pixel(a)}"
                )
                drawn.append(f"h{_pixel(-2 * half)}z")
        return [f'<path class="bars b{series.style}" d="{"".join(drawn)}"/>'] if drawn else []

    def _intervals(
        self, series: Series, points: list[tuple[float, float]], box: tuple[int, int, int, int]
    ) -> list[str]:
        left, _, width, _ = box
        parts = []
        for (x, y), low, high in zip(points, series.low, series.high, strict=True):
            if math.isfinite(low + high):
                a, b = (_pixel(left + width * self.x.share(v)) for v in (low, high))
                parts.append(f'<path class="line s{series.style}" d="M{a} {_pixel(y)}H{b}"/>')
            parts.append(f'<path class="points big p{series.style}" d="M{_pixel(x)} {_pixel(y)}h0"/>')
        return parts


def text(value: float) -> str:
    """A number of a tick, short, with a real minus sign."""
    return f"{value:.4g}".replace("e+0", "e").replace("e-0", "e-").replace("-", "−")


def span(values: Sequence[float], log: bool = False) -> tuple[float, float]:
    """Ends of an axis that holds some values, with a margin; (0, 1) where none is finite."""
    finite = [v for v in values if math.isfinite(v) and (v > 0 or not log)]
    if not finite:
        return (0.1, 1.0) if log else (0.0, 1.0)
    low, high = min(finite), max(finite)
    if log:
        margin = max((high / low) ** 0.06, 1.1)
        return low / margin, high * margin
    margin = 0.06 * (high - low) or max(0.06 * abs(high), 1e-12)
    return low - margin, high + margin


def wide(values: Sequence[float]) -> bool:
    """Whether values are positive and span more than a decade, so that their axis is better logarithmic."""
    finite = [v for v in values if math.isfinite(v)]
    return bool(finite) and min(finite) > 0 and max(finite) >= 10 * min(finite)


def _held(share: float) -> float:
    """A share not much beyond the panel: SVG takes no huge numbers."""
    return min(max(share, -_FAR), 1 + _FAR) if math.isfinite(share) else math.nan


def _path(points: list[tuple[float, float]], step: bool) -> str:
    parts, drawing = [], False
    for x, y in points:
        if not math.isfinite(x + y):
            drawing = False
            continue
        if drawing:
            parts.append(f"H{_pixel(x)}V{_pixel(y)}" if step else f"L{_pixel(x)} {_pixel(y)}")
        else:
            parts.append(f"M{_pixel(x)} {_pixel(y)}")
        drawing = True
    return "".join(parts)


def _pixel(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _short(value: float) -> float | None:
    """A number to five digits; None where it is not finite, for JSON."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
