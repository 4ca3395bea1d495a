"""Layers over many tasks at once: each task has weights of its own, or all share the same.

Images of T tasks are **[B, T, C, H, W]**: seen as **[B, T·C, H, W]** the tasks are groups of one convolution, and as
**[B·T, C, H, W]** they are one batch for weights that are shared. In memory channels come last.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5
_FEW_CHANNELS = 4  # up to so many a product with unfolded patches is faster than a grouped convolution


@dataclass(frozen=True)
class Statistics:
    """Mean and variance of each channel in each task **[T, C]**, over the support set (or any other batch)."""

    mean: Tensor
    variance: Tensor


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Convolution with zero padding that keeps the size, without bias.

    Args:
        x: Images **[B, T, I, H, W]**.
        weight: One for each task **[T, O, I, k, k]**, or shared **[O, I, k, k]**; k is odd.

    Returns:
        **[B, T, O, H, W]**.
    """
    b, t, i, h, w = x.shape
    k = weight.shape[-1]
    if weight.ndim == 4:
        images = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return F.conv2d(images, weight, padding=k // 2).view(b, t, -1, h, w)
    if i <= _FEW_CHANNELS:
        y = _patches(x, k).transpose(2, 3) @ weight.flatten(2).transpose(1, 2)
        return y.view(b, t, h, w, -1).permute(0, 1, 4, 2, 3)
    images = x.permute(0, 3, 4, 1, 2).reshape(b, h, w, t * i).permute(0, 3, 1, 2)
    filters = weight.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    return F.conv2d(images, filters, padding=k // 2, groups=t).view(b, t, -1, h, w)


def pool(y: Tensor) -> Tensor:
    """Largest of each 2 × 2 pixels, of images **[B, T, C, H, W]**; a last odd row or column is left out.

    With channels last in memory this takes a twentieth of the time.
    """
    b, t, c, h, w = y.shape
    images = y.flatten(1, 2) if y.stride(1) == c * y.stride(2) else y.flatten(0, 1)
    return F.max_pool2d(images.contiguous(memory_format=torch.channels_last), 2).view(b, t, c, h // 2, w // 2)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x Wᵀ + b.

    Args:
        x: **[T, B, I]**.
        weight: **[T, O, I]**, or shared **[O, I]**.
        bias: **[T, O]**, or shared **[O]**.

    Returns:
        **[T, B, O]**.
    """
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


def warped(warp: Tensor | None, weight: Tensor) -> Tensor:
    """ω W: a linear layer ω after a linear layer W, as one.

    A gradient step on W moves the product by −α ω ωᵀ ∂L/∂(ω W).

    Args:
        warp: ω **[O, O]**; None is the identity.
        weight: W **[..., O, I]**.

    Returns:
        The product **[..., O, I]**.

    Source: Flennerhag et al., *Meta-Learning with Warped Gradient Descent*, arXiv 1909.00025.
    """
    return weight if warp is None else warp @ weight


def moments(y: Tensor, x: Tensor, weight: Tensor) -> Statistics:
    """Mean and (biased) variance of each channel in each task, of y = `convolve(x, weight)`.

    Of few input channels they come from the mean m and the covariance S of the patches, which are small and do not
    depend on the weights: w m and w S wᵀ, which cost (and whose derivatives cost) no pass over y.

    Args:
        y: **[B, T, C, H, W]**.
        x: **[B, T, I, H, W]**.
        weight: **[T, C, I, k, k]**, or shared **[C, I, k, k]**.
    """
    if x.shape[2] <= _FEW_CHANNELS:
        patches = _patches(x, weight.shape[-1]).permute(1, 2, 0, 3).flatten(2)
        centre = patches.mean(2)
        apart = patches - centre.unsqueeze(2)
        spread = apart @ apart.transpose(1, 2) / apart.shape[2]
        w = weight.flatten(-3).expand(x.shape[1], -1, -1)
        return Statistics((w @ centre.unsqueeze(2)).squeeze(2), (w @ spread * w).sum(2))
    variance, mean = torch.var_mean(y, dim=(0, 3, 4), correction=0)
    return Statistics(mean, variance)


def _patches(x: Tensor, k: int) -> Tensor:
    """What a k × k convolution sees of images [B, T, I, H, W] at each pixel: [B, T, I·k², H·W]."""
    return F.unfold(x.flatten(0, 1), k, padding=k // 2).view(*x.shape[:2], -1, x.shape[3] * x.shape[4])


def normalisation(found: Statistics, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift **[T, C]** of batch normalisation: w (y − mean) / √(variance + ε) + b = scale · y + shift.

    Args:
        found: Mean and variance.
        weight: w **[T, C]**, or shared **[C]**.
        bias: b, likewise.
    """
    scale = weight * (found.variance + EPSILON).rsqrt()
    return scale, bias - found.mean * scale


def modulation(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """1 + γ and β of FiLM, (1 + γ) ⊙ a + β: a linear map of a layer's own inputs; the identity where it is zero.

    Args:
        x: The layer's inputs, images averaged over space **[..., I]**.
        weight: **[2·O, I]**.
        bias: **[2·O]**.

    Returns:
        Two tensors **[..., O]**.

    Source: Perez et al., *FiLM: Visual Reasoning with a General Conditioning Layer*, arXiv 1709.07871.
    """
    gamma, beta = F.linear(x, weight, bias).chunk(2, -1)
    return 1 + gamma, beta
