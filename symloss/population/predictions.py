"""From logits to predictions, and the gradient of the task loss.

Layout of the engine: logits, predictions and their derivatives are [P, C, B], the batch innermost, so that softmax and
every elementwise operation run over contiguous memory. One output (binary, regression) is C = 1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Kind = Literal["multiclass", "binary", "regression"]


def predict(logits: Tensor, kind: Kind) -> Tensor:
    """f: softmax over C, sigmoid, or the raw output; [P, C, B] -> [P, C, B]."""
    if kind == "multiclass":
        return torch.softmax(logits, 1)
    return torch.sigmoid(logits) if kind == "binary" else logits


def prediction_product(f: Tensor, values: Tensor, kind: Kind) -> Tensor:
    """(∂f/∂logits) · values; the Jacobian of softmax, sigmoid and identity is symmetric: VJP and JVP in one."""
    if kind == "multiclass":
        product = f * values
        return torch.addcmul(product, f, product.sum(1, keepdim=True), value=-1)
    return values * (f * (1 - f)) if kind == "binary" else values


def task_gradient(logits: Tensor, target: Tensor, kind: Kind) -> Tensor:
    """Gradient of the mean task loss (cross-entropy, binary cross-entropy, mean squared error) at the logits.

    Args:
        logits: [P, C, B].
        target: Class indices [B], or [C, B].
        kind: Of the task.

    Returns:
        [P, C, B].
    """
    count = logits.shape[2]
    if kind == "regression":
        return (logits - target) * (2 / (count * logits.shape[1]))
    f = predict(logits, kind)
    if kind == "binary":
        return (f - target) / (count * logits.shape[1])
    if target.dim() == 1:
        index = target.expand(f.shape[0], 1, count)
        return f.scatter_add_(1, index, f.new_full((), -1.0).expand(index.shape)).div_(count)
    return (f * target.sum(0) - target) / count
