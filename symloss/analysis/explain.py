"""What is known of one loss on one task, joined: formula, step size, label smoothing, and flatness of minima."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from symloss.analysis.explanation import Explanation, Known
from symloss.analysis.families import families
from symloss.analysis.learning_rate import learning_rate as split_gain
from symloss.analysis.report import SmoothingReport
from symloss.analysis.sharpness_comparison import compare_sharpness
from symloss.analysis.smoothing import label_smoothing
from symloss.errors import LossError, TaskError
from symloss.evaluation.entries import TUNED, AnyLoss, entries
from symloss.evaluation.protocol import Protocol
from symloss.evaluation.training import check
from symloss.expression.expression import Expression
from symloss.expression.simplification import simplify
from symloss.tasks.checks import check_task
from symloss.tasks.task import Task

FORMULA, RATE, SMOOTHING, FLATNESS = "formula", "learning rate", "label smoothing", "flatness"
PARTS = (FORMULA, RATE, SMOOTHING, FLATNESS)
"""Names of the parts, in order, as `progress` gets them."""
_SECONDS = 5.0  # of algebra, for the formula and for the proof each


def explain(
    loss: AnyLoss,
    task: Task,
    *,
    seeds: int = 5,
    steps: int = 500,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    rates: Sequence[float] | None = None,
    tuning_seeds: int = 3,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    seed: int = 0,
    n_jobs: int = 1,
    progress: Callable[[str, str], object] | None = None,
) -> Explanation:
    """One page on a loss: what it is, how much of its gain is step size, whether it smooths labels, how flat it ends.

    Joins `families` (a known loss with the same gradient), `learning_rate`, `label_smoothing` (classification) and
    `compare_sharpness`, all on the same seeds and with the same tuned rates.

    Args:
        loss: A name, a formula, a `.json` file, a run directory, or a module called as `loss(outputs, targets)`.
        task: Data with a test part, and model.
        seeds: How many seeds are reported; at least 2 for intervals.
        steps: Training steps of each model.
        batch_size: Samples in a batch.
        learning_rate: The untuned rate, and the middle of the grid.
        rates: Learning rates to tune over; by default 13 half-decades around `learning_rate`.
        tuning_seeds: Seeds on which rates are tuned.
        momentum: Momentum of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: L2 penalty of SGD.
        seed: Other numbers give other seeds.
        n_jobs: Processes; results are the same for any number.
        progress: Called with the name of a part, one of `PARTS`, and one line of text, when it begins and now and then.

    Returns:
        The explanation: prints as one page, and holds the report of each part.

    Raises:
        TaskError: If the task has no test data.
        LossError: If the loss cannot be used on this task, or has no finite gradient at initialisation.
        EvaluationError: If an option is out of its range.
    """
    check_task(task)
    if task.test is None:
        raise TaskError(f"task {task.name!r} has no test data to measure on; give test=(X, y)")
    protocol = Protocol(
        seeds, True, steps, batch_size, learning_rate, rates, tuning_seeds, momentum, nesterov, weight_decay, seed
    )  # fmt: skip
    if not isinstance(loss, str | os.PathLike | Expression | nn.Module):
        raise LossError(f"one loss is explained at a time; received {type(loss).__name__}")
    entry = entries(task, loss, True)[0]
    expression, module = getattr(entry.loss, "expression", None), entry.loss
    check(task, protocol.settings, {entry.name: module}, n_jobs)
    tell = progress or (lambda part, line: None)
    tell(FORMULA, "simplified, and compared with the known losses")
    known = _known(module, task.kind)
    smaller = None
    if isinstance(expression, Expression):
        smaller = simplify(expression, _SECONDS, None if task.kind == "regression" else task.kind)
    options = {
        "seeds": seeds, "steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "rates": rates,
        "tuning_seeds": tuning_seeds, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay,
        "seed": seed, "n_jobs": n_jobs,
    }  # fmt: skip
    tell(RATE, f"models over {seeds} seeds, {steps} steps each")
    gain = split_gain(module, task, **options, progress=partial(tell, RATE))  # type: ignore[arg-type]
    tell(SMOOTHING, "the logit gradient, followed from p = 1/C to p → 1")
    smoothing, why = _smoothing(module, task)
    tell(FLATNESS, f"minima over {seeds} seeds")
    rows = {row.role: row for row in gain.evaluation.rows}
    chosen = {entry.name: gain.evaluation.rows[0].learning_rate, rows[TUNED].name: rows[TUNED].learning_rate}
    flatness = compare_sharpness(
        task, {entry.name: module}, chosen={n: r for n, r in chosen.items() if entry.role != TUNED or n == entry.name},
        **options, progress=partial(tell, FLATNESS),  # type: ignore[arg-type]
    )  # fmt: skip
    return Explanation(
        loss=entry.name, task=task.name, kind=task.kind, classes=task.classes,
        expression=expression if isinstance(expression, Expression) else None, simplified=smaller,
        form=getattr(module, "form", None), known=known, learning_rate=gain, smoothing=smoothing,
        no_smoothing=why, flatness=flatness,
    )  # fmt: skip


def _known(module: nn.Module, kind: str) -> Known | None:
    """The nearest loss of the catalogue; None for a loss whose gradient cannot be compared."""
    try:
        found = families(module, kind).families
    except LossError:
        return None
    return Known(found[0].nearest, found[0].nearest_distance) if found else None


def _smoothing(module: nn.Module, task: Task) -> tuple[SmoothingReport | None, str]:
    if task.kind == "regression":
        return None, "a regression has no classes, and so no labels that could be smoothed"
    try:
        return label_smoothing(module, task.classes or 2, task.kind, _SECONDS), ""
    except LossError as error:
        return None, f"label smoothing cannot be told of this loss: {error}"
