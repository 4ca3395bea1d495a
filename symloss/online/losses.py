"""Losses that can be adapted: the network of AdaLFL, trainable copies of any loss, and the residual form."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from symloss.errors import LossError
from symloss.expression.expression import Expression
from symloss.losses import resolve
from symloss.losses.network import Architecture, EntryNetwork, LossNetwork
from symloss.losses.symbolic import SymbolicLoss

TASK_LOSSES: dict[str, Callable[..., Tensor]] = {
    "multiclass": F.cross_entropy,
    "binary": F.binary_cross_entropy_with_logits,
    "regression": F.mse_loss,
}
"""The task loss of each kind, called with outputs [B, C] and targets."""


def loss_network(kind: str = "multiclass", outputs: int = 1, seed: int = 0, output: str = "identity") -> LossNetwork:
    """The loss network of AdaLFL: 2 → 40 → 40 → 1, smooth leaky ReLU, **mean** over outputs and batch.

    M_φ = 1/(B C) Σ_b Σ_c ℓ_φ(y_bc, f_bc). A `LossNetwork` sums over outputs like every loss of symloss; the mean is
    its scale 1/C, which its file keeps.

    Args:
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        outputs: C.
        seed: Of its weights.
        output: What follows its last layer: `"identity"`, `"softplus"` or `"smooth-leaky-relu"`.

    Returns:
        The loss, its weights trainable.

    Source: Raymond et al., *Online Loss Function Learning*, arXiv 2301.13247.
    """
    architecture = Architecture((40, 40), "smooth-leaky-relu", output, bias=True)
    network = EntryNetwork.of(architecture, architecture.initial(seed), 1 / outputs)
    return LossNetwork(network, kind, trainable=True)


class ResidualLoss(nn.Module):
    """L_task + ℓ_φ: the learnt part starts from the task loss, whatever its weights.

    Args:
        learnt: ℓ_φ, a module called as `loss(outputs, targets)`.
        kind: Whose task loss it is added to.
    """

    def __init__(self, learnt: nn.Module, kind: str) -> None:
        super().__init__()
        self.learnt, self.kind = learnt, kind

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch [] of outputs [B, C] and targets [B] or [B, C]."""
        value: Tensor = TASK_LOSSES[self.kind](input, target) + self.learnt(input, target)
        return value


class ScaledTaskLoss(nn.Module):
    """c · L_task: gradient descent under it is gradient descent under the task loss with c times the rate.

    Args:
        kind: Whose task loss it is.
        factor: c, a parameter.
    """

    def __init__(self, kind: str, factor: float = 1.0) -> None:
        super().__init__()
        self.kind = kind
        self.factor = nn.Parameter(torch.tensor(factor, dtype=torch.float64))

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch [] of outputs [B, C] and targets [B] or [B, C]."""
        return self.factor.to(input) * TASK_LOSSES[self.kind](input, target)


def adaptable(loss: str | os.PathLike[str] | Expression | nn.Module, kind: str) -> nn.Module:
    """A copy of a loss whose weights are trained.

    Args:
        loss: A named loss, a formula, a `.json` file, a run directory, or a module.
        kind: Kind of the task.

    Raises:
        LossError: If it has no weights.
    """
    found = resolve.loss(loss, kind)
    copied: nn.Module
    if isinstance(found, SymbolicLoss):
        copied = SymbolicLoss(
            found.expression, kind, found.reduction, found.ignore_index, trainable=True, weight=found.weight
        )
    elif isinstance(found, LossNetwork):
        copied = LossNetwork(
            found.network, kind, found.reduction, found.ignore_index, trainable=True, weight=found.weight
        )
    else:
        copied = copy.deepcopy(found)
        expression = getattr(found, "expression", None)
        if not _trained(copied) and isinstance(expression, Expression):
            copied = SymbolicLoss(expression, kind, trainable=True)
    if not _trained(copied):
        raise LossError(
            f"{type(found).__name__} has no weights to adapt; give a formula, a network or a module with parameters"
        )
    return copied


def _trained(loss: nn.Module) -> bool:
    return any(p.requires_grad and p.numel() for p in loss.parameters())
