"""What a loss does, whatever its formula says: its gradient at the outputs on a fixed grid, up to scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from symloss.errors import LossError, SymlossError
from symloss.expression.expression import Expression
from symloss.losses import catalogue
from symloss.population.forest import Forest
from symloss.population.predictions import Kind, prediction_product

Array = npt.NDArray[np.float64]

PROBABILITIES = 57
"""Values of the target's probability, from 0.001 to 0.999, evenly spaced in their logits."""
SHARES = (0.5, 0.8, 0.99)
"""How two wrong classes share the rest: alike first, then less and less."""
TARGETS = 9
RESIDUALS = 60
"""Regression: targets, and residuals f − y, from −3 to 3; none is 0, where losses have kinks."""
_RANGE = 3.0
_ROUNDING = 1e-10  # of the slope: a gradient that is no larger is what rounding leaves of zero
_STEEPEST = 7.0  # logit of the largest probability
_VARIANTS: dict[str, list[dict[str, Any]]] = {
    "focal": [{"gamma": g} for g in (0.5, 1.0, 3.0, 5.0)],
    "generalised-cross-entropy": [{"q": q} for q in (0.3, 0.5, 0.9)],
    "poly": [{"epsilon": e} for e in (-1.0, 1.0, 5.0)],
    "label-smoothing": [{"smoothing": s} for s in (0.05, 0.2, 0.3)],
    "sparse-label-smoothing": [{"smoothing": s} for s in (0.05, 0.2, 0.3)],
    "absolute-cross-entropy": [{"phi1": p} for p in (1.05, 1.2, 1.3, 1.5, 2.0)],
    "confidence-penalty": [{"beta": b} for b in (0.5, 1.0)],
    "huber": [{"delta": d} for d in (0.25, 0.5, 2.0)],
}  # fmt: skip


@dataclass(frozen=True)
class Grid:
    """Where losses are looked at: outputs z, predictions f **[C, points]** and targets y **[C, points]**."""

    z: Tensor
    f: Tensor
    y: Tensor


@cache
def grid(kind: Kind) -> Grid:
    """The grid of a kind of task; of multiclass tasks for three classes, of which the first is the target."""
    if kind == "regression":
        y, r = torch.meshgrid(_line(TARGETS, _RANGE), _line(RESIDUALS, _RANGE), indexing="ij")
        f = (y + r).reshape(1, -1)
        return Grid(f, f, y.reshape(1, -1))
    p = torch.sigmoid(_line(PROBABILITIES, _STEEPEST))
    if kind == "binary":
        f, y = torch.cat([p, p]).view(1, -1), torch.cat([torch.ones_like(p), torch.zeros_like(p)]).view(1, -1)
        return Grid(torch.logit(f), f, y)
    shares = torch.tensor(SHARES, dtype=torch.float64).view(-1, 1)
    f = torch.stack([p.expand(len(SHARES), -1), (1 - p) * shares, (1 - p) * (1 - shares)]).view(3, -1)
    y = torch.zeros_like(f)
    y[0] = 1
    return Grid(f.log(), f, y)


def gradients(losses: Sequence[Expression | nn.Module], kind: Kind) -> Array:
    """Gradients of P losses at the outputs, on the grid, each divided by the sum of its magnitudes.

    Args:
        losses: Formulas, or modules called as `loss(outputs, targets)` that treat the samples of a batch alike.
        kind: What the outputs mean.

    Returns:
        **[P, C · points]**, magnitudes of each row summing to 1; NaN where a gradient is zero everywhere, or is not
        finite somewhere.
    """
    formulas = [(i, loss) for i, loss in enumerate(losses) if isinstance(loss, Expression)]
    at = grid(kind)
    rows = torch.full((len(losses), at.f.numel()), torch.nan, dtype=torch.float64)
    if formulas:
        forest = Forest([loss for _, loss in formulas], freeze=True, shared=True, dtype=torch.float64)
        f = at.f.unsqueeze(0)
        slopes = forest.slope(f, at.y)
        found = prediction_product(f, slopes, kind).flatten(1)
        rounding = found.abs().amax(1) <= _ROUNDING * slopes.flatten(1).abs().amax(1)  # as of Σ f, which is always 1
        rows[[i for i, _ in formulas]] = found.masked_fill(rounding.unsqueeze(1), 0.0)
    for i, loss in enumerate(losses):
        if not isinstance(loss, Expression):
            rows[i] = _of_module(loss, kind)
    values: Array = rows.numpy()
    with np.errstate(over="ignore"):
        size = np.abs(values).sum(1, keepdims=True)
    fine = np.isfinite(size) & (size > 0)
    normalised: Array = np.divide(values, size, out=np.full_like(values, np.nan), where=fine)
    return normalised


def distance(a: Array, b: Array) -> Array:
    """½ Σ |aᵢ − bᵢ| over the last axis, broadcasting: 0 for the same pull up to scale, 1 where no pull is shared.

    The points are evenly spaced in the logit z of the target, and ∂L/∂z dz = dL: it is the share of its whole change
    along the way from certainly wrong to certainly right that a loss makes elsewhere than the other.
    """
    half: Array = np.abs(a - b).sum(-1) / 2
    return half


@cache
def known(kind: Kind) -> tuple[tuple[str, ...], Array]:
    """Losses of the catalogue that have a gradient everywhere, with usual values of their parameters: names, rows."""
    names, modules = [], []
    for name in catalogue.names(kind):
        for options in [{}, *_VARIANTS.get(name, [])]:
            module = catalogue.get(name, kind, **options)
            shown = options or {
                key: p.default for key, p in catalogue.entry(name).parameters.items() if _varied(name, key)
            }
            names.append(", ".join([name, *(f"{key} {value:g}" for key, value in shown.items())]))
            modules.append(getattr(module, "expression", None) or module)
    rows = gradients(modules, kind)
    kept = usable(rows)
    return tuple(names[i] for i in kept), rows[kept]


def usable(rows: Array) -> list[int]:
    """Which rows of `gradients` are numbers."""
    return [i for i, row in enumerate(rows) if np.isfinite(row).all()]


def _varied(name: str, parameter: str) -> bool:
    return parameter in {key for options in _VARIANTS.get(name, []) for key in options}


def _line(count: int, end: float) -> Tensor:
    return torch.linspace(-end, end, count, dtype=torch.float64)


def _of_module(loss: Any, kind: Kind) -> Tensor:
    at = grid(kind)
    z = at.z.t().clone().requires_grad_()
    target = at.y.argmax(0) if kind == "multiclass" else at.y.t()
    try:
        with torch.enable_grad():
            (slopes,) = torch.autograd.grad(loss(z, target).sum(), z)
    except SymlossError:
        raise
    except Exception as error:
        raise LossError(f"{type(loss).__name__} has no gradient at the outputs of a {kind} task: {error}") from error
    return slopes.t().reshape(-1)
