"""Small learners and random tasks for the tests of the room."""

from __future__ import annotations

from typing import Any

import torch

from symloss.fewshot import MLP, NPBML, Conv4, ResNet12, Tasks
from symloss.fewshot.encoders import Architecture
from symloss.fewshot.model import Model

SHAPES: dict[str, tuple[int, ...]] = {"conv4": (1, 8, 8), "resnet12": (2, 8, 8), "mlp": (3,)}
SMALL: dict[str, Architecture] = {
    "conv4": Conv4(width=3, depth=2), "resnet12": ResNet12(widths=(3, 4)), "mlp": MLP(hidden=(5, 4))
}  # fmt: skip


def tasks(
    encoder: str, kind: str = "multiclass", count: int = 2, ways: int = 3, shots: int = 2, queries: int = 3
) -> Tasks:
    """Random tasks in float64; classes can be told apart."""
    generator = torch.Generator().manual_seed(1)
    shape, parts = SHAPES[encoder], []
    if kind == "regression":
        for each in (shots, queries):
            x = torch.randn(count, each, *shape, generator=generator, dtype=torch.float64)
            parts += [x, x.flatten(2).sin().sum(2, keepdim=True)]
        return Tasks(*parts)
    centres = torch.randn(count, ways, *shape, generator=generator, dtype=torch.float64)
    for each in (shots, queries):
        y = torch.arange(ways).repeat_interleave(each).expand(count, -1)
        noise = torch.randn(count, ways * each, *shape, generator=generator, dtype=torch.float64)
        parts += [centres.repeat_interleave(each, 1) + 0.5 * noise, y]
    return Tasks(*parts)


def learner(encoder: str, kind: str = "multiclass", moved: float = 0.0, **options: Any) -> tuple[NPBML, Model]:
    """A small learner in float64, its meta-parameters moved away from the start by noise."""
    ways = {} if kind == "regression" else {"ways": 3}
    own: dict[str, Any] = {"shots": 2, "inner_steps": 2, "lr": 0.1, **ways, **options}
    found = NPBML(SMALL[encoder], kind=kind, dtype=torch.float64, **own)
    model = found.build(SHAPES[encoder])
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += moved * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return found, model


def meta_loss(model: Model, drawn: Tasks) -> torch.Tensor:
    """The mean over tasks of L_task after adaptation."""
    return model.meta_loss(drawn.support_x, drawn.support_y, drawn.query_x, drawn.query_y)[0].mean()
