"""Perceptrons: stacks of linear layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import nn

from symloss.tasks.architectures.sizes import activation_named, whole


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
    sizes = (math.prod(shape), *whole("hidden", hidden))
    layers: list[nn.Module] = [nn.Flatten()] if len(shape) > 1 else []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation_named(activation)]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], outputs))
