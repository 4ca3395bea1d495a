"""The few numerically safe pieces that every loss is made of, each with its formula and source."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def widen(x: Tensor) -> Tensor:
    """`x` in the precision that losses are computed in: float32, or float64 when `x` is float64.

    A float16 softmax has no value below 6e-8 and a float16 sum none above 65504; float32 has both.

    Args:
        x: Tensor of any shape and dtype.

    Returns:
        Tensor of the same shape.

    Source: Micikevicius et al., *Mixed Precision Training*, arXiv 1710.03740, section 3.
    """
    return x if x.dtype in (torch.float32, torch.float64) else x.to(torch.promote_types(x.dtype, torch.float32))


def narrow(value: Tensor, like: Tensor) -> Tensor:
    """`value` in the dtype of `like`; under autocast as it is, like torch's own losses, so that scaled losses fit.

    Args:
        value: Loss of any shape, as computed from `widen(like)`.
        like: The tensor that the caller gave.

    Returns:
        Tensor of `value`'s shape.
    """
    same = value.dtype == like.dtype or torch.is_autocast_enabled(like.device.type)
    return value if same else value.to(like.dtype)


def softmax(logits: Tensor, dim: int) -> Tensor:
    """Class probabilities: exp(zᵢ − max z) / Σⱼ exp(zⱼ − max z).

    The shift makes overflow impossible; the quotient is more accurate than exp(z − logsumexp z), whose relative
    error grows with |log f|.

    Args:
        logits: Tensor [..., C, ...].
        dim: Dimension of the classes.

    Returns:
        Tensor of the same shape, 0 to 1, summing to 1 over `dim`.

    Source: Blanchard, Higham and Higham, *Accurately computing the log-sum-exp and softmax functions*,
    IMA Journal of Numerical Analysis 41(4), 2021.
    """
    return torch.softmax(logits, dim)


def sigmoid(logits: Tensor) -> Tensor:
    """Probability of the positive class, without overflow: 1 / (1 + e⁻ᶻ), as eᶻ / (1 + eᶻ) where z < 0.

    Args:
        logits: Tensor of any shape.

    Returns:
        Tensor of the same shape, 0 to 1.

    Source: as for `softmax`, of which it is the case of the logits (0, z).
    """
    return torch.sigmoid(logits)


def predictions(kind: str, outputs: Tensor) -> Tensor:
    """The f of ℓ(y, f): softmax over the classes (multiclass), sigmoid (binary), the outputs themselves (regression).

    Args:
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        outputs: Outputs of a model: [C] or [B, C, ...] for multiclass, any shape otherwise.

    Returns:
        Tensor of the same shape.
    """
    if kind == "multiclass":
        return softmax(outputs, class_dimension(outputs))
    return sigmoid(outputs) if kind == "binary" else outputs


def class_dimension(outputs: Tensor) -> int:
    """Dimension of the classes, as in `torch.nn.functional.cross_entropy`: 0 for [C], 1 for [B, C, ...]."""
    return 0 if outputs.ndim == 1 else 1


def margins(logits: Tensor, dim: int) -> Tensor:
    """Margin of every class: m_c = z_c − logsumexp_{j≠c} z_j, so that log f = −softplus(−m), log(1 − f) = −softplus(m).

    The sum without a class that is not the largest is a difference without cancellation, because the largest term
    stays; without the largest it is taken anew.

    Args:
        logits: Tensor [..., C, ...].
        dim: Dimension of the classes.

    Returns:
        Tensor of the same shape; infinite for a single class.

    Source: as for `softmax`.
    """
    classes = logits.shape[dim]
    if classes == 1:
        return logits * 0.0 + math.inf
    top, index = logits.detach().max(dim, keepdim=True)
    shape = [classes if i == dim else 1 for i in range(logits.ndim)]
    largest = torch.arange(classes, device=logits.device).view(shape) == index
    terms = (logits - top).exp()
    others = (terms.sum(dim, keepdim=True) - terms).masked_fill(largest, 1.0).log()
    second = logits.detach().masked_fill(largest, -math.inf).amax(dim, keepdim=True)
    alone = second == -math.inf  # all others are impossible; their sum, zero, has no gradient
    second = second.masked_fill(alone, 0.0)
    rest = (logits - second).masked_fill(alone, 0.0).masked_fill(largest, -math.inf).logsumexp(dim, keepdim=True)
    rest = rest.masked_fill(alone, -math.inf)
    return torch.where(largest, (logits - second) - rest, (logits - top) - others)
