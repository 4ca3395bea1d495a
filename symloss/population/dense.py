"""Dense networks on the CPU through compiled loops: training and refinement of many candidates.

What goes in and comes out is that of `training.train` and of a loop over `hypergradient.one_step`, which serve
everything else (other networks, devices, precisions and primitives) and which tests hold against this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from symloss.loops.threads import one_blas_thread
from symloss.population import dense_kernels
from symloss.population.compiled import CompiledObjective, runs_on
from symloss.population.functional import Parameters
from symloss.population.networks import DenseNetwork

if TYPE_CHECKING:
    from symloss.population.training import Sgd, Workspace
    from symloss.tasks.splits import Split

_LARGEST = 256 * 2**20  # bytes of initial weights that a refinement holds at once


def usable(workspace: Workspace) -> bool:
    """Whether the compiled loops can train the networks of this workspace, on its data as they are."""
    plain = isinstance(workspace.network, DenseNetwork) and workspace.task.augment is None
    return plain and runs_on(workspace.device, workspace.dtype)


def refinable(workspace: Workspace, steps: int) -> bool:
    """Whether they can refine losses in so many meta-steps."""
    return usable(workspace) and steps * workspace.task.parameters * workspace.train.x.element_size() <= _LARGEST


def train(
    workspace: Workspace,
    objective: CompiledObjective | None,
    start: Parameters,
    count: int,
    batches: Tensor,
    optimiser: Sgd,
    scale: Tensor | None,
) -> Parameters:
    """Train `count` models; under the task loss if there is no objective. Returns parameters, [P, ...] each."""
    theta = row(start).expand(count, -1).contiguous()
    ones = torch.ones(count, dtype=workspace.dtype)
    rates = ones * optimiser.learning_rate
    losses = objective
    if losses is None:
        losses = CompiledObjective([], workspace.kind, indices=workspace.indices, freeze=True, dtype=workspace.dtype)
    with one_blas_thread():
        dense_kernels.train(
            losses.kind, objective is None, losses.programs, losses.weights.numpy(), losses.scratch,
            _layers(workspace, start), theta.numpy(), rates.numpy(),
            (ones if scale is None else scale.contiguous()).numpy(),
            float(optimiser.momentum), bool(optimiser.nesterov), float(optimiser.weight_decay),
            *_data(workspace, workspace.train), batches.numpy(),
        )  # fmt: skip
    pieces = torch.split(theta, [p.numel() for p in start], 1)
    return [piece.reshape(count, *p.shape) for piece, p in zip(pieces, start, strict=True)]


def refine(
    workspace: Workspace,
    objective: CompiledObjective,
    offsets: Sequence[int],
    seeds: Sequence[int],
    batches: tuple[Tensor, Tensor],
    optimiser: Sgd,
    step_size: float,
    scale_free: bool,
) -> Tensor:
    """Refined weights [edges] after one meta-step per seed of the initial weights."""
    starts = workspace.starts(seeds)
    weights = objective.weights.double().numpy().copy()
    with one_blas_thread():
        dense_kernels.refine(
            objective.kind, objective.programs, weights, np.array(offsets, np.int64), objective.scratch,
            _layers(workspace, workspace.initial(seeds[0])), starts.numpy(), float(optimiser.first_step),
            float(optimiser.weight_decay), bool(scale_free), float(step_size),
            (*_data(workspace, workspace.train), batches[0].numpy()),
            (*_data(workspace, workspace.valid), batches[1].numpy()),
        )  # fmt: skip
    return torch.from_numpy(weights)


def descend(objective: CompiledObjective, outputs: Tensor, target: Tensor, steps: int, step_size: float) -> None:
    """Minimise each loss over the outputs [P, C, B] (contiguous) themselves, in place, by Adam."""
    rows = outputs.view(len(outputs), -1).numpy()
    dense_kernels.descend(
        objective.kind, objective.programs, objective.weights.numpy(), objective.scratch, rows,
        *objective.targets(rows, target), outputs.shape[2], steps, step_size,
    )  # fmt: skip


def row(parameters: Parameters) -> Tensor:
    """All parameters of one model as [total]."""
    return torch.cat([p.reshape(-1) for p in parameters])


def _layers(workspace: Workspace, parameters: Parameters) -> Any:
    assert isinstance(workspace.network, DenseNetwork)
    return table(workspace.network, parameters)


def table(network: DenseNetwork, parameters: Parameters, skipped: int = 0) -> Any:
    """The table [L, 6] of `dense_kernels`, without the first few layers."""
    rows, offset, unit = [], 0, 0
    queue = iter(parameters)
    for biased, activation in list(zip(network.biased, network.codes, strict=True))[skipped:]:
        outputs, inputs = next(queue).shape
        weight, bias = offset, offset + outputs * inputs
        offset = bias + (len(next(queue)) if biased else 0)
        rows.append((outputs, inputs, weight, bias if biased else -1, activation, unit))
        unit += outputs
    return np.array(rows, np.int64)


def _data(workspace: Workspace, split: Split) -> tuple[Any, Any, Any]:
    """Inputs [N, D], class indices [N] and targets [N, C] as arrays; what does not apply is empty."""
    x = split.x.flatten(1).contiguous().numpy()
    if workspace.indices:
        return x, split.y.numpy(), np.empty((0, 0), x.dtype)
    return x, np.empty(0, np.int64), split.y.contiguous().numpy()
