"""From logits to the gradient of a population's losses at the logits, and back to the weights.

Layout: logits, predictions and their derivatives are [P, C, B], the batch innermost, so that softmax and every elementwise
operation run over contiguous memory. One output (binary, regression) is C = 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from symloss.expression.expression import Expression
from symloss.population.compiled_forest import CompiledForest, compilable
from symloss.population.forest import TorchForest

Kind = Literal["multiclass", "binary", "regression"]


def predict(logits: Tensor, kind: Kind) -> Tensor:
    """f: softmax over C, sigmoid, or the raw output; [P, C, B] -> [P, C, B]."""
    if kind == "multiclass":
        return torch.softmax(logits, 1)
    return torch.sigmoid(logits) if kind == "binary" else logits


def predict_vjp(f: Tensor, slope: Tensor, kind: Kind) -> Tensor:
    """Σ slope · ∂f/∂logits: [P, C, B] -> [P, C, B]."""
    if kind == "multiclass":
        product = f * slope
        return torch.addcmul(product, f, product.sum(1, keepdim=True), value=-1)
    return slope * (f * (1 - f)) if kind == "binary" else slope


predict_jvp = predict_vjp  # the Jacobians of softmax, sigmoid and identity are symmetric


def task_slope(logits: Tensor, target: Tensor, kind: Kind) -> Tensor:
    """Gradient of the mean task loss (cross-entropy, binary cross-entropy, mean squared error) at the logits.

    Args:
        logits: [P, C, B].
        target: Class indices [B], or [C, B].

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


def make_forest(
    expressions: Sequence[Expression],
    y: float | None = None,
    *,
    freeze: bool = False,
    shared: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> CompiledForest | TorchForest:
    """The fastest forest that can take these expressions; arguments as in `TorchForest`."""
    if compilable(expressions, torch.device(device), dtype):
        return CompiledForest(expressions, y, freeze=freeze, shared=shared, dtype=dtype)
    return TorchForest(expressions, y, freeze=freeze, shared=shared, dtype=dtype, device=device)


class Objective:
    r"""The losses of a population: M_p = (1/B) Σ_{b, c} ℓ_p(y, f).

    With class indices the slices y = 1 (the target entry of each sample) and y = 0 (the others) are evaluated apart, each
    with what vanishes there removed: a loss that acts on the target alone costs a C-th.

    Args:
        expressions: P expressions.
        kind: What f is.
        indices: Targets are class indices.
        freeze: Weights are final; `weight_gradient` is not available.
        shared: All losses see the same logits.
        dtype: Of the computation.
        device: Of the computation.
    """

    def __init__(
        self,
        expressions: Sequence[Expression],
        kind: Kind,
        *,
        indices: bool,
        freeze: bool,
        shared: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.kind, self.indices, self.count = kind, indices, len(expressions)

        self._forests = [
            make_forest(expressions, y, freeze=freeze, shared=shared, dtype=dtype, device=device)
            for y in ((0.0, 1.0) if indices else (None,))
        ]
        self.weights = self._forests[0].weights

    def slope(self, f: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """∂ℓ/∂f at every entry.

        Args:
            f: Predictions, [P, C, B], or [1, C, B] if shared.
            target: Class indices [B], or [C, B].
            weights: [edges]; the expressions' own by default.

        Returns:
            [P, C, B].
        """
        if not self.indices:
            return self._forests[0].slope(f, target, weights)
        others, targets = self._forests
        index = target.expand(f.shape[0], 1, -1)
        at_target = targets.slope(f.gather(1, index), weights=weights)
        slope = others.slope(f, weights=weights)
        return slope.scatter_(1, target.expand(self.count, 1, -1), at_target)

    def weight_gradient(self, tangent: Tensor, target: Tensor) -> Tensor:
        """∂/∂φ of Σ (∂ℓ_φ/∂f) · tangent at the last call of `slope`.

        Args:
            tangent: [P, C, B].
            target: As in `slope`.

        Returns:
            [edges].
        """
        if not self.indices:
            return self._forests[0].weight_gradient(tangent)
        others, targets = self._forests
        index = target.expand(self.count, 1, -1)
        at_target = targets.weight_gradient(tangent.gather(1, index))
        return at_target + others.weight_gradient(tangent.scatter(1, index, 0.0))

    def logits_gradient(self, f: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Gradient of the mean losses at the logits, [P, C, B]."""
        return predict_vjp(f, self.slope(f, target, weights), self.kind).div_(f.shape[2])
