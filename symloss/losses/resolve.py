"""Wherever a loss is wanted: a named loss, a formula, a file, a run directory or a module becomes a module."""

from __future__ import annotations

import os
import re
from pathlib import Path

from torch import nn

from symloss.errors import LossError, ParseError
from symloss.expression.expression import Expression
from symloss.losses import catalogue, storage
from symloss.losses.symbolic import SymbolicLoss
from symloss.losses.targets import check_options

BEST = "best.json"
"""The file of a run directory that holds its loss."""


def loss(what: str | os.PathLike[str] | Expression | nn.Module, kind: str = "multiclass") -> nn.Module:
    """The loss that is meant.

    Args:
        what: A name of the catalogue, the text of a formula, an Expression, a `.json` file, a run directory (its
            best loss), or any module, which is returned as it is.
        kind: What the outputs of the model mean: `"multiclass"`, `"binary"` or `"regression"`.

    Returns:
        A module called as `loss(input, target)`.

    Raises:
        LossError: If there is no such loss, or it is of another kind.
        ParseError: If a text is meant as a formula, and is none.
    """
    check_options(kind, "mean", -100)
    if isinstance(what, nn.Module):
        return _of_kind(what, kind, type(what).__name__)
    if isinstance(what, Expression):
        return SymbolicLoss(what, kind)
    if not isinstance(what, (str, os.PathLike)):
        raise LossError(
            f"a loss is a name, a formula, a .json file, a run directory or a module; received {type(what).__name__}"
        )
    text = os.fspath(what)
    if isinstance(what, str) and catalogue.find(what) is not None:
        return catalogue.get(what, kind)
    if os.path.isdir(text):
        return _of_kind(_best(Path(text)), kind, repr(text))
    if isinstance(what, os.PathLike) or text.endswith(".json"):
        return _of_kind(storage.load(text), kind, repr(text))
    return _formula(text, kind)


def _of_kind(module: nn.Module, kind: str, label: str) -> nn.Module:
    own = getattr(module, "kind", kind)
    if own != kind:
        raise LossError(
            f"{label} is a loss of kind {own!r}; wanted {kind!r}: give its formula to use it for another kind"
        )
    return module


def _best(directory: Path) -> nn.Module:
    try:
        there = (directory / BEST).is_file()
    except OSError as error:
        raise LossError(f"cannot read {str(directory / BEST)!r}: {error.strerror}") from None
    if not there:
        raise LossError(f"directory {str(directory)!r} holds no {BEST}: it is not a run, or nothing was found yet")
    return storage.load(directory / BEST)


def _formula(text: str, kind: str) -> SymbolicLoss:
    try:
        return SymbolicLoss(text, kind)
    except ParseError:
        if re.fullmatch(r"\s*[A-Za-z][\w -]{1,60}\s*", text):
            raise LossError(f"unknown loss {text!r}; {catalogue.suggestion(text)}") from None
        if re.fullmatch(r"[\w./~\\ -]*[/\\][\w./~\\ -]*", text[:4096]) and len(text) <= 4096:
            raise LossError(f"there is no file or run directory {text!r}") from None
        raise
