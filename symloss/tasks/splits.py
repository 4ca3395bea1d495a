"""Training, validation and test data in memory, and the seeded split that makes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from symloss.errors import TaskError

Array = np.ndarray[Any, np.dtype[Any]]

VALIDATION_SHARE = TEST_SHARE = 0.2
"""Shares of the samples; the rest is for training."""


@dataclass(frozen=True, eq=False)
class Samples:
    """All samples of a data set, before any split or scaling.

    Args:
        x: Inputs **[N, ...]**; bytes (uint8) may stay bytes.
        y: Targets **[N]**.
        test: Whether a sample is in the official test part **[N]**; None where there is none.
        groups: Number of the group that a sample belongs to **[N]**: none of them is in two parts. None without groups.
    """

    x: Any
    y: Any
    test: Array | None = None
    groups: Array | None = None

    def __len__(self) -> int:
        return len(self.x)


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


def split_indices(
    x: Array, y: Array, kind: str, seed: int, test: Array | None = None, groups: Array | None = None
) -> tuple[Array, Array, Array]:
    """Seeded, stratified indices of the training (60 %), validation (20 %) and test (20 %) samples.

    Classes are split one by one; regression targets within up to ten groups of neighbouring targets. Samples
    with identical inputs stay together, so that no input is in two parts. The indices come shuffled.

    Where the test samples are given, they are all of the test part, and validation takes 20 % of the others. Where
    groups are given, whole groups are split instead of classes. Samples whose inputs are also in a later part are
    then left out: training gives way to validation, and both to test.

    Args:
        x: Inputs **[N, ...]**.
        y: Targets **[N]**, **[N, 1]** or soft targets **[N, C]**.
        kind: "multiclass", "binary" or "regression".
        seed: Everything random follows from it; the same split in every process.
        test: Whether a sample is in the official test part **[N]**.
        groups: Number of the group that a sample belongs to **[N]**.

    Returns:
        Three disjoint index arrays; without `test` and `groups` they hold each of 0 ... N − 1 once.

    Raises:
        TaskError: If the seed is not a whole number of at least 0.
    """
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise TaskError(f"the seed of a split is a whole number of at least 0; received {seed!r}")
    generator = np.random.default_rng(int(seed))
    identical = _first_identical(x)
    first = identical if groups is None else _first_identical(groups[:, None])
    official = np.zeros(len(x), dtype=bool) if test is None else test
    distinct = np.unique(first[~official])
    stratum_of = strata(np.asarray(y)[distinct], kind) if groups is None else np.zeros(len(distinct))
    part = np.zeros(len(x), dtype=np.int64)
    for stratum in np.unique(stratum_of):
        members = generator.permutation(distinct[stratum_of == stratum])
        least = int(len(members) >= 3)
        valid = max(least, round(VALIDATION_SHARE * len(members)))
        tested = max(least, round(TEST_SHARE * len(members))) if test is None else 0
        part[members[:valid]] = 1
        part[members[valid : valid + tested]] = 2
    part = np.where(official, 2, part[first])
    latest = np.zeros(len(x), dtype=np.int64)
    np.maximum.at(latest, identical, part)
    part[part < latest[identical]] = -1
    train, valid_, test_ = (generator.permutation(np.flatnonzero(part == k)) for k in range(3))
    return train, valid_, test_


def _first_identical(x: Array) -> Array:
    """For each sample the index of the first one with the same inputs **[N]**."""
    seen: dict[bytes, int] = {}
    rows = np.ascontiguousarray(x) + 0  # turns -0.0 into 0.0
    keys = (hashlib.blake2b(row, digest_size=16).digest() for row in rows)
    return np.array([seen.setdefault(key, i) for i, key in enumerate(keys)], dtype=np.int64)


def strata(y: Array, kind: str) -> Array:
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
