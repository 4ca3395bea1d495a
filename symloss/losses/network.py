"""LossNetwork: a loss ℓ(y, f) that is a small network, taken at every (sample, output)."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from symloss.errors import LossError
from symloss.expression.expression import Expression
from symloss.losses import stable, targets
from symloss.losses.base import Loss

LEAK = 0.01
"""γ of the smooth leaky ReLU."""
SHARPNESS = 10.0
"""β of the smooth leaky ReLU."""
MOST_WEIGHTS = 40_000
"""Most weights of a network: as many as a file of 1 MB holds."""


def smooth_leaky_relu(x: Tensor) -> Tensor:
    """γ x + (1 − γ) softplus(β x) / β, with γ = 0.01 and β = 10: smooth, without bounds, never flat.

    Args:
        x: Tensor of any shape.

    Returns:
        Tensor of the same shape.

    Source: Raymond et al., *Online Loss Function Learning*, arXiv 2301.13247.
    """
    return LEAK * x + (1 - LEAK) * F.softplus(x, SHARPNESS)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu, "smooth-leaky-relu": smooth_leaky_relu}
"""What may follow a hidden layer."""
OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda x: x, "softplus": F.softplus, "smooth-leaky-relu": smooth_leaky_relu,
}  # fmt: skip
"""What may follow the last layer."""


@dataclass(frozen=True)
class Architecture:
    """The layers of a loss network, from (y, f) to one number.

    Args:
        hidden: Width of each hidden layer.
        activation: What follows a hidden layer: one of `ACTIVATIONS`.
        output: What follows the last layer: one of `OUTPUTS`.
        bias: Whether layers have a bias; not the last one before the identity, where it would have no gradient in f.

    Raises:
        LossError: If a layer cannot be so.
    """

    hidden: tuple[int, ...] = (50, 50)
    activation: str = "relu"
    output: str = "softplus"
    bias: bool = False

    def __post_init__(self) -> None:
        hidden = self.hidden
        if (
            not isinstance(hidden, tuple | list)
            or not hidden
            or any(type(width) is not int or width < 1 for width in hidden)
        ):
            raise LossError(f"hidden is a width from 1 on for each hidden layer, such as (50, 50); received {hidden!r}")
        object.__setattr__(self, "hidden", tuple(hidden))
        for name, value, known in (("activation", self.activation, ACTIVATIONS), ("output", self.output, OUTPUTS)):
            if not isinstance(value, str) or value not in known:
                raise LossError(f"{name} is one of {', '.join(known)}; received {value!r:.60}")
        if not isinstance(self.bias, bool):
            raise LossError(f"bias is True or False; received {self.bias!r:.60}")
        if self.size > MOST_WEIGHTS:
            raise LossError(f"a loss network has at most {MOST_WEIGHTS} weights; hidden={self.hidden} has {self.size}")

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Shape of each layer's matrix: rows are outputs, columns inputs, the last of them the bias if it has one."""
        widths = (2, *self.hidden, 1)
        biased = [self.bias] * len(self.hidden) + [self.bias and self.output != "identity"]
        return [(out, into + bias) for (into, out), bias in zip(pairwise(widths), biased, strict=True)]

    @property
    def size(self) -> int:
        """Number of weights."""
        return sum(out * into for out, into in self.shapes)

    def layers(self, weights: Tensor) -> list[Tensor]:
        """The matrices of all weights: [..., size] -> [..., out, in] each."""
        parts = torch.split(weights, [out * into for out, into in self.shapes], -1)
        return [part.reshape(*part.shape[:-1], *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def initial(self, seed: int) -> Tensor:
        """Weights [size], float32, uniform within ±1/√inputs as in `torch.nn.Linear`."""
        generator = torch.Generator().manual_seed(seed)
        draws = [
            (2 * torch.rand(out * into, generator=generator) - 1) / math.sqrt(width)
            for (out, into), width in zip(self.shapes, (2, *self.hidden), strict=True)
        ]
        return torch.cat(draws)

    def before_output(self, y: Tensor, f: Tensor, weights: Tensor) -> Tensor:
        """What the last layer gives, ahead of the output's function; arguments as in `evaluate`."""
        pair: tuple[Tensor, Tensor] = torch.broadcast_tensors(y, f)  # type: ignore[no-untyped-call]
        x, shape = torch.stack(pair, -1), pair[0].shape
        x = x.view(shape[0], -1, 2) if weights.dim() > 1 else x.view(-1, 2)
        for number, layer in enumerate(self.layers(weights)):
            if number:
                x = ACTIVATIONS[self.activation](x)
            width = x.shape[-1]
            z = x @ layer[..., :width].transpose(-1, -2)
            x = z if layer.shape[-1] == width else z + layer[..., width].unsqueeze(-2)
        return x.reshape(-1, *shape[1:]) if weights.dim() > 1 else x.reshape(shape)

    def evaluate(self, y: Tensor, f: Tensor, weights: Tensor) -> Tensor:
        """ℓ(y, f) at every entry.

        Args:
            y: Targets, any shape; with weights of P networks [P or 1, ...].
            f: Predictions, of a shape that broadcasts with y.
            weights: [size], or [P, size].

        Returns:
            Tensor of the broadcast shape, or [P, ...].
        """
        return OUTPUTS[self.output](self.before_output(y, f, weights))

    def __str__(self) -> str:
        """Widths and functions in a few words."""
        widths = "-".join(map(str, (2, *self.hidden, 1)))
        return f"network {widths} ({self.activation}, {self.output}{', bias' if self.bias else ''})"


@dataclass(frozen=True)
class EntryNetwork:
    """A loss ℓ(y, f) as a network: what an `Expression` is for formulas.

    Args:
        architecture: Its layers.
        packed: Its weights, as `pack` makes them.
        scale: Factor on its values.

    Raises:
        LossError: If the weights do not fit, or are not finite.
    """

    architecture: Architecture
    packed: bytes
    scale: float = 1.0

    def __post_init__(self) -> None:
        if len(self.packed) not in (4 * self.architecture.size, 8 * self.architecture.size):
            raise LossError(
                f"{self.architecture} has {self.architecture.size} weights of 4 or 8 bytes; "
                f"received {len(self.packed)} bytes"
            )
        if not bool(self.weights.isfinite().all()) or not math.isfinite(self.scale):
            raise LossError("the weights of a loss network and its scale must be finite")

    @classmethod
    def of(cls, architecture: Architecture, weights: Tensor, scale: float = 1.0) -> EntryNetwork:
        """The network of weights [size]."""
        return cls(architecture, pack(weights), scale)

    @property
    def weights(self) -> Tensor:
        """All weights [size], float64."""
        return unpack(self.packed, self.architecture.size)

    @property
    def size(self) -> int:
        """Number of weights: the complexity of the loss."""
        return self.architecture.size

    def with_weights(self, weights: Tensor) -> EntryNetwork:
        """The same network with other weights [size]."""
        return replace(self, packed=pack(weights))

    def evaluate(self, y: Tensor, f: Tensor, xp: Any = torch) -> Tensor:
        """ℓ(y, f), elementwise with broadcasting, called as `Expression.evaluate` is with `xp=torch`.

        Args:
            y: Target, any shape.
            f: Prediction, of a shape that broadcasts with `y`.
            xp: `torch`.

        Returns:
            Tensor of the broadcast shape.
        """
        return self.scale * self.architecture.evaluate(y, f, self.weights.to(f))

    def _no_formula(self, *arguments: Any, **options: Any) -> NoReturn:
        """What an `Expression` can and a network cannot: raises LossError."""
        raise LossError(
            f"{self} has no formula ℓ(y, f); use the loss as a module, plot its curves, or export its source()"
        )

    latex = sympy = draw = simplify = _no_formula

    def __str__(self) -> str:
        """Widths and functions; the weights are too many to be read."""
        return str(self.architecture)


LossFunction = Expression | EntryNetwork
"""ℓ(y, f), as a formula or as a network."""


def pack(weights: Tensor) -> bytes:
    """Weights [size] as bytes, little-endian: 4 each if float32 holds them all exactly, else 8."""
    values = weights.detach().to("cpu", torch.float64)
    narrow = values.to(torch.float32)
    exact = bool((narrow.to(torch.float64) == values).all())
    return (narrow.numpy().astype("<f4") if exact else values.numpy().astype("<f8")).tobytes()


def unpack(packed: bytes, size: int) -> Tensor:
    """The weights [size], float64, that `pack` made bytes of."""
    kind = "<f4" if len(packed) == 4 * size else "<f8"
    return torch.from_numpy(np.frombuffer(packed, kind).astype(np.float64))


class LossNetwork(Loss):
    """The loss of a network ℓ(y, f): taken at every (sample, output), summed over outputs, averaged over the batch.

    L = 1/B Σ_b Σ_c ℓ(y_bc, f_bc), with f as in `SymbolicLoss`. It depends on neither the number nor the order of the
    classes. Everything is computed in float32, or float64 for float64 inputs.

    Args:
        network: Layers and weights, e.g. `EntryNetwork.of(a, a.initial(seed=0))` with `a = Architecture((40, 40))`.
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        reduction: `"mean"`, `"sum"` or `"none"`.
        ignore_index: Class index of the samples to leave out (multiclass).
        trainable: Whether the weights are a parameter; otherwise they are a buffer.
        weight: Weight of each class [C], as in `Loss` (multiclass); not to be confused with the network's `weights`.

    Attributes:
        weights: All weights of the network [size], float64; they are what is trained, saved and moved.

    Raises:
        LossError: If an option is unknown.

    Source: Bechtle et al., *Meta Learning via Learned Loss*, arXiv 1906.05374.
    """

    weights: Tensor

    def __init__(
        self,
        network: EntryNetwork,
        kind: str = "multiclass",
        reduction: str = "mean",
        ignore_index: int = -100,
        trainable: bool = False,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__(kind, reduction, ignore_index, weight)
        if not isinstance(network, EntryNetwork):
            raise LossError(f"a loss network is made from an EntryNetwork; received {type(network).__name__}")
        self.architecture, self.scale = network.architecture, network.scale
        self.trainable = trainable
        if trainable:
            self.weights = nn.Parameter(network.weights)
        else:
            self.register_buffer("weights", network.weights)

    @property
    def network(self) -> EntryNetwork:
        """The network with its current weights.

        Raises:
            LossError: If a weight has become infinite or NaN.
        """
        return EntryNetwork.of(self.architecture, self.weights, self.scale)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102 (documented in Loss)
        target = targets.check(self.kind, input, target, self.weight)

        def entries(outputs: Tensor, y: Tensor) -> Tensor:
            f = stable.predictions(self.kind, outputs)
            return self.scale * self.architecture.evaluate(y, f, self.weights.to(f))

        return self.over_entries(input, target, entries)

    def save(self, path: str | os.PathLike[str], notes: Mapping[str, Any] | None = None) -> None:
        """Write the loss to a JSON file; see `symloss.losses.save`."""
        from symloss.losses import storage

        storage.save(self, path, notes)

    def source(self) -> str:
        """The loss as the text of a Python file that needs torch alone; see `symloss.losses.export.network_source`."""
        from symloss.losses import export

        return export.network_source(self)

    def extra_repr(self) -> str:
        """Layers, kind and options."""
        return f"{self.architecture}, {super().extra_repr()}, trainable={self.trainable}"
