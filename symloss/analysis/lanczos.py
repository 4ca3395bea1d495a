"""Lanczos' method for a symmetric operator that is known by its products with vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
_START_AGAIN = 1e-6


def tridiagonal(product: Product, start: Tensor, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    r"""The matrix T = Qᵀ H Q of an orthonormal basis Q of the Krylov space of H and `start`.

    Every new vector is made orthogonal to all before it, twice. Where the space is exhausted (an invariant subspace, as
    with repeated eigenvalues) it goes on from a random vector outside it, β = 0 between the two.

    Args:
        product: H v for a vector **[n]**.
        start: Vector **[n]**, not zero.
        steps: Vectors wanted, at most n.
        generator: On the CPU, for the random vectors.

    Returns:
        T **[m, m]** in float64 on the CPU, and Q **[m, n]**, m = min(steps, n).

    Source: Lanczos, An iteration method for the solution of the eigenvalue problem, 1950.
    """
    count = min(steps, start.numel())
    basis = torch.zeros(count, start.numel(), dtype=start.dtype, device=start.device)
    matrix = torch.zeros(count, count, dtype=torch.float64)
    basis[0] = start / start.norm()
    size = 0.0
    for k in range(count):
        image = product(basis[k])
        size = max(size, float(image.norm()))
        matrix[k, k] = float(image @ basis[k])
        if k + 1 == count:
            break
        rest = _outside(image, basis[: k + 1])
        beta = float(rest.norm())
        if beta <= _START_AGAIN * size:
            drawn = torch.randn(start.shape, generator=generator, dtype=torch.float64).to(start)
            rest, beta = _outside(drawn, basis[: k + 1]), 0.0
        matrix[k, k + 1] = matrix[k + 1, k] = beta
        basis[k + 1] = rest / rest.norm()
    return matrix, basis


def _outside(vector: Tensor, basis: Tensor) -> Tensor:
    for _ in range(2):
        vector = vector - basis.t() @ (basis @ vector)
    return vector


def largest(
    product: Product, size: int, count: int, like: Tensor, seed: int, steps: int, tolerance: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The algebraically largest eigenvalues of H, with vectors and residual norms ‖H v − λ v‖.

    The basis is doubled until the residuals are below `tolerance` times the largest |λ|, or it has `steps` vectors.

    Args:
        product: H v for a vector **[n]**.
        size: n.
        count: k, at most n.
        like: A tensor with the dtype and the device of the vectors.
        seed: Of the first vector.
        steps: Most vectors of the basis.
        tolerance: Relative.

    Returns:
        Eigenvalues **[k]**, descending; vectors **[k, n]**, of norm 1; residuals **[k]**.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(size, generator=generator, dtype=torch.float64).to(like)
    wanted = max(4 * count, 16)
    while True:
        state = generator.get_state()
        matrix, basis = tridiagonal(product, start, min(wanted, steps), generator)
        values, vectors = torch.linalg.eigh(matrix)
        values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
        found = vectors.t().to(like) @ basis
        found = found / found.norm(dim=1, keepdim=True)
        signs = torch.sign(found.gather(1, found.abs().argmax(1, keepdim=True)))
        found = found * signs
        residuals = torch.stack(
            [(product(v) - x.to(v) * v).norm() for x, v in zip(values, found, strict=True)]
        ).double()
        exhausted = len(matrix) >= min(steps, size)
        if exhausted or bool((residuals.cpu() <= tolerance * values.abs().max()).all()):
            return values, found, residuals.cpu()
        wanted *= 2
        generator.set_state(state)
