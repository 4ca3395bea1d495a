"""Small tasks that train in milliseconds."""

from __future__ import annotations

import torch
from torch import nn

from symloss.tasks.task import Task

SIZES = (80, 50, 60)
CLASSES = 3
FEATURES = 5


class Perceptron:
    """Builds a small perceptron; pickles."""

    def __init__(self, outputs: int, *, batch_norm: bool = False) -> None:
        self.outputs, self.batch_norm = outputs, batch_norm

    def __call__(self) -> nn.Module:
        between = [nn.BatchNorm1d(8)] if self.batch_norm else []
        return nn.Sequential(nn.Linear(FEATURES, 8), *between, nn.Tanh(), nn.Linear(8, self.outputs))


def data(kind: str, size: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy samples of one law."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, FEATURES, generator=generator)
    noise = torch.randn(size, CLASSES, generator=generator)
    scores = x[:, :CLASSES] * 2 + noise
    if kind == "multiclass":
        return x, scores.argmax(1)
    if kind == "soft":
        return x, scores.softmax(1)
    if kind == "binary":
        return x, (scores[:, :1] > 0).float()
    return x, scores[:, :1] / 2


def make_task(kind: str = "multiclass", *, test: bool = True, batch_norm: bool = False, double: bool = True) -> Task:
    """A task of this kind ("soft": multiclass with probabilities), in float64 unless told otherwise."""
    parts = [data(kind, size, seed) for seed, size in enumerate(SIZES)]
    multiclass = kind in ("multiclass", "soft")
    task = Task(
        Perceptron(CLASSES if multiclass else 1, batch_norm=batch_norm), *parts[: 3 if test else 2],
        kind="multiclass" if multiclass else kind, name="blobs",
    )  # fmt: skip
    return task.to(dtype=torch.float64) if double else task
