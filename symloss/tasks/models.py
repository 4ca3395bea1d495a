"""Base models: plain `nn.Sequential` stacks, by name and size, built by factories that pickle."""

from __future__ import annotations

import difflib
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from symloss.errors import TaskError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def unknown(what: str, name: object, known: Iterable[str]) -> TaskError:
    """The error for a name that does not exist, with close matches first."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=2)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return TaskError(f"unknown {what} {name!r}; {hint}known: {', '.join(known) or 'none'}")


def linear(shape: Sequence[int], outputs: int) -> nn.Sequential:
    """One linear layer on the flattened inputs.

    Args:
        shape: Shape of one sample.
        outputs: Number of outputs C.

    Returns:
        A model from **[B, ...]** to **[B, C]**.
    """
    return mlp(shape, outputs, hidden=())


def mlp(
    shape: Sequence[int], outputs: int, hidden: int | Sequence[int] = (64,), activation: str = "relu"
) -> nn.Sequential:
    """Multilayer perceptron on the flattened inputs.

    Args:
        shape: Shape of one sample.
        outputs: Number of outputs C.
        hidden: Width of each hidden layer.
        activation: A name of `ACTIVATIONS`.

    Returns:
        A model from **[B, ...]** to **[B, C]**.

    Raises:
        TaskError: If a size or the activation is not usable.
    """
    sizes = (math.prod(shape), *_sizes("hidden", hidden))
    layers: list[nn.Module] = [nn.Flatten()] if len(shape) > 1 else []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), _activation(activation)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))


def lenet5(
    shape: Sequence[int],
    outputs: int,
    channels: Sequence[int] = (6, 16),
    hidden: int | Sequence[int] = (120, 84),
    activation: str = "relu",
) -> nn.Sequential:
    """LeNet-5: two 5 × 5 convolutions with pooling, then a perceptron.

    Rectifiers and max pooling stand where the original has scaled tanh and trained averages. Images below
    32 × 32 are padded by 2, so that 28 × 28 gives the original's sizes.

    Args:
        shape: Shape of one image **[K, H, W]**, H and W at least 12.
        outputs: Number of outputs C.
        channels: Channels of the two convolutions.
        hidden: Width of each hidden layer of the perceptron.
        activation: A name of `ACTIVATIONS`.

    Returns:
        A model from **[B, K, H, W]** to **[B, C]**.

    Raises:
        TaskError: If the inputs are not such images, or a size or the activation is not usable.

    Source: LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998.
    """
    if len(shape) != 3 or min(shape[1:]) < 12:
        raise TaskError(
            "lenet5 takes images [channels, height, width] of at least 12 × 12 pixels; "
            f"received inputs of shape {list(shape)}; use model='mlp' or 'linear'"
        )
    first, second = _sizes("channels", channels, count=2)
    padding = 2 if min(shape[1:]) < 32 else 0
    height, width = (((n + 2 * padding - 4) // 2 - 4) // 2 for n in shape[1:])
    return nn.Sequential(
        nn.Conv2d(shape[0], first, 5, padding=padding), _activation(activation), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5), _activation(activation), nn.MaxPool2d(2),
        nn.Flatten(), *mlp((second * height * width,), outputs, hidden, activation),
    )  # fmt: skip


MODELS: dict[str, Callable[..., nn.Sequential]] = {"linear": linear, "mlp": mlp, "lenet5": lenet5}
"""Models by name: each is called with the shape of one sample, the number of outputs and its options."""


@dataclass(frozen=True)
class ModelFactory:
    """Builds a named model; pickles, and prints itself.

    Args:
        name: A name of `MODELS`.
        shape: Shape of one sample.
        outputs: Number of outputs C.
        options: Options of the model, such as `hidden`.

    Raises:
        TaskError: If the name or an option does not exist.
    """

    name: str
    shape: tuple[int, ...]
    outputs: int
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in MODELS:
            raise unknown("model", self.name, MODELS)
        known = list(inspect.signature(MODELS[self.name]).parameters)[2:]
        for option in self.options:
            if option not in known:
                raise unknown(f"option of model {self.name!r}:", option, known)

    def __call__(self) -> nn.Sequential:
        """A new model, its weights drawn from torch's global generator."""
        return MODELS[self.name](self.shape, self.outputs, **self.options)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generators inside the block and restore them after it.

    A GPU's generators take part only once CUDA is in use: touching them earlier would start it.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed_all(seed)
        yield


def _sizes(name: str, sizes: int | Sequence[int], count: int | None = None) -> tuple[int, ...]:
    """Layer sizes as a tuple of positive whole numbers."""
    found = tuple(sizes) if isinstance(sizes, Sequence) else (sizes,)
    if not all(type(size) is int and size > 0 for size in found) or (count is not None and len(found) != count):
        wanted = "positive whole numbers" if count is None else f"{count} positive whole numbers"
        raise TaskError(f"{name} holds {wanted}; received {sizes!r:.80}")
    return found


def _activation(name: str) -> nn.Module:
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()
