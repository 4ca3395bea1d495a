"""The comparison of what a run found with the tuned task loss: read, or made, and matched to the losses of the run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from symloss.discovery.archive import Candidate
from symloss.discovery.result import SearchResult
from symloss.discovery.runs import recorded_task
from symloss.errors import EvaluationError, ReportError
from symloss.evaluation import Evaluation, Row, evaluate
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
        ReportError: If the file cannot be read, or one that was given is of another task or of other losses.
    """
    place = Path(path) if path is not None else None
    if place is None:
        if result.directory is None or not (result.directory / EVALUATION).exists():
            return Measured()
        place = result.directory / EVALUATION
    try:
        evaluation = Evaluation.from_json(json.loads(place.read_text(encoding="utf-8")))
    except OSError as error:
        raise ReportError(f"cannot read the evaluation {str(place)!r}: {error.strerror}; give another file") from None
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, EvaluationError) else "it is no JSON text; make it anew with evaluate"
        raise ReportError(f"{str(place)!r} is no evaluation: {said}") from None
    found = matched(result, evaluation)
    if found.problem and path is not None:
        raise ReportError(f"{str(place)!r} {found.problem}; give one of this run's losses")
    return found


def make(result: SearchResult, task: Task | None, n_jobs: int = 1) -> Measured:
    """Measure the pick against the tuned task loss, and keep the numbers in the run's directory, if there is one.

    Raises:
        ReportError: If nothing was found, or the task is the user's own and was not given.
    """
    if not result.front:
        raise ReportError("there is no loss to evaluate: no candidate of this run was evaluated; let it run for longer")
    if task is None:
        if result.directory is None:
            raise ReportError("an evaluation trains models: give the task, as in report(result, path, task=task)")
        task = recorded_task(result.config, result.directory)
    steps = result.settings.fitness_steps
    evaluation = evaluate(task, {"pick": result.best.loss}, seeds=SEEDS, steps=steps, n_jobs=n_jobs)
    if result.directory is not None:
        text = json.dumps(evaluation.to_json(), indent=2) + "\n"
        try:
            (result.directory / EVALUATION).write_text(text, encoding="utf-8")
        except OSError as error:
            raise ReportError(f"cannot write {str(result.directory / EVALUATION)!r}: {error.strerror}") from None
    return matched(result, evaluation)


def matched(result: SearchResult, evaluation: Evaluation) -> Measured:
    """An evaluation with its rows found among the front; none of another task or of other losses is shown."""
    task = result.config.task
    if (evaluation.task, evaluation.kind) != (task["name"], task["kind"]):
        return Measured(problem=f"is an evaluation on another task ({evaluation.task}, {evaluation.kind})")
    by_formula = {row.formula: row for row in evaluation.rows}
    formulas = {c.id: str(c.loss.expression) for c in result.front}
    rows = {number: by_formula[formula] for number, formula in formulas.items() if formula in by_formula}
    if not rows:
        return Measured(problem="is an evaluation of other losses than those on the front of this run")
    return Measured(evaluation, rows)
