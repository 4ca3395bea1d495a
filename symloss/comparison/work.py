"""Computing one cell: search if the method searches, pick by validation data, tune the rate, measure on test data."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from symloss.comparison import cells
from symloss.comparison.cells import Outcome, Store, TaskFacts
from symloss.comparison.plan import CATALOGUE, LOSS, PROTOCOL, SEARCH, UNTUNED, Cell
from symloss.discovery.executor import Executor
from symloss.discovery.record import current_versions
from symloss.discovery.result import GenerationEvent, SearchResult, load_run
from symloss.discovery.runs import discover, resume
from symloss.errors import LossError, MachineError, RunError, SymlossError
from symloss.evaluation.entries import LOSS as ASKED
from symloss.evaluation.entries import Entry
from symloss.evaluation.gradients import TASK_LOSSES
from symloss.evaluation.protocol import Protocol
from symloss.evaluation.run import measure, worst_outcome
from symloss.evaluation.training import check
from symloss.evaluation.tuning import Tuning, tune
from symloss.losses import catalogue
from symloss.tasks.task import Task

_FORMULA = 2000
_LACKS = re.compile("out of memory|allocate memory|not enough memory|CUDA error")  # torch has no class for all of these


@dataclass(frozen=True)
class _Pick:
    """The loss of a cell before it is measured."""

    loss: nn.Module
    validation: float | None = None
    complexity: int | None = None
    candidates: int = 0
    seconds: float = 0.0
    tuning: Tuning | None = None


def compute(tasks: Mapping[str, Task], settings: object, cell: Cell, directory: Path) -> float:
    """Compute a cell and keep it.

    Args:
        tasks: Labels to tasks.
        settings: Nothing; what the executor passes on.
        cell: The cell.
        directory: That of the comparison.

    Returns:
        Seconds.

    Raises:
        KeyboardInterrupt: If the search was interrupted.
        MachineError: If a device, memory or room on a disk is lacking: nothing is kept, so that it is computed later.
        RunError: If files cannot be read or written.
    """
    started = time.perf_counter()
    store, task = Store(directory), tasks[cell.task]
    facts = facts_of(task)
    try:
        outcome = _outcome(task, facts, cell, store.search(cell))
    except RunError:
        raise
    except Exception as error:
        if (reason := _of_machine(error)) is not None:
            raise MachineError(f"{cell}: {one_line(reason)}; what is finished is kept") from error
        if not isinstance(error, SymlossError):
            raise
        outcome = Outcome(facts, failed=one_line(error), versions=current_versions())
    store.write(cell, outcome)
    return time.perf_counter() - started


def facts_of(task: Task) -> TaskFacts:
    """What tables say of a task."""
    assert task.test is not None
    return TaskFacts(task.kind, task.metric_name, len(task.test), task.identity(), worst_outcome(task, ()))


def one_line(error: BaseException) -> str:
    """The line of an error."""
    return " ".join(str(error).split()) or type(error).__name__


def _of_machine(error: BaseException | None) -> BaseException | None:
    """What the machine lacked, if that is what led to an error."""
    while error is not None:
        if isinstance(error, MachineError | MemoryError | OSError):
            return error
        if isinstance(error, RuntimeError) and _LACKS.search(str(error)):
            return error
        error = error.__cause__ or error.__context__
    return None


def _outcome(task: Task, facts: TaskFacts, cell: Cell, directory: Path) -> Outcome:
    protocol = _protocol(cell)
    with Executor(task) as executor:  # on one thread: a comparison computes cells side by side, not their parts
        pick = _pick(task, cell, directory, protocol, executor)
        started = time.process_time()
        entry = Entry(cell.method.label, pick.loss, ASKED, cell.method.kind != UNTUNED)
        losses = {entry.name: entry.loss}
        check(task, protocol.settings, losses)
        tuning = pick.tuning
        if tuning is None and entry.tuned:
            tuning = tune(executor, protocol, losses)[entry.name]
        rate = tuning.rate if tuning else protocol.learning_rate
        values, _ = measure(executor, protocol, losses, {entry.name: rate})[entry.name]
        return Outcome(
            facts, formula=_formula(entry), complexity=pick.complexity, validation=pick.validation, rate=rate,
            tuning=tuning.values if tuning else (), values=tuple(values),
            candidates=pick.candidates, search_seconds=pick.seconds,
            evaluation_seconds=time.process_time() - started, versions=current_versions(),
        )  # fmt: skip


def _protocol(cell: Cell) -> Protocol:
    given = cell.definition["protocol"]
    options = {name: given[name] for name in PROTOCOL}
    return Protocol(seeds=given["training_seeds"], tune_lr=cell.method.kind != UNTUNED, **options)


def _pick(task: Task, cell: Cell, directory: Path, protocol: Protocol, executor: Executor) -> _Pick:
    method = cell.method
    if method.kind == SEARCH:
        assert cell.seed is not None
        return _searched(task, method.name, {**cell.definition["method"]["settings"], "seed": cell.seed}, directory)
    if method.kind == CATALOGUE:
        asked = [catalogue.entry(name).name for name in method.settings.get("losses", catalogue.names())]
        losses = {name: catalogue.get(name, task.kind) for name in asked if task.kind in catalogue.entry(name).kinds}
        return _best_of(losses, task, protocol, executor)
    name = method.name if method.kind == LOSS else TASK_LOSSES[task.kind]
    return _Pick(catalogue.get(name, task.kind, **method.settings))


def _searched(task: Task, name: str, settings: dict[str, Any], directory: Path) -> _Pick:
    """The pick of a search, which is started, gone on with, or read."""
    clock = _Clock(directory.with_name(f"{directory.name}.json"))
    found: SearchResult | None = load_run(directory) if (directory / "config.toml").is_file() else None
    if found is None:
        clock.reset()
        directory.parent.mkdir(parents=True, exist_ok=True)
        found = discover(task, method=name, out=directory, callbacks=[clock], progress=False, **settings)
    elif found.stopped in ("not finished", "interrupted"):
        found = resume(directory, task, callbacks=[clock], progress=False)
    if found.stopped == "interrupted":
        raise KeyboardInterrupt
    best = found.best
    return _Pick(best.loss, best.fitness, best.complexity, len(found.candidates), clock.seconds)


def _best_of(losses: Mapping[str, nn.Module], task: Task, protocol: Protocol, executor: Executor) -> _Pick:
    """The loss with the lowest validation metric at its best rate; of those whose training diverged least often."""
    if not losses:
        raise LossError(f"none of the losses of the catalogue that were asked for is for {task.kind}")
    started = time.process_time()
    check(task, protocol.settings, losses)
    tuning = tune(executor, protocol, losses)
    best = min(tuning, key=lambda name: tuning[name].score)
    mean = tuning[best].score[1]
    seconds = time.process_time() - started
    return _Pick(losses[best], mean if math.isfinite(mean) else None, None, len(losses), seconds, tuning[best])


def _formula(entry: Entry) -> str:
    name = getattr(entry.loss, "name", None)
    text = entry.formula if not name or name in entry.formula else f"{name}: {entry.formula}"
    return text if len(text) <= _FORMULA else text[: _FORMULA - 1] + "…"


class _Clock:
    """Processor time of a search, kept beside its directory after each generation, so that a resumed one goes on."""

    def __init__(self, path: Path) -> None:
        self._path, self._last, self.seconds = path, time.process_time(), 0.0
        try:
            self.seconds = float(json.loads(path.read_text())["processor seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            self.seconds = 0.0

    def reset(self) -> None:
        """Start from zero."""
        self.seconds = 0.0

    def __call__(self, event: GenerationEvent) -> None:
        """Add what the generation took."""
        now = time.process_time()
        self.seconds, self._last = self.seconds + now - self._last, now
        cells.replace(self._path, json.dumps({"processor seconds": self.seconds}) + "\n")
