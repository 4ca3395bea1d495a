"""Training curves: the task metric while models train under several losses, over seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import nn

from symloss.analysis.learning_rate import checkpoints
from symloss.discovery.executor import Executor
from symloss.discovery.settings import Settings
from symloss.errors import EvaluationError, TaskError
from symloss.evaluation.entries import TUNED, AnyLoss, entries
from symloss.evaluation.protocol import Protocol
from symloss.evaluation.run import worst_outcome
from symloss.evaluation.statistics import Estimate, estimate
from symloss.evaluation.training import check, trial
from symloss.expression.showing import aligned, drawn
from symloss.tasks.checks import check_task
from symloss.tasks.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class TrainingCurves:
    """What `training_curves` measured; a model that diverged counts as the worst outcome.

    Args:
        task: Name of the task.
        metric_name: What was measured on test data; lower is better.
        protocol: How every loss was treated.
        rates: Learning rate of each loss.
        steps: Steps after which models were measured.
        values: Metric of each loss **[seeds][steps]**.
    """

    task: str
    metric_name: str
    protocol: Protocol
    rates: dict[str, float]
    steps: tuple[int, ...]
    values: dict[str, tuple[tuple[float, ...], ...]]

    def estimates(self, name: str) -> tuple[Estimate, ...]:
        """Mean and 95 % interval over seeds after each of `steps`."""
        return tuple(estimate(column) for column in zip(*self.values[name], strict=True))

    def __str__(self) -> str:
        heading = f"{self.metric_name} on the test samples of {self.task} after {self.steps[-1]} steps [95 %]"
        rows = ((name, f"rate {self.rates[name]:.3g}", self.estimates(name)[-1].text()) for name in self.values)
        return "\n".join([heading, *aligned(rows)])

    def figure(self) -> Figure:
        """The curves with their intervals; see `symloss.plotting.training_curves`."""
        return drawn("training_curves", self)


def training_curves(
    task: Task,
    losses: Mapping[str, AnyLoss] | Iterable[AnyLoss] | AnyLoss,
    *,
    rates: Mapping[str, float] | None = None,
    seeds: int = 5,
    steps: int = 2000,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    seed: int = 0,
    n_jobs: int = 1,
) -> TrainingCurves:
    """Test metric after 1, 2, 5, 10, ... training steps under each loss, beside untuned cross-entropy (squared error).

    Seeds are those of an evaluation with the same `seed`: the last point is the number that `evaluate` gives.

    Args:
        task: Data with a test part, and model.
        losses: As in `evaluate`.
        rates: Names of losses to their learning rates, such as those that an evaluation chose.
        seeds: How many.
        steps: Training steps of each model.
        batch_size: Samples in a batch.
        learning_rate: Rate of the losses that `rates` does not name, and of the reference.
        momentum: Momentum of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: L2 penalty of SGD.
        seed: Other numbers give other seeds.
        n_jobs: Processes; results are the same for any number.

    Returns:
        The curves.

    Raises:
        TaskError: If the task has no test data.
        LossError: If a loss cannot be used on this task.
        EvaluationError: If an option is out of its range, or `rates` names a loss that is not there.
    """
    check_task(task)
    if task.test is None:
        raise TaskError(f"task {task.name!r} has no test data to follow the training on; give test=(X, y)")
    protocol = Protocol(
        seeds, False, steps, batch_size, learning_rate, None, 1, momentum, nesterov, weight_decay, seed
    )  # fmt: skip
    wanted = [entry for entry in entries(task, losses, False) if entry.role != TUNED]
    chosen = {entry.name: protocol.learning_rate for entry in wanted}
    for name, rate in (rates or {}).items():
        if name not in chosen:
            raise EvaluationError(f"rates names {name!r:.60}, which is no loss here; there is: {', '.join(chosen)}")
        (chosen[name],) = Protocol(rates=(rate,)).grid  # its own checks
    shown = checkpoints(int(steps))[1:]
    with Executor(task, n_jobs) as executor:
        check(task, protocol.settings, {entry.name: entry.loss for entry in wanted}, n_jobs)
        jobs = [(e.name, e.loss, chosen[e.name], one, shown) for e in wanted for one in protocol.reported_seeds]
        rows = list(executor.map(_curve, protocol.settings, jobs))
    worst = worst_outcome(task, [value for row in rows for value in row])
    counted = [tuple(v if math.isfinite(v) else worst for v in row) for row in rows]
    values = {e.name: tuple(counted[i * seeds : (i + 1) * seeds]) for i, e in enumerate(wanted)}
    return TrainingCurves(task.name, task.metric_name, protocol, chosen, shown, values)


def _curve(
    task: Task, settings: Settings, name: str, loss: nn.Module, rate: float, seed: int, steps: tuple[int, ...]
) -> list[float]:
    # from the start for each point: twice the steps in all, and every point is exactly a shorter training
    parts = (replace(settings, fitness_steps=step) for step in steps)
    return [trial(task, part, name, loss, (rate,), seed, "test")[0][0] for part in parts]
