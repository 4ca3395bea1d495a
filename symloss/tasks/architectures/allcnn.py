"""All-CNN-C: convolutions only."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from symloss.tasks.architectures.sizes import image, rate, whole


def allcnnc(
    shape: Sequence[int],
    outputs: int,
    channels: Sequence[int] = (96, 192),
    input_dropout: float = 0.2,
    dropout: float = 0.5,
) -> nn.Sequential:
    """All-CNN-C: nine convolutions, two of them with stride 2 in the place of pooling, and the mean over all pixels.

    Args:
        shape: Shape of one image **[K, H, W]**, H and W at least 8.
        outputs: Number of outputs C.
        channels: Channels of the first three convolutions, and of the next five.
        input_dropout: Rate of dropout of the inputs.
        dropout: Rate of dropout after each convolution with a stride.

    Returns:
        A model from **[B, K, H, W]** to **[B, C]**; 1 369 738 parameters for CIFAR-10.

    Raises:
        TaskError: If the inputs are not such images, or a size is not usable.

    Source: Springenberg, Dosovitskiy, Brox and Riedmiller, Striving for simplicity: the all convolutional net, 2015.
    """
    inputs, height, width = image("allcnnc", shape, 8)
    first, second = whole("channels", channels, count=2)
    padding = int(min(height, width) <= 8)  # where two strides leave less than 3 pixels
    layers = [
        (inputs, first, 3, 1, 1), (first, first, 3, 1, 1), (first, first, 3, 2, 1),
        (first, second, 3, 1, 1), (second, second, 3, 1, 1), (second, second, 3, 2, 1),
        (second, second, 3, 1, padding), (second, second, 1, 1, 0), (second, outputs, 1, 1, 0),
    ]  # fmt: skip
    modules: list[nn.Module] = [nn.Dropout(rate("input_dropout", input_dropout))]
    for before, after, size, stride, pad in layers:
        modules += [nn.Conv2d(before, after, size, stride, pad), nn.ReLU()]
        if stride > 1:
            modules.append(nn.Dropout(rate("dropout", dropout)))
    return nn.Sequential(*modules[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten())
