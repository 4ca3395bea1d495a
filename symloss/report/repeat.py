"""What to type to get a run again, to measure what it found, and to use it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from symloss.discovery.result import SearchResult
from symloss.discovery.settings import Settings
from symloss.report.command import discover_command

EVALUATION = "evaluation.json"
"""The file of a run directory in which the comparison of its pick with the tuned task loss is kept."""
SEEDS = 10
"""Training seeds of an evaluation that a report asks for."""


def recipe(result: SearchResult) -> dict[str, Any] | None:
    """Arguments of `load_task`, as the run records them; None for a task of the user's own, or a damaged record."""
    record = result.config.task.get("recipe")
    if not isinstance(record, dict):
        return None
    options = {**_dictionary(record.get("options")), **_dictionary(record.get("model_options"))}
    if not isinstance(record.get("seed"), int) or not all(isinstance(record.get(k), str) for k in ("name", "model")):
        return None
    if not all(map(str.isidentifier, options)):
        return None
    plain = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    return {"name": record["name"], "model": record["model"], "seed": record["seed"], "options": plain}


def command(result: SearchResult) -> str | None:
    """The line of the shell that repeats the search; None for a task of the user's own."""
    line = discover_command(result.config) if recipe(result) is not None else None
    if line is None or result.directory is None:
        return line
    return f"{line} --out {shlex.quote(str(result.directory))}"


def python(result: SearchResult) -> str:
    """The lines of Python that repeat the search."""
    loaded = recipe(result)
    if loaded is not None:
        given = {"model": loaded["model"], "seed": loaded["seed"], **loaded["options"]}
        task = f"task = sl.load_task({_call([loaded['name']], given)})"
    else:
        name, identity = result.config.task["name"], result.config.task["identity"]
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
    if result.directory is not None and recipe(result) is not None:
        return f"symloss report {shlex.quote(str(result.directory))} --evaluate"
    run = "result" if result.directory is None else repr(str(result.directory))
    return (
        "import symloss as sl\n\n# `task` is that of the run\n"
        f'sl.report({run}, "report.html", evaluate=True, task=task)'
    )


def smoothing(result: SearchResult) -> str:
    """What derives in symbols how the pick acts as label smoothing."""
    classes = f" --classes {result.config.task['outputs']}" if result.kind == "multiclass" else ""
    if result.directory is not None:
        return f"symloss smoothing {shlex.quote(str(result.directory))}{classes}"
    return f"symloss smoothing {shlex.quote(str(result.best.loss.expression))} --kind {result.kind}{classes}"


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


def _dictionary(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _call(given: Iterable[Any], named: dict[str, Any]) -> str:
    """Arguments of a call as source text."""
    return ", ".join([*map(repr, given), *(f"{name}={value!r}" for name, value in named.items())])
