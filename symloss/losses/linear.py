"""The last linear layer and its loss together, a block of rows at a time: the logits never exist all at once."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from symloss.errors import LossError
from symloss.losses import stable, targets
from symloss.losses.base import Loss
from symloss.losses.smoothing import LabelSmoothing
from symloss.losses.target_only import transformed

BLOCK = 6 << 20
"""Logits of a block, if `chunk` is not given."""

Gradients = list[Tensor | None]


def linear_loss(
    hidden: Tensor,
    weight: Tensor,
    target: Tensor,
    loss: nn.Module,
    bias: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """The loss of the logits hidden · weightᵀ + bias, without holding them.

    For the reductions `"mean"` and `"sum"` the gradients of hidden, weight, bias and the parameters of the loss are
    formed block by block during the forward pass; for `"none"` the blocks are computed once more in the backward pass.
    Under `torch.func`, `torch.compile`, forward-mode derivatives and `create_graph=True` it is the plain composition,
    which holds the logits. Everything is computed in float32, or float64 for float64 inputs.

    Args:
        hidden: Activations **[B, D]**, floating.
        weight: Weight of the layer **[C, D]**, as in `torch.nn.Linear`.
        target: Class indices **[B]**.
        loss: A multiclass loss of symloss, or a `torch.nn.CrossEntropyLoss`; its options hold. Losses whose `form` is
            not `"dense"`, and those of `smoothing`, form their gradient in the storage of the block.
        bias: Bias **[C]**.
        chunk: Rows of a block; by default so many that it has about six million logits.

    Returns:
        Loss **[]**, or **[B]** for the reduction `"none"`.

    Raises:
        LossError: If shapes or dtypes do not fit, or the loss is another.

    Source: blocks of rows as in Hsu et al., *Liger Kernel*, arXiv 2410.10989.
    """
    _check(hidden, weight, target, bias, chunk)
    module = _known(loss)
    target = targets.check(
        "multiclass", hidden.new_empty(1, len(weight), device="meta").expand(len(hidden), -1), target
    )
    if transformed(hidden, weight, target):
        return module(F.linear(hidden, weight, bias), target)  # type: ignore[no-any-return]
    targets.check_range(hidden.new_empty(1, len(weight), device="meta"), target, module.ignore_index)
    rows = max(1, min(len(hidden), chunk or BLOCK // max(1, len(weight))))
    value = _Linear.apply(  # type: ignore[no-untyped-call]
        module, rows, target, hidden, weight, bias, *module.parameters()
    )
    return stable.narrow(value, hidden)


def _check(hidden: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None, chunk: int | None) -> None:
    for name, tensor in (("hidden", hidden), ("weight", weight), ("target", target)):
        if not isinstance(tensor, Tensor):
            raise LossError(f"{name} must be a torch.Tensor; received {type(tensor).__name__}")
    fits = hidden.ndim == weight.ndim == 2 and hidden.shape[1] == weight.shape[1] and target.shape == hidden.shape[:1]
    if not fits or (bias is not None and bias.shape != weight.shape[:1]):
        shapes = ", ".join(str(tuple(t.shape)) for t in (hidden, weight, target, bias) if t is not None)
        raise LossError(f"wanted hidden [B, D], weight [C, D], target [B] and bias [C]; received {shapes}")
    if not hidden.is_floating_point() or hidden.dtype != weight.dtype:
        raise LossError(f"hidden and weight must have one floating dtype; received {hidden.dtype} and {weight.dtype}")
    if chunk is not None and (isinstance(chunk, bool) or not isinstance(chunk, int) or chunk < 1):
        raise LossError(f"chunk must be a positive number of rows; received {chunk!r:.80}")


def _known(loss: nn.Module) -> Loss:
    if type(loss) is nn.CrossEntropyLoss:
        return LabelSmoothing(loss.label_smoothing, loss.weight, loss.reduction, loss.ignore_index)
    if isinstance(loss, Loss) and loss.kind == "multiclass":
        return loss
    received = " ".join(repr(loss).split())
    raise LossError(
        f"linear_loss needs a multiclass loss of symloss or torch.nn.CrossEntropyLoss; received {received:.80}"
    )


class _Linear(torch.autograd.Function):
    """The two together."""

    @staticmethod
    def forward(ctx: Any, module: Loss, rows: int, target: Tensor, *tensors: Tensor | None) -> Tensor:
        ctx.save_for_backward(target, *tensors)
        ctx.options = module, rows
        early = any(ctx.needs_input_grad) and module.reduction != "none"
        total = torch.ones((), dtype=torch.float64)
        if module.reduction == "mean":
            assert tensors[0] is not None
            total = module.total_weight(stable.widen(tensors[0][:0]), target).double().cpu()
        ctx.scale = 1.0 / total.masked_fill(total == 0, 1.0)  # the gradient is zero where no sample counts
        needed = ctx.needs_input_grad[3:] if early else ()
        value, ctx.gradients = _blocks(module, rows, target, tensors, ctx.scale, needed)
        return value if module.reduction == "none" else value / total.to(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (target, *tensors), (module, rows) = ctx.saved_tensors, ctx.options
        needed = ctx.needs_input_grad[3:]
        if torch.is_grad_enabled():
            inputs = [t for t, need in zip(tensors, needed, strict=True) if need]
            value = module(F.linear(*tensors[:3]), target)
            slopes = iter(torch.autograd.grad(value, inputs, gradient, create_graph=True, materialize_grads=True))
            return None, None, None, *(next(slopes) if need else None for need in needed)
        if module.reduction == "none" or ctx.gradients is None:
            gradients = _blocks(module, rows, target, tensors, gradient * ctx.scale.to(gradient), needed)[1]
        else:  # handed over: they are the largest tensors here
            gradients, ctx.gradients = ctx.gradients, None
            if gradient != 1:
                gradients = [None if g is None else g.mul_(gradient.to(g)) for g in gradients]
        return None, None, None, *gradients


def _blocks(
    module: Loss, rows: int, target: Tensor, tensors: Any, scale: Tensor, needed: tuple[bool, ...]
) -> tuple[Tensor, Gradients]:
    """Sum of the losses, or all of them for the reduction `"none"`, and the gradients of Σ scale · loss.

    Args:
        module: The loss.
        rows: Rows of a block.
        target: Class indices [B].
        tensors: hidden, weight, bias and the parameters of the loss.
        scale: [] or [B].
        needed: Which of the tensors need a gradient; empty for none.
    """
    hidden, weight, bias, *parameters = tensors
    wide, wide_bias = stable.widen(weight), None if bias is None else stable.widen(bias)
    loss = copy.copy(module)  # shares its parameters
    loss.reduction = "none" if module.reduction == "none" else "sum"
    loss.inplace = True
    sums: Gradients = [
        None if t is None or not need else torch.zeros_like(t, dtype=stable.widen(t[:0] if t.ndim else t).dtype)
        for t, need in zip(tensors, needed, strict=False)
    ]
    values, buffer = [wide.new_empty(0)], wide.new_empty(min(rows, len(hidden)), len(wide))
    computed = torch.zeros((), requires_grad=any(needed))
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        block = stable.widen(hidden[part])
        z = torch.mm(block, wide.T, out=buffer[: len(block)])
        if wide_bias is not None:
            z += wide_bias
        with torch.enable_grad():
            logits = z.detach()
            logits[:0].add_(computed)  # it changes nothing, but makes no leaf of what may be overwritten
            value = loss(logits, target[part])
        values.append(value.detach().view(-1))
        if any(needed):
            factor = scale[part] if scale.ndim else scale
            slope, *slopes = torch.autograd.grad(value, (logits, *parameters), factor.to(value), materialize_grads=True)
            _accumulate(sums, slope, block, wide, part, slopes)
    gradients = [None if s is None else s.to(t.dtype) for s, t in zip(sums, tensors, strict=False)]
    each = torch.cat(values)
    return each if module.reduction == "none" else each.sum(), gradients


def _accumulate(sums: Gradients, slope: Tensor, block: Tensor, wide: Tensor, part: slice, slopes: list[Tensor]) -> None:
    """Add a block's gradients, given those at its logits and at the parameters of the loss."""
    hidden, weight, bias, *parameters = sums
    if hidden is not None:
        torch.mm(slope, wide, out=hidden[part])
    if weight is not None:
        weight.addmm_(slope.T, block)
    if bias is not None:
        bias += slope.sum(0)
    for total, own in zip(parameters, slopes, strict=True):
        if total is not None:
            total += own
