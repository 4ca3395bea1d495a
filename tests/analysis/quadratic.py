"""Quadratics of known spectrum as models: L(w) = value + gᵀ(w − w₀) + ½ (w − w₀)ᵀ H (w − w₀)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Quadratic(nn.Module):
    """A model whose one output is the quadratic of its weights, split in two parameters of different shapes."""

    def __init__(self, hessian: Tensor, start: Tensor, slope: Tensor | None = None) -> None:
        super().__init__()
        half = len(start) // 2
        self.first = nn.Parameter(start[:half].clone().reshape(-1, 1))
        self.second = nn.Parameter(start[half:].clone())
        self.register_buffer("hessian", hessian.clone())
        self.register_buffer("start", start.clone())
        self.register_buffer("slope", torch.zeros_like(start) if slope is None else slope.clone())

    def forward(self, x: Tensor) -> Tensor:
        step = torch.cat([self.first.reshape(-1), self.second]) - self.start
        return (0.5 * step @ self.hessian @ step + self.slope @ step + 1.0) * torch.ones(len(x), 1, dtype=x.dtype)


def symmetric(eigenvalues: list[float], seed: int = 0) -> tuple[Tensor, Tensor]:
    """A symmetric matrix with these eigenvalues, and its eigenvectors as rows."""
    generator = torch.Generator().manual_seed(seed)
    count = len(eigenvalues)
    basis = torch.linalg.qr(torch.randn(count, count, generator=generator, dtype=torch.float64))[0]
    return basis @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ basis.T, basis.T


def mean(output: Tensor, target: Tensor) -> Tensor:
    return output.mean()


DATA = (torch.zeros(3, 1, dtype=torch.float64), torch.zeros(3))
