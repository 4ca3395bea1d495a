"""What the words on the command line mean: losses and values of settings; and options that commands share."""

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
from symloss.errors import LossError, ParseError, SearchError

if TYPE_CHECKING:
    from torch import nn

    from symloss.expression.expression import Expression

LossArgument = Annotated[str, typer.Argument(metavar="LOSS", help="Named loss, formula, .json file or run directory.")]
KindOption = Annotated[
    str | None,
    typer.Option("--kind", help="multiclass, binary or regression.", show_default="that of the loss"),
]
Steps = Annotated[int, typer.Option(help="Training steps of each model.")]
PlotFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Picture to write.", show_default=False)]
NumbersFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Write every number there, as JSON.")]
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
