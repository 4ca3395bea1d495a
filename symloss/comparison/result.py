"""Comparison: what all cells together say of every task and method, and of the methods over all tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from symloss.comparison.cells import Outcome, TaskFacts
from symloss.comparison.plan import REFERENCES, TUNED, UNTUNED, Cell, Method, Plan
from symloss.comparison.statistics import LEVEL, Ranks, bootstrap, holm, mean_ranks, signed_rank
from symloss.evaluation.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Score:
    """One method on one task.

    Args:
        task: Label of the task.
        method: Label of the method.
        wanted: How many cells there are to be: one for each search, or one.
        finished: How many have a loss that was measured.
        reasons: Why others have none.
        mean: Test metric and its interval; None if no cell has one.
        difference: Paired difference to the tuned task loss, below zero is better; None if there is none.
        p: Of Wilcoxon's signed-rank test of the differences; NaN for references and where cells are missing.
        corrected: The same after Holm's correction over all tasks and methods.
        diverged: Number of trainings that diverged.
        at_edge: How many rates were chosen at an end of those tried.
        candidates: Mean number of candidates of a search.
        search_seconds: Mean processor time of a search.
        evaluation_seconds: Mean processor time of tuning and measuring what it picked.
    """

    task: str
    method: str
    wanted: int
    finished: int
    reasons: tuple[str, ...]
    mean: Estimate | None
    difference: Estimate | None
    p: float
    corrected: float
    diverged: int
    at_edge: int
    candidates: float
    search_seconds: float = field(compare=False)
    evaluation_seconds: float = field(compare=False)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return self.finished == self.wanted

    @property
    def verdict(self) -> str:
        """`"better"` or `"worse"` than the tuned task loss if the corrected p is below 0.05, else
        `"not distinguishable"`; empty for references and where cells are missing."""
        if self.difference is None or math.isnan(self.corrected):
            return ""
        if self.corrected >= LEVEL:
            return "not distinguishable"
        return "better" if self.difference.mean < 0 else "worse"


@dataclass(frozen=True)
class Overall:
    """One method over all tasks.

    Args:
        method: Label of the method.
        tasks: On how many tasks nothing of it is missing.
        lower: On how many of those its metric is lower than that of the tuned task loss.
        higher: On how many it is higher.
        p: Of Wilcoxon's signed-rank test of relative differences, one pair for each task; NaN for references.
        corrected: The same after Holm's correction over the methods.
        rank: Mean rank; NaN where it is not ranked.
    """

    method: str
    tasks: int
    lower: int
    higher: int
    p: float
    corrected: float
    rank: float


@dataclass(frozen=True)
class Comparison:
    """The answer of `compare`; `print` shows its tables.

    Args:
        plan: What was to be compared.
        outcomes: What every finished cell found.
        missing: Labels of tasks whose data are absent, and why.
        interrupted: Whether it was ended by Ctrl-C.
    """

    plan: Plan
    outcomes: Mapping[Cell, Outcome]
    missing: Mapping[str, str] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def pending(self) -> int:
        """How many cells are still to be computed."""
        return len(self.plan.cells) - len(self.outcomes)

    @cached_property
    def facts(self) -> dict[str, TaskFacts]:
        """What is known of each task of which a cell is finished."""
        return {cell.task: outcome.task for cell, outcome in self.outcomes.items()}

    def values(self, task: str, method: Method) -> NDArray[np.float64]:
        """Test metric **[searches, training seeds]** of the cells that have one, a diverged training as it counts."""
        found = np.array([o.values for o in self._outcomes(task, method)], np.float64).reshape(-1, self._columns)
        return np.where(np.isfinite(found), found, self._worst(task))

    @cached_property
    def scores(self) -> tuple[Score, ...]:
        """One for each task and method, in the order of the plan, references last."""
        pairs = [(choice.label, method) for choice in self.plan.tasks for method in self.plan.methods]
        tests = [self._p(task, method) for task, method in pairs]
        return tuple(
            self._score(task, method, p, corrected)
            for (task, method), p, corrected in zip(pairs, tests, holm(tests), strict=True)
        )

    def score(self, task: str, method: str) -> Score:
        """The score of a task and a method by their labels."""
        return next(s for s in self.scores if (s.task, s.method) == (task, method))

    @cached_property
    def ranks(self) -> Ranks:
        """Mean ranks of the methods and the tuned task loss over the tasks on which none of them is missing.

        A method without any complete task is not ranked. The untuned task loss is not either: it does not compete.
        """
        labels = [m.label for m in self.plan.methods if m.kind != UNTUNED]
        tasks = [choice.label for choice in self.plan.tasks]
        ranked = [label for label in labels if any(self.score(task, label).complete for task in tasks)]
        common = [task for task in tasks if ranked and all(self.score(task, label).complete for label in ranked)]
        means = {label: [self._mean(task, label) for task in common] for label in ranked}
        return mean_ranks(means, common)

    @cached_property
    def overall(self) -> tuple[Overall, ...]:
        """One for each method, references last."""
        relative = {m.label: self._relative(m) for m in self.plan.methods}
        tests = [math.nan if m in REFERENCES else signed_rank(relative[m.label]) for m in self.plan.methods]
        return tuple(
            Overall(
                m.label, len(relative[m.label]), sum(d < 0 for d in relative[m.label]),
                sum(d > 0 for d in relative[m.label]), p, corrected, self.ranks.mean.get(m.label, math.nan),
            )
            for m, p, corrected in zip(self.plan.methods, tests, holm(tests), strict=True)
        )  # fmt: skip

    def __str__(self) -> str:
        """The tables as text."""
        from symloss.comparison import table

        return table.text(self)

    def latex(self) -> str:
        """Two LaTeX tabulars (booktabs): every task and method, and the methods over all tasks; names are escaped."""
        from symloss.comparison import table

        return table.latex(self)

    def to_json(self) -> dict[str, Any]:
        """Every number as plain values, ready for `json.dumps`; what is NaN is null. Times are left out."""
        from symloss.comparison import table

        return table.plain(self)

    def figure(self) -> Figure:
        """Differences to the tuned task loss and mean ranks; see `symloss.plotting.comparison`."""
        # the one look upwards, at the moment of drawing: the room of figures knows this one
        figure: Figure = import_module("symloss.plotting").comparison(self)
        return figure

    @property
    def _columns(self) -> int:
        return int(self.plan.protocol.seeds)

    @property
    def _reference(self) -> Method:
        return next(m for m in self.plan.methods if m.kind == TUNED)

    def _cells(self, task: str, method: Method) -> list[Cell]:
        return [c for c in self.plan.cells if c.task == task and c.method == method]

    def _outcomes(self, task: str, method: Method) -> list[Outcome]:
        found = [self.outcomes.get(cell) for cell in self._cells(task, method)]
        return [outcome for outcome in found if outcome is not None and not outcome.failed]

    def _worst(self, task: str) -> float:
        """What a diverged training counts: the same rule as `worst_outcome`, over all cells of the task."""
        own = [o for c, o in self.outcomes.items() if c.task == task]
        if not own or own[0].task.kind != "regression":
            return 1.0
        return max([own[0].task.constant, *(v for o in own for v in o.values if math.isfinite(v))])

    def _mean(self, task: str, label: str) -> float:
        mean = self.score(task, label).mean
        return math.nan if mean is None else mean.mean

    def _differences(self, task: str, method: Method) -> NDArray[np.float64] | None:
        """d **[searches, training seeds]**, or None where there is nothing to compare."""
        mine, reference = self.values(task, method), self.values(task, self._reference)
        if method.kind == TUNED or not len(mine) or not len(reference):
            return None
        difference: NDArray[np.float64] = mine - reference[0]
        return difference

    def _p(self, task: str, method: Method) -> float:
        """Of the test of one task and method; NaN where there is none."""
        differences = self._differences(task, method)
        complete = len(self._outcomes(task, method)) == len(self._cells(task, method))
        if differences is None or method in REFERENCES or not complete:
            return math.nan
        return signed_rank(list(differences.mean(1) if len(differences) > 1 else differences[0]))

    def _score(self, task: str, method: Method, p: float, corrected: float) -> Score:
        cells, outcomes = self._cells(task, method), self._outcomes(task, method)
        grid, differences = self.plan.protocol.grid, self._differences(task, method)
        failed = [self._reason(cell) for cell in cells]
        count = max(len(outcomes), 1)
        return Score(
            task=task, method=method.label, wanted=len(cells), finished=len(outcomes),
            reasons=tuple(dict.fromkeys(filter(None, failed))),
            mean=bootstrap(list(self.values(task, method))) if outcomes else None,
            difference=None if differences is None else bootstrap(list(differences)),
            p=p, corrected=corrected,
            diverged=sum(not math.isfinite(v) for o in outcomes for v in o.values),
            at_edge=sum(method.kind != UNTUNED and o.rate in (grid[0], grid[-1]) for o in outcomes),
            candidates=sum(o.candidates for o in outcomes) / count,
            search_seconds=sum(o.search_seconds for o in outcomes) / count,
            evaluation_seconds=sum(o.evaluation_seconds for o in outcomes) / count,
        )  # fmt: skip

    def _reason(self, cell: Cell) -> str:
        outcome = self.outcomes.get(cell)
        return self.missing.get(cell.task, "not computed yet") if outcome is None else outcome.failed

    def _relative(self, method: Method) -> list[float]:
        """(m − m_tuned) / (m + m_tuned) on each task where neither is missing."""
        found = []
        for choice in self.plan.tasks:
            own, reference = (self.score(choice.label, label) for label in (method.label, self._reference.label))
            if own.complete and reference.complete and own.mean and reference.mean:
                a, b = own.mean.mean, reference.mean.mean
                found.append((a - b) / (a + b) if a + b else 0.0)
        return found
