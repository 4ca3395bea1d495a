"""The shape of a loss ℓ(y, f) as numbers, for snapshots of it over training."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import vector_to_parameters

from symloss.losses.network import LossNetwork
from symloss.losses.symbolic import SymbolicLoss
from symloss.online.losses import ResidualLoss, ScaledTaskLoss

POINTS = 101


def predictions(kind: str) -> NDArray[np.float64]:
    """Predictions f [101] at which a loss is looked at: probabilities, or values from −3 to 3 (regression)."""
    return np.linspace(-3, 3, POINTS) if kind == "regression" else np.linspace(0.005, 0.995, POINTS)


def targets(kind: str) -> tuple[float, ...]:
    """Targets y at which it is looked at: 0 for regression, otherwise 1 and 0."""
    return (0.0,) if kind == "regression" else (1.0, 0.0)


def curves(loss: nn.Module, kind: str) -> NDArray[np.float64] | None:
    """ℓ(y, f) at every target and prediction.

    Args:
        loss: A formula, a network, the task loss, or the residual form of one of them.
        kind: Kind of the task.

    Returns:
        [targets, 101]; None for any other module, which need not be a sum over entries.
    """
    f = torch.from_numpy(predictions(kind))
    with torch.no_grad():
        found = [entry(loss, kind, torch.full_like(f, y), f) for y in targets(kind)]
    known = [value for value in found if value is not None]
    return torch.stack(known).numpy() if len(known) == len(found) else None


def with_weights(loss: nn.Module, weights: NDArray[np.float64]) -> nn.Module:
    """A copy of a loss whose trained parameters have these values [size]."""
    copied = copy.deepcopy(loss)
    parameters = [p for p in copied.parameters() if p.requires_grad]
    with torch.no_grad():
        vector_to_parameters(torch.from_numpy(weights).to(parameters[0]), parameters)
    return copied


def entry(loss: nn.Module, kind: str, y: Tensor, f: Tensor) -> Tensor | None:
    """ℓ(y, f) at every entry, differentiable in f; None as in `curves`."""
    if isinstance(loss, ResidualLoss):
        learnt = entry(loss.learnt, kind, y, f)
        return None if learnt is None else learnt + _task(kind, y, f)
    if isinstance(loss, ScaledTaskLoss):
        return loss.factor * _task(kind, y, f)
    if isinstance(loss, LossNetwork):
        return loss.scale * loss.architecture.evaluate(y, f, loss.weights)
    if isinstance(loss, SymbolicLoss) and bool(loss.weights.isfinite().all()):
        value = loss.expression.evaluate(y, f, xp=torch)
        return torch.as_tensor(value, dtype=f.dtype).expand(f.shape).clone()
    return None


def _task(kind: str, y: Tensor, f: Tensor) -> Tensor:
    if kind == "regression":
        return (y - f).square()
    own = -y * f.log()
    return own if kind == "multiclass" else own - (1 - y) * (1 - f).log()
