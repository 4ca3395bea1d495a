"""symloss discovers loss functions as formulas. Everything is loaded at first use, so that importing costs nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from symloss import analysis, errors, fewshot, losses, plotting, tasks
    from symloss.comparison import compare
    from symloss.discovery.result import SearchResult, load_run
    from symloss.discovery.runs import discover, resume
    from symloss.discovery.settings import Settings
    from symloss.evaluation import evaluate
    from symloss.expression.equivalence import equivalent
    from symloss.expression.expression import Expression
    from symloss.expression.parsing import parse
    from symloss.expression.primitives import register
    from symloss.losses.linear import linear_loss
    from symloss.losses.smoothing import AbsoluteCrossEntropy, LabelSmoothing, SparseLabelSmoothing
    from symloss.losses.storage import load
    from symloss.losses.symbolic import SymbolicLoss
    from symloss.online import AdaptiveLoss, adapt
    from symloss.report.page import report
    from symloss.tasks.loading import load_task
    from symloss.tasks.task import Task

__all__ = [
    "AbsoluteCrossEntropy", "AdaptiveLoss", "Expression", "LabelSmoothing", "SearchResult", "Settings",
    "SparseLabelSmoothing", "SymbolicLoss", "Task", "adapt", "analysis", "compare", "discover", "equivalent", "errors",
    "evaluate", "fewshot", "linear_loss", "load", "load_run", "load_task", "losses", "parse", "plotting", "register",
    "report", "resume", "tasks",
]  # fmt: skip

_ROOMS = ("analysis", "errors", "fewshot", "losses", "plotting", "report", "tasks")
_HOMES = {
    "comparison": ("compare",),
    "discovery.result": ("SearchResult", "load_run"),
    "discovery.runs": ("discover", "resume"),
    "discovery.settings": ("Settings",),
    "evaluation": ("evaluate",),
    "expression.equivalence": ("equivalent",),
    "expression.expression": ("Expression",),
    "expression.parsing": ("parse",),
    "expression.primitives": ("register",),
    "losses.linear": ("linear_loss",),
    "losses.smoothing": ("AbsoluteCrossEntropy", "LabelSmoothing", "SparseLabelSmoothing"),
    "losses.storage": ("load",),
    "losses.symbolic": ("SymbolicLoss",),
    "online": ("AdaptiveLoss", "adapt"),
    "tasks.loading": ("load_task",),
    "tasks.task": ("Task",),
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("symloss")
        if name in _ROOMS:
            return import_module(f"symloss.{name}")
        home = next((home for home, names in _HOMES.items() if name in names), None)
        if home is not None:
            return globals().setdefault(name, getattr(import_module(f"symloss.{home}"), name))
        raise AttributeError(f"module 'symloss' has no attribute {name!r}; it has: {', '.join(__all__)}")

    def __dir__() -> list[str]:
        return [*__all__, "__version__"]
