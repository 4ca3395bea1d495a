"""How far a loss is from s·LSR_ξ, and which family its gradient belongs to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from symloss.analysis.gradients import Array, Side, unequal
from symloss.analysis.rests import Slice
from symloss.expression.primitives import EPSILON

EXACT = 1e-9
"""Largest gap between gradients that are called the same."""


@dataclass(frozen=True)
class Fit:
    """s·LSR_ξ fitted to the logit gradient of a loss.

    Args:
        scale: s, by least squares over p where the wrong classes are alike.
        gap_max: Largest |∂L/∂zᵢ/s − ∂LSR_ξ/∂zᵢ|.
        gap_rms: Root mean square over the points of the largest over classes.
        gap_at: p where the gap is largest.
        gap_on_slice: Largest gap where the wrong classes are alike.
    """

    scale: float
    gap_max: float
    gap_rms: float
    gap_at: float
    gap_on_slice: float


def last_margin(classes: int) -> float:
    """Up to where each wrong class has at least 10⁻⁷: what protected logarithms see."""
    return float(-logit((classes - 1) * EPSILON * (1 + 1e-6)))


def fit(sides: Sequence[Side], smoothing: float) -> Fit | None:
    """The best s·LSR_ξ over p from 1/C to where probabilities are 10⁻⁷, wrong classes alike and not.

    Returns:
        The fit, or None if no s > 0 fits, or a gradient is not finite.
    """
    c = sides[0].classes
    p, f = np.linspace(1 / c, expit(last_margin(c)), 400), unequal(c)
    wanted = p - 1 + smoothing * (c - 1) / c
    dense = f - smoothing / c
    dense[:, 0] -= 1 - smoothing
    slopes = [side.target(logit(p))[0] for side in sides]
    gradients = [side.full(f) for side in sides]
    with np.errstate(all="ignore"):  # values that overflow: no scale fits them
        scale = sum(float(g @ wanted) for g in slopes) / len(sides) / float(wanted @ wanted)
    if not (scale > 0 and math.isfinite(scale)):
        return None
    alike = [np.abs(g / scale - wanted) for g in slopes]
    gaps = np.concatenate([*alike, *(np.abs(g / scale - dense).max(1) for g in gradients)])
    where = np.concatenate([p] * len(sides) + [f[:, 0]] * len(sides))
    worst = int(gaps.argmax())
    return Fit(scale, float(gaps[worst]), float(np.sqrt(np.mean(gaps**2))), float(where[worst]), float(np.max(alike)))


def family(sides: Sequence[Side], slices: Sequence[Slice], best: Fit | None) -> str:
    """The family of a loss without an equivalent ξ; see `SmoothingReport`."""
    if best is not None and best.gap_max <= EXACT:
        return "cross-entropy-like"
    if all(_squared(side) for side in sides):
        return "squared"
    if all(_hinge(part, sides[0].classes) for part in slices):
        return "hinge-like"
    weights = [weight(part, sides[0].classes)[1] for part in slices]
    if all(len(w) and np.isfinite(w).all() and (w > 0).all() for w in weights):
        if all(w.max() <= 4 * w.min() for w in weights):
            return "cross-entropy-like"
        if all(w[-1] < 0.02 * w.max() for w in weights):
            return "focal-like"
    return "unconventional"


def weight(part: Slice, classes: int) -> tuple[Array, Array]:
    """Margins, and w = −g/(1 − p), by which cross-entropy's gradient is multiplied there.

    Only where every probability is at least 10⁻⁷, and g is neither zero nor lost in rounding.
    """
    inner = (part.margin <= last_margin(classes)) & (part.signs != 0)
    return part.margin[inner], -part.gradient[inner] / expit(-part.margin[inner])


def _squared(side: Side) -> bool:
    """Whether the gradient is that of s Σ (y − f)²."""
    f = unequal(side.classes)
    error = f.copy()
    error[:, 0] -= 1
    squared, gradient = f * (error - (f * error).sum(1, keepdims=True)), side.full(f)
    with np.errstate(all="ignore"):
        scale = float((gradient * squared).sum() / (squared * squared).sum()) if len(f) else math.nan
    return bool(scale > 0 and (np.abs(gradient - scale * squared) <= EXACT * np.abs(gradient).max()).all())


def _hinge(part: Slice, classes: int) -> bool:
    """Whether p is pulled up, or left alone, until it is left alone for good."""
    if not part.plateaus or not (part.signs <= 0).all():
        return False
    low, high = part.plateaus[-1]
    return bool(part.margin[0] < low < last_margin(classes) and high == part.margin[-1])


def limit(side: Side) -> float:
    """g as p → 1, carried on as a power of 1 − p from where every probability is 10⁻⁷ (Aitken's extrapolation)."""
    rest = max((side.classes - 1) * EPSILON * (1 + 1e-6), 1e-9)
    g, _ = side.target(-logit(np.array([rest, 2 * rest, 0.5, 4 * rest])))
    with np.errstate(all="ignore"):
        near, far = float(g[1] - g[0]), float(g[3] - g[1])
        end = float(g[0]) - (near * near / (far - near) if near * (far - near) > 0 else near)
    return 0.0 if abs(end) <= EXACT * abs(g[2]) else end
