"""Models trained under several losses, and how sharp the minima are in which they end, under one metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from symloss.analysis.sharpness import Sharpness, check_options, sharpness
from symloss.analysis.sharpness_report import SharpnessComparison, SharpnessRow
from symloss.discovery.executor import Executor
from symloss.discovery.settings import Settings
from symloss.errors import EvaluationError, TaskError
from symloss.evaluation.entries import UNTUNED, AnyLoss, entries
from symloss.evaluation.protocol import Protocol
from symloss.evaluation.training import check, model_of_trial
from symloss.evaluation.tuning import tune
from symloss.tasks.checks import check_task
from symloss.tasks.task import Task

PARTS = ("train", "valid", "test")


def compare_sharpness(
    task: Task,
    losses: Mapping[str, AnyLoss] | Iterable[AnyLoss] | AnyLoss,
    *,
    seeds: int = 5,
    steps: int = 500,
    part: str = "train",
    chosen: Mapping[str, float] | None = None,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    rates: Sequence[float] | None = None,
    tuning_seeds: int = 3,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    seed: int = 0,
    n_jobs: int = 1,
    top_k: int = 3,
    probes: int = 32,
    radius: float = 0.05,
    adaptive_radius: float = 0.5,
    density_steps: int = 0,
    progress: Callable[[str], object] | None = None,
) -> SharpnessComparison:
    r"""How sharp the minima are that losses lead to, all measured under the task loss, beside those of the task loss.

    Each loss trains a model for each seed, at its own rate, tuned as `evaluate` does it; a seed is one set of initial
    weights and one order of batches, the same for every loss, and the models are those that `evaluate` measures. In
    each, `sharpness` looks at the task loss (cross-entropy, mean squared error), whatever the model was trained with,
    with the same random vectors for every loss. So losses differ by paired differences dᵢ = sᵢ(loss) − sᵢ(task loss),
    with Student's 95 % interval of their mean.

    A loss that makes logits larger changes the curvature of cross-entropy without a change to what the model decides:
    of classifiers everything is also measured with normalised logits.

    Args:
        task: Data and model.
        losses: As in `evaluate`.
        seeds: How many; at least 2 for intervals.
        steps: Training steps of each model.
        part: Data to measure on: `"train"`, `"valid"` or `"test"`.
        chosen: Names of losses to their learning rates where these are known, such as those that an evaluation chose.
        batch_size: Samples in a training batch.
        learning_rate: The middle of the grid.
        rates: Learning rates to try; by default 13 half-decades around `learning_rate`.
        tuning_seeds: Seeds on which a rate is chosen.
        momentum: Momentum of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: L2 penalty of SGD.
        seed: Other numbers give other seeds.
        n_jobs: Processes; results are the same for any number.
        top_k: How many eigenvalues; the largest one is compared.
        probes: Sign vectors for the trace.
        radius: ρ of SAM.
        adaptive_radius: ρ of adaptive SAM.
        density_steps: Lanczos steps for spectral densities; 0 leaves them out.
        progress: Called with one line of text now and then.

    Returns:
        The comparison: prints as a table with a sentence on each loss; holds the `Sharpness` of every model.

    Raises:
        TaskError: If the task does not have that part of the data.
        LossError: If a loss cannot be used on this task.
        EvaluationError: If an option is out of its range, or `chosen` names a loss that is not there.
    """
    check_task(task)
    data = getattr(task, part) if part in PARTS else None
    if data is None:
        raise TaskError(f"part is {', '.join(PARTS)}, and one that the task has; received {part!r:.40}")
    protocol = Protocol(
        seeds, True, steps, batch_size, learning_rate, rates, tuning_seeds, momentum, nesterov, weight_decay, seed
    )  # fmt: skip
    wanted = [entry for entry in entries(task, losses, True) if entry.role != UNTUNED]
    modules = {entry.name: entry.loss for entry in wanted}
    known = _known(chosen or {}, modules)
    radii = {"radius": radius, "adaptive_radius": adaptive_radius}
    check_options({"top_k": top_k, "probes": probes}, radii, density_steps)
    normalised = task.kind != "regression"
    options = {"top_k": top_k, "probes": probes, "density_steps": density_steps, "normalised": normalised, **radii}
    with Executor(task, n_jobs) as executor:
        check(task, protocol.settings, modules, n_jobs)
        tuned = tune(executor, protocol, {n: m for n, m in modules.items() if n not in known}, progress)
        at = known | {name: tuning.rate for name, tuning in tuned.items()}
        jobs = [
            (name, m, at[name], one, part, options) for name, m in modules.items() for one in protocol.reported_seeds
        ]
        found: list[Sharpness | None] = []
        for number, one in enumerate(executor.map(_measured, protocol.settings, jobs)):
            found.append(one)
            if progress is not None:
                name, count = wanted[number // seeds].name, number % seeds + 1
                progress(f"sharpness of the minima of {name}: learning rate {at[name]:.4g}, seed {count} of {seeds}")
    rows = tuple(
        SharpnessRow(
            entry.name, entry.role, at[entry.name], entry.name in tuned and tuned[entry.name].at_edge,
            tuple(found[i * seeds : (i + 1) * seeds]),
        )
        for i, entry in enumerate(wanted)
    )  # fmt: skip
    return SharpnessComparison(task.name, task.kind, part, len(data), protocol, normalised, rows)


def _known(chosen: Mapping[str, float], losses: Mapping[str, nn.Module]) -> dict[str, float]:
    for name in chosen:
        if name not in losses:
            raise EvaluationError(f"chosen names {name!r:.60}, which is no loss here; there is: {', '.join(losses)}")
    return {name: Protocol(rates=(rate,)).grid[0] for name, rate in chosen.items()}  # its own checks


def _measured(
    task: Task, settings: Settings, name: str, loss: nn.Module, rate: float, seed: int, part: str,
    options: Mapping[str, Any],
) -> Sharpness | None:  # fmt: skip
    """The sharpness of one model; None if its training diverged."""
    model, data = model_of_trial(task, settings, name, loss, rate, seed), getattr(task, part)
    if model is None:
        return None
    with torch.no_grad():
        if not task.task_loss(model(data.x), data.y).isfinite():
            return None
    return sharpness(model, data, task.task_loss, seed=seed, **options)
