"""What the words on the command line mean: losses, tasks, and values of settings; and options that commands share."""

from __future__ import annotations

import difflib
import os
import typing
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symloss.discovery.settings import Settings
from symloss.errors import LossError, ParseError, SearchError, TaskError

if TYPE_CHECKING:
    from torch import nn

    from symloss.expression.expression import Expression
    from symloss.tasks.task import Task

LossArgument = Annotated[str, typer.Argument(metavar="LOSS", help="Named loss, formula, .json file or run directory.")]
TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="Name of a task; `symloss tasks` lists them.")]
KindOption = Annotated[
    str | None,
    typer.Option("--kind", help="multiclass, binary or regression.", show_default="that of the loss"),
]
ModelOption = Annotated[str, typer.Option("--model", help="linear, mlp or lenet5.")]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option("--model-option", metavar="NAME=VALUE", help="Option of the model, such as hidden=64,64. Repeatable."),
]
Steps = Annotated[int, typer.Option(help="Training steps of each model.")]
PlotFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Picture to write.", show_default=False)]
TaskOption = Annotated[
    str | None, typer.Option(help="Name of a task.", show_default="that of the first run directory, with its model")
]
NumbersFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Write every number there, as JSON.")]
SplitSeed = Annotated[int, typer.Option("--split-seed", min=0, help="Seed of the split of the data.")]
Jobs = Annotated[int, typer.Option("--jobs", help="Workers; -1 takes one per core. Results do not depend on it.")]


def read_loss(text: str, kind: str | None = None) -> nn.Module:
    """The loss that a word means, of `kind` or else of its own; formulas are for multiclass unless told otherwise."""
    from symloss import losses
    from symloss.losses import catalogue

    if kind is None:
        if catalogue.find(text) is not None:
            kind = catalogue.entry(text).kinds[0]
        elif os.path.isdir(text) or text.endswith(".json"):
            path = os.path.join(text, losses.resolve.BEST) if os.path.isdir(text) else text
            kind = losses.load(path).kind if os.path.exists(path) else None
    return losses.loss(text, kind or "multiclass")


def read_formula(text: str, kind: str | None = None) -> Expression:
    """The formula of the loss that a word means, or the word as any formula, also one without f.

    Raises:
        LossError: If that loss has none.
    """
    from symloss.expression.parsing import parse
    from symloss.losses import catalogue

    if catalogue.find(text) is None and not os.path.exists(text):
        with suppress(ParseError):  # told by `read_loss`, which knows what else may have been meant
            return parse(text)
    module = read_loss(text, kind)
    expression: Expression | None = getattr(module, "expression", None)
    if expression is None:
        raise LossError(f"{getattr(module, 'name', None) or text} has no formula ℓ(y, f); choose a loss that has one")
    return expression


def read_task(name: str, model: str, options: Iterable[str] | None, split_seed: int) -> Task:
    """The task of these words."""
    from symloss.tasks import load_task

    return load_task(name, model, split_seed, **dict(_model_option(word) for word in options or ()))


def task_or_that_of_run(
    name: str | None, losses: Iterable[str], model: str, options: Iterable[str] | None, split_seed: int
) -> Task:
    """The task of these words; without a name that of the first run directory among the losses, with its model.

    Raises:
        TaskError: If there is neither.
    """
    from symloss.discovery.run_directory import RunDirectory
    from symloss.discovery.runs import recorded_task

    if name is not None:
        return read_task(name, model, options, split_seed)
    for loss in losses:
        if os.path.isdir(loss):
            return recorded_task(RunDirectory.open(loss).config(), loss)
    raise TaskError("there is no task to train on; give one with --task, such as --task digits")


def _model_option(word: str) -> tuple[str, Any]:
    name, equals, value = word.partition("=")
    if not equals or not name or not value or name in ("name", "model", "seed"):
        raise TaskError(f"--model-option takes NAME=VALUE, such as hidden=64,64; received {word!r}")
    entries = [_number(entry) for entry in value.split(",")]
    return name, tuple(entries) if len(entries) > 1 else entries[0]


def _number(text: str) -> int | float | str:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def read_settings(words: Iterable[str] | None) -> dict[str, Any]:
    """Fields of `Settings` from words NAME=VALUE.

    Raises:
        SearchError: If there is no such setting, or the value is not of its type.
    """
    types = typing.get_type_hints(Settings)
    values: dict[str, Any] = {}
    for word in words or ():
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise SearchError(f"--set takes NAME=VALUE, such as max_depth=6; received {word!r}")
        if name not in types:
            close = difflib.get_close_matches(name, types, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(types))}"
            raise SearchError(f"unknown setting {name!r}; {hint}")
        values[name] = _value(name, text.strip(), types[name])
    return values


def _value(name: str, text: str, kind: Any) -> Any:
    choices = typing.get_args(kind) if type(None) in typing.get_args(kind) else (kind,)
    if type(None) in choices and text.lower() == "none":
        return None
    wanted = choices[0]
    try:
        if wanted is bool:
            return {"true": True, "false": False}[text.lower()]
        if typing.get_origin(wanted) is tuple:
            low, high = map(int, text.split(","))
            return low, high
        return wanted(text)
    except (KeyError, ValueError):
        forms = {bool: "true or false", int: "a whole number", float: "a number"}
        raise SearchError(f"{name} is {forms.get(wanted, 'two whole numbers LOW,HIGH')}; received {text!r}") from None
