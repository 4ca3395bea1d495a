"""The stages of an evaluation: `screen` and `develop`, which are sent to workers, and all of them as one record."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from threading import Lock

from symloss.discovery import fitness as measuring
from symloss.discovery.filters import fingerprints, passes_rejection
from symloss.discovery.fitness import fitness
from symloss.discovery.refinement import refine
from symloss.discovery.settings import Settings
from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.losses.network import LossFunction
from symloss.population import dense
from symloss.population.training import Workspace
from symloss.tasks.task import Task

REJECTED = "rejected"
DIVERGED = "diverged"
REJECTED_AFTER = "rejected after refinement"
EVALUATED = "evaluated"


@dataclass(frozen=True)
class Outcome:
    """How the development of one candidate ended.

    Args:
        expression: The loss, an expression or a network, with refined weights where refinement was reached.
        stage: `"rejected after refinement"`, `"diverged"` or `"evaluated"` (`"rejected"` is for `screen`).
        reason: In words, empty if evaluated.
        fitness: Validation metric, lower is better; inf where it was not reached.
        seconds: Share of the computing time.
        scale: Factor on the loss with which it was trained (1 unless the search is scale-free).
    """

    expression: LossFunction
    stage: str
    reason: str
    fitness: float
    seconds: float
    scale: float = 1.0


_workspaces: list[Workspace] = []  # the last few, newest first
_making = Lock()


def workspace(task: Task, settings: Settings) -> Workspace:
    """The workspace of a task, made once per process."""
    with _making:
        for made in _workspaces:
            if made.task is task and made.batch_size == settings.batch_size:
                return made
        _workspaces.insert(0, Workspace(task, settings.batch_size))
        del _workspaces[2:]
        return _workspaces[0]


def backend(task: Task, settings: Settings) -> str:
    """Where several workers run these stages: `"threading"` where they are compiled loops throughout, else `"loky"`.

    The loops give up Python's lock and draw no random numbers. Everything else needs processes: torch's generator, from
    which it may draw, belongs to the whole process.
    """
    shared = workspace(task, settings)
    compiled = settings.inner_steps == 1 and dense.refinable(shared, settings.refinement_steps)
    return "threading" if compiled and not primitives.registered() else "loky"


def screen(task: Task, settings: Settings, expressions: Sequence[Expression]) -> list[bool]:
    """Rejection protocol for each expression with its weights as they are: P booleans."""
    return passes_rejection(workspace(task, settings), settings, expressions)


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
    alive = dict(enumerate(expressions))
    ended: dict[int, Outcome] = {}
    chosen = [i for i, wanted in enumerate(refined) if wanted and settings.refine]
    for i, result in zip(chosen, refine(shared, settings, [expressions[i] for i in chosen]), strict=True):
        if result is None:
            reason = "weights became infinite or NaN in refinement"
            ended[i] = Outcome(alive.pop(i), DIVERGED, reason, math.inf, 0.0)
        else:
            alive[i] = result
    again = [i for i in chosen if i in alive]
    for i, passed in zip(again, passes_rejection(shared, settings, [alive[i] for i in again]), strict=True):
        if not passed:
            reason = "minimising the refined loss over the predictions does not improve the task metric"
            ended[i] = Outcome(alive.pop(i), REJECTED_AFTER, reason, math.inf, 0.0)
    measured, scales = fitness(shared, settings, list(alive.values()))
    for (i, loss), value, scale in zip(alive.items(), measured, scales, strict=True):
        stage, reason = (EVALUATED, "") if math.isfinite(value) else (DIVERGED, "training diverged")
        ended[i] = Outcome(loss, stage, reason, value, 0.0, scale)
    share = (time.perf_counter() - started) / max(len(expressions), 1)
    return [replace(ended[i], seconds=share) for i in range(len(expressions))]


def tuned_rate(task: Task, settings: Settings) -> float:
    """Learning rate that is best for the task loss."""
    return measuring.tuned_rate(workspace(task, settings), settings)[0]


@dataclass(frozen=True)
class Stages:
    """The functions that judge candidates; workers run `screen` and `develop`.

    Args:
        fingerprints: `(expressions, kind)` -> a text for each, equal for twins; None: the gradient is zero.
        screen: `(task, settings, expressions)` -> whether each passes the rejection protocol.
        develop: `(task, settings, expressions, refined)` -> the `Outcome` of each.
        tuned_rate: `(task, settings)` -> the learning rate that is best for the task loss (for `scale_free`).
    """

    fingerprints: Callable[..., list[str | None]] = fingerprints
    screen: Callable[..., list[bool]] = screen
    develop: Callable[..., list[Outcome]] = develop
    tuned_rate: Callable[[Task, Settings], float] = tuned_rate
