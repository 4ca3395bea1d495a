"""The evaluation itself: tune every loss alike, then measure all of them on test data, paired by seed."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from symloss.discovery.executor import Executor
from symloss.errors import TaskError
from symloss.evaluation.entries import TUNED, UNTUNED, AnyLoss, Entry, entries
from symloss.evaluation.protocol import Protocol
from symloss.evaluation.result import Evaluation, Row
from symloss.evaluation.statistics import compared, estimate, paired
from symloss.evaluation.training import check, trial
from symloss.evaluation.tuning import Progress, Tuning, tune
from symloss.tasks.checks import check_task
from symloss.tasks.task import Task


def evaluate(
    task: Task,
    losses: Mapping[str, AnyLoss] | Iterable[AnyLoss] | AnyLoss,
    *,
    seeds: int = 10,
    tune_lr: bool = True,
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
) -> Evaluation:
    r"""Train new models with each loss and report their test metric, beside rate-tuned cross-entropy (squared error).

    1. Every loss gets the same trials: the same learning rates on the same `tuning_seeds` seeds. Its rate is the one
       with the fewest diverged seeds, of those the lowest mean metric on validation data, of equals the nearest to
       `learning_rate`. One chosen at an end of the rates is marked.
    2. With that rate it trains a model for each of `seeds` other seeds, which is measured on the test data.
    3. A seed is one set of initial weights and one order of batches, the same for every loss, so that losses differ by
       paired differences dᵢ = mᵢ(loss) − mᵢ(tuned task loss), with Student's 95 % interval of their mean.

    The task loss runs tuned and, as a second reference, untuned at `learning_rate`, whether it is among the losses or
    not. Training has diverged if outputs are not finite at its end, or (regression) the squared error is more than 1000
    times the targets' mean square. Such a seed counts as the worst outcome: error rate 1, or the largest mean squared
    error of the whole evaluation, at least that of always predicting the training mean. What a loss gets does not
    depend on the losses beside it, except for what a diverged seed counts in regression.

    Args:
        task: Data with a test part, and model.
        losses: Names to losses, or some losses, or one. A loss is a name of the catalogue, a formula, a `.json` file, a
            run directory, or any module called as `loss(outputs, targets)` with outputs **[B, C]** and targets **[B]**
            (or **[B, C]** where soft, binary or real) that returns one number.
        seeds: How many seeds are reported; at least 2 for intervals.
        tune_lr: Whether the losses' learning rates are tuned; if not, they run at `learning_rate`, and the tuned task
            loss beside them all the same.
        steps: Training steps of each model.
        batch_size: Samples in a batch.
        learning_rate: The untuned rate, and the middle of the grid.
        rates: Learning rates to try; by default 13 half-decades around `learning_rate`.
        tuning_seeds: Seeds on which a rate is chosen.
        momentum: Momentum of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: L2 penalty of SGD.
        seed: Other numbers give other seeds.
        n_jobs: Processes; results are the same for any number.
        progress: Called with one line of text now and then.

    Returns:
        The evaluation: prints as a table with a verdict on each loss; holds every number.

    Raises:
        TaskError: If the task has no test data.
        LossError: If a loss cannot be used on this task.
        EvaluationError: If an option is out of its range.
    """
    check_task(task)
    if task.test is None:
        raise TaskError(
            f"task {task.name!r} has no test data: the validation data choose the learning rates (and may have chosen "
            "the loss), so measuring there would flatter; give test=(X, y)"
        )
    protocol = Protocol(
        seeds, tune_lr, steps, batch_size, learning_rate, rates, tuning_seeds, momentum, nesterov, weight_decay, seed,
    )  # fmt: skip
    started = time.perf_counter()
    wanted = entries(task, losses, tune_lr)
    with Executor(task, n_jobs) as executor:
        losses_of = {entry.name: entry.loss for entry in wanted}
        check(task, protocol.settings, losses_of, n_jobs)
        tuning = tune(executor, protocol, {entry.name: entry.loss for entry in wanted if entry.tuned}, progress)
        chosen = [tuning[e.name].rate if e.name in tuning else protocol.learning_rate for e in wanted]
        rate_of = dict(zip(losses_of, chosen, strict=True))
        measured = measure(executor, protocol, losses_of, rate_of, progress)
    rows = _rows(task, protocol, wanted, chosen, tuning, measured)
    return Evaluation(
        task.name, task.kind, task.metric_name, len(task.test), protocol, rows, time.perf_counter() - started
    )


def measure(
    executor: Executor,
    protocol: Protocol,
    losses: Mapping[str, nn.Module],
    rates: Mapping[str, float],
    progress: Progress | None = None,
) -> dict[str, tuple[list[float], float]]:
    """Test metric of each reported seed, and seconds, for each loss by name at its rate."""
    seeds = protocol.reported_seeds
    values: dict[str, list[float]] = {name: [] for name in losses}
    spent = dict.fromkeys(values, 0.0)
    jobs = [(name, loss, (rates[name],), seed, "test") for name, loss in losses.items() for seed in seeds]
    results = executor.map(trial, protocol.settings, jobs)
    for number, ((name, _, (rate,), *_), ((value,), seconds)) in enumerate(zip(jobs, results, strict=True)):
        values[name].append(value)
        spent[name] += seconds
        if progress is not None:
            what = f"learning rate {rate:.4g}, seed {number % len(seeds) + 1} of {len(seeds)}"
            progress(f"training with {name}: {what} ({seconds:.1f} s)")
    return {name: (values[name], spent[name]) for name in values}


def _rows(
    task: Task,
    protocol: Protocol,
    wanted: Sequence[Entry],
    chosen: Sequence[float],
    tuning: Mapping[str, Tuning],
    measured: Mapping[str, tuple[list[float], float]],
) -> tuple[Row, ...]:
    """Numbers of every seed to means, intervals and verdicts."""
    worst = worst_outcome(task, [value for values, _ in measured.values() for value in values])
    counted = {name: [v if math.isfinite(v) else worst for v in values] for name, (values, _) in measured.items()}
    tuned, untuned = (next(counted[e.name] for e in wanted if e.role == role) for role in (TUNED, UNTUNED))
    rows = []
    for entry, rate in zip(wanted, chosen, strict=True):
        values, seconds = measured[entry.name]
        mine, tried = counted[entry.name], tuning.get(entry.name)
        difference, to_untuned = paired(mine, tuned), paired(mine, untuned)
        row = Row(
            name=entry.name, role=entry.role, formula=entry.formula, learning_rate=rate, tuned=entry.tuned,
            at_edge=tried is not None and tried.at_edge,
            values=tuple(values), counted=tuple(mine), score=estimate(mine),
            difference=difference, verdict=compared(difference),
            to_untuned=to_untuned, untuned_verdict=compared(to_untuned),
            tuning=tried.values if tried else (),
            seconds=seconds + (tried.seconds if tried else 0.0),
        )  # fmt: skip
        rows.append(row)
    return tuple(rows)


def worst_outcome(task: Task, values: Sequence[float]) -> float:
    """What a diverged seed counts beside these values: error rate 1, or the largest mean squared error."""
    if task.kind != "regression":
        return 1.0
    assert task.test is not None
    constant = float((task.test.y - task.train.y.mean()).square().mean())
    return max([constant, *(v for v in values if math.isfinite(v))])
