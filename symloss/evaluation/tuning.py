"""The learning rate of a loss, chosen on validation data: in the same way wherever one is needed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from symloss.discovery.executor import Executor
from symloss.evaluation.entries import AnyLoss, entries
from symloss.evaluation.protocol import Protocol
from symloss.evaluation.training import check, trial
from symloss.tasks.task import Task

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Tuning:
    """The learning rate that was chosen for a loss, and why.

    Args:
        rates: Those that were tried, in rising order.
        rate: The one that was chosen.
        values: Validation metric **[tuning seeds][rates]**; inf where training diverged.
        seconds: Computing time.
    """

    rates: tuple[float, ...]
    rate: float
    values: tuple[tuple[float, ...], ...]
    seconds: float

    @property
    def at_edge(self) -> bool:
        """Whether it was chosen at an end of the rates: a better one may lie beyond."""
        return self.rate in (self.rates[0], self.rates[-1])

    @property
    def score(self) -> tuple[int, float]:
        """Of the chosen rate: how many seeds diverged, and the mean metric of the others (inf if none is left)."""
        return _score(self.values, self.rates.index(self.rate))


def tuned_rate(
    task: Task,
    loss: AnyLoss,
    *,
    steps: int = 2000,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    rates: Sequence[float] | None = None,
    tuning_seeds: int = 3,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    seed: int = 0,
    n_jobs: int = 1,
    progress: Progress | None = None,
) -> float:
    """The learning rate at which a loss trains best, as `evaluate` chooses it.

    Of the rates, the one with the fewest diverged tuning seeds; of those with the lowest mean metric on validation data
    over the others; of equals the nearest to `learning_rate`, then the smallest.

    Args:
        task: Data and model.
        loss: As in `evaluate`.
        steps: Training steps of each model.
        batch_size: Samples in a batch.
        learning_rate: The middle of the grid.
        rates: Learning rates to try; by default 13 half-decades around `learning_rate`.
        tuning_seeds: Seeds that a rate is tried on; they are none of those that an evaluation reports.
        momentum: Momentum of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: L2 penalty of SGD.
        seed: Other numbers give other seeds.
        n_jobs: Processes; the result is the same for any number.
        progress: Called with one line of text now and then.

    Returns:
        The learning rate.

    Raises:
        LossError: If the loss cannot be used on this task.
        EvaluationError: If an option is out of its range.
    """
    protocol = Protocol(
        1, True, steps, batch_size, learning_rate, rates, tuning_seeds, momentum, nesterov, weight_decay, seed
    )  # fmt: skip
    losses = {entry.name: entry.loss for entry in entries(task, loss, True)[:1]}
    with Executor(task, n_jobs) as executor:
        check(task, protocol.settings, losses, n_jobs)
        (found,) = tune(executor, protocol, losses, progress).values()
    return found.rate


def tune(
    executor: Executor, protocol: Protocol, losses: Mapping[str, nn.Module], progress: Progress | None = None
) -> dict[str, Tuning]:
    """Every rate of the protocol on every tuning seed, for each loss by name; the rates of a seed are trained together.

    What a loss gets does not depend on the losses beside it.
    """
    grid, seeds = protocol.grid, protocol.rate_seeds
    jobs = [(name, module, grid, seed, "valid") for name, module in losses.items() for seed in seeds]
    found: dict[str, list[tuple[list[float], float]]] = {name: [] for name in losses}
    for number, ((name, *_), result) in enumerate(zip(jobs, executor.map(trial, protocol.settings, jobs), strict=True)):
        found[name].append(result)
        if progress is not None:
            what = f"{len(grid)} learning rates, seed {number % len(seeds) + 1} of {len(seeds)}"
            progress(f"tuning {name}: {what} ({result[1]:.1f} s)")
    return {name: _tuning(protocol, results) for name, results in found.items()}


def _tuning(protocol: Protocol, results: Sequence[tuple[list[float], float]]) -> Tuning:
    grid, values = protocol.grid, tuple(tuple(row) for row, _ in results)

    def key(index: int) -> tuple[tuple[int, float], float, float]:
        return _score(values, index), round(abs(math.log(grid[index] / protocol.learning_rate)), 9), grid[index]

    return Tuning(grid, grid[min(range(len(grid)), key=key)], values, sum(seconds for _, seconds in results))


def _score(values: Sequence[Sequence[float]], index: int) -> tuple[int, float]:
    finite = [row[index] for row in values if math.isfinite(row[index])]
    return len(values) - len(finite), math.fsum(finite) / len(finite) if finite else math.inf
