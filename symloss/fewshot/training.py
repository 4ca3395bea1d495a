"""The outer loop: Adam over all meta-parameters, with validation, the best kept, checkpoints and exact resume."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import torch

from symloss.errors import LossError, TaskError
from symloss.fewshot import storage
from symloss.fewshot.encoders import plain
from symloss.fewshot.episodes import Source, whole
from symloss.fewshot.model import Model
from symloss.fewshot.settings import number
from symloss.online.checkpoint import (
    AdaptDirectory,
    Arrays,
    fingerprint,
    pack_module,
    pack_optimiser,
    unpack_module,
    unpack_optimiser,
)
from symloss.online.run import deferred

if TYPE_CHECKING:
    from symloss.fewshot.learner import NPBML

KEPT_EVERY = 100
"""Iterations between checkpoints and lines of progress."""
SCHEDULES = ("cosine", "constant")
HISTORY = "history.jsonl"
_BEST = "best"


@dataclass(frozen=True)
class TrainingSettings:
    """How the meta-parameters are trained.

    Args:
        iterations: Meta-iterations.
        meta_batch: Tasks of an iteration.
        meta_lr: η, learning rate of Adam.
        schedule: `"cosine"` lets the rate fall to 0, `"constant"` does not.
        clip: Bound on the norm of the meta-gradient; None leaves it.
        valid_every: Iterations between validations.
        valid_tasks: Tasks of a validation, the same ones each time.

    Raises:
        TaskError: If a value cannot be used.
    """

    iterations: int = 3000
    meta_batch: int = 4
    meta_lr: float = 1e-3
    schedule: str = "cosine"
    clip: float | None = 10.0
    valid_every: int = 250
    valid_tasks: int = 100

    def __post_init__(self) -> None:
        for name in ("iterations", "meta_batch", "valid_every", "valid_tasks"):
            whole(name, getattr(self, name))
        number("meta_lr", self.meta_lr)
        if self.schedule not in SCHEDULES:
            raise TaskError(f"schedule is one of {', '.join(SCHEDULES)}; received {self.schedule!r:.60}")
        if self.clip is not None:
            number("clip", self.clip)

    def rate(self, iteration: int) -> float:
        """η at an iteration, counted from 0."""
        share = iteration / self.iterations
        return self.meta_lr * (1 + math.cos(math.pi * share)) / 2 if self.schedule == "cosine" else self.meta_lr

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> TrainingSettings:
        """Settings of these options; others have their defaults.

        Raises:
            TaskError: If there is no setting of such a name, or a value cannot be used.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise TaskError(f"there is no setting {name!r:.40} of fit; there is: {', '.join(known)}")
        return cls(**options)


class Training:
    """The state of one call of `fit`.

    Args:
        learner: Who learns.
        model: Its meta-parameters.
        settings: How.
        episodes: Tasks to learn from.
        valid: Tasks to choose by; None keeps the last parameters.
    """

    def __init__(
        self, learner: NPBML, model: Model, settings: TrainingSettings, episodes: Source, valid: Source | None
    ) -> None:
        self.learner, self.model, self.settings, self.episodes, self.valid = learner, model, settings, episodes, valid
        self.parameters = list(model.parameters())
        self.adam = torch.optim.Adam(self.parameters, settings.meta_lr)
        self.done = 0
        self.records: list[dict[str, float]] = []
        self.best: Arrays | None = None
        self.best_metric = math.nan
        self._losses: list[float] = []
        self._metrics: list[float] = []

    @property
    def config(self) -> dict[str, Any]:
        """What defines the run, as plain values."""
        learner = self.learner
        return {
            "format": storage.FORMAT, "learner": learner.settings.to_json(),
            "architecture": plain(learner.architecture), "dtype": str(learner.dtype),
            "training": asdict(self.settings), "start": fingerprint(self.model),
            "tasks": _identity(self.episodes, "train"),
            "validation": None if self.valid is None else _identity(self.valid, "valid"),
        }  # fmt: skip

    def advance(self) -> None:
        """One meta-iteration, and the validation that may be due after it.

        Raises:
            LossError: If the loss or its gradient is not finite; nothing is updated then.
        """
        own, at = self.settings, self.done
        numbers = range(at * own.meta_batch, (at + 1) * own.meta_batch)
        tasks = self.learner.checked(self.episodes.tasks(numbers, "train"))
        losses, metrics = self.model.meta_loss(tasks.support_x, tasks.support_y, tasks.query_x, tasks.query_y)
        gradients = torch.autograd.grad(losses.mean(), self.parameters, allow_unused=True)
        norm = torch.stack([g.norm() for g in gradients if g is not None]).norm()
        if not bool(torch.isfinite(norm)) or not bool(torch.isfinite(losses).all()):
            raise LossError(
                f"the loss or its gradient became infinite or NaN in meta-iteration {at + 1}; "
                "use a smaller lr or meta_lr"
            )
        factor = 1.0 if own.clip is None else float(own.clip / norm.clamp_min(own.clip))
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else gradient * factor
        self.adam.param_groups[0]["lr"] = own.rate(at)
        self.adam.step()
        self.adam.zero_grad()
        self.done += 1
        self._losses.append(float(losses.detach().mean()))
        self._metrics.append(float(metrics.mean()))
        if self.done % own.valid_every == 0 or self.done == own.iterations:
            self._record()

    def _record(self) -> None:
        """Note the mean over the last iterations and, with validation tasks, how good the parameters are now."""
        found = {
            "iteration": float(self.done), "loss": sum(self._losses) / len(self._losses),
            "metric": sum(self._metrics) / len(self._metrics),
        }  # fmt: skip
        self._losses, self._metrics = [], []
        if self.valid is not None:
            found["valid"] = self.learner.scores(self.valid, range(self.settings.valid_tasks), "valid").mean
            higher = self.learner.settings.kind == "multiclass"
            if self.best is None or (found["valid"] > self.best_metric) == higher:
                self.best, self.best_metric = pack_module(_BEST, self.model), found["valid"]
        self.records.append(found)

    def save(self, directory: AdaptDirectory) -> None:
        """Write the checkpoint, the history and the best parameters."""
        arrays = pack_module("model", self.model) | pack_optimiser("adam", self.adam) | (self.best or {})
        directory.save(
            arrays,
            {
                "done": self.done, "records": self.records, "losses": self._losses, "metrics": self._metrics,
                "best": None if self.best is None else self.best_metric,
            },
        )  # fmt: skip
        directory.write(HISTORY, "".join(json.dumps(record) + "\n" for record in self.records).encode())
        best = None if self.best is None else {k.replace(_BEST, "model", 1): v for k, v in self.best.items()}
        directory.write(storage.LEARNER, storage.packed(self.learner, best))

    def restore(self, directory: AdaptDirectory) -> None:
        """Go on from the checkpoint, if there is one."""
        held = directory.load()
        if held is None:
            return
        arrays, facts = held
        unpack_module("model", self.model, arrays)
        unpack_optimiser("adam", self.adam, arrays)
        self.done, self.records = facts["done"], facts["records"]
        self._losses, self._metrics = facts["losses"], facts["metrics"]
        if facts["best"] is not None:
            self.best = {k: v for k, v in arrays.items() if k.startswith(f"{_BEST}/")}
            self.best_metric = facts["best"]

    def finish(self) -> None:
        """Give the learner the parameters that did best on validation tasks."""
        if self.best is not None:
            unpack_module(_BEST, self.model, self.best)

    def line(self) -> str:
        """Where training is, in one line."""
        last = self.records[-1] if self.records else {}
        name = self.learner.metric_name
        seen = f", loss {last['loss']:.4g}, {name} {last['metric']:.4g}" if last else ""
        valid = f", validation {last['valid']:.4g}" if "valid" in last else ""
        return f"meta-iteration {self.done}/{self.settings.iterations}{seen}{valid}"


def train(training: Training, out: str | os.PathLike[str] | None, say: Callable[[str], object]) -> None:
    """All iterations that are left; Ctrl-C ends them after the one that runs, and keeps what is there."""
    directory = None if out is None else AdaptDirectory(out, training.config)
    if directory is not None:
        training.restore(directory)
    total = training.settings.iterations
    with deferred() as asked:
        while training.done < total and not asked:
            training.advance()
            due = training.done % KEPT_EVERY == 0 or training.done == total
            if due:
                say(training.line())
            if directory is not None and (due or asked):
                training.save(directory)
    training.finish()
    if asked:
        raise KeyboardInterrupt


def _identity(episodes: Source, stream: str) -> str:
    """Sixteen hexadecimal digits that change with the tasks: with how they print themselves, or what the first are."""
    digest = hashlib.sha256(repr(episodes).encode() if type(episodes).__repr__ is not object.__repr__ else b"")
    tasks = episodes.tasks(range(2), stream)
    for part in (tasks.support_x, tasks.query_x, tasks.query_y):
        digest.update(part.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
