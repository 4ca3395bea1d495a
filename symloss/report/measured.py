"""The comparison of what a run found with the tuned task loss: read, or made, and matched to the losses of the run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from symloss.discovery.archive import Candidate
from symloss.discovery.result import SearchResult
from symloss.discovery.runs import recorded_task
from symloss.errors import EvaluationError
from symloss.evaluation import Evaluation, Row, evaluate
from symloss.expression.expression import Expression
from symloss.report.files import write
from symloss.report.repeat import EVALUATION, SEEDS
from symloss.tasks.task import Task


@dataclass(frozen=True)
class Measured:
    """What is known of how good the losses of a run are.

    Args:
        evaluation: The evaluation, or None.
        rows: Its row for each candidate of the front that is in it, by the candidate's id.
        problem: Why an evaluation that is there cannot be shown; empty if it can, or if there is none.
    """

    evaluation: Evaluation | None = None
    rows: dict[int, Row] | None = None
    problem: str = ""

    def of(self, candidate: Candidate) -> Row | None:
        """The row of a candidate."""
        return (self.rows or {}).get(candidate.id)


def read(result: SearchResult, path: str | os.PathLike[str] | None) -> Measured:
    """The evaluation in a file: one that was given, or else `evaluation.json` of the run.

    Raises:
        EvaluationError: If the file cannot be read, or one that was given is of another task or of other losses.
    """
    place = Path(path) if path is not None else None
    if place is None:
        if result.directory is None or not (result.directory / EVALUATION).exists():
            return Measured()
        place = result.directory / EVALUATION
    try:
        evaluation = Evaluation.from_json(json.loads(place.read_text(encoding="utf-8")))
    except OSError as error:
        raise EvaluationError(
            f"cannot read the evaluation {str(place)!r}: {error.strerror}; give another file"
        ) from None
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, EvaluationError) else "it is no JSON text; make it anew with evaluate"
        raise EvaluationError(f"{str(place)!r} is no evaluation: {said}") from None
    found = matched(result, evaluation)
    if found.problem and path is not None:
        raise EvaluationError(f"{str(place)!r} {found.problem}; give one of this run's losses")
    return found


def make(result: SearchResult, task: Task | None, n_jobs: int = 1) -> Measured:
    """Measure the pick against the tuned task loss, and keep the numbers in the run's directory, if there is one.

    Raises:
        EvaluationError: If nothing was found, or the task is the user's own and was not given.
    """
    if not result.front:
        raise EvaluationError("the run has no loss to evaluate: no candidate got so far; let it run for longer")
    if task is None:
        if result.directory is None:
            raise EvaluationError("an evaluation trains models: give the task, as in report(result, path, task=task)")
        task = recorded_task(result.config, result.directory)
    steps = result.settings.fitness_steps
    evaluation = evaluate(
        task, {"pick": result.best.loss}, seeds=SEEDS, steps=steps, learning_rate=result.settings.learning_rate,
        momentum=result.settings.momentum, nesterov=result.settings.nesterov,
        weight_decay=result.settings.weight_decay, n_jobs=n_jobs,
    )  # fmt: skip
    pick, *others = evaluation.rows
    evaluation = replace(evaluation, rows=(replace(pick, formula=_identity(result.best)), *others))
    if result.directory is not None:
        write(result.directory / EVALUATION, (json.dumps(evaluation.to_json(), indent=2) + "\n").encode())
    return matched(result, evaluation)


def matched(result: SearchResult, evaluation: Evaluation) -> Measured:
    """An evaluation with its rows found among the front; none of another task or of other losses is shown."""
    task = result.config.task
    if (evaluation.task, evaluation.kind) != (task["name"], task["kind"]):
        return Measured(problem=f"is an evaluation on another task ({evaluation.task}, {evaluation.kind})")
    by_formula = {row.formula: row for row in evaluation.rows}
    formulas = {c.id: _identity(c) for c in result.front}
    rows = {number: by_formula[formula] for number, formula in formulas.items() if formula in by_formula}
    if not rows:
        return Measured(problem="is an evaluation of other losses than those on the front of this run")
    return Measured(evaluation, rows)


def _identity(candidate: Candidate) -> str:
    """What an evaluation calls a loss: the formula it was trained with; of a network, its name and its weights."""
    expression = candidate.loss.expression
    if isinstance(expression, Expression):
        return str(expression)
    numbers = repr((candidate.scale, list(map(float, candidate.expression.weights))))
    return f"{candidate.expression}, weights {sha256(numbers.encode()).hexdigest()[:16]}"
