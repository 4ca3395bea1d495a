"""Guesses: the expressions that a search starts from, given as such or as any loss that has one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from symloss.errors import LossError, SearchError
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.losses import catalogue, loss
from symloss.tasks.task import Task

CATALOGUE = "catalogue"
"""The guess that stands for every handcrafted loss that can be written as an expression for the task."""
_LABEL_SMOOTHING = "label-smoothing"


def expressions(given: Any, task: Task) -> tuple[Expression, ...]:
    """The expressions that guesses stand for, each once.

    Args:
        given: An expression, anything that `symloss.loss` takes, `"catalogue"` for every handcrafted loss that has an
            expression for the kind of the task, or several of these.
        task: The task.

    Raises:
        SearchError: If one is none of these, or has no expression for this task.
        LossError, ParseError: If a text is none.
    """
    found = (expression for guess in listed(given) for expression in _of(guess, task))
    return tuple(dict.fromkeys(found))


def listed(given: Any) -> list[Any]:
    """One guess or several as a list; texts that no task could make sense of end it here.

    Raises:
        SearchError, LossError, ParseError: As in `expressions`.
    """
    if isinstance(given, str | Expression):
        given = (given,)
    if not isinstance(given, Iterable):
        raise SearchError(f"guesses are Expressions, formulas or names of losses; received {given!r:.60}")
    found = list(given)
    for guess in found:
        if not isinstance(guess, str | Expression):
            raise SearchError(f"a guess is an Expression, a formula or the name of a loss; received {guess!r:.60}")
        if isinstance(guess, str) and not (guess == CATALOGUE or catalogue.find(guess) or _stored(guess)):
            _formula(guess)
    return found


def _of(guess: str | Expression, task: Task) -> Iterator[Expression]:
    if isinstance(guess, Expression):
        yield guess
    elif guess == CATALOGUE:
        yield from filter(None, (_handcrafted(name, task) for name in catalogue.names(task.kind)))
    elif name := catalogue.find(guess):
        yield _written(_handcrafted(name, task), name, task)
    elif _stored(guess):
        yield _written(getattr(loss(guess, task.kind), "expression", None), guess, task)
    else:
        yield _formula(guess)


def _stored(guess: str) -> bool:
    """Whether a text is meant as a file or a run directory."""
    return guess.endswith(".json") or os.path.isdir(guess)


def _formula(text: str) -> Expression:
    if text.strip().replace("-", "_").isidentifier() and text.strip() not in ("y", "f"):
        hint = f"did you mean {CATALOGUE!r}?" if text.lower().startswith("catal") else catalogue.suggestion(text)
        raise LossError(f"unknown loss {text!r:.80}; {hint}")
    return parse(text)


def _written(expression: Expression | None, name: str, task: Task) -> Expression:
    if expression is None:
        raise SearchError(f"{name!r:.60} cannot be a guess: it has no expression for {task.kind}; give a formula")
    return expression


def _handcrafted(name: str, task: Task) -> Expression | None:
    """The expression of a handcrafted loss with its default parameters, or None if it has none."""
    if name == _LABEL_SMOOTHING and task.kind == "multiclass":
        share = catalogue.entry(name).parameters["smoothing"].default
        return parse(f"-({1 - share!r}*y + {share / task.outputs!r})*log(f)")
    return catalogue.get(name, task.kind).expression
