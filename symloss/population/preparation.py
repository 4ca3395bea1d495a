"""Compile the engine's loops and leave them on the disk: `python -m symloss.population.preparation float32`."""

from __future__ import annotations

import sys

import torch
from torch import nn

from symloss.expression.parsing import parse
from symloss.population import dense
from symloss.population.compiled import CompiledObjective
from symloss.population.networks import DenseNetwork
from symloss.population.plane import DensePlane, plane_cross_entropy
from symloss.population.training import Sgd, Workspace, train
from symloss.tasks.task import Task


def compile_loops(dtype: torch.dtype) -> None:
    """Call every compiled loop once in this precision."""
    x, y = torch.randn(8, 2, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    task = Task(lambda: nn.Sequential(nn.Linear(2, 2)), (x, y), (x, y)).to(dtype=dtype)
    workspace, losses = Workspace(task, 4), [parse("abs(log(1.1*y*f))")]
    train(workspace, workspace.loss_gradient(losses), 1, 1, Sgd(0.1))
    objective = workspace.objective(losses, freeze=False, shared=True)
    assert isinstance(objective, CompiledObjective)
    batches = workspace.batches(8, 1, 0)
    dense.refine(workspace, objective, [0, losses[0].size - 1], [0], (batches, batches), Sgd(0.1), 1e-3, False)
    f = torch.full((1, 2, 4), 0.5, dtype=dtype)
    objective.logits_gradient(f, y[:4])
    objective.weight_gradient(f)
    dense.descend(objective, f, y[:4], 1, 1e-2)
    network = DenseNetwork.recognise(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)))
    assert network is not None
    first, rest = torch.ones(2, 2, 8, dtype=dtype), [torch.ones(2, 2, 2, dtype=dtype), torch.ones(2, 2, dtype=dtype)]
    plane, c = DensePlane(network, first, rest), torch.ones(1, 1, dtype=dtype)
    plane.cross_entropy(c, y)
    plane_cross_entropy(plane.outputs(c), y)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["float32"]:
        compile_loops(getattr(torch, name))
