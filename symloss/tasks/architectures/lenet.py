"""LeNet-5."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from symloss.tasks.architectures.perceptrons import mlp
from symloss.tasks.architectures.sizes import activation_named, image, whole


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
    image("lenet5", shape, 12)
    first, second = whole("channels", channels, count=2)
    padding = 2 if min(shape[1:]) < 32 else 0
    height, width = (((n + 2 * padding - 4) // 2 - 4) // 2 for n in shape[1:])
    return nn.Sequential(
        nn.Conv2d(shape[0], first, 5, padding=padding), activation_named(activation), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5), activation_named(activation), nn.MaxPool2d(2),
        nn.Flatten(), *mlp((second * height * width,), outputs, hidden, activation),
    )  # fmt: skip
