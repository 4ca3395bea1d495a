"""Small tasks in float64 for the engine's tests, and losses to train them with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from symloss.expression.parsing import parse
from symloss.tasks import Task


@dataclass(frozen=True)
class Model:
    """A picklable factory of small models: `dense`, `tanh`, `deep`, `convolution`, `normalised` or `dropout`."""

    name: str
    outputs: int

    def __call__(self) -> nn.Module:
        c = self.outputs
        layers: dict[str, Callable[[], list[nn.Module]]] = {
            "linear": lambda: [nn.Linear(6, c)],
            "dense": lambda: [nn.Flatten(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, c)],
            "tanh": lambda: [nn.Linear(6, 5, bias=False), nn.Tanh(), nn.Linear(5, c)],
            "deep": lambda: [nn.Linear(6, 5), nn.Sigmoid(), nn.Sequential(nn.Linear(5, 4), nn.ReLU()), nn.Linear(4, c)],
            "convolution": lambda: [
                nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 3, 3), nn.GELU(), nn.Flatten(), nn.Linear(12, c)
            ],
            "normalised": lambda: [nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, c)],
            "dropout": lambda: [nn.Linear(6, 5), nn.ReLU(), nn.Dropout(0.5), nn.Linear(5, c)],
        }  # fmt: skip
        return nn.Sequential(*layers[self.name]())


MODELS = ("linear", "dense", "tanh", "deep", "convolution", "normalised")

LOSSES = {
    "multiclass": ["-1.0*y*log(f)", "abs(log(1.1*y*f))", "square(y - f) + 0.3*tanh(f)", "div(f, y) - y*sqrt(f)"],
    "binary": ["-1.0*y*log(f) - (1 - y)*log(1 - f)", "square(1.2*y - f)", "abs(y - f)*max(f, 0.5*y)"],
    "regression": ["square(y - f)", "abs(y - f)", "sqrt(square(y - 0.9*f) + 0.1)", "tanh(square(y - f))"],
}


def losses(kind: str) -> list[object]:
    return [parse(text) for text in LOSSES[kind]]


def task(kind: str = "multiclass", model: str = "dense", samples: int = 60, soft: bool = False) -> Task:
    """Inputs [N, 6] and a target that depends on them, in float64."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2 * samples, 6, generator=generator)
    score = x @ torch.randn(6, 3, generator=generator)
    if kind == "multiclass":
        y = torch.softmax(score, 1) if soft else score.argmax(1)
    else:
        y = score[:, :1] if kind == "regression" else (score[:, :1] > 0).float()
    outputs = 3 if kind == "multiclass" else 1
    parts = (x[:samples], y[:samples]), (x[samples:], y[samples:])
    return Task(Model(model, outputs), *parts, kind=kind, name=f"{kind}-{model}").to(dtype=torch.float64)
