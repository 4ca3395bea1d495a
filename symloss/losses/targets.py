"""What a loss accepts as input and target: torch's conventions, checked, with one line for every misfit."""

from __future__ import annotations

import torch
from torch import Tensor

from symloss.errors import LossError
from symloss.losses.stable import class_dimension, widen

KINDS = ("multiclass", "binary", "regression")
"""What the outputs of a model mean."""
REDUCTIONS = ("mean", "sum", "none")
"""What is made of the losses of the samples."""


def check_options(kind: str, reduction: str, ignore_index: int, weight: Tensor | None = None) -> None:
    """Raise LossError unless these are options that a loss can have."""
    if kind not in KINDS:
        raise LossError(f"kind must be one of {', '.join(KINDS)}; received {kind!r}")
    if reduction not in REDUCTIONS:
        raise LossError(f"reduction must be one of {', '.join(REDUCTIONS)}; received {reduction!r}")
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, int) or abs(ignore_index) >= 2**63:
        raise LossError(f"ignore_index must be a 64-bit integer; received {ignore_index!r:.80}")
    if kind != "multiclass" and ignore_index != -100:
        raise LossError(f"ignore_index is for class indices, kind 'multiclass'; received {ignore_index} for {kind!r}")
    if weight is not None and not (isinstance(weight, Tensor) and weight.ndim == 1 and weight.is_floating_point()):
        received = f"shape {tuple(weight.shape)} of {weight.dtype}" if isinstance(weight, Tensor) else repr(weight)
        raise LossError(f"weight must be a floating tensor with one number per class; received {received:.80}")
    if weight is not None and kind != "multiclass":
        raise LossError(f"weight is for classes, kind 'multiclass'; received one for {kind!r}")


def check(kind: str, input: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Check that the target fits the input, and cast it.

    Args:
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        input: Outputs of a model, floating: [C] or [B, C, ...] for multiclass, any shape otherwise.
        target: Of the input's shape, any real dtype; or, for multiclass, integer class indices [] or [B, ...].
        weight: Weight of each class [C].

    Returns:
        Class indices as int64, or the target in the dtype of `widen(input)`.

    Raises:
        LossError: If shapes or dtypes do not fit.
    """
    for name, tensor in (("input", input), ("target", target)):
        if not isinstance(tensor, Tensor):
            raise LossError(f"{name} must be a torch.Tensor; received {type(tensor).__name__}")
    if not input.is_floating_point():
        raise LossError(f"input must be floating-point outputs of a model; received {input.dtype}")
    if target.is_complex():
        raise LossError(f"target must be real; received {target.dtype}")
    if kind == "multiclass" and input.ndim == 0:
        raise LossError("input must be logits of shape (N, C, ...) or (C,); received shape ()")
    if weight is not None and len(weight) != (classes := input.shape[class_dimension(input)]):
        raise LossError(f"weight has {len(weight)} numbers; the logits have {classes} classes")
    if target.shape == input.shape:
        return target.to(widen(input).dtype)
    if kind == "multiclass":
        return _class_indices(input, target)
    raise LossError(
        f"input and target must have the same shape; received {tuple(input.shape)} and {tuple(target.shape)}"
        + ("; target.view_as(input) may be meant" if target.numel() == input.numel() else "")
    )


def _class_indices(input: Tensor, target: Tensor) -> Tensor:
    dim = class_dimension(input)
    expected = input.shape[:dim] + input.shape[dim + 1 :]
    if target.shape != expected:
        raise LossError(
            f"for logits of shape {tuple(input.shape)} the target is class indices of shape {tuple(expected)} "
            f"or probabilities of shape {tuple(input.shape)}; received shape {tuple(target.shape)}"
        )
    if target.is_floating_point() or target.dtype == torch.bool:
        raise LossError(f"class indices must be integers, e.g. target.long(); received {target.dtype}")
    return target.long()


def check_range(input: Tensor, target: Tensor, ignore_index: int) -> bool:
    """Check that every target is a class index or `ignore_index`, if its values can be looked at.

    Args:
        input: Logits [C] or [B, C, ...].
        target: Class indices, int64 [] or [B, ...].
        ignore_index: Target of the samples to leave out.

    Returns:
        Whether they could: not on a GPU, where it would wait for the device, nor under `torch.compile` or `vmap`.

    Raises:
        LossError: If a target is neither.
    """
    if target.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    classes = input.shape[class_dimension(input)]
    try:
        inside = target.numel() == 0 or (int(target.min()) >= 0 and int(target.max()) < classes)
    except RuntimeError:  # inside vmap, or with tensors without values
        return False
    if not inside and (wrong := _wrong(target, classes, ignore_index)).any():
        raise LossError(
            f"class indices go from 0 to {classes - 1}, or are ignore_index={ignore_index}; "
            f"received {target[wrong].flatten()[0].item()}"
        )
    return True


def sample_weights(input: Tensor, target: Tensor, ignore_index: int, weight: Tensor | None = None) -> Tensor:
    """Weight of each sample given by class index: 1 or that of its class, or 0 where it is `ignore_index`.

    Where the values of the targets cannot be looked at, one out of range gets the weight NaN, so that it shows in the
    loss; elsewhere it raises.

    Args:
        input: Logits [C] or [B, C, ...].
        target: Class indices, int64 [] or [B, ...].
        ignore_index: Target of the samples to leave out.
        weight: Weight of each class [C].

    Returns:
        Tensor of the target's shape, in the dtype of `widen(input)`.

    Raises:
        LossError: If a target is neither a class index nor `ignore_index`.
    """
    weights = (target != ignore_index).to(widen(input).dtype)
    if not check_range(input, target, ignore_index):
        wrong = _wrong(target, input.shape[class_dimension(input)], ignore_index)
        weights = weights.masked_fill(wrong, float("nan"))
    return weights if weight is None else weights * weight.to(weights)[target.clamp(0, len(weight) - 1)]


def _wrong(target: Tensor, classes: int, ignore_index: int) -> Tensor:
    return ((target < 0) | (target >= classes)) & (target != ignore_index)


def over_classes(weight: Tensor, input: Tensor) -> Tensor:
    """Weights of the classes [C], to be multiplied with logits or probabilities [C] or [B, C, ...]."""
    shape = [1] * input.ndim
    shape[class_dimension(input)] = len(weight)
    return weight.to(input).view(shape)


def one_hot(input: Tensor, target: Tensor) -> Tensor:
    """Class indices as one-hot targets.

    Args:
        input: Logits [C] or [B, C, ...].
        target: Class indices, int64 [] or [B, ...]; any other number gives an entry of zeros.

    Returns:
        Tensor of the input's shape, in the dtype of `widen(input)`.
    """
    dim = class_dimension(input)
    shape = [1] * input.ndim
    shape[dim] = input.shape[dim]
    classes = torch.arange(input.shape[dim], device=input.device).view(shape)
    return (classes == target.unsqueeze(dim)).to(widen(input).dtype)


def reduce(values: Tensor, weights: Tensor | None, reduction: str) -> Tensor:
    """Mean, sum or all of the losses of the samples; the mean is Σ wᵢ lᵢ / Σ wᵢ, as in torch.

    Args:
        values: Losses, any shape.
        weights: Weights of the same shape; None for ones.
        reduction: `"mean"`, `"sum"` or `"none"`.

    Returns:
        Tensor [], or of the values' shape for `"none"`.
    """
    if weights is not None:
        values = values * weights
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    return values.mean() if weights is None else values.sum() / weights.sum()
