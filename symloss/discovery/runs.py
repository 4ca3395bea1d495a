"""Starting a search (`discover`) and going on with one (`resume`)."""

from __future__ import annotations

import os
import sys
import tomllib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from numpy.random import RandomState

from symloss.discovery import stages as stage_functions
from symloss.discovery.executor import Executor
from symloss.discovery.guesses import expressions
from symloss.discovery.methods import METHODS
from symloss.discovery.proposal import Request
from symloss.discovery.record import Checkpoint, RunConfig, current_versions, write_toml
from symloss.discovery.result import GenerationEvent, SearchResult
from symloss.discovery.run_directory import RunDirectory
from symloss.discovery.search import Callback, Search
from symloss.discovery.settings import Settings
from symloss.discovery.stages import Stages
from symloss.discovery.values import text, whole
from symloss.errors import MachineError, RunError, RunWarning, SearchError, SymlossError
from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.tasks import Task, load_task
from symloss.tasks.loading import TASK_OPTIONS

Progress = bool | Callable[[GenerationEvent], object] | None

_PATIENCE = 30.0  # a search in processes is one of slow models: worth waiting until all workers are there
_EXTENDABLE = ("generations", "target_fitness", "time_limit")


def discover(
    task: Task | str,
    *,
    method: str = "evomal",
    out: str | os.PathLike[str] | None = None,
    guesses: Sequence[Expression | str] | Expression | str = (),
    n_jobs: int = 1,
    callbacks: Iterable[Callback] = (),
    progress: Progress = None,
    overwrite: bool = False,
    stages: Stages | None = None,
    **settings: Any,
) -> SearchResult:
    """Search for a loss ℓ(y, f) under which models of a task reach a low validation metric.

    `population_size` candidates are judged in each of `generations` generations, whatever the method: expressions that
    evolve or are drawn, samples of CMA-ES, or networks that are taught further. Guesses come on top of that.

    The result depends on the task and the settings alone, bit for bit on one machine, whatever `n_jobs` is. Ctrl-C and
    `time_limit` stop the search and keep what was found.

    Args:
        task: The task, or the name of one for `load_task`.
        method: `"evomal"`, or a baseline on the same budget: `"random"`, `"gp-lfl"`, `"taylorglo"` or `"ml3"`; see
            `methods.METHODS`.
        out: Directory to keep the run in, new or empty; None keeps it in memory.
        guesses: Expressions, formulas or names of handcrafted losses to start from; `"catalogue"` is all of those that
            have an expression for the task. Each enters beside the first generation, as it is and refined, so that the
            search never ends worse than the best of them.
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
    if not isinstance(method, str) or method not in METHODS:
        raise SearchError(f"unknown method {method!r:.60}; there is: {', '.join(METHODS)}")
    resolved = replace(Settings.from_dict(settings), **METHODS[method].settings)
    own = _on_device(load_task(task) if isinstance(task, str) else task, resolved.device)
    _check_pool(own, resolved)
    config = RunConfig(
        method=method,
        settings=resolved,
        task=_task_record(own),
        guesses=expressions(guesses, own),
        primitives=tuple(row.name for row in primitives.search_set()),
    )
    first = Request(resolved, RandomState(resolved.seed), guesses=config.guesses)
    METHODS[method].start()(first)  # bad guesses and limits end it here
    executor, listeners = _executor(own, config, n_jobs, stages), _listeners(callbacks, progress)
    directory = None if out is None else RunDirectory.create(out, config, overwrite)
    return _run(Search(own, config, executor, listeners, directory, stages))


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

    Warns:
        RunWarning: If other versions of symloss or what it computes with did the run before: bits may differ.

    Raises:
        RunError: If the directory is no run, is damaged, is in use, or belongs to another task.
        SearchError: If another setting is to change.
    """
    for name in changes:
        if name not in _EXTENDABLE:
            raise SearchError(f"a resumed run may change {', '.join(_EXTENDABLE)}; received {name!r}: start a new run")
    run = RunDirectory.open(directory, writing=True)
    try:
        config, saved, candidates = run.contents()
        if changes:
            config = replace(config, settings=Settings.from_dict({**config.settings.to_dict(), **changes}))
        own = _on_device(recorded_task(config, run.path) if task is None else task, config.settings.device)
        _check_task(config, own, run.path)
        _check_primitives(config, run.path)
        if saved is None and candidates:
            raise RunError(f"{run.path} has candidates but no checkpoint.json; restore it or start a new run")
        executor = _executor(own, config, n_jobs, stages)
        search = Search(own, config, executor, _listeners(callbacks, progress), run, stages)
        if saved is not None:
            _tell_versions(saved, run)
            search.restore(replace(saved, versions=current_versions()), candidates[: saved.candidates])
            run.truncate(saved.candidates)
        if changes:
            run.write_config(config)
    except BaseException:
        run.close()
        raise
    return _run(search)


def _executor(task: Task, config: RunConfig, n_jobs: int, functions: Stages | None) -> Executor:
    """Workers for these functions; other functions than EvoMAL's may do anything, so that they get processes."""
    usual = (functions or METHODS[config.method].stages) == Stages()
    backend = stage_functions.backend(task, config.settings) if usual and n_jobs != 1 else "loky"
    executor = Executor(task, n_jobs, backend)
    executor.patience = _PATIENCE
    return executor


def _tell_versions(saved: Checkpoint, run: RunDirectory) -> None:
    """Say that the rest may differ in the last bits from what the versions before would have computed."""
    now = current_versions()
    other = [f"{name} {old}, now {now[name]}" for name, old in saved.versions.items() if now.get(name, old) != old]
    if other:
        line = f"{run.path} was computed with {'; '.join(other)}: what follows may differ from it in the last bits"
        run.log(line)
        warnings.warn(line, RunWarning, stacklevel=3)


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
    callbacks = tuple(callbacks) if isinstance(callbacks, Iterable) else (callbacks,)
    for callback in callbacks:
        if not callable(callback):
            raise SearchError(f"callbacks are functions; received {callback!r:.60}")
    if callable(progress):
        return (*callbacks, progress)
    shown = sys.stderr is not None and sys.stderr.isatty() if progress is None else progress
    return (*callbacks, _print_line) if shown else callbacks


def _print_line(event: GenerationEvent) -> None:
    print(event, file=sys.stderr, flush=True)


def _check_pool(task: Task, settings: Settings) -> None:
    """Whether training and validation data may be pooled."""
    options = (task.recipe or {}).get("options", {})
    made = [name for name in ("imbalance", "clean_validation") if options.get(name)]
    if settings.resplit and made:
        raise SearchError(f"resplit pools training and validation data, which {made[0]} makes different; leave one out")


def _on_device(task: Task, device: str) -> Task:
    if not isinstance(task, Task):
        raise SearchError(f"a task is a Task or the name of one; received {task!r:.60}")
    try:
        moved = task.to(device)
        moved.train.x[:1].cpu()  # a device without data, such as "meta", fails here
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that it lacks
        reason = " ".join(str(error).split())[:200]
        raise MachineError(f"device {device!r:.60} cannot be used ({reason}); choose another, such as 'cpu'") from None
    return moved


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


def recorded_task(config: RunConfig, directory: str | os.PathLike[str]) -> Task:
    """The task of a run, made anew by its recipe.

    Raises:
        RunError: If the task is the user's own, or its recipe is damaged or makes another one.
        TaskError: If it cannot be loaded.
    """
    recipe, name = config.task.get("recipe"), config.task["name"]
    if recipe is None:
        raise RunError(
            f"{directory} is a run on a task of your own ({name!r:.60}): call resume(directory, task), "
            "or evaluate with the task, in Python"
        )
    try:
        options, model_options = dict(recipe.get("options", {})), dict(recipe["model_options"])
        arguments: tuple[Any, ...] = text(recipe["name"]), text(recipe["model"]), whole(recipe["seed"])
        if set(recipe) - {"options"} != {"name", "model", "seed", "model_options"} or set(model_options) & TASK_OPTIONS:
            raise ValueError("it has name, model, seed, model_options and options, and nothing else")
        if not set(options) <= TASK_OPTIONS - set(recipe):
            raise ValueError("it has options that load_task does not have")
        task = load_task(*arguments, **(options | model_options))
    except SymlossError:
        raise
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise RunError(f"{directory} has a damaged recipe of its task ({said}); restore it or give the task") from None
    _check_task(config, task, directory)
    return task


def _check_task(config: RunConfig, task: Task, directory: str | os.PathLike[str]) -> None:
    """Raise a RunError unless the data and model of a task are those of the run."""
    known, own = config.task, tomllib.loads(write_toml(_task_record(task)))  # as config.toml holds it
    other = [name for name in ("name", "kind", "outputs", "metric", "identity") if own[name] != known[name]]
    if other:
        raise RunError(
            f"the task is not that of {directory} ({known['name']!r:.60}): its data, name or model differ ({other[0]})"
        )


def _check_primitives(config: RunConfig, directory: str | os.PathLike[str]) -> None:
    missing = set(config.primitives) ^ {row.name for row in primitives.search_set()}
    if missing:
        raise RunError(f"{directory} draws from other primitives ({', '.join(sorted(missing))}); register the same")
