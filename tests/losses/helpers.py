"""The loss of a formula in NumPy, written once more and apart from torch: the oracle of these tests."""

from __future__ import annotations

import numpy as np
import torch

from symloss.expression.expression import Expression

CROSS_ENTROPY = "-1.0*y*log(f)"
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logits(*shape: int, seed: int = 0, scale: float = 2.0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return (scale * torch.randn(shape, generator=generator(seed), dtype=torch.float64)).to(dtype)


def classes(*shape: int, high: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(high, shape, generator=generator(seed))


def soft(*shape: int, seed: int = 2, dim: int = 1) -> torch.Tensor:
    return logits(*shape, seed=seed).softmax(dim)


def numpy_loss(expression: Expression, kind: str, input: np.ndarray, target: np.ndarray) -> float:
    """Mean loss of a batch [B, C] and one-hot or soft targets [B, C] in float64."""
    if kind == "multiclass":
        f = np.exp(input - input.max(1, keepdims=True))
        f /= f.sum(1, keepdims=True)
    else:
        f = 1 / (1 + np.exp(-input)) if kind == "binary" else input
    with np.errstate(all="ignore"):
        values = expression.evaluate(target, f)
    return float(values.mean() if kind == "binary" else values.sum(1).mean())
