"""Adaptation: what a run of `adapt` ended with, as a person wants to read it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from symloss.discovery.record import current_versions
from symloss.expression.showing import aligned
from symloss.losses.symbolic import SymbolicLoss
from symloss.online import shapes
from symloss.online.settings import METHODS, AdaptSettings
from symloss.online.training import Record

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

FORMAT = "symloss adaptation 1"
"""By this the numbers of a run are known."""
_ROWS = 6
_SHOWN = 8


@dataclass(frozen=True)
class Adaptation:
    """A trained model, the loss that it was trained under, and their history.

    Args:
        task: The task in one line.
        recipe: Arguments of `load_task` that make it anew; None for a task of the user's own.
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        metric_name: What is measured.
        settings: How it was trained.
        model: The model, in evaluation mode.
        loss: The loss, with the weights that it has now.
        learning_rate: α: as given, tuned, or as it has adapted.
        offline: Meta-steps done.
        online: Training steps done.
        records: What was measured, step by step.
        outputs: How many outputs the model has: the classes C of a multiclass task.
        snapshots: Online steps with the curves [targets, predictions] that the loss had after them; see `curves`.
        weights: All φ [size] after each of those steps; see `loss_at`.
        metrics: Metric of the model on the training, validation and, if there are any, test data.
        stopped: Why it ended.
        trouble: What the guard noticed; empty if nothing.
        directory: Where it is kept.
        seconds: Computing time of this call.
    """

    task: str
    recipe: dict[str, Any] | None
    kind: str
    metric_name: str
    settings: AdaptSettings
    model: nn.Module
    loss: nn.Module
    learning_rate: float
    offline: int
    online: int
    records: tuple[Record, ...]
    outputs: int
    snapshots: tuple[tuple[int, NDArray[np.float64]], ...]
    weights: tuple[NDArray[np.float64], ...]
    metrics: dict[str, float]
    stopped: str
    trouble: str = ""
    directory: Path | None = None
    seconds: float = field(default=0.0, compare=False)

    @property
    def curves(self) -> tuple[tuple[float, ...], NDArray[np.float64]]:
        """Targets y, and the predictions f [points], at which the snapshots were taken."""
        return shapes.targets(self.kind), shapes.predictions(self.kind)

    @property
    def shown(self) -> tuple[int, ...]:
        """Places of at most eight of the snapshots, evenly from the first to the last."""
        last = len(self.snapshots) - 1
        return tuple(sorted({round(last * k / (_SHOWN - 1)) for k in range(_SHOWN)})) if self.snapshots else ()

    def loss_at(self, place: int) -> nn.Module:
        """The loss with the weights that it had at a snapshot."""
        return shapes.with_weights(self.loss, self.weights[place])

    def figure(self) -> Figure:
        """The loss's shape over training, the learning curve and the effective rate; see `plotting.adaptation`."""
        drawn: Figure = import_module("symloss.plotting.adaptation").adaptation(self)
        return drawn

    def to_dataframe(self) -> DataFrame:
        """The records, one row each."""
        from pandas import DataFrame

        return DataFrame([asdict(record) for record in self.records])

    def to_json(self) -> dict[str, Any]:
        """Everything but model and loss as plain values."""
        targets, predictions = self.curves
        return {
            "format": FORMAT, "task": self.task, "recipe": self.recipe, "kind": self.kind, "outputs": self.outputs,
            "versions": current_versions(), "analysis": self._analysed,
            "settings": self.settings.to_json(), "learning_rate": self.learning_rate,
            "offline_steps_done": self.offline, "steps_done": self.online, "metric": self.metric_name,
            "metrics": {name: _plain(value) for name, value in self.metrics.items()}, "stopped": self.stopped,
            "trouble": self.trouble, "seconds": self.seconds,
            "records": [{name: _plain(value) for name, value in asdict(r).items()} for r in self.records],
            "snapshots": {
                "targets": list(targets), "predictions": predictions.tolist(),
                "curves": [{"step": step, "values": curve.tolist()} for step, curve in self.snapshots],
                "shown": list(self.shown),
            },
        }  # fmt: skip

    @cached_property
    def _analysed(self) -> dict[str, Any] | None:
        """What `sl.analysis.adaptation` says of a loss that adapted."""
        if self.settings.method != "adalfl" or not self.snapshots or not self.records:
            return None
        found: dict[str, Any] = import_module("symloss.analysis.adaptation").adaptation(self).to_json()
        return found

    def __str__(self) -> str:
        """Settings, a few rows of the history, and how good the model is."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        own = self.settings
        yield self.task
        yield f"{own.method}: {METHODS[own.method]}; {self._words()}"
        if isinstance(self.loss, SymbolicLoss):
            yield f"loss now: {self.loss.expression}"
        yield ""
        yield from self._table()
        yield ""
        yield f"{self.metric_name}: " + ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        done = "" if self.online == own.steps else f" after {self.offline} offline and {self.online} online steps"
        yield f"ended: {self.stopped}{done} ({self.seconds:.1f} s)"
        yield from (self._analysed or {"sentences": ()})["sentences"]
        if self.trouble:
            yield f"warning: {self.trouble}"
        if own.method in ("adalfl", "learned-rate"):
            yield "validation data were trained on: compare test metrics, and with method='task-loss', its rate tuned"

    def _words(self) -> str:
        own, parts = self.settings, []
        if own.learns_offline:
            parts.append(f"{own.offline_steps} offline meta-steps")
        named = "tuned rate" if own.tunes else "rate"
        parts.append(f"{own.steps} steps of {own.optimiser}, {named} {self.learning_rate:.3g}, batch {own.batch_size}")
        if own.method in ("adalfl", "learned-rate"):
            parts.append(f"meta rate {own.meta_lr:.3g}")
        return ", ".join([*parts, f"seed {own.seed}"])

    def _table(self) -> list[str]:
        rows = [("step", "rate", "loss", "task loss", "effective rate", f"validation {self.metric_name}")]
        places = (
            sorted({round((len(self.records) - 1) * k / (_ROWS - 1)) for k in range(_ROWS)}) if self.records else ()
        )
        for r in (self.records[place] for place in places):
            numbers = (r.learning_rate, r.loss, r.task_loss, r.effective_rate, r.valid_metric)
            rows.append((str(r.step), *(f"{number:.4g}" for number in numbers)))  # type: ignore[arg-type]
        return aligned(rows, ">>>>>>")


def _plain(value: float) -> float | None:
    return value if np.isfinite(value) else None
