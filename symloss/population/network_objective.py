"""The losses of P loss networks at the logits: their gradient there, and back from there to the weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from symloss.errors import LossError
from symloss.losses.network import OUTPUTS, Architecture, EntryNetwork
from symloss.population.predictions import Kind, prediction_product


class NetworkObjective:
    r"""The losses of P networks of one architecture by batched products: M_p = (1/B) Σ_{b, c} ℓ_p(y, f).

    With class indices the slices y = 1 (the target entry of each sample) and y = 0 (the others) are evaluated apart.
    A network of ReLUs without bias is positively homogeneous, so that before its output it is f times its value at
    f = 1 where y = 0: the other classes then cost next to nothing.

    Args:
        networks: P networks.
        kind: What f is.
        indices: Targets are class indices.
        freeze: Weights are final; `weight_gradient` is not available.
        dtype: Of the computation.
        device: Of the computation.

    Attributes:
        weights: Of all networks, one after the other: [P · size].

    Raises:
        LossError: If the networks differ in more than their weights.
    """

    def __init__(
        self,
        networks: Sequence[EntryNetwork],
        kind: Kind,
        *,
        indices: bool,
        freeze: bool,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.kind, self.indices, self.freeze, self.count = kind, indices, freeze, len(networks)
        if len({network.architecture for network in networks}) != 1 or len({n.scale for n in networks}) != 1:
            raise LossError("loss networks that are computed together have one architecture and one scale")
        self.architecture: Architecture = networks[0].architecture
        self.scale = networks[0].scale
        self.weights = torch.cat([network.weights for network in networks]).to(device, dtype)
        self._homogeneous = self.architecture.activation == "relu" and not self.architecture.bias

    def logits_gradient(self, f: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Gradient of each mean loss at the logits.

        Args:
            f: Predictions, [P, C, B], or [1, C, B] if they are the same for all.
            target: Class indices [B], or [C, B].
            weights: [P · size]; the networks' own by default.

        Returns:
            [P, C, B].
        """
        phi = (self.weights if weights is None else weights).detach().view(self.count, -1)
        self._f = f = f.detach()
        with torch.enable_grad():
            self._phi = phi.requires_grad_(not self.freeze)
            self._slope = self._slopes(f.expand(self.count, -1, -1), target)
        return prediction_product(f, self._slope.detach(), self.kind).div(f.shape[2])

    def weight_gradient(self, tangent: Tensor) -> Tensor:
        """∂/∂φ of Σ (gradient at the logits) · tangent at the last call of `logits_gradient`.

        Args:
            tangent: [P, C, B].

        Returns:
            [P · size]: each entry belongs to its own network.
        """
        tangent = prediction_product(self._f, tangent, self.kind).div(tangent.shape[2])
        (gradient,) = torch.autograd.grad(self._slope, self._phi, tangent)
        return gradient.flatten()

    def _slopes(self, f: Tensor, target: Tensor) -> Tensor:
        """∂ℓ/∂f at every entry, [P, C, B]."""
        if not self.indices:
            return self._slope_at(target, f)
        index = target.expand(self.count, 1, -1)
        others = self._slope_without_target(f) if self._homogeneous else self._slope_at(f.new_zeros(()), f)
        return others.scatter(1, index, self._slope_at(f.new_ones(()), f.gather(1, index)))

    def _slope_at(self, y: Tensor, f: Tensor) -> Tensor:
        f = f.detach().requires_grad_()
        values = self.architecture.evaluate(y, f, self._phi)
        (slope,) = torch.autograd.grad(values.sum(), f, create_graph=not self.freeze)
        return self.scale * slope

    def _slope_without_target(self, f: Tensor) -> Tensor:
        """∂/∂f of output(f g) with g what comes before the output at (0, 1), for f from 0 to 1."""
        f = f.detach().requires_grad_()
        one = f.new_ones(self.count, 1, 1)
        values = OUTPUTS[self.architecture.output](
            f * self.architecture.before_output(torch.zeros_like(one), one, self._phi)
        )
        (slope,) = torch.autograd.grad(values.sum(), f, create_graph=not self.freeze)
        return self.scale * slope
