"""Random changes of training images: of batches as they are drawn, never of what is measured."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from symloss.errors import TaskError

WAYS = ("crop", "flip")


@dataclass(frozen=True)
class Augmentation:
    """Random crops of images padded by an eighth of their size, reflected at the border, and horizontal flips.

    Args:
        crop: Whether to crop.
        flip: Whether to mirror half of the images.

    Source: Zagoruyko and Komodakis, Wide residual networks, 2016 (32 × 32 images, padded by 4).
    """

    crop: bool = True
    flip: bool = True

    @classmethod
    def named(cls, ways: bool | str) -> Augmentation | None:
        """The augmentation of True (both), "crop", "flip" or "crop,flip"; None for False.

        Raises:
            TaskError: If there is no such way.
        """
        if isinstance(ways, bool):
            return cls() if ways else None
        words = [word.strip() for word in ways.split(",")] if isinstance(ways, str) else []
        if not words or set(words) - set(WAYS):
            raise TaskError(f"augment is True, 'crop', 'flip' or 'crop,flip'; received {ways!r:.60}")
        return cls("crop" in words, "flip" in words)

    def __str__(self) -> str:
        """What is done, in words."""
        return "augmented by " + " and ".join(["crops"] * self.crop + ["flips"] * self.flip)

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Changed images **[B, C, H, W]**, drawn by a generator on the CPU."""
        count, _, height, width = x.shape
        if self.crop:
            margin = max(1, height // 8), max(1, width // 8)
            padded = F.pad(x, (margin[1], margin[1], margin[0], margin[0]), mode="reflect")
            rows, columns = (
                torch.randint(2 * m + 1, (count, 1), generator=generator) + torch.arange(size)
                for m, size in zip(margin, (height, width), strict=True)
            )
            sample = torch.arange(count, device=x.device)[:, None, None]
            x = padded.permute(0, 2, 3, 1)[sample, rows[:, :, None].to(x.device), columns[:, None].to(x.device)]
            x = x.permute(0, 3, 1, 2).contiguous()
        if self.flip:
            mirrored = torch.rand(count, generator=generator) < 0.5
            x = torch.where(mirrored.to(x.device)[:, None, None, None], x.flip(3), x)
        return x
