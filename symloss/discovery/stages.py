"""The two stages of an evaluation that are sent to workers: `screen` and `develop`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from symloss.discovery.filters import passes_rejection
from symloss.discovery.fitness import fitness
from symloss.discovery.refinement import refine
from symloss.discovery.settings import Settings
from symloss.expression.expression import Expression
from symloss.population.training import Workspace
from symloss.tasks.task import Task

REJECTED = "rejected"
DIVERGED = "diverged"
REJECTED_AFTER = "rejected after refinement"
EVALUATED = "evaluated"

_SCREENED_TOGETHER = 128


@dataclass(frozen=True)
class Outcome:
    """How the development of one candidate ended.

    Args:
        expression: The loss, with refined weights where refinement was reached.
        stage: `"rejected after refinement"`, `"diverged"` or `"evaluated"` (`"rejected"` is for `screen`).
        reason: In words, empty if evaluated.
        fitness: Validation metric, lower is better; inf where it was not reached.
        seconds: Share of the computing time.
        scale: Factor on the loss with which it was trained (1 unless the search is scale-free).
    """

    expression: Expression
    stage: str
    reason: str
    fitness: float
    seconds: float
    scale: float = 1.0


_workspaces: list[Workspace] = []  # the last few, newest first


def workspace(task: Task, settings: Settings) -> Workspace:
    """The workspace of a task, made once per process."""
    for made in _workspaces:
        if made.task is task and made.batch_size == settings.batch_size:
            return made
    _workspaces.insert(0, Workspace(task, settings.batch_size))
    del _workspaces[2:]
    return _workspaces[0]


def screen(task: Task, settings: Settings, expressions: Sequence[Expression]) -> list[bool]:
    """Rejection protocol for each expression with its weights as they are: P booleans."""
    shared = workspace(task, settings)
    passed: list[bool] = []
    for start in range(0, len(expressions), _SCREENED_TOGETHER):
        passed += passes_rejection(shared, settings, expressions[start : start + _SCREENED_TOGETHER])
    return passed


def develop(
    task: Task, settings: Settings, expressions: Sequence[Expression], refined: Sequence[bool]
) -> list[Outcome]:
    """Refine, reject once more, and measure the fitness of each expression.

    Args:
        task: The task.
        settings: Of the search.
        expressions: P losses.
        refined: Which of them to refine; the others go through with their weights as they are.

    Returns:
        P outcomes, in order.
    """
    started = time.perf_counter()
    shared = workspace(task, settings)
    chosen = [i for i, wanted in enumerate(refined) if wanted and settings.refine]
    current: list[Expression | None] = list(expressions)
    for i, result in zip(chosen, refine(shared, settings, [expressions[i] for i in chosen]), strict=True):
        current[i] = result
    outcomes = [
        Outcome(e, DIVERGED, "weights became infinite or NaN in refinement", math.inf, 0.0) for e in expressions
    ]
    alive = [i for i, e in enumerate(current) if e is not None]
    survivors = [e for e in current if e is not None]
    again = set(chosen)
    asked = [e for i, e in zip(alive, survivors, strict=True) if i in again]
    passed = iter(passes_rejection(shared, settings, asked))
    trained: list[int] = []
    for i, e in zip(alive, survivors, strict=True):
        if i in again and not next(passed):
            reason = "minimising the refined loss over the predictions does not improve the task metric"
            outcomes[i] = Outcome(e, REJECTED_AFTER, reason, math.inf, 0.0)
        else:
            trained.append(i)
    finalists = [e for i in trained if (e := current[i]) is not None]
    for i, loss, value, scale in zip(trained, finalists, *fitness(shared, settings, finalists), strict=True):
        if math.isfinite(value):
            outcomes[i] = Outcome(loss, EVALUATED, "", value, 0.0, scale)
        else:
            outcomes[i] = Outcome(loss, DIVERGED, "training diverged", math.inf, 0.0, scale)
    share = (time.perf_counter() - started) / max(len(expressions), 1)
    return [replace(outcome, seconds=share) for outcome in outcomes]
