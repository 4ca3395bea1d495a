"""Base models by name and size, built by factories that pickle."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from symloss.tasks.architectures.allcnn import allcnnc
from symloss.tasks.architectures.lenet import lenet5
from symloss.tasks.architectures.perceptrons import linear, mlp
from symloss.tasks.architectures.residual import resnet18, wideresnet
from symloss.tasks.architectures.sizes import unknown
from symloss.tasks.architectures.text import charcnn, gru

MODELS: dict[str, Callable[..., nn.Module]] = {
    "linear": linear,
    "mlp": mlp,
    "lenet5": lenet5,
    "allcnnc": allcnnc,
    "resnet18": resnet18,
    "wideresnet": wideresnet,
    "charcnn": charcnn,
    "gru": gru,
}
"""Models by name: each is called with the shape of one sample, the number of outputs and its options."""


def takes_tokens(name: str) -> bool:
    """Whether the inputs of a named model are integer tokens: it is told the size of their vocabulary."""
    return "vocabulary" in inspect.signature(MODELS[name]).parameters


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

    def __call__(self) -> nn.Module:
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
