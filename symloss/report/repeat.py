"""What to type to get a run again, to measure what it found, and to use it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from symloss.discovery.result import SearchResult
from symloss.discovery.settings import Settings

EVALUATION = "evaluation.json"
"""The file of a run directory in which the comparison of its pick with the tuned task loss is kept."""
SEEDS = 10
"""Training seeds of an evaluation that a report asks for."""


def recipe(result: SearchResult) -> dict[str, Any] | None:
    """What `load_task` was called with; None for a task of the user's own, or where a file says what cannot be."""
    record = result.config.task.get("recipe")
    options = record.get("model_options") if isinstance(record, dict) else None
    if not isinstance(record, dict) or not isinstance(options, dict) or not all(map(str.isidentifier, options)):
        return None
    if not isinstance(record.get("seed"), int) or not all(isinstance(record.get(k), str) for k in ("name", "model")):
        return None
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return {**record, "model_options": plain}


def command(result: SearchResult) -> str | None:
    """The line of the shell that repeats the search; None for a task of the user's own."""
    loaded = recipe(result)
    if loaded is None:
        return None
    words = ["symloss", "discover", loaded["name"], "--model", loaded["model"]]
    for name, value in loaded["model_options"].items():
        words += ["--model-option", f"{name}={_word(value)}"]
    words += ["--split-seed", str(loaded["seed"])]
    if result.config.method != "evomal":
        words += ["--method", result.config.method]
    settings = _settings(result)
    for option, name in (("--population", "population_size"), ("--generations", "generations"), ("--seed", "seed")):
        words += [option, str(settings.pop(name))]
    for guess in result.config.guesses:
        words += ["--guess", str(guess)]
    for name, value in settings.items():
        words += ["--set", f"{name}={_word(value)}"]
    if result.directory is not None:
        words += ["--out", str(result.directory)]
    return shlex.join(words)


def python(result: SearchResult) -> str:
    """The lines of Python that repeat the search."""
    loaded = recipe(result)
    if loaded is not None:
        given = {"model": loaded["model"], "seed": loaded["seed"], **loaded["model_options"]}
        task = f"task = sl.load_task({_call([loaded['name']], given)})"
    else:
        name = result.config.task["name"]
        identity = result.config.task["identity"]
        task = f"# `task` is the one of your own that the run was on: {name!r}, with task.identity() == {identity!r}"
    options = _settings(result)
    if result.config.method != "evomal":
        options = {"method": result.config.method, **options}
    if result.config.guesses:
        options["guesses"] = [str(guess) for guess in result.config.guesses]
    if result.directory is not None:
        options["out"] = str(result.directory)
    return f"import symloss as sl\n\n{task}\nresult = sl.discover(task, {_call((), options)})\nprint(result)"


def evaluation(result: SearchResult) -> str:
    """What measures the pick against the tuned task loss and keeps the answer where a report looks for it."""
    steps = result.settings.fitness_steps
    if result.directory is not None and recipe(result) is not None:
        where = shlex.quote(str(result.directory))
        out = shlex.quote(str(result.directory / EVALUATION))
        return f"symloss evaluate {where} --seeds {SEEDS} --steps {steps} --out {out}\nsymloss report {where}"
    run = "result" if result.directory is None else repr(str(result.directory))
    return (
        f"import symloss as sl\n\n# with the task of the run\n"
        f'sl.report({run}, "report.html", evaluate=True, task=task, overwrite=True)'
    )


def use(result: SearchResult) -> str:
    """How to train with the pick."""
    if result.directory is None:
        return "loss = result.best.loss\nloss(outputs, targets).backward()"
    path = str(result.directory / "best.json")
    return f"import symloss as sl\n\nloss = sl.load({path!r})\nloss(outputs, targets).backward()"


def _settings(result: SearchResult) -> dict[str, Any]:
    """Size and seed of the search, then every other setting that is not the usual one."""
    usual, own = Settings(), result.settings
    names = ("population_size", "generations", "seed")
    changed = [n for n in own.to_dict() if n not in names and getattr(own, n) != getattr(usual, n)]
    return {name: getattr(own, name) for name in (*names, *changed)}


def _word(value: Any) -> str:
    """A value as the command line takes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _call(given: Iterable[Any], named: dict[str, Any]) -> str:
    """Arguments of a call as source text."""
    return ", ".join([*map(repr, given), *(f"{name}={value!r}" for name, value in named.items())])
