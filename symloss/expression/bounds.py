"""Interval arithmetic: bounds of every primitive from the bounds of its arguments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from symloss.expression.primitives import EPSILON

Interval = tuple[float, float]

_ALL: Interval = (-math.inf, math.inf)


def bounds(name: str, arguments: Sequence[Interval]) -> Interval:
    """Bounds of `name` on intervals; all reals for a primitive that is not known here, or where bounds overflow."""
    rule = _RULES.get(name)
    try:
        low, high = rule(*arguments) if rule else _ALL
    except OverflowError:
        return _ALL
    return _ALL if math.isnan(low) or math.isnan(high) else (low, high)


def _times(a: Interval, b: Interval) -> Interval:
    corners = [0.0 if x == 0 or y == 0 else x * y for x in a for y in b]
    return min(corners), max(corners)


def _magnitude(a: Interval) -> Interval:
    low = 0.0 if a[0] <= 0 <= a[1] else min(map(abs, a))
    return low, max(map(abs, a))


def _div(a: Interval, b: Interval) -> Interval:
    low, high = _magnitude(b)
    return _times(a, (1 / math.hypot(1, high), 1 / math.hypot(1, low)))


def _truediv(a: Interval, b: Interval) -> Interval:
    if b[0] >= 0:
        return _times(a, (1 / b[1] if b[1] >= EPSILON else 1 / EPSILON, 1 / max(b[0], EPSILON)))
    return _ALL


def _protected(function: Callable[[float], float]) -> Callable[[Interval], Interval]:
    def of_magnitude(a: Interval) -> Interval:
        low, high = _magnitude(a)
        return function(max(low, EPSILON)), function(max(high, EPSILON))

    return of_magnitude


def _monotone(function: Callable[[float], float]) -> Callable[[Interval], Interval]:
    return lambda a: (function(a[0]), function(a[1]))


def _sign(a: float) -> float:
    return float((a > 0) - (a < 0))


def _square(a: Interval) -> Interval:
    low, high = _magnitude(a)
    return low * low, high * high


_RULES: dict[str, Callable[..., Interval]] = {
    "add": lambda a, b: (a[0] + b[0], a[1] + b[1]),
    "sub": lambda a, b: (a[0] - b[1], a[1] - b[0]),
    "mul": _times,
    "div": _div,
    "truediv": _truediv,
    "min": lambda a, b: (min(a[0], b[0]), min(a[1], b[1])),
    "max": lambda a, b: (max(a[0], b[0]), max(a[1], b[1])),
    "sign": _monotone(_sign),
    "square": _square,
    "abs": _magnitude,
    "log": _protected(math.log),
    "sqrt": _protected(math.sqrt),
    "tanh": _monotone(math.tanh),
    "exp": lambda a: (0.0, math.exp(a[1])),
    "pow": lambda a, b: (0.0, math.inf),
}
