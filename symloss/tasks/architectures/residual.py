"""Residual networks: ResNet-18 and wide ones."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from symloss.errors import TaskError
from symloss.tasks.architectures.sizes import image, rate, whole


def resnet18(shape: Sequence[int], outputs: int, width: int = 64) -> nn.Sequential:
    """ResNet-18: four stages of two blocks, each of two 3 × 3 convolutions beside a shortcut.

    Images below 64 × 64 enter by a 3 × 3 convolution, larger ones by the 7 × 7 with pooling that ImageNet has.

    Args:
        shape: Shape of one image **[K, H, W]**, H and W at least 8.
        outputs: Number of outputs C.
        width: Channels of the first stage; doubled in each of the next three.

    Returns:
        A model from **[B, K, H, W]** to **[B, C]**; 11 689 512 parameters for ImageNet, 11 173 962 for CIFAR-10.

    Raises:
        TaskError: If the inputs are not such images, or the width is not usable.

    Source: He, Zhang, Ren and Sun, Deep residual learning for image recognition, 2016.
    """
    inputs, *pixels = image("resnet18", shape, 8)
    (width,) = whole("width", width, count=1)
    large = min(pixels) >= 64
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, width, 7 if large else 3, 2 if large else 1, 3 if large else 1, bias=False),
        nn.BatchNorm2d(width), nn.ReLU(), *([nn.MaxPool2d(3, 2, 1)] if large else []),
    ]  # fmt: skip
    before = width
    for stage in range(4):
        after = width * 2**stage
        layers += [_Block(before, after, 1 if stage == 0 else 2), _Block(after, after, 1)]
        before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, outputs))


def wideresnet(
    shape: Sequence[int], outputs: int, depth: int = 16, width: int = 4, dropout: float = 0.0
) -> nn.Sequential:
    """Wide residual network WRN-depth-width: three stages of blocks that normalise before they convolve.

    Args:
        shape: Shape of one image **[K, H, W]**, H and W at least 8.
        outputs: Number of outputs C.
        depth: Layers, 6 n + 4 with n blocks in each stage.
        width: Factor on the 16, 32 and 64 channels of the stages.
        dropout: Rate of dropout between the convolutions of a block.

    Returns:
        A model from **[B, K, H, W]** to **[B, C]**; WRN-28-10 has 36 479 194 parameters for CIFAR-10.

    Raises:
        TaskError: If the inputs are not such images, or a size is not usable.

    Source: Zagoruyko and Komodakis, Wide residual networks, 2016.
    """
    inputs, _, _ = image("wideresnet", shape, 8)
    (depth,), (width,) = whole("depth", depth, count=1), whole("width", width, count=1)
    if depth < 10 or (depth - 4) % 6:
        raise TaskError(f"depth of a wideresnet is 10, 16, 22, 28, ... (6 n + 4); received {depth}")
    dropped = rate("dropout", dropout)
    layers: list[nn.Module] = [nn.Conv2d(inputs, 16, 3, 1, 1, bias=False)]
    before = 16
    for stage in range(3):
        after = 16 * width * 2**stage
        for block in range((depth - 4) // 6):
            layers.append(_WideBlock(before, after, 2 if stage and not block else 1, dropped))
            before = after
    return nn.Sequential(
        *layers, nn.BatchNorm2d(before), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, outputs)
    )


class _Block(nn.Module):
    """ReLU(convolutions(x) + shortcut(x)), normalised after each convolution."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after),
        )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, H, W] -> [B, K', H', W']."""
        out: Tensor = (self.body(x) + self.shortcut(x)).relu()
        return out


class _WideBlock(nn.Module):
    """convolutions(x) + shortcut(x), normalised and rectified before each convolution."""

    def __init__(self, before: int, after: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        self.body = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
            nn.Dropout(dropout), nn.Conv2d(after, after, 3, 1, 1, bias=False),
        )  # fmt: skip
        changes = stride > 1 or before != after
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, K, H, W] -> [B, K', H', W']."""
        entered = self.enter(x)
        beside: Tensor = x if self.shortcut is None else self.shortcut(entered)
        out: Tensor = self.body(entered) + beside
        return out
