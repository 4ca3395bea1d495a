"""Entries of an evaluation: the losses that were asked for, and the references that always run beside them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from symloss.errors import LossError
from symloss.evaluation.gradients import TASK_LOSSES, is_task_loss
from symloss.expression.expression import Expression
from symloss.losses import catalogue, resolve
from symloss.tasks.task import Task

LOSS = "loss"
TUNED = "tuned reference"
UNTUNED = "untuned reference"

NOUNS = {"multiclass": "cross-entropy", "binary": "cross-entropy", "regression": "mean squared error"}
"""What sentences call each kind's task loss."""

AnyLoss = str | os.PathLike[str] | Expression | nn.Module
_LONGEST = 60


@dataclass(frozen=True)
class Entry:
    """A loss that is trained with.

    Args:
        name: What reports call it.
        loss: The module.
        role: `"loss"`, `"tuned reference"` or `"untuned reference"`.
        tuned: Whether its learning rate is tuned.
    """

    name: str
    loss: nn.Module
    role: str
    tuned: bool

    @property
    def formula(self) -> str:
        """Text of the formula; of a module without one its own text, on one line."""
        expression = getattr(self.loss, "expression", None)
        return str(expression) if isinstance(expression, Expression) else " ".join(repr(self.loss).split())


def entries(task: Task, losses: Mapping[str, AnyLoss] | Iterable[AnyLoss] | AnyLoss, tune_lr: bool) -> list[Entry]:
    """The losses asked for in their order, then what is missing of the tuned and the untuned task loss.

    The task loss (cross-entropy, for regression the mean squared error), if it is among the losses, is the reference.

    Args:
        task: What they are trained on.
        losses: Names to losses; or some losses, or one, which then get names.
        tune_lr: Whether the losses asked for are tuned.

    Returns:
        One entry per row of the evaluation; exactly one is the tuned and one the untuned reference.

    Raises:
        LossError: If there are no losses, a loss or a name cannot be used, or two names are the same.
        ParseError: If a text is meant as a formula, and is none.
    """
    own = TUNED if tune_lr else UNTUNED
    found: list[Entry] = []
    for name, what in _named(losses):
        module = resolve.loss(what, task.kind)
        is_reference = is_task_loss(module, task) and all(entry.role == LOSS for entry in found)
        found.append(Entry(name, module, own if is_reference else LOSS, tune_lr))
    task_loss = catalogue.get(TASK_LOSSES[task.kind], task.kind)
    for role, word in ((TUNED, "tuned"), (UNTUNED, "untuned")):
        if all(entry.role != role for entry in found):
            name = f"{word} {NOUNS[task.kind]}"
            if any(entry.name == name for entry in found):
                raise LossError(f"{name!r} is the name of a row that is always there; give your loss another name")
            found.append(Entry(name, task_loss, role, role == TUNED))
    return found


def _named(losses: Any) -> list[tuple[str, Any]]:
    """Pairs of a name and what was given for it."""
    if isinstance(losses, Mapping):
        pairs = list(losses.items())
    elif isinstance(losses, str | os.PathLike | Expression | nn.Module) or not isinstance(losses, Iterable):
        pairs = [(_label(losses), losses)]
    else:
        pairs = [(_label(what), what) for what in losses]
    if not pairs:
        raise LossError("there is no loss to evaluate; give at least one, such as {'found': loss}")
    names: set[str] = set()
    for name, _ in pairs:
        if not isinstance(name, str) or not name.strip() or not name.isprintable() or len(name) > _LONGEST:
            raise LossError(f"the name of a loss is a line of 1 to {_LONGEST} characters; received {name!r:.80}")
        if name in names:
            raise LossError(f"two losses are called {name!r}; give them different names, as in {{'a': ..., 'b': ...}}")
        names.add(name)
    return pairs


def _label(what: object) -> str:
    """A name for a loss that was given without one."""
    named = getattr(what, "name", None) if isinstance(what, nn.Module) else None
    if isinstance(named, str) and named:
        return named[:_LONGEST]
    expression = getattr(what, "expression", what)
    if isinstance(expression, Expression):
        text = str(expression.with_weights([float(f"{w:.4g}") for w in expression.weights]))
    elif isinstance(what, nn.Module):
        text = type(what).__name__
    else:
        text = os.fspath(what) if isinstance(what, str | os.PathLike) else type(what).__name__
    text = " ".join(str(text).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
