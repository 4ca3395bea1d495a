"""What a search starts from: expressions, formulas, names of handcrafted losses, and all of these at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from symloss.discovery.guesses import expressions
from symloss.errors import LossError, SymlossError
from symloss.expression.parsing import parse
from symloss.losses import SymbolicLoss, catalogue, save
from symloss.tasks.task import Task


def make_task(kind: str, classes: int = 7) -> Task:
    outputs = classes if kind == "multiclass" else 1
    y: Tensor = torch.arange(21) % classes if kind == "multiclass" else (torch.arange(21) % 2).float()[:, None]
    x = torch.randn(21, 3, generator=torch.Generator().manual_seed(0))
    return Task(lambda: nn.Linear(3, outputs), (x, y), (x, y), kind=kind)


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_the_catalogue_is_every_loss_that_can_be_written_down(kind: str) -> None:
    """Each of them is the handcrafted loss: the same values and gradients."""
    task = make_task(kind)
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(21, task.outputs, generator=generator, dtype=torch.float64, requires_grad=True)
    y = task.train.y if kind == "multiclass" else task.train.y.double()
    found = expressions("catalogue", task)
    assert len(found) == {"multiclass": 11, "binary": 10, "regression": 4}[kind]
    for name in catalogue.names(kind):
        own = expressions(name, task) if not _unwritten(name, kind) else ()
        assert set(own) <= set(found)
        for expression in own:
            values = [loss(outputs, y) for loss in (SymbolicLoss(expression, kind), catalogue.get(name, kind))]
            gradients = [torch.autograd.grad(value, outputs)[0] for value in values]
            torch.testing.assert_close(*values)
            torch.testing.assert_close(*gradients)


def _unwritten(name: str, kind: str) -> bool:
    return catalogue.get(name, kind).expression is None and (name, kind) != ("label-smoothing", "multiclass")


def test_each_comes_once_and_names_have_aliases() -> None:
    task = make_task("multiclass")
    assert expressions(["gce", "generalised-cross-entropy", parse("y - f"), "y - f"], task) == (
        *expressions("gce", task), parse("y - f"),
    )  # fmt: skip
    assert expressions((), task) == ()


def test_a_run_and_a_file_are_guesses(tmp_path: Path) -> None:
    task = make_task("regression")
    save(SymbolicLoss("square(y - 0.5*f)", "regression"), tmp_path / "mine.json")
    assert expressions(str(tmp_path / "mine.json"), task) == (parse("square(y - 0.5*f)"),)
    with pytest.raises(LossError, match="is a loss of kind 'regression'; wanted 'multiclass'"):
        expressions(str(tmp_path / "mine.json"), make_task("multiclass"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (3, "guesses are Expressions, formulas or names of losses; received 3"),
        ([None], "a guess is an Expression, a formula or the name of a loss; received None"),
        ("huber", "huber is for regression; received kind 'multiclass'"),
        ("sparse-label-smoothing", "'sparse-label-smoothing' cannot be a guess: it has no expression for multiclass"),
        ("hubert", "did you mean 'huber'"),
        ("catalog", "unknown loss 'catalog'; did you mean 'catalogue'?"),
        ("y -", "the text ends where"),
    ],
)
def test_a_bad_guess_is_told_in_one_line(given: Any, said: str) -> None:
    with pytest.raises(SymlossError, match=said) as caught:
        expressions(given, make_task("multiclass"))
    assert "\n" not in str(caught.value)
