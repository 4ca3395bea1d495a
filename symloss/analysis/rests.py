"""Where a loss leaves the probability of the target alone: attractors, repellers and plateaus of the logit gradient."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from symloss.analysis.gradients import Array, Side

LAST = 1e-12
"""The slice ends where 1 − p is this small."""
_POINTS = 2000
_NARROW = 1e-4  # margins: a rest that is not wider is a point
_BESIDE = 1e-6  # margin
_MOST = 200_000_000  # numbers that the first look may take

Interval = tuple[float, float]


@dataclass(frozen=True)
class Slice:
    """g = ∂L/∂z of the target where the wrong classes are alike, and where it changes its sign. All are margins.

    Args:
        margin: Points **[N]**, log p/(1 − p), increasing from that of p = 1/C.
        gradient: g **[N]**.
        signs: Signs of g **[N]**, 0 where g is smaller than its rounding, NaN where it is not finite.
        attractors: Where g turns from pulling p up (g < 0) to pushing it down.
        repellers: Where it turns the other way.
        plateaus: Where g is zero.
        steps: g just below and just above each attractor.
    """

    margin: Array
    gradient: Array
    signs: Array
    attractors: tuple[float, ...]
    repellers: tuple[float, ...]
    plateaus: tuple[Interval, ...]
    steps: tuple[Interval, ...]

    @property
    def p(self) -> Array:
        """The probability of the target **[N]**."""
        p: Array = expit(self.margin)
        return p


def scan(side: Side) -> Slice:
    """Follow g from p = 1/C to 1 − p = 10⁻¹²: on a grid, around every kink, and closer where |g| has a minimum."""
    start, end = -math.log(side.classes - 1), -math.log(LAST)
    points = int(np.clip(_MOST // side.classes, 200, _POINTS))
    grid = np.concatenate([start + np.logspace(-9, -2.5, points // 20), np.linspace(start, end, points)])
    grid = np.unique(grid)
    kinks = side.breaks(grid)
    grid = np.unique(np.concatenate([grid, kinks, kinks - 1e-9, kinks + 1e-9]))
    margin = np.concatenate([[start], grid[(grid > start) & (grid <= end)]])
    g, signs = _signs(side, margin)
    closer = _minima(side, margin, g, signs)
    margin, first = np.unique(np.concatenate([margin, closer]), return_index=True)
    more, more_signs = _signs(side, closer)
    g, signs = np.concatenate([g, more])[first], np.concatenate([signs, more_signs])[first]
    attractors, repellers, plateaus = _rests(side, margin, g, signs)
    around = [side.target(np.array([rest - _BESIDE, rest + _BESIDE]))[0] for rest in attractors]
    steps = tuple((float(below), float(above)) for below, above in around)
    return Slice(margin, g, signs, tuple(attractors), tuple(repellers), tuple(plateaus), steps)


def _signs(side: Side, margin: Array) -> tuple[Array, Array]:
    if not len(margin):
        return margin, margin
    g, rounding = side.target(margin)
    return g, np.where(np.isfinite(g), np.where(np.abs(g) > rounding, np.sign(g), 0.0), math.nan)


def _minima(side: Side, margin: Array, g: Array, signs: Array) -> Array:
    """Margins at which |g| is least, around points where it is lower than beside them: g may cross zero twice."""
    size = np.abs(g)
    inner = np.flatnonzero((size[1:-1] < size[:-2]) & (size[1:-1] <= size[2:])) + 1
    inner = inner[(signs[inner - 1] == signs[inner]) & (signs[inner + 1] == signs[inner]) & (signs[inner] != 0)]
    low, high, sign = margin[inner - 1], margin[inner + 1], signs[inner]
    for _ in range(40 if len(inner) else 0):
        left, right = low + (high - low) / 3, high - (high - low) / 3
        values, _ = side.target(np.concatenate([left, right]))
        lower = sign * values[: len(left)] < sign * values[len(left) :]
        low, high = np.where(lower, low, left), np.where(lower, right, high)
    middle: Array = (low + high) / 2
    return middle


def _rests(side: Side, margin: Array, g: Array, signs: Array) -> tuple[list[float], list[float], list[Interval]]:
    """Attractors, repellers and plateaus."""
    attractors: list[float] = []
    repellers: list[float] = []
    plateaus: list[Interval] = []
    pulls = np.flatnonzero(np.abs(signs) == 1).tolist()
    if not pulls:
        return [], [], [(float(margin[0]), float(margin[-1]))] if (signs == 0).all() else []
    if signs[0] == 0 and not _fades(g, pulls, 0, 1):
        plateaus.append((float(margin[0]), _edge(side, margin, signs, pulls[0], -1)))
    for number, (a, b) in enumerate(itertools.pairwise(pulls)):
        if (signs[a] == signs[b] and b == a + 1) or not np.isfinite(signs[a : b + 1]).all():
            continue
        low, high = _edge(side, margin, signs, a, 1), _edge(side, margin, signs, b, -1)
        if high - low > _NARROW:
            if signs[a] != signs[b] or not (_fades(g, pulls, number, -1) and _fades(g, pulls, number + 1, 1)):
                plateaus.append((low, high))
        elif signs[a] != signs[b]:
            (attractors if signs[a] < signs[b] else repellers).append((low + high) / 2)
    if signs[-1] == 0 and not _fades(g, pulls, len(pulls) - 1, -1):
        plateaus.append((_edge(side, margin, signs, pulls[-1], 1), float(margin[-1])))
    return attractors, repellers, [(low, high) for low, high in plateaus if high - low > _NARROW]


def _fades(g: Array, pulls: list[int], number: int, step: int) -> bool:
    """Whether g is lost in rounding rather than zero: some points before it is, it is hardly more."""
    near = pulls[min(max(number + 4 * step, 0), len(pulls) - 1)]
    return bool(abs(g[near]) < 1e-10 * np.nanmax(np.abs(g[pulls])))


def _edge(side: Side, margin: Array, signs: Array, index: int, step: int) -> float:
    """Where the sign of the point ends, between it and its neighbour, to the last digits."""
    inside, outside = float(margin[index]), float(margin[index + step])
    for _ in range(12):  # 33-fold narrower each time: few calls, since each costs much the same
        points = np.linspace(inside, outside, 34)
        other = np.flatnonzero(_signs(side, points[1:-1])[1] != signs[index])
        first = int(other[0]) + 1 if len(other) else len(points) - 1
        inside, outside = float(points[first - 1]), float(points[first])
    return (inside + outside) / 2
