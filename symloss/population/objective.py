"""The losses of a population at the logits: their gradient there, and back from there to the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from symloss.expression.expression import Expression
from symloss.losses.network import EntryNetwork
from symloss.population.compiled import CompiledObjective, compilable
from symloss.population.forest import Forest
from symloss.population.network_objective import NetworkObjective
from symloss.population.predictions import Kind, prediction_product


class TorchObjective:
    r"""The losses of a population by tensor operations: M_p = (1/B) Σ_{b, c} ℓ_p(y, f).

    With class indices the slices y = 1 (the target entry of each sample) and y = 0 (the others) are evaluated apart,
    each with what vanishes there removed: a loss that acts on the target alone costs a C-th.

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
        slices: tuple[float | None, ...] = (0.0, 1.0) if indices else (None,)
        self._forests = [
            Forest(expressions, y, freeze=freeze, shared=shared, dtype=dtype, device=device) for y in slices
        ]
        self.weights = self._forests[0].weights

    def logits_gradient(self, f: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Gradient of each mean loss at the logits.

        Args:
            f: Predictions, [P, C, B], or [1, C, B] if shared.
            target: Class indices [B], or [C, B].
            weights: [edges]; the expressions' own by default.

        Returns:
            [P, C, B].
        """
        self._f, self._target = f, target
        if self.indices:
            others, targets = self._forests
            at_target = targets.slope(f.gather(1, target.expand(f.shape[0], 1, -1)), weights=weights)
            slope = others.slope(f, weights=weights).scatter_(1, target.expand(self.count, 1, -1), at_target)
        else:
            slope = self._forests[0].slope(f, target, weights)
        return prediction_product(f, slope, self.kind).div(f.shape[2])

    def weight_gradient(self, tangent: Tensor) -> Tensor:
        """∂/∂φ of Σ (gradient at the logits) · tangent at the last call of `logits_gradient`.

        Args:
            tangent: [P, C, B].

        Returns:
            [edges]: each entry belongs to its own expression.
        """
        tangent = prediction_product(self._f, tangent, self.kind).div(tangent.shape[2])
        if not self.indices:
            return self._forests[0].weight_gradient(tangent)
        others, targets = self._forests
        index = self._target.expand(self.count, 1, -1)
        at_target = targets.weight_gradient(tangent.gather(1, index))
        return at_target + others.weight_gradient(tangent.scatter(1, index, 0.0))


Objective = TorchObjective | CompiledObjective | NetworkObjective


def make_objective(
    expressions: Sequence[Expression] | Sequence[EntryNetwork],
    kind: Kind,
    *,
    indices: bool,
    freeze: bool,
    shared: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Objective:
    """The fastest objective that takes these losses, all formulas or all networks; arguments as in `TorchObjective`."""
    networks = [e for e in expressions if isinstance(e, EntryNetwork)]
    if networks:
        return NetworkObjective(networks, kind, indices=indices, freeze=freeze, dtype=dtype, device=device)
    formulas = [e for e in expressions if isinstance(e, Expression)]
    if compilable(formulas, device, dtype):
        return CompiledObjective(formulas, kind, indices=indices, freeze=freeze, dtype=dtype)
    return TorchObjective(formulas, kind, indices=indices, freeze=freeze, shared=shared, dtype=dtype, device=device)
