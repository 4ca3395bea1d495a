"""Training, validation and test data in memory, and the seeded split that makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from symloss.errors import TaskError

Array = np.ndarray[Any, np.dtype[Any]]

VALIDATION_SHARE = TEST_SHARE = 0.2
"""Shares of the samples; the rest is for training."""


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """One part of a task's data, held in memory.

    Args:
        x: Inputs **[N, ...]**, floating point (int64 for tokens).
        y: Targets: int64 **[N]** or soft **[N, C]** for multiclass, floating point **[N, 1]** otherwise.
    """

    x: torch.Tensor
    y: torch.Tensor

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"Split(x={list(self.x.shape)}, y={list(self.y.shape)})"

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Split:
        """The same data on another device, floating-point tensors in another precision."""
        return Split(_to(self.x, device, dtype), _to(self.y, device, dtype))


def _to(tensor: torch.Tensor, device: torch.device | str | None, dtype: torch.dtype | None) -> torch.Tensor:
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)


def split_indices(x: Array, y: Array, kind: str, seed: int) -> tuple[Array, Array, Array]:
    """Seeded, stratified indices of the training (60 %), validation (20 %) and test (20 %) samples.

    Classes are split one by one; regression targets within up to ten groups of neighbouring targets. Samples
    with identical inputs stay together, so that no input is in two parts. The indices come shuffled.

    Args:
        x: Inputs **[N, ...]**.
        y: Targets **[N]**, **[N, 1]** or soft targets **[N, C]**.
        kind: "multiclass", "binary" or "regression".
        seed: Everything random follows from it; the same split in every process.

    Returns:
        Three disjoint index arrays that together hold each of 0 ... N − 1 once.

    Raises:
        TaskError: If the seed is not a whole number of at least 0.
    """
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise TaskError(f"the seed of a split is a whole number of at least 0; received {seed!r}")
    generator = np.random.default_rng(int(seed))
    first = _first_identical(x)
    distinct = np.unique(first)
    strata = _strata(np.asarray(y)[distinct], kind)
    part = np.zeros(len(x), dtype=np.int64)
    for stratum in np.unique(strata):
        members = generator.permutation(distinct[strata == stratum])
        least = int(len(members) >= 3)
        valid = max(least, round(VALIDATION_SHARE * len(members)))
        test = max(least, round(TEST_SHARE * len(members)))
        part[members[:valid]] = 1
        part[members[valid : valid + test]] = 2
    part = part[first]
    train, valid_, test_ = (generator.permutation(np.flatnonzero(part == k)) for k in range(3))
    return train, valid_, test_


def _first_identical(x: Array) -> Array:
    """For each sample the index of the first one with the same inputs **[N]**."""
    seen: dict[bytes, int] = {}
    rows = np.ascontiguousarray(x) + 0  # turns -0.0 into 0.0
    return np.array([seen.setdefault(row.tobytes(), i) for i, row in enumerate(rows)], dtype=np.int64)


def _strata(y: Array, kind: str) -> Array:
    """A stratum for each sample **[N]**: its class, or the group of its rank among the regression targets."""
    if y.ndim == 2 and y.shape[1] > 1:
        return np.asarray(y.argmax(axis=1))
    y = y.reshape(len(y))
    if kind != "regression":
        return y
    groups = max(1, min(10, len(y) // 10))
    rank = np.empty(len(y), dtype=np.int64)
    rank[np.argsort(y, kind="stable")] = np.arange(len(y))
    return rank * groups // len(y)


def standardise(train: torch.Tensor, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """(x − mean) / standard deviation, both of the training part alone, for the training part and the others.

    The statistics are per column of a table **[N, D]** and per channel of images **[N, C, H, W]** (one mean for all
    pixels: pixels that are nearly always empty would otherwise get huge values). Constant columns become 0.

    Args:
        train: Training inputs **[N, D, ...]**.
        others: Other inputs **[M, D, ...]**.

    Returns:
        The standardised tensors, training part first.
    """
    axes = [axis for axis in range(train.ndim) if axis != 1]
    mean = train.mean(dim=axes, keepdim=True)
    deviation = train.std(dim=axes, keepdim=True, correction=0)
    constant = deviation <= 1e-12 * mean.abs()  # what rounding leaves of a constant
    deviation = torch.where(constant, torch.ones_like(deviation), deviation)
    return tuple((x - mean) / deviation for x in (train, *others))
