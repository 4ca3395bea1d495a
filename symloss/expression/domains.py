"""Where y and f live for each kind of task, and the points at which expressions are compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from symloss.errors import ExpressionError
from symloss.expression.expression import Expression
from symloss.expression.primitives import Primitive

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Domain:
    """Bounds of the target and the prediction, and whether the target is 0 or 1."""

    y: tuple[float, float]
    f: tuple[float, float]
    binary_target: bool


_REAL = Domain((-math.inf, math.inf), (-math.inf, math.inf), binary_target=False)
_PROBABILITY = Domain((0.0, 1.0), (math.ulp(0.0), 1.0), binary_target=True)
_KINDS = {None: _REAL, "regression": _REAL, "multiclass": _PROBABILITY, "binary": _PROBABILITY}

ROUNDING = 1e-13
"""Rounding of a value, relative to the largest number that went into it."""
MODERATE = 11.0
"""Largest |y| and |f| at which values that rounding has spoilt count as different."""
SPOILT = 1e-3
"""Least difference there, relative to the larger value or to 1."""


def domain(kind: str | None) -> Domain:
    """The domain of a kind of task; all reals for None.

    Raises:
        ExpressionError: If there is no such kind.
    """
    try:
        return _KINDS[kind]
    except (KeyError, TypeError):
        raise ExpressionError(f"kind is multiclass, binary, regression or None; received {kind!r}") from None


@cache
def points(where: Domain) -> tuple[Array, Array]:
    """Some thousand points (y, f) of a domain, protected ranges and large numbers included."""
    rng = np.random.default_rng(0)
    magnitudes = np.array([1e-9, 3e-8, 1e-7, 3e-7, 1e-5, 1e-3, 0.04, 0.3, 0.5, 1.0, 1.7, 2.5, 11.0, 300.0, 1e4])
    if where.binary_target:
        near = magnitudes[magnitudes < 0.01]
        f = np.concatenate([[1e-30, 1e-12], near, np.linspace(0.01, 0.99, 99), 1 - near, rng.uniform(0, 1, 64)])
        return np.repeat([0.0, 1.0], f.size), np.tile(f, 2)
    axis = np.concatenate([[0.0], magnitudes, -magnitudes])
    y = np.concatenate([axis, rng.uniform(-4, 4, 12)])
    f = np.concatenate([axis, rng.uniform(-4, 4, 12)])
    y, f = (grid.ravel() for grid in np.meshgrid(y, f, indexing="ij"))
    near = np.concatenate([[0.0], magnitudes[:6], -magnitudes[:6]])  # where y - f and y + f are protected
    centre = np.repeat(rng.uniform(-4, 4, 12), near.size)
    shifted = centre + np.tile(near, 12)
    return np.concatenate([y, centre, centre]), np.concatenate([f, shifted, -shifted])


def values(expression: Expression, y: Array, f: Array) -> tuple[Array, Array]:
    """ℓ at points, and the largest magnitude that went into each value (rounding is relative to it)."""
    leaves = {"y": y, "f": f, "1": np.ones_like(y), "-1": -np.ones_like(y)}

    def branch(primitive: Primitive, arguments: list[tuple[Array, Array]]) -> tuple[Array, Array]:
        value = primitive.numpy(*(value for value, _ in arguments))
        return value, np.maximum.reduce([np.abs(value), *(scale for _, scale in arguments)])

    def weigh(pair: tuple[Array, Array], weight: float, _: int) -> tuple[Array, Array]:
        value = pair[0] * weight
        return value, np.maximum(pair[1], np.abs(value))

    with np.errstate(all="ignore"):
        return expression.fold(lambda name: (leaves[name], np.abs(leaves[name])), branch, weigh)


@dataclass(frozen=True)
class Comparison:
    """How far two expressions are apart on the points of a domain where both are finite.

    Args:
        suspects: Points (y, f) where they differ by more than rounding is expected to, the worst first; at most ten.
        largest: Largest absolute difference.
        defined: Whether the second is finite wherever the first is, and the first is somewhere.
        spoilt: Point of moderate size where float64 shows the largest visible difference, whatever causes it, or None.
    """

    suspects: tuple[tuple[float, float], ...]
    largest: float
    defined: bool
    spoilt: tuple[float, float] | None

    @property
    def agree(self) -> bool:
        """Whether they differ by no more than rounding is expected to, and by nothing that can be seen."""
        return not self.suspects and self.spoilt is None


def compare(a: Expression, b: Expression, where: Domain, tolerance: float = 1e-9) -> Comparison:
    """Compare values to a relative tolerance, and the rounding of what cancels."""
    y, f = points(where)
    (ours, ours_scale), (theirs, theirs_scale) = values(a, y, f), values(b, y, f)
    finite = np.isfinite(ours) & np.isfinite(theirs)
    defined = bool(finite.any()) and bool((finite == np.isfinite(ours)).all())
    with np.errstate(all="ignore"):
        difference = np.where(finite, np.abs(ours - theirs), 0.0)
        rounding = ROUNDING * np.fmin(np.maximum(ours_scale, theirs_scale), 1e300)
        allowed = tolerance * np.maximum(np.abs(ours), np.abs(theirs)) + rounding
        wrong = np.flatnonzero(finite & (difference > allowed))
        moderate = (np.abs(y) <= MODERATE) & (np.abs(f) <= MODERATE)
        visible = difference / np.maximum(np.maximum(np.abs(ours), np.abs(theirs)), 1.0)
        visible = np.where(finite & moderate, visible, 0.0)
    most = int(visible.argmax())
    spoilt = (float(y[most]), float(f[most])) if visible[most] > SPOILT else None
    worst = wrong[np.argsort(-difference[wrong], kind="stable")][:10]
    return Comparison(tuple((float(y[i]), float(f[i])) for i in worst), float(difference.max()), defined, spoilt)
