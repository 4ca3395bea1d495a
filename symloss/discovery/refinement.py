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
            workspace, objective, offsets, [_seed(settings, number) for number in range(steps)],
            _batches(workspace, settings, steps), optimiser_of(settings), settings.refinement_rate,
            settings.scale_free,
        )  # fmt: skip
    else:
        weights = _refine_by_steps(workspace, settings, expressions, objective)
    return [
        e.with_weights(w.tolist()) if bool(w.isfinite().all()) else None
        for e, w in zip(expressions, torch.split(weights, sizes), strict=True)
    ]


def meta_steps(
    workspace: Workspace,
    settings: Settings,
    objective: Objective,
    adam: Adam,
    first: int = 0,
    several: Sequence[Expression] | None = None,
) -> None:
    """`refinement_steps` meta-steps, each a step of Adam on the hypergradient; φ is updated in place.

    Args:
        workspace: Task and network.
        settings: Of the search.
        objective: Losses of P candidates, `shared` and not frozen.
        adam: Of their weights φ, [edges].
        first: Meta-steps that were done before: each has base weights and batches of its own.
        several: The expressions, to look `inner_steps` ahead; None looks one step ahead.
    """
    steps, inner = settings.refinement_steps, settings.inner_steps
    train, valid = _batches(workspace, settings, first + steps)
    optimiser = optimiser_of(settings)
    cuda = [workspace.device] if workspace.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=cuda):
        torch.manual_seed(settings.seed + first)
        for number in range(first, first + steps):
            rows = range(number * inner, (number + 1) * inner)
            batches = [workspace.pick(workspace.train, train[row]) for row in rows]
            held_out = workspace.pick(workspace.valid, valid[number])
            initial = workspace.initial(_seed(settings, number))
            if several is None:
                start = Start.at(workspace, initial, batches[0])
                gradient = one_step(
                    workspace, objective, adam.value, start, held_out, optimiser, scale_free=settings.scale_free
                )
            else:
                gradient = several_steps(workspace, several, adam.value, initial, batches, held_out, optimiser)
            adam.step(gradient)


def _refine_by_steps(
    workspace: Workspace, settings: Settings, expressions: Sequence[Expression], objective: Objective
) -> Tensor:
    """The same by tensor operations, for any network and device, and for several inner steps; φ [edges]."""
    adam = Adam(objective.weights.clone(), settings.refinement_rate)
    meta_steps(workspace, settings, objective, adam, several=expressions if settings.inner_steps > 1 else None)
    return adam.value


def _seed(settings: Settings, number: int) -> int:
    """Seed of the initial weights of a meta-step."""
    return _FIRST_SEED + settings.seed * 100_003 + number


def _batches(workspace: Workspace, settings: Settings, steps: int) -> tuple[Tensor, Tensor]:
    """Rows of the training batches [meta-steps · inner steps, B] and of the validation batches [meta-steps, B]."""
    return (
        workspace.batches(len(workspace.train.x), steps * settings.inner_steps, settings.seed + 1),
        workspace.batches(len(workspace.valid.x), steps, settings.seed + 2),
    )
