"""Starting a search (`discover`) and going on with one (`resume`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from numpy.random import RandomState

from symloss.discovery import stages as stage_functions
from symloss.discovery.executor import Executor
from symloss.discovery.methods import METHODS
from symloss.discovery.record import RunConfig, write_toml
from symloss.discovery.result import GenerationEvent, SearchResult
from symloss.discovery.run_directory import RunDirectory
from symloss.discovery.search import Callback, Search, Stages
from symloss.discovery.settings import Settings
from symloss.errors import RunError, SearchError
from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.tasks import Task, load_task

Progress = bool | Callable[[GenerationEvent], object] | None

_EXTENDABLE = ("generations", "target_fitness", "time_limit")


def discover(
    task: Task | str,
    *,
    method: str = "evomal",
    out: str | os.PathLike[str] | None = None,
    guesses: Sequence[Expression | str] = (),
    n_jobs: int = 1,
    callbacks: Iterable[Callback] = (),
    progress: Progress = None,
    overwrite: bool = False,
    stages: Stages | None = None,
    **settings: Any,
) -> SearchResult:
    """Search for a loss ℓ(y, f) under which models of a task reach a low validation metric.

    The result depends on the task and the settings alone, bit for bit on one machine, whatever `n_jobs` is. Ctrl-C and
    `time_limit` stop the search and keep what was found.

    Args:
        task: The task, or the name of one for `load_task`.
        method: Name of the search method: `"evomal"`.
        out: Directory to keep the run in, new or empty; None keeps it in memory.
        guesses: Expressions (or texts) to start from. Each enters as it is and refined, so that the search never ends
            worse than the best of them.
        n_jobs: Workers, -1 for one per core: threads for models of linear layers on the CPU, whose training gives up
            Python's lock, otherwise processes.
        callbacks: Called with a `GenerationEvent` after each generation.
        progress: True writes one line per generation to stderr, None does so if stderr is a terminal, False never; a
            function is called with each `GenerationEvent` instead.
        overwrite: Whether `out` may replace an earlier run.
        stages: Other functions to judge candidates with.
        settings: Fields of `Settings`.

    Returns:
        The Pareto front, every candidate, and the history.

    Raises:
        SearchError: If a method, setting or guess cannot be used, or every candidate is rejected.
        RunError: If `out` is in use or cannot be written.
        TaskError: If the task cannot be loaded.

    Source: Raymond et al., *Learning Symbolic Model-Agnostic Loss Functions via Meta-Learning*, arXiv 2209.08907.
    """
    if method not in METHODS:
        raise SearchError(f"unknown method {method!r}; there is: {', '.join(METHODS)}")
    resolved = Settings.from_dict(settings)
    own = _on_device(load_task(task) if isinstance(task, str) else task, resolved.device)
    config = RunConfig(
        method=method,
        settings=resolved,
        task=_task_record(own),
        guesses=_expressions(guesses),
        primitives=tuple(row.name for row in primitives.search_set()),
    )
    METHODS[method]((), resolved, RandomState(resolved.seed), config.guesses)  # bad guesses and limits end it here
    executor = _executor(own, resolved, n_jobs, stages)
    directory = None if out is None else RunDirectory.create(out, config, overwrite)
    return _run(Search(own, config, executor, _listeners(callbacks, progress), directory, stages))


def resume(
    directory: str | os.PathLike[str],
    task: Task | None = None,
    *,
    n_jobs: int = 1,
    callbacks: Iterable[Callback] = (),
    progress: Progress = None,
    stages: Stages | None = None,
    **changes: Any,
) -> SearchResult:
    """Go on with a run from its last whole generation; the result is that of a run that was never cut off, bit for bit.

    Args:
        directory: The run's directory.
        task: The task of the run; may be left out if it came from `load_task`.
        n_jobs: As in `discover`, as are `callbacks`, `progress` and `stages`.
        callbacks: Called with a `GenerationEvent` after each generation.
        progress: Where progress is shown.
        stages: Other functions to judge candidates with.
        changes: New values of `generations`, `target_fitness` or `time_limit`. The time limit counts from now.

    Raises:
        RunError: If the directory is no run, is damaged, is in use, or belongs to another task.
        SearchError: If another setting is to change.
    """
    for name in changes:
        if name not in _EXTENDABLE:
            raise SearchError(f"a resumed run may change {', '.join(_EXTENDABLE)}; received {name!r}: start a new run")
    run = RunDirectory.open(directory, writing=True)
    try:
        config = run.config()
        if changes:
            config = replace(config, settings=Settings.from_dict({**config.settings.to_dict(), **changes}))
        own = _same_task(config, task, run)
        saved = run.checkpoint()
        if saved is None and run.candidates(config.task["kind"]):
            raise RunError(f"{run.path} has candidates but no checkpoint.json; restore it or start a new run")
        candidates = run.candidates(config.task["kind"], saved.candidates if saved else 0)
        executor = _executor(own, config.settings, n_jobs, stages)
        search = Search(own, config, executor, _listeners(callbacks, progress), run, stages)
        if saved is not None:
            search.restore(saved, candidates)
            run.truncate(saved.candidates)
        if changes:
            run.write_config(config)
    except BaseException:
        run.close()
        raise
    return _run(search)


def _executor(task: Task, settings: Settings, n_jobs: int, functions: Stages | None) -> Executor:
    """Workers for these functions; other functions than symloss's own may do anything, so that they get processes."""
    backend = stage_functions.backend(task, settings) if functions is None and n_jobs != 1 else "loky"
    return Executor(task, n_jobs, backend)


def _run(search: Search) -> SearchResult:
    directory = search.directory
    if directory is None:
        return search.run()
    try:
        directory.write_checkpoint(search.saved)
        directory.log(f"started at generation {len(search.saved.history)} of {search.settings.generations}")
        return search.run()
    finally:
        directory.close()


def _listeners(callbacks: Iterable[Callback], progress: Progress) -> tuple[Callback, ...]:
    if callable(progress):
        return (*callbacks, progress)
    shown = sys.stderr is not None and sys.stderr.isatty() if progress is None else progress
    return (*callbacks, _print_line) if shown else tuple(callbacks)


def _print_line(event: GenerationEvent) -> None:
    print(event, file=sys.stderr, flush=True)


def _expressions(guesses: Sequence[Expression | str] | Expression | str) -> tuple[Expression, ...]:
    if isinstance(guesses, str | Expression):
        guesses = (guesses,)
    expressions = tuple(parse(guess) if isinstance(guess, str) else guess for guess in guesses)
    for guess in expressions:
        if not isinstance(guess, Expression):
            raise SearchError(f"a guess is an Expression or its text; received {guess!r:.60}")
    return expressions


def _on_device(task: Task, device: str) -> Task:
    try:
        return task.to(device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that it lacks
        reason = " ".join(str(error).split())[:200]
        raise SearchError(f"device {device!r} cannot be used ({reason}); choose another, such as 'cpu'") from None


def _task_record(task: Task) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": task.name,
        "kind": task.kind,
        "outputs": task.outputs,
        "metric": task.metric_name,
        "identity": task.identity(),
    }
    if task.recipe is not None:
        try:
            write_toml(task.recipe)
        except TypeError:  # an option that text cannot hold: the task must then be given to `resume`
            return record
        record["recipe"] = task.recipe
    return record


def _same_task(config: RunConfig, task: Task | None, run: RunDirectory) -> Task:
    """The task of a run: the one given, or made anew by its recipe; its data and model must be those of the run."""
    name = config.task["name"]
    if task is None:
        recipe = config.task.get("recipe")
        if recipe is None:
            raise RunError(f"{run.path} is a run on a task of your own ({name!r}): call resume(directory, task)")
        try:
            task = load_task(recipe["name"], recipe["model"], recipe["seed"], **recipe["model_options"])
        except (KeyError, TypeError) as error:
            raise RunError(f"{run.path} has a damaged recipe of its task ({error}); give the task") from None
    task = _on_device(task, config.settings.device)
    if task.identity() != config.task["identity"]:
        raise RunError(f"the task is not that of {run.path} ({name!r}): its data, name or model differ")
    missing = set(config.primitives) ^ {row.name for row in primitives.search_set()}
    if missing:
        raise RunError(f"{run.path} draws from other primitives ({', '.join(sorted(missing))}); register the same")
    return task
