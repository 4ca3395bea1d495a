"""Training data that are scarce, unbalanced or wrongly labelled: where a better loss ought to matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from symloss.errors import TaskError
from symloss.tasks.splits import Array, strata


@dataclass(frozen=True)
class Conditions:
    """What is done to the training data, and to the labels of the validation data; test data stay as they are.

    Args:
        train_samples: Size of the training part; a stratified choice. None keeps all.
        valid_samples: Size of the validation part, likewise.
        imbalance: ρ ≥ 1: the training samples of class c are thinned to a share ρ^(−c / (C − 1)), so that the last
            class has ρ times fewer than the first. None keeps all.
        label_noise: Share η in [0, 1) of labels that are replaced by another class, each with the same probability.
        clean_validation: Whether validation labels are spared. Usually they are not: whoever has noisy training labels
            has no clean ones to choose a loss by.

    Raises:
        TaskError: If one is out of its range.

    Source: Cui et al., Class-balanced loss based on effective number of samples, 2019 (long tails); Zhang and Sabuncu,
    Generalized cross entropy loss for training deep neural networks with noisy labels, 2018 (symmetric noise).
    """

    train_samples: int | None = None
    valid_samples: int | None = None
    imbalance: float | None = None
    label_noise: float = 0.0
    clean_validation: bool = False

    def __post_init__(self) -> None:
        for name in ("train_samples", "valid_samples"):
            size = getattr(self, name)
            if size is not None and not (_number(size) and size >= 1 and size % 1 == 0):
                raise TaskError(f"{name} is a whole number of at least 1; received {size!r:.60}")
        if self.imbalance is not None and not (_number(self.imbalance) and 1 <= self.imbalance < float("inf")):
            raise TaskError(f"imbalance is a number of at least 1; received {self.imbalance!r:.60}")
        if not _number(self.label_noise) or not 0 <= self.label_noise < 1:
            raise TaskError(f"label_noise is a share from 0 up to, but not, 1; received {self.label_noise!r:.60}")
        if not isinstance(self.clean_validation, bool):
            raise TaskError(f"clean_validation is True or False; received {self.clean_validation!r:.60}")

    def __str__(self) -> str:
        """What is asked for, in words; empty if nothing is."""
        words = [
            (self.train_samples, f"{self.train_samples} training samples"),
            (self.valid_samples, f"{self.valid_samples} validation samples"),
            (self.imbalance, f"imbalance {self.imbalance}"),
            (self.label_noise, f"label noise {self.label_noise}{' in training' * self.clean_validation}"),
        ]
        return ", ".join(said for asked, said in words if asked)

    def check(self, kind: str, y: torch.Tensor) -> None:
        """Raise a TaskError if they ask for classes where there are none."""
        for name in ("imbalance", "label_noise"):
            if getattr(self, name) and (kind == "regression" or (y.ndim == 2 and y.shape[1] > 1)):
                raise TaskError(f"{name} needs class labels; this task has {_what(kind)} (leave {name} out)")

    def choose(self, train: Array, valid: Array, y: Array, kind: str, seed: int) -> tuple[Array, Array]:
        """The training and validation samples that are kept, out of the indices of both; in their order."""
        if self.imbalance is not None and self.imbalance > 1:
            train = _long_tail(train, y, self.imbalance, np.random.default_rng([seed, 1]))
        sizes = (("train_samples", train, self.train_samples, 2), ("valid_samples", valid, self.valid_samples, 3))
        train, valid = (
            part if size is None else _stratified(name, part, y, kind, int(size), np.random.default_rng([seed, stream]))
            for name, part, size, stream in sizes
        )
        return train, valid

    def label(self, train: torch.Tensor, valid: torch.Tensor, classes: int, seed: int) -> tuple[torch.Tensor, ...]:
        """Training and validation labels with their noise."""
        if not self.label_noise:
            return train, valid
        noisy = _noisy(train, self.label_noise, classes, np.random.default_rng([seed, 4]))
        if self.clean_validation:
            return noisy, valid
        return noisy, _noisy(valid, self.label_noise, classes, np.random.default_rng([seed, 5]))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _what(kind: str) -> str:
    return "real targets" if kind == "regression" else "soft labels"


def _long_tail(part: Array, y: Array, ratio: float, generator: np.random.Generator) -> Array:
    """The indices of `part` of which each class keeps its share, at least one sample."""
    labels = y.reshape(len(y))[part].astype(np.int64)
    last = max(1, int(y.max()))
    kept = np.zeros(len(part), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = max(1, round(len(members) * ratio ** (-label / last)))
        kept[generator.permutation(members)[:count]] = True
    return part[kept]


def _stratified(name: str, part: Array, y: Array, kind: str, size: int, generator: np.random.Generator) -> Array:
    """`size` indices of `part`, as many of each stratum as is its share, by largest remainders."""
    if size > len(part):
        raise TaskError(f"{name} is {size}, but there are {len(part)} samples; choose at most that")
    stratum = np.unique(strata(y[part], kind), return_inverse=True)[1]
    shares = np.bincount(stratum) * (size / len(part))
    counts = np.floor(shares).astype(np.int64)
    counts[np.argsort(counts - shares, kind="stable")[: size - counts.sum()]] += 1
    order = generator.permutation(len(part))
    rank = np.empty(len(part), dtype=np.int64)
    for label, count in enumerate(counts):
        members = order[stratum[order] == label]
        rank[members] = np.arange(len(members)) < count
    chosen: Array = part[rank.astype(bool)]
    return chosen


def _noisy(y: torch.Tensor, share: float, classes: int, generator: np.random.Generator) -> torch.Tensor:
    """Labels **[N]** or **[N, 1]** of which `share` are another class."""
    labels = y.reshape(-1).clone()
    wrong = torch.from_numpy(generator.permutation(len(labels))[: round(share * len(labels))])
    shift = torch.from_numpy(generator.integers(1, classes, size=len(wrong)))
    labels[wrong] = ((labels[wrong].long() + shift) % classes).to(labels.dtype)
    return labels.reshape(y.shape)
