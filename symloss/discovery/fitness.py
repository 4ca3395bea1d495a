"""Fitness: the validation metric after a short ordinary training run under each loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor

from symloss.discovery.refinement import optimiser_of
from symloss.discovery.settings import Settings
from symloss.expression.expression import Expression
from symloss.losses.network import EntryNetwork
from symloss.population.training import (
    Gradient,
    Workspace,
    gradient_norms,
    matching_scale,
    train,
    validation_metric,
)

_CONFIRMING = 500_009  # first seed of the confirmations
_RATES = 13  # half-decades of learning rates that `tuned_rate` tries


def fitness(
    workspace: Workspace, settings: Settings, expressions: Sequence[Expression] | Sequence[EntryNetwork]
) -> tuple[list[float], list[float]]:
    """Train a model under each loss from the same initial weights on the same batches, and measure it.

    A loss that beats the task loss at the best of several rates may have been lucky with these weights: it is measured
    from `confirmations` more seeds, with `resplit` each on another division of the data, and its fitness is the mean.

    Args:
        workspace: Task and network.
        settings: Of the search.
        expressions: P losses.

    Returns:
        Validation metric of each (lower is better; inf where training diverged), and the factor on each loss with which
        it was trained (1 unless `scale_free`).
    """
    if not expressions:
        return [], []
    gradient = workspace.loss_gradient(expressions)
    count = len(expressions)
    scale: Tensor | None = None
    if settings.scale_free:
        seeds = {"seed": settings.seed, "batch_seed": settings.seed}
        own = gradient_norms(workspace, workspace.task_gradient, count, **seeds)
        scale = matching_scale(own, gradient_norms(workspace, gradient, count, **seeds))

    def measure(place: Workspace, seed: int, chosen: Gradient, size: int, factors: Tensor | None) -> list[float]:
        parameters = train(
            place, chosen, size, settings.fitness_steps, optimiser_of(settings),
            seed=seed, batch_seed=seed, scale=factors,
        )  # fmt: skip
        return validation_metric(place, parameters)

    first = partial(measure, workspace, settings.seed, gradient, count)
    if settings.fitness_rates == 1:
        measured = first(scale)
    else:
        middle = torch.ones(count, dtype=workspace.dtype, device=workspace.device) if scale is None else scale
        measured, scale = _at_best_rate(settings.fitness_rates, middle, first)
    scales = [1.0] * count if scale is None else [s if math.isfinite(s) else 0.0 for s in scale.tolist()]
    bar = _bar(workspace, settings) if settings.confirmations else -math.inf
    promising = [i for i, value in enumerate(measured) if value < bar]
    if promising:
        again = workspace.loss_gradient(cast(Sequence[Expression], [expressions[i] for i in promising]))
        factors = None if scale is None else scale[promising]
        for seed in _confirming(settings):
            values = measure(_where(workspace, settings, seed), seed, again, len(promising), factors)
            for i, value in zip(promising, values, strict=True):
                measured[i] += value
        for i in promising:
            measured[i] /= 1 + settings.confirmations
    return measured, scales


def _at_best_rate(rates: int, scale: Tensor, measure: Callable[[Tensor], list[float]]) -> tuple[list[float], Tensor]:
    """Fitness at the best of several factors, half a decade apart around `scale`, and that factor, for each loss [P].

    Of equals the one nearest to `scale` counts.
    """
    powers = sorted((k - rates // 2 for k in range(rates)), key=abs)
    factors = torch.stack([scale * 10 ** (power / 2) for power in powers])
    measured = torch.tensor([measure(row) for row in factors], dtype=torch.float64)
    fitness, best = measured.min(0)
    return fitness.tolist(), factors.gather(0, best[None].to(factors.device))[0]


def _bar(workspace: Workspace, settings: Settings) -> float:
    """Fitness of the task loss at the best of five rates from `learning_rate` to a hundred times as much."""
    rates = [settings.learning_rate * 10 ** (k / 2) for k in range(5)]
    key = ("bar", settings.seed, settings.fitness_steps, optimiser_of(settings))
    return workspace.remembered(key, lambda: min(task_loss_fitness(workspace, settings, rates)))


def _confirming(settings: Settings) -> list[int]:
    """The seeds of the confirmations."""
    return [_CONFIRMING + settings.seed * 101 + k for k in range(settings.confirmations)]


def _where(workspace: Workspace, settings: Settings, seed: int) -> Workspace:
    """The workspace of a confirmation: with `resplit` one of data that are divided anew."""
    return workspace.resplit(seed) if settings.resplit else workspace


def task_loss_fitness(
    workspace: Workspace, settings: Settings, rates: Sequence[float], seed: int | None = None
) -> list[float]:
    """The same measurement for the task loss (cross-entropy or mean squared error) at each learning rate, from one seed
    (None: that of the search)."""
    optimiser = optimiser_of(settings, torch.tensor(list(rates), dtype=workspace.dtype, device=workspace.device))
    seed = settings.seed if seed is None else seed
    parameters = train(
        workspace, workspace.task_gradient, len(rates), settings.fitness_steps, optimiser, seed=seed, batch_seed=seed
    )
    return validation_metric(workspace, parameters)


def tuned_rate(workspace: Workspace, settings: Settings) -> tuple[float, float]:
    """Learning rate at which the task loss does best among half-decades around `learning_rate`, and its fitness.

    The fitness is the mean over the seed of the search and those of its confirmations, so that a rate at which training
    diverges now and then is not chosen for the luck of one seed.
    """
    middle = _RATES // 2
    rates = [settings.learning_rate * 10 ** ((k - middle) / 2) for k in range(_RATES)]
    measured = [task_loss_fitness(workspace, settings, rates)]
    for seed in _confirming(settings):
        measured.append(task_loss_fitness(_where(workspace, settings, seed), settings, rates, seed))
    mean = [sum(values) / len(measured) for values in zip(*measured, strict=True)]
    best = min(range(_RATES), key=lambda k: (mean[k], abs(k - middle)))
    return rates[best], mean[best]
