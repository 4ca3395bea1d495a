"""The comparison itself: compute the cells that are not there yet, side by side, and put all of them together."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any, cast

from symloss.comparison.cells import Outcome, Store
from symloss.comparison.plan import SEARCH, Cell, Plan, absent, plan, without_guesses
from symloss.comparison.result import Comparison
from symloss.comparison.table import save
from symloss.comparison.work import compute, one_line
from symloss.discovery.executor import Executor
from symloss.discovery.settings import Settings
from symloss.errors import EvaluationError, TaskError
from symloss.tasks.task import Task

Progress = Callable[[str], object]
_PATIENCE = 60.0  # a cell takes longer than workers to start


def compare(
    task: Any,
    methods: Any,
    seeds: int | Sequence[int] = 5,
    budget: Mapping[str, Any] | None = None,
    *,
    training_seeds: int = 10,
    out: str | os.PathLike[str] | None = None,
    n_jobs: int = 1,
    progress: Progress | None = None,
    **protocol: Any,
) -> Comparison:
    r"""Which way to a loss is better? Searches on tasks, what they pick measured on test data beside tuned references.

    1. For every task, method and search seed: a search (`discover`), whose pick has the lowest validation metric.
    2. Every pick, and the task loss (cross-entropy, mean squared error for regression), is treated as by `evaluate`:
       its learning rate is chosen on validation data, with the same trials for all, and a model is trained at that rate
       from each of the training seeds, the same for all, and measured on the test data. The task loss at the untuned
       `learning_rate` stands beside them.
    3. With m[s, r] the test metric of search s and training seed r, a task and a method have the mean of m and that of
       d[s, r] = m[s, r] − m_ref[r], m_ref being the tuned task loss's, with bootstrap intervals over searches and
       training seeds (`bootstrap`), and the p of Wilcoxon's signed-rank test of the means of d of each search (without
       searches: of the d of each training seed), corrected by Holm for the number of all tasks and methods.
    4. Over tasks: mean ranks with Friedman's test (`mean_ranks`), and per method Wilcoxon's test of
       (m − m_ref) / (m + m_ref), one pair for each task, corrected by Holm for the number of methods.

    A diverged training counts as in `evaluate`. What has no result stays in the tables as missing, with the reason: a
    method with a missing search takes no part in the tests of that task, and ranks are over the tasks on which nothing
    is missing. Every cell (a task, a method, a seed) is computed once and kept; a call with other settings computes the
    cells that it needs anew and leaves the others. Ctrl-C keeps the finished ones.

    Args:
        task: A name for `load_task`, a mapping of its arguments with `name` (and `label`, what tables call it), a
            `Task` with test data, or several of these. A mapping may have its own `budget`, `steps` and `batch_size`.
        methods: Search methods by name, or mappings of `name`, `label`, `guesses` and settings of the search;
            `"catalogue"`, the handcrafted loss with the lowest validation metric at its tuned rate (of `losses` if
            given); or handcrafted losses by name.
        seeds: How many searches, or their seeds.
        budget: Settings of every search (fields of `Settings`), overruled by those of a task, and these by those of a
            method.
        training_seeds: Models trained with each pick.
        out: Directory of the cells and searches; None keeps nothing.
        n_jobs: Processes, each computing cells; results are the same for any number.
        progress: Called with one line of text for each cell.
        protocol: Options of training and tuning: `steps` (500 unless given), `batch_size`, `learning_rate`, `rates`,
            `tuning_seeds`, `momentum`, `nesterov`, `weight_decay`, as in `evaluate`.

    Returns:
        The comparison: prints as tables, and writes CSV, JSON and LaTeX.

    Raises:
        EvaluationError: If a task, method, seed or option cannot be used, or data are others than those of the cells.
        SearchError: If a setting of a search cannot be used.
        LossError: If a parameter of a loss cannot.
        TaskError: If the options of a task cannot.
        MachineError: If a device, memory or room on a disk is lacking; a later call goes on with that cell.
        RunError: If files cannot be read or written.
    """
    wanted = plan(task, methods, seeds=seeds, budget=budget, training_seeds=training_seeds, **protocol)
    return carry_out(wanted, out, n_jobs=n_jobs, progress=progress)


def carry_out(
    wanted: Plan, out: str | os.PathLike[str] | None = None, *, n_jobs: int = 1, progress: Progress | None = None
) -> Comparison:
    """Compute the cells of a plan that are not there yet; see `compare`.

    Returns:
        The comparison, `interrupted` after Ctrl-C.
    """
    with ExitStack() as stack:
        store = Store(out if out is not None else stack.enter_context(TemporaryDirectory(prefix="symloss-")))
        cells = wanted.cells
        found = {cell: outcome for cell in cells if (outcome := store.read(cell)) is not None}
        todo = [cell for cell in cells if cell not in found]
        tasks, missing = load(wanted, {cell.task for cell in todo})
        _check_same(found, tasks)
        todo = [cell for cell in todo if cell.task in tasks]
        interrupted = False
        try:
            if todo:
                stack.enter_context(store.alone())
            _compute(store, tasks, todo, n_jobs, _Reporter(store, todo, n_jobs, progress or (lambda line: None)))
        except KeyboardInterrupt:
            interrupted = True
        found |= {cell: outcome for cell in todo if (outcome := store.read(cell)) is not None}
        comparison = Comparison(wanted, found, missing, interrupted)
    if out is not None:
        save(comparison, out)
    return comparison


def load(plan: Plan, wanted: set[str]) -> tuple[dict[str, Task], dict[str, str]]:
    """Load tasks by their labels.

    Returns:
        Those that can be loaded; and of the others, whose data are absent, why not.

    Raises:
        TaskError: If the options of a task cannot be used.
    """
    tasks: dict[str, Task] = {}
    missing: dict[str, str] = {}
    for choice in plan.tasks:
        if choice.label not in wanted:
            continue
        try:
            tasks[choice.label] = choice.load()
        except TaskError as error:
            if not absent(choice):
                raise
            missing[choice.label] = one_line(error)
    return tasks, missing


def listing(plan: Plan, out: str | os.PathLike[str] | None) -> str:
    """What a plan is going to do: its cells, which of them are there, and how many searches are not."""
    done = {cell for cell in plan.cells if out is not None and Store(out).read(cell) is not None}
    todo = [cell for cell in plan.cells if cell not in done]
    _, missing = load(plan, {cell.task for cell in todo})
    states = {
        c: "finished" if c in done else f"missing ({missing[c.task]})" if c.task in missing else "to do"
        for c in plan.cells
    }
    searches = [c for c in todo if c.method.kind == SEARCH and c.task not in missing]
    settings = [Settings.from_dict(without_guesses(cell.definition["method"]["settings"])) for cell in searches]
    candidates = sum(s.population_size * s.generations for s in settings)
    count = list(states.values()).count
    total = (
        f"{len(plan.cells)} cells: {count('finished')} finished, {count('to do')} to do, "
        f"with {len(searches)} searches of {candidates} candidates in all"
    )
    return "\n".join([*(f"{cell}: {state}" for cell, state in states.items()), total])


def _compute(store: Store, tasks: dict[str, Task], todo: Sequence[Cell], n_jobs: int, report: _Reporter) -> None:
    """Compute cells, each in one process from its search to its test."""
    executor = Executor(cast(Task, tasks), n_jobs if len(todo) > 1 else 1)  # what workers hold is all tasks
    executor.patience = _PATIENCE
    chunks = [(cell, store.path) for cell in todo]
    with executor:
        for cell, seconds in zip(todo, executor.map(compute, Settings(), chunks), strict=True):
            report(cell, seconds)


class _Reporter:
    """One line for each finished cell, with an estimate of the time left."""

    def __init__(self, store: Store, todo: Sequence[Cell], n_jobs: int, progress: Progress) -> None:
        self._store, self._todo, self._progress = store, list(todo), progress
        self._workers = n_jobs if n_jobs > 0 else os.cpu_count() or 1
        self._spent: dict[Cell, float] = {}

    def __call__(self, cell: Cell, seconds: float) -> None:
        """Say what a cell found."""
        self._spent[cell] = seconds
        outcome = self._store.read(cell)
        assert outcome is not None
        diverged = sum(not math.isfinite(v) for v in outcome.values)
        found = f"missing, {outcome.failed}" if outcome.failed else f"{outcome.task.metric} {_mean(outcome.values):.4g}"
        found += f" ({diverged} diverged)" if diverged else ""
        left = _duration(sum(map(self._expected, self._todo[len(self._spent) :])) / self._workers)
        number = f"{len(self._spent)}/{len(self._todo)}"
        self._progress(f"cell {number}: {cell}: {found} ({seconds:.1f} s; about {left} left)")

    def _expected(self, cell: Cell) -> float:
        """Seconds that a cell takes, after those most like it: of the same task and method, method, or kind."""
        for alike in (
            lambda c: (c.task, c.method), lambda c: c.method, lambda c: c.method.kind, lambda c: None,
        ):  # fmt: skip
            known = [seconds for c, seconds in self._spent.items() if alike(c) == alike(cell)]
            if known:
                return sum(known) / len(known)
        return 0.0


def _mean(values: Sequence[float]) -> float:
    finite = [v for v in values if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else math.nan


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def _check_same(found: Mapping[Cell, Outcome], tasks: Mapping[str, Task]) -> None:
    """Whether the cells that are there were computed on the data of today."""
    identities = {label: task.identity() for label, task in tasks.items()}
    for cell, outcome in found.items():
        if cell.task in identities and identities[cell.task] != outcome.task.identity:
            raise EvaluationError(
                f"the data or model of task {cell.task!r} are others than those that its finished cells were computed "
                "on; give another directory"
            )
