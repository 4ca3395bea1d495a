"""How much of what a loss gains over untuned cross-entropy is step size, and how much is the shape of the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from symloss.analysis.learning_rate_report import LearningRateReport, Measured
from symloss.discovery.executor import Executor
from symloss.discovery.refinement import optimiser_of
from symloss.discovery.settings import Settings
from symloss.discovery.stages import workspace
from symloss.errors import LossError
from symloss.evaluation import evaluate
from symloss.evaluation.entries import TUNED, UNTUNED, AnyLoss
from symloss.evaluation.gradients import TASK_LOSSES, gradient_of
from symloss.evaluation.run import worst_outcome
from symloss.evaluation.training import trial
from symloss.losses import catalogue, resolve
from symloss.population.training import Gradient, Workspace, norms, train
from symloss.tasks.task import Task

_MANTISSAS = (1, 2, 5)


def learning_rate(
    loss: AnyLoss,
    task: Task,
    *,
    seeds: int = 10,
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
    progress: Callable[[str], object] | None = None,
) -> LearningRateReport:
    r"""Split the gain of a loss over untuned cross-entropy (squared error) into step size and shape.

    With ρ = ‖∇M‖ / ‖∇L_task‖, the ratio of gradient norms in the parameters at initialisation, ρ L_task takes the first
    step of the loss M and M/ρ that of cross-entropy. Test metrics of four trainings at one learning rate, a 2 × 2 table

        m₀₀ of L_task, m₀₁ of ρ L_task, m₁₀ of M/ρ, m₁₁ of M

    give the gain m₀₀ − m₁₁ = step size + shape, each the mean of its two effects (the Shapley value):

        step size = [(m₀₀ − m₀₁) + (m₁₀ − m₁₁)] / 2,   shape = [(m₀₀ − m₁₀) + (m₀₁ − m₁₁)] / 2.

    For M = c L_task all of the gain is step size, for a loss with ρ = 1 none of it. Beside that stand cross-entropy and
    the loss with their rates tuned alike (`evaluate`), and the effective rate, ‖∇M‖ / ‖∇L_task‖ as M trains the model.

    Args:
        loss: A name, a formula, a `.json` file, a run directory, or a module called as `loss(outputs, targets)`.
        task: Data with a test part, and model.
        seeds: How many seeds are reported; at least 2 for intervals.
        steps: Training steps of each model.
        batch_size: Samples in a batch.
        learning_rate: The rate of the four trainings: the one that cross-entropy would be used with, untuned.
        rates: Learning rates to tune over; by default 13 half-decades around `learning_rate`.
        tuning_seeds: Seeds on which rates are tuned.
        momentum: Momentum of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: L2 penalty of SGD; it stays as it is when a loss is rescaled.
        seed: Other numbers give other seeds.
        n_jobs: Processes; results are the same for any number.
        progress: Called with one line of text now and then.

    Returns:
        The report.

    Raises:
        TaskError: If the task has no test data.
        LossError: If the loss cannot be used on this task, or has no finite gradient at initialisation.
        EvaluationError: If an option is out of its range.
    """
    evaluation = evaluate(
        task, loss, seeds=seeds, steps=steps, batch_size=batch_size, learning_rate=learning_rate, rates=rates,
        tuning_seeds=tuning_seeds, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, seed=seed,
        n_jobs=n_jobs, progress=progress,
    )  # fmt: skip
    protocol, name = evaluation.protocol, evaluation.rows[0].name
    modules = resolve.loss(loss, task.kind), catalogue.get(TASK_LOSSES[task.kind], task.kind)
    shown = checkpoints(protocol.steps)
    found = []
    with Executor(task, n_jobs) as executor:
        chunks = [(name, *modules, one, shown) for one in protocol.reported_seeds]
        for number, one in enumerate(executor.map(_seed, protocol.settings, chunks)):
            found.append(one)
            if progress is not None:
                progress(f"step size and shape of {name}: seed {number + 1} of {seeds}")
    rows = {row.role: row.values for row in evaluation.rows}
    columns = [rows[UNTUNED], *zip(*(cell.metrics for cell in found), strict=True), rows[TUNED]]
    columns.append(evaluation.rows[0].values)
    worst = worst_outcome(task, [value for column in columns for value in column])
    counted = (tuple(v if math.isfinite(v) else worst for v in column) for column in columns)
    return LearningRateReport(
        loss=name, evaluation=evaluation, measured=Measured(*counted), diverged=_diverged(columns), steps=shown,
        ratios=tuple(cell.ratios for cell in found),
    )  # fmt: skip


def checkpoints(steps: int) -> tuple[int, ...]:
    """Step numbers 0, 1, 2, 5, 10, 20, 50, ... at which the effective rate is looked at, and the last one."""
    decades = range(len(str(steps)))
    return tuple(sorted({0, steps, *(m * 10**d for d in decades for m in _MANTISSAS if m * 10**d < steps)}))


@dataclass(frozen=True)
class _Seed:
    """Of one seed: ‖∇M‖ / ‖∇L_task‖ at each checkpoint, and the metrics m₀₁, m₁₀ and m₁₁."""

    ratios: tuple[float, ...]
    metrics: tuple[float, float, float]


def _seed(
    task: Task, settings: Settings, name: str, loss: nn.Module, reference: nn.Module, seed: int, steps: Sequence[int]
) -> _Seed:
    shared = workspace(task, settings)
    ratios = _effective_rates(shared, settings, name, loss, seed, steps)
    first = ratios[0]
    if not (math.isfinite(first) and first > 0):
        raise LossError(
            f"loss {name!r} has no finite gradient at the initial weights of seed {seed} (its norm is {first:.3g} "
            "times the task loss's), so that its step cannot be compared; use another loss"
        )

    def metric(what: str, module: nn.Module, scale: float) -> float:
        # the loss times a factor: the rate times it, and the decay, which the rate would scale too, over it
        own = replace(settings, weight_decay=settings.weight_decay / scale)
        return trial(task, own, what, module, (settings.learning_rate * scale,), seed, "test")[0][0]

    scaled = metric("the task loss", reference, first), metric(name, loss, 1 / first), metric(name, loss, 1.0)
    return _Seed(tuple(ratios), scaled)


def _effective_rates(
    shared: Workspace, settings: Settings, name: str, loss: nn.Module, seed: int, steps: Sequence[int]
) -> list[float]:
    """‖∇M‖ / ‖∇L_task‖ in the parameters, along the training with M, each on the batch that is due at that step."""
    batches = shared.batches(len(shared.train.x), max(steps) + 1, seed)
    optimiser, found = optimiser_of(settings, torch.tensor([settings.learning_rate], dtype=shared.dtype)), []
    for step in steps:
        parameters = shared.initial(seed)
        gradient = gradient_of(shared, name, loss, 1)
        if step:  # from the start each time, so that momentum and random numbers are those of the whole training
            trained = train(shared, gradient, 1, step, optimiser, seed=seed, batch_seed=seed)
            parameters = [p[0] for p in trained]
        x, target = shared.pick(shared.train, batches[step])
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.default_generator.manual_seed(seed)
            own, task = _norms(shared, gradient, parameters, x, target)
        found.append(own / task if task > 0 and math.isfinite(own) and math.isfinite(task) else math.nan)
    return found


def _norms(
    shared: Workspace, gradient: Gradient, parameters: list[torch.Tensor], x: torch.Tensor, target: torch.Tensor
) -> tuple[float, float]:
    """Norms of the gradients of the loss and of the task loss in the parameters of one model."""
    logits, saved = shared.network.forward_shared(parameters, x)
    slopes = torch.cat([gradient(logits, target), shared.task_gradient(logits, target)])
    own, task = norms(shared.network.backward_shared(parameters, saved, slopes)).tolist()
    return own, task


def _diverged(columns: Sequence[Sequence[float]]) -> Measured:
    return Measured(*(tuple(not math.isfinite(value) for value in column) for column in columns))
