"""Encoders from inputs to features, for many tasks at once, each with its own weights.

An encoder has adapted tensors θ, warp layers ω that are linear and learned in the outer loop alone, and FiLM layers ψ.
Warp and FiLM layers are the identity at the start.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from symloss.errors import TaskError
from symloss.fewshot import layers
from symloss.fewshot.episodes import whole
from symloss.fewshot.layers import Statistics
from symloss.tasks.architectures.sizes import unknown

Tensors = Mapping[str, Tensor]
NORMS = ("support", "batch")


class Encoder(nn.Module):
    """Blocks of layers over T tasks.

    Args:
        warp: Whether there are warp layers.
        film: Whether there are FiLM layers.

    Attributes:
        theta: Initial values of the adapted tensors, by name; those of block i begin with `"i_"`.
        omega: Warp layers.
        psi: FiLM layers.
        blocks: How many blocks there are; what comes before the first adapted one is computed once per task.
        features: Length D of the features.
        sample_axis: Where the samples are in the layout of the blocks, 0 or 1; the tasks are in the other place.
    """

    blocks: int
    features: int
    sample_axis: int

    def __init__(self, warp: bool, film: bool) -> None:
        super().__init__()
        self._noted: dict[str, Tensor] | None = None
        self.warp, self.film = warp, film
        self.theta, self.omega, self.psi = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()

    @property
    def shared(self) -> dict[str, Tensor]:
        """θ, the same for all tasks."""
        return dict(self.theta.items())

    def names(self, start: int) -> list[str]:
        """Names of the tensors of the blocks from `start` on."""
        return [name for name in self.theta if int(name.split("_")[0]) >= start]

    def enter(self, x: Tensor) -> Tensor:
        """Inputs **[T, B, ...]** in the layout of the blocks."""
        raise NotImplementedError

    def leave(self, h: Tensor) -> Tensor:
        """Features **[T, B, D]**."""
        raise NotImplementedError

    def block(
        self, index: int, h: Tensor, theta: Tensors, known: Sequence[Statistics] | None
    ) -> tuple[Tensor, list[Statistics]]:
        """Outputs of a block, and the statistics that it normalised with.

        Args:
            index: Number of the block.
            h: Its inputs, in the layout of the blocks.
            theta: Its tensors, shared or one for each task.
            known: Statistics to normalise with; None takes those of `h`.
        """
        raise NotImplementedError

    def run(
        self, h: Tensor, theta: Tensors, start: int, stop: int, known: Sequence[Sequence[Statistics]] | None = None
    ) -> tuple[Tensor, list[list[Statistics]]]:
        """Outputs of the blocks from `start` up to `stop`, with the statistics of each; arguments as in `block`."""
        found = []
        for place, index in enumerate(range(start, stop)):
            h, own = self.block(index, h, theta, None if known is None else known[place])
            found.append(own)
        return h, found

    def _film(self, name: str, inputs: int, outputs: int) -> None:
        if self.film:
            self.psi[f"{name}_weight"] = nn.Parameter(torch.zeros(2 * outputs, inputs))
            self.psi[f"{name}_bias"] = nn.Parameter(torch.zeros(2 * outputs))

    def _modulation(self, name: str, pooled: Tensor) -> tuple[Tensor, Tensor]:
        gamma, beta = layers.modulation(pooled, self.psi[f"{name}_weight"], self.psi[f"{name}_bias"])
        if self._noted is not None:
            self._noted[name] = gamma
        return gamma, beta

    @contextmanager
    def noting(self) -> Iterator[dict[str, Tensor]]:
        """Inside the block the dictionary gets 1 + γ of each FiLM layer that is run, by the layer's name."""
        self._noted = {}
        try:
            yield self._noted
        finally:
            self._noted = None


class ConvolutionalEncoder(Encoder):
    """What encoders of images share: convolution, warp, batch normalisation and FiLM as one layer.

    Args:
        warp: Kernel size of the warp layers, 1 or 3; 0 leaves them out.
        film: Whether there are FiLM layers.
        norm: `"support"` normalises queries with the statistics of the support set, so that what is predicted for one
            does not depend on the others; `"batch"` with those of all queries.
    """

    sample_axis = 0

    def __init__(self, warp: int, film: bool, norm: str) -> None:
        super().__init__(warp > 0, film)
        self.kernel, self.norm = warp, norm

    def enter(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.transpose(0, 1).contiguous()

    def _layer(self, name: str, inputs: int, outputs: int, kernel: int = 3) -> None:
        weight = torch.empty(outputs, inputs, kernel, kernel)
        self.theta[f"{name}_weight"] = nn.Parameter(nn.init.kaiming_normal_(weight))
        self.theta[f"{name}_scale"] = nn.Parameter(torch.ones(outputs))
        self.theta[f"{name}_shift"] = nn.Parameter(torch.zeros(outputs))
        if self.kernel == 1:
            self.omega[name] = nn.Parameter(torch.eye(outputs))
        elif self.kernel == 3:
            self.omega[name] = nn.Parameter(nn.init.dirac_(torch.empty(outputs, outputs, 3, 3)))
        self._film(name, inputs, outputs)

    def _apply_layer(
        self, name: str, h: Tensor, theta: Tensors, known: Statistics | None, pool: bool
    ) -> tuple[Tensor, Statistics]:
        """Convolution, warp, normalisation, FiLM; and the largest of 2 × 2 pixels.

        The largest pixel is taken before normalising, which makes a quarter of the pixels of it: max(s·y + t) is
        |s|·max(sign(s)·y) + t, and the sign goes into the weights. FiLM comes after it.
        """
        weight, scale, shift = (theta[f"{name}_{part}"] for part in ("weight", "scale", "shift"))
        if self.kernel == 1:
            weight = layers.warped(self.omega[name], weight.flatten(-3)).view(weight.shape)
        x = h
        if self.kernel == 3:
            x, weight = layers.convolve(h, weight), self.omega[name]
        if pool:
            weight = weight * torch.where(scale.detach() < 0, -1.0, 1.0).to(scale)[..., None, None, None]
        y = layers.convolve(x, weight)
        found = known if known is not None and self.norm == "support" else layers.moments(y, x, weight)
        factor, offset = layers.normalisation(found, scale.abs() if pool else scale, shift)
        if pool:
            y = layers.pool(y)
        if self.film:
            gamma, beta = self._modulation(name, h.mean((3, 4)))
            factor, offset = gamma * factor, gamma * offset + beta
        return y * factor[..., None, None] + offset[..., None, None], found


class Conv4Encoder(ConvolutionalEncoder):
    """See `Conv4`."""

    def __init__(self, own: Conv4, shape: Sequence[int], warp: int, film: bool) -> None:
        super().__init__(warp, film, own.norm)
        channels, height, width = _image(shape, 2**own.depth)
        self.blocks = own.depth
        self.features = own.width * (height >> own.depth) * (width >> own.depth)
        for index in range(own.depth):
            self._layer(str(index), channels if index == 0 else own.width, own.width)

    def block(  # noqa: D102
        self, index: int, h: Tensor, theta: Tensors, known: Sequence[Statistics] | None
    ) -> tuple[Tensor, list[Statistics]]:
        y, found = self._apply_layer(str(index), h, theta, None if known is None else known[0], pool=True)
        return F.relu(y), [found]

    def leave(self, h: Tensor) -> Tensor:  # noqa: D102
        return h.flatten(2).transpose(0, 1)


class ResNet12Encoder(ConvolutionalEncoder):
    """See `ResNet12`."""

    def __init__(self, own: ResNet12, shape: Sequence[int], warp: int, film: bool) -> None:
        super().__init__(warp, film, own.norm)
        channels, _, _ = _image(shape, 2 ** len(own.widths))
        self.blocks, self.features = len(own.widths), own.widths[-1]
        for index, width in enumerate(own.widths):
            for place in range(3):
                self._layer(f"{index}_{place}", channels if place == 0 else width, width)
            self._layer(f"{index}_short", channels, width, kernel=1)
            channels = width

    def block(  # noqa: D102
        self, index: int, h: Tensor, theta: Tensors, known: Sequence[Statistics] | None
    ) -> tuple[Tensor, list[Statistics]]:
        given: Sequence[Statistics | None] = known or [None] * 4
        y, found = h, []
        for place in range(3):
            y, own = self._apply_layer(f"{index}_{place}", y, theta, given[place], pool=False)
            y = F.leaky_relu(y, 0.1) if place < 2 else y
            found.append(own)
        short, own = self._apply_layer(f"{index}_short", h, theta, given[3], pool=False)
        return layers.pool(F.leaky_relu(y + short, 0.1)), [*found, own]

    def leave(self, h: Tensor) -> Tensor:  # noqa: D102
        return h.mean((3, 4)).transpose(0, 1)


class MLPEncoder(Encoder):
    """See `MLP`."""

    sample_axis = 1

    def __init__(self, own: MLP, shape: Sequence[int], warp: int, film: bool) -> None:
        super().__init__(warp > 0, film)
        inputs = math.prod(shape)
        self.blocks, self.features = len(own.hidden), own.hidden[-1]
        for index, width in enumerate(own.hidden):
            layer = nn.Linear(inputs, width)
            self.theta[f"{index}_weight"], self.theta[f"{index}_bias"] = layer.weight, layer.bias
            if self.warp:
                self.omega[str(index)] = nn.Parameter(torch.eye(width))
            self._film(str(index), inputs, width)
            inputs = width

    def enter(self, x: Tensor) -> Tensor:  # noqa: D102
        return x.flatten(2)

    def block(  # noqa: D102
        self, index: int, h: Tensor, theta: Tensors, known: Sequence[Statistics] | None
    ) -> tuple[Tensor, list[Statistics]]:
        warp = self.omega[str(index)] if self.warp else None
        weight = layers.warped(warp, theta[f"{index}_weight"])
        bias = layers.warped(warp, theta[f"{index}_bias"].unsqueeze(-1)).squeeze(-1)
        y = layers.linear(h, weight, bias)
        if self.film:
            gamma, beta = self._modulation(str(index), h)
            y = gamma * y + beta
        return F.relu(y), []

    def leave(self, h: Tensor) -> Tensor:  # noqa: D102
        return h


@dataclass(frozen=True)
class Conv4:
    """Blocks of 3 × 3 convolution, batch normalisation, ReLU and 2 × 2 max-pooling.

    Args:
        width: Channels of each block.
        depth: Number of blocks.
        norm: `"support"` or `"batch"`; see `ConvolutionalEncoder`.

    Source: Vinyals et al., *Matching Networks for One Shot Learning*, arXiv 1606.04080.
    """

    width: int = 32
    depth: int = 4
    norm: str = "support"
    name: ClassVar[str] = "conv4"

    def __post_init__(self) -> None:
        whole("width", self.width)
        whole("depth", self.depth)
        if self.norm not in NORMS:
            raise unknown("norm", self.norm, NORMS)

    def build(self, shape: Sequence[int], warp: int, film: bool) -> Encoder:
        """The encoder of images [C, H, W], its weights drawn from torch's global generator."""
        return Conv4Encoder(self, shape, warp, film)


@dataclass(frozen=True)
class ResNet12:
    """Four residual blocks of three 3 × 3 convolutions, leaky ReLU (0.1) and 2 × 2 max-pooling; the mean over space.

    Args:
        widths: Channels of each block.
        norm: `"support"` or `"batch"`; see `ConvolutionalEncoder`.

    Source: Lee et al., *Meta-Learning with Differentiable Convex Optimization*, arXiv 1904.03758 (without DropBlock).
    """

    widths: tuple[int, ...] = (64, 160, 320, 640)
    norm: str = "support"
    name: ClassVar[str] = "resnet12"

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", _widths("widths", self.widths))
        if self.norm not in NORMS:
            raise unknown("norm", self.norm, NORMS)

    def build(self, shape: Sequence[int], warp: int, film: bool) -> Encoder:
        """The encoder of images [C, H, W], its weights drawn from torch's global generator."""
        return ResNet12Encoder(self, shape, warp, film)


@dataclass(frozen=True)
class MLP:
    """Fully connected layers with ReLU.

    Args:
        hidden: Width of each layer.
    """

    hidden: tuple[int, ...] = (40, 40)
    name: ClassVar[str] = "mlp"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", _widths("hidden", self.hidden))

    def build(self, shape: Sequence[int], warp: int, film: bool) -> Encoder:
        """The encoder of inputs of any shape, its weights drawn from torch's global generator."""
        return MLPEncoder(self, shape, warp, film)


Architecture = Conv4 | ResNet12 | MLP
ENCODERS: dict[str, type[Conv4] | type[ResNet12] | type[MLP]] = {kind.name: kind for kind in (Conv4, ResNet12, MLP)}
"""Encoders by name."""


def architecture(encoder: str | Architecture, options: Mapping[str, Any]) -> Architecture:
    """An encoder by name and options such as `width`, or as it is.

    Raises:
        TaskError: If there is no such encoder or option.
    """
    if isinstance(encoder, Conv4 | ResNet12 | MLP):
        if options:
            raise TaskError(f"options such as {next(iter(options))} belong to encoders by name, not to {encoder}")
        return encoder
    if not isinstance(encoder, str) or encoder not in ENCODERS:
        raise unknown("encoder", encoder, ENCODERS)
    kind = ENCODERS[encoder]
    known = [field.name for field in fields(kind)]
    for option in options:
        if option not in known:
            raise unknown(f"option of NPBML with encoder {encoder!r}:", option, known)
    return kind(**options)


def plain(own: Architecture) -> dict[str, Any]:
    """Name and options as plain values; `architecture` takes them back."""
    return {"encoder": own.name, **{k: list(v) if isinstance(v, tuple) else v for k, v in asdict(own).items()}}


def _image(shape: Sequence[int], least: int) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape[1:]) < least:
        raise TaskError(
            f"this encoder takes images [C, H, W] of at least {least} × {least} pixels; received inputs of shape "
            f"{list(shape)}: use fewer blocks, or encoder 'mlp'"
        )
    return shape[0], shape[1], shape[2]


def _widths(name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or not value:
        raise TaskError(f"{name} is a width for each layer, such as (40, 40); received {value!r:.60}")
    return tuple(whole(name, width) for width in value)
