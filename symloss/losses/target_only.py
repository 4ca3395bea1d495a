"""Losses of the margin of the target, every target-only loss among them: one fused kernel for all.

With the margin m = z_t − logsumexp_{j≠t} z_j the target has the probability p = sigmoid(m), so a loss that looks at p
alone is a function h(m), and its gradient at the logits is h'(m) · (1 at the target, −exp(z_j − logsumexp_{k≠t} z_k)
elsewhere): cross-entropy's, re-weighted. The forward pass keeps five numbers per sample; the backward pass forms the
gradient in one pass over the logits, in their own storage if asked.

The plain form, made of differentiable torch operations, takes over on other devices than the CPU, for weights that are
trained, under `torch.func`, `torch.compile` and forward-mode derivatives, and for `create_graph=True`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from symloss.errors import LossError
from symloss.losses import forms, program, stable, targets
from symloss.losses.program import Program

form = forms.form


def target_loss(
    input: Tensor,
    target: Tensor,
    function: Program,
    weights: Sequence[Tensor] = (),
    *,
    weight: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    inplace: bool = False,
) -> Tensor:
    """The loss h(m) of a batch.

    Args:
        input: Logits [C] or [B, C, ...], floating.
        target: Class indices [] or [B, ...], int64.
        function: h, and what it takes from the spread.
        weights: Weights of the edges that `function` refers to, scalars.
        weight: Weight of each class [C].
        reduction: `"mean"` (Σ w h / Σ w), `"sum"` or `"none"`.
        ignore_index: Target of the samples to leave out.
        inplace: Whether the backward pass may write the gradient over the logits. They must have been computed (not be
            a leaf, or a view of one), and are spent after it; what else needs them for its own backward pass raises
            torch's error.

    Returns:
        Loss [], or of the target's shape for `"none"`, in the dtype of `stable.widen(input)`.

    Raises:
        LossError: If a target is neither a class index nor `ignore_index`, or logits cannot be spent.
    """
    if inplace and input.requires_grad and (input.is_leaf or (input._base is not None and input._base.is_leaf)):
        raise LossError("inplace=True would overwrite a leaf tensor; give logits that a model computed")
    z, flat = _rows(input, target)
    options = function, weight, reduction, ignore_index
    if z.device.type != "cpu" or transformed(z, flat) or function.arrays is None:
        value = plain_loss(z, flat, *options, weights)
    elif z.requires_grad and torch.is_grad_enabled():
        value = _Compiled.apply(  # type: ignore[no-untyped-call]
            z, flat, inplace, options
        )
    else:
        value = _run(z, flat, None, *options)[0]
    return value.view(target.shape) if reduction == "none" and target.ndim != 1 else value


def plain_loss(
    z: Tensor,
    target: Tensor,
    function: Program,
    weight: Tensor | None,
    reduction: str,
    ignore_index: int,
    weights: Sequence[Tensor] = (),
) -> Tensor:
    """The same of logits [B, C] and targets [B] by differentiable torch operations."""
    samples = targets.sample_weights(z, target, ignore_index, weight)
    z = z.masked_fill((target == ignore_index).unsqueeze(1), 0.0)  # NaN logits of ignored samples do no harm
    return targets.reduce(of_margin(function, *margin(z, target), weights), samples, reduction)


def of_margin(function: Program, m: Tensor, u: Tensor | None = None, weights: Sequence[Tensor] = ()) -> Tensor:
    """A program at margins and, if it needs them, spreads of one shape; differentiable."""
    leaves: dict[int, Callable[[Tensor], Any]] = {
        program.ONE: torch.ones_like, program.F: torch.sigmoid, program.Q: lambda m: torch.sigmoid(-m),
        program.LOG_F: F.logsigmoid, program.LOG_Q: lambda m: F.logsigmoid(-m), program.SPREAD: lambda _: u,
    }  # fmt: skip
    return function.evaluate(lambda row: leaves[row](m), weights)


def margin(z: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Margins and spreads by differentiable torch operations.

    m = z_t − n and u = n − mean_{j≠t} z_j, with n = logsumexp_{j≠t} z_j.

    Args:
        z: Logits [B, C].
        target: Class indices [B].

    Returns:
        m [B] and u [B]; for a single class m is infinite and u is zero; m is NaN where z_t = ∞.

    Source: the margin form of label smoothing, exact for every margin and offset.
    """
    here = torch.arange(z.shape[1], device=z.device) == target.unsqueeze(1)
    at_target = z.masked_fill(~here, 0.0).sum(1)
    at_target = at_target.masked_fill(at_target == math.inf, math.nan)
    if z.shape[1] == 1:
        return at_target + math.inf, at_target * 0.0
    top = z.detach().masked_fill(here, -math.inf).amax(1)
    alone = top == -math.inf  # without any other logit n has no gradient, which autograd would make NaN
    top = top.masked_fill(alone, 0.0)
    shifted = (z - top.unsqueeze(1)).masked_fill(alone.unsqueeze(1), 0.0)
    n = shifted.masked_fill(here, -math.inf).logsumexp(1)
    return at_target - top - n.masked_fill(alone, -math.inf), n - shifted.masked_fill(here, 0.0).sum(1) / (
        z.shape[1] - 1
    )


def transformed(*tensors: Tensor) -> bool:
    """Whether a transform of torch is at work that a custom function does not go through."""
    return torch._C._are_functorch_transforms_active() or any(map(wrapped, tensors))


def wrapped(tensor: Tensor) -> bool:
    """Whether the numbers of a tensor cannot be looked at, or are not all that it carries."""
    return (
        torch.compiler.is_compiling()
        or torch.autograd.forward_ad._current_level >= 0
        or type(tensor) not in (Tensor, torch.nn.Parameter)
        or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
    )


def _rows(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Logits as [B, C] and targets as [B]."""
    z = stable.widen(input)
    if z.ndim == 1:
        return z.unsqueeze(0), target.reshape(1)
    if z.ndim > 2:
        return z.movedim(1, -1).reshape(-1, z.shape[1]), target.reshape(-1)
    return z, target


@functools.cache
def _loops(dtype: torch.dtype) -> ModuleType:
    """The compiled loops, once they are on the disk."""
    from symloss.loops.cache import prepare
    from symloss.losses import rows

    prepare("symloss.losses.rows", rows.forward, str(dtype).removeprefix("torch."))
    return rows


def _run(
    z: Tensor, target: Tensor, gradient: Tensor | None, function: Program, weight: Tensor | None, reduction: str,
    ignore_index: int,
) -> tuple[Tensor, Any, float]:  # fmt: skip
    """Loss, the record of `rows.forward`, and what the gradient is divided by; `gradient` [B, C] is written."""
    rows, logits = _loops(z.dtype), z.detach().contiguous().numpy()
    record = np.empty((len(z), 5), logits.dtype)
    total, count, wrong = rows.forward(
        logits, logits.view(f"i{logits.itemsize}"), target.contiguous().numpy(),
        record[:0, 0] if weight is None else weight.detach().to(z).contiguous().numpy(), ignore_index,
        reduction == "mean", function.arrays, record,
        logits[:0, :0] if gradient is None else gradient.numpy(),
    )  # fmt: skip
    if wrong >= 0:
        targets.check_range(z, target, ignore_index)
    if reduction == "none":
        return torch.from_numpy(record[:, rows.VALUE].copy()), record, 1.0
    if reduction == "mean":
        total = total / count if count else math.nan
    return torch.scalar_tensor(total, dtype=z.dtype), record, count if reduction == "mean" else 1.0


class _Compiled(torch.autograd.Function):
    """The loss by compiled loops: its gradient is formed with it, unless it is to be written over the logits."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, target: Tensor, inplace: bool, options: tuple[Any, ...]) -> Tensor:
        ctx.options, ctx.inplace, ctx.spent = options, inplace and z.is_contiguous(), False
        ctx.gradient = None if ctx.inplace else _empty(z)
        ctx.save_for_backward(z, target)
        value, ctx.record, ctx.count = _run(z, target, ctx.gradient, *options)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.spent:
            raise LossError("the logits were overwritten by the first backward pass; give inplace=False")
        z, target = ctx.saved_tensors
        if torch.is_grad_enabled():
            if ctx.inplace:
                raise LossError("inplace=True leaves no logits for second derivatives; give inplace=False")
            (slope,) = torch.autograd.grad(plain_loss(z, target, *ctx.options), z, gradient, create_graph=True)
            return slope, None, None, None
        if ctx.inplace:
            scale = gradient.detach().reshape(-1).contiguous().numpy() / (ctx.count or 1.0)
            scale = scale.astype(ctx.record.dtype, copy=False)
            _loops(z.dtype).overwrite(z.detach().numpy(), target.numpy(), ctx.record, ctx.options[0].spread, scale)
            ctx.spent = True
            torch.autograd.graph.increment_version(z)  # whoever else saved the logits finds out
            return z.detach(), None, None, None
        slope, ctx.gradient = ctx.gradient, None  # handed over, so that nobody has to copy it
        if slope is None:  # not the first time
            slope = _empty(z)
            _run(z, target, slope, *ctx.options)
        if gradient.ndim or gradient.item() != 1:
            slope.mul_(gradient.unsqueeze(-1))
        return slope, None, None, None


def _empty(z: Tensor) -> Tensor:
    return torch.empty_like(z, memory_format=torch.contiguous_format, requires_grad=False)
