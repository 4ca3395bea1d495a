"""Random affine distortion of images, and noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from symloss.errors import TaskError


@dataclass(frozen=True)
class Distortion:
    """Each image is turned, scaled, sheared and shifted at random, and gets Gaussian noise.

    x′(p) = x(A p + t) + σ n, bilinear, with zeros outside the image; A = R(angle) · shear / scale.

    Args:
        rotation: Largest angle, in degrees.
        scale: Largest factor s of the size, which is drawn from 1/s ... s.
        shear: Largest shear.
        shift: Largest shift, as a share of the image's width.
        noise: σ, standard deviation of the noise in units where pixels go from 0 to 1.

    Raises:
        TaskError: If a number is out of its range.
    """

    rotation: float = 20.0
    scale: float = 1.2
    shear: float = 0.2
    shift: float = 0.1
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("rotation", 0.0), ("scale", 1.0), ("shear", 0.0), ("shift", 0.0), ("noise", 0.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
                raise TaskError(f"{name} of a distortion is a number from {least:g} on; received {value!r:.60}")

    def __call__(self, x: Tensor, random: np.random.Generator) -> Tensor:
        """Distorted images.

        Args:
            x: Images **[B, C, H, W]**, floating point.
            random: Where all random numbers come from.

        Returns:
            Images **[B, C, H, W]**.

        Raises:
            TaskError: If these are no images.
        """
        if x.ndim != 4:
            raise TaskError(f"a distortion takes images [B, C, H, W]; received {list(x.shape)}")
        draws = random.uniform(-1.0, 1.0, (len(x), 5))
        angle = np.deg2rad(self.rotation) * draws[:, 0]
        size = np.exp(math.log(self.scale) * draws[:, 1])
        cosine, sine, shear = np.cos(angle) / size, np.sin(angle) / size, self.shear * draws[:, 2]
        shift = 2 * self.shift * draws[:, 3:]
        rows = [[cosine, shear * cosine - sine, shift[:, 0]], [sine, shear * sine + cosine, shift[:, 1]]]
        matrix = torch.from_numpy(np.array(rows)).permute(2, 0, 1).to(x)
        grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
        moved = F.grid_sample(x, grid, align_corners=False)
        if self.noise:
            moved = moved + self.noise * torch.from_numpy(random.standard_normal(tuple(x.shape))).to(x)
        return moved
