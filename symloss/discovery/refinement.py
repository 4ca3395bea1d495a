"""Refinement: the weights of many expressions tuned together by gradients through training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor

from symloss.discovery.filters import Adam
from symloss.discovery.settings import Settings
from symloss.errors import SearchError
from symloss.expression.expression import Expression
from symloss.population import dense
from symloss.population.compiled import CompiledObjective
from symloss.population.hypergradient import Start, one_step, several_steps
from symloss.population.objective import Objective
from symloss.population.training import Sgd, Workspace

_FIRST_SEED = 1_000_003  # of the initial weights of the meta-steps, away from that of the fitness


def optimiser_of(settings: Settings, learning_rate: float | Tensor | None = None) -> Sgd:
    """The base optimiser of a search."""
    rate = settings.learning_rate if learning_rate is None else learning_rate
    return Sgd(rate, settings.momentum, settings.nesterov, settings.weight_decay)


def refine(workspace: Workspace, settings: Settings, expressions: Sequence[Expression]) -> list[Expression | None]:
    """Tune φ by `refinement_steps` steps of Adam on the exact hypergradient.

    In each meta-step: fresh base weights θ₀ (the same for every candidate), one SGD step (or `inner_steps`) on a
    training batch under M_φ, and the gradient in φ of the task loss on a validation batch.

    Args:
        workspace: Task and network.
        settings: Of the search.
        expressions: P losses.

    Returns:
        The same trees with refined weights; None where they diverged.

    Raises:
        SearchError: If `inner_steps` above 1 is combined with momentum or `scale_free`.
    """
    if not expressions or not settings.refinement_steps:
        return list(expressions)
    if settings.inner_steps > 1 and (settings.momentum or settings.scale_free):
        raise SearchError("inner_steps above 1 goes with plain SGD; received momentum or scale_free as well: use 1")
    objective = workspace.objective(expressions, freeze=False, shared=True)
    steps = settings.refinement_steps
    sizes = [e.size - 1 for e in expressions]
    if isinstance(objective, CompiledObjective) and settings.inner_steps == 1 and dense.refinable(workspace, steps):
        offsets = [0, *accumulate(sizes)]
        weights = dense.refine(
            workspace, objective, offsets, _seeds(settings), _batches(workspace, settings), optimiser_of(settings),
            settings.refinement_rate, settings.scale_free,
        )  # fmt: skip
    else:
        weights = _refine_by_steps(workspace, settings, expressions, objective)
    return [
        e.with_weights(w.tolist()) if bool(w.isfinite().all()) else None
        for e, w in zip(expressions, torch.split(weights, sizes), strict=True)
    ]


def _seeds(settings: Settings) -> list[int]:
    """Seed of the initial weights of each meta-step."""
    return [_FIRST_SEED + settings.seed * 100_003 + number for number in range(settings.refinement_steps)]


def _batches(workspace: Workspace, settings: Settings) -> tuple[Tensor, Tensor]:
    """Rows of the training batches [meta-steps · inner steps, B] and of the validation batches [meta-steps, B]."""
    steps = settings.refinement_steps
    return (
        workspace.batches(len(workspace.train.x), steps * settings.inner_steps, settings.seed + 1),
        workspace.batches(len(workspace.valid.x), steps, settings.seed + 2),
    )


def _refine_by_steps(
    workspace: Workspace, settings: Settings, expressions: Sequence[Expression], objective: Objective
) -> Tensor:
    """The same by tensor operations, for any network and device, and for several inner steps; φ [edges]."""
    weights = objective.weights.clone()
    adam = Adam(weights, settings.refinement_rate)
    train, valid = _batches(workspace, settings)
    optimiser, inner = optimiser_of(settings), settings.inner_steps
    cuda = [workspace.device] if workspace.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=cuda):
        torch.manual_seed(settings.seed)
        for number, seed in enumerate(_seeds(settings)):
            rows = range(number * inner, (number + 1) * inner)
            batches = [workspace.pick(workspace.train, train[row]) for row in rows]
            held_out = workspace.pick(workspace.valid, valid[number])
            initial = workspace.initial(seed)
            if inner == 1:
                start = Start.at(workspace, initial, batches[0])
                gradient = one_step(
                    workspace, objective, weights, start, held_out, optimiser, scale_free=settings.scale_free
                )
            else:
                gradient = several_steps(workspace, expressions, weights, initial, batches, held_out, optimiser)
            adam.step(gradient)
    return weights
