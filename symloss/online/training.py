"""Training: a model, its loss and both optimisers, moved by whole steps that can be kept and gone on from."""

from __future__ import annotations

import math
from dataclasses import asdict, astuple, dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils import parameters_to_vector

from symloss.errors import LossError, RunError
from symloss.online import checkpoint, shapes
from symloss.online.adaptive import AdaptiveLoss, Step
from symloss.online.settings import AdaptSettings
from symloss.population.state import evaluating
from symloss.population.training import Workspace
from symloss.tasks.models import seeded
from symloss.tasks.splits import Split
from symloss.tasks.task import Task

_FIRST_SEED = 1_000_003  # of the fresh weights of the offline phase, away from that of the model
_SNAPSHOTS = 19
_LEAST_RATE = 1e-8
_ROWS = 2048


@dataclass(frozen=True)
class Record:
    """What was measured at one online step.

    Args:
        step: Its number, from 1.
        learning_rate: α in it.
        loss: M_φ of its batch.
        task_loss: L_task of its batch, before the step.
        effective_rate: ‖∇_θ M‖ / ‖∇_θ L_task‖ on its batch.
        valid_metric: The task's metric on all validation data, after the step.
    """

    step: int
    learning_rate: float
    loss: float
    task_loss: float
    effective_rate: float
    valid_metric: float


class Training:
    """Both phases, a step at a time; what each step does follows from its number and the seed alone.

    Args:
        task: The task.
        settings: How.
        loss: Whose weights are trained.
        lr: Learning rate of the model.

    Attributes:
        offline, online: Steps done.
        records: What was measured.
        snapshots: Steps [S] at which the loss was looked at, and its curves [targets, points] there.
        weights: All φ [size] at each of them.
    """

    def __init__(self, task: Task, settings: AdaptSettings, loss: nn.Module, lr: float) -> None:
        self.task, self.settings, self.loss, self.lr = task, settings, loss, lr
        self.workspace = Workspace(task, settings.batch_size)
        self.phi = [p for p in loss.parameters() if p.requires_grad]
        self.model = task.new_model(settings.seed).train()
        self.optimiser = settings.base_optimiser(self.model)
        offline = settings.learns_offline
        self.meta = self._meta(settings.offline_meta_lr if offline else settings.meta_lr)
        self.adaptive = self._adaptive(self.model, self.optimiser)
        self.pupil: nn.Module | None = None  # what the loss is learning on in the offline phase
        self.offline = self.online = 0
        self.records: list[Record] = []
        self.snapshots: list[tuple[int, NDArray[np.float64]]] = []
        self.weights: list[NDArray[np.float64]] = []
        later = np.geomspace(max(settings.steps / 100, 1), settings.steps, _SNAPSHOTS)
        self._looks = {0, *(round(float(step)) for step in later)}
        self._every = max(1, settings.steps // settings.records)

    @property
    def offline_left(self) -> int:
        """Meta-steps that are to be done."""
        return self.settings.offline_steps - self.offline if self.settings.learns_offline else 0

    @property
    def whole(self) -> bool:
        """Whether the loss was updated for all steps done, so that a run can be kept here."""
        return self.online % self.settings.inner_steps == 0 or self.online == self.settings.steps

    @property
    def left(self) -> int:
        """Steps that are to be done in both phases."""
        return self.offline_left + self.settings.steps - self.online

    def advance(self) -> None:
        """One step, of the offline phase while there is one."""
        if self.offline_left:
            self._offline_step()
        else:
            self._online_step()

    def _meta(self, rate: float) -> torch.optim.Optimizer:
        if self.settings.method == "learned-rate":
            return torch.optim.SGD(self.phi, 0.0)  # it is the rate that adapts
        return torch.optim.Adam(self.phi, rate)

    def _adaptive(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> AdaptiveLoss:
        own = self.settings
        return AdaptiveLoss(
            self.loss, model, optimiser, task_loss=self.task.task_loss, meta_optimiser=self.meta,
            inner_steps=own.inner_steps, clip=own.clip,
        )  # fmt: skip

    def _batch(self, split: Split, number: int, steps: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        index = self.workspace.batches(len(split), steps, seed)[number]
        return self.workspace.inputs(split, index), split.y[index]

    def _offline_step(self) -> None:
        """One meta-step: a step of plain SGD on a model not far from fresh weights, and the loss by how well it did."""
        own, number = self.settings, self.offline
        seed = _FIRST_SEED + own.seed * 100_003 + number
        fresh = self.pupil is None or number % own.offline_horizon == 0
        model = self.task.new_model(seed).train() if fresh or self.pupil is None else self.pupil
        sgd = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], own.offline_rate)
        for group in self.meta.param_groups:
            group["lr"] = own.offline_meta_lr * (1 - number / own.offline_steps)
        adaptive = AdaptiveLoss(self.loss, model, sgd, task_loss=self.task.task_loss, meta_optimiser=self.meta)
        self.pupil = model
        try:
            with seeded(seed):
                adaptive.step(
                    *self._batch(self.task.train, number, own.offline_steps, own.seed + 1),
                    *self._batch(self.task.valid, number, own.offline_steps, own.seed + 2),
                )
        except LossError:
            if fresh:
                raise
            self.pupil = None  # its training diverged, as it may while the loss is unlearnt
        self.offline += 1
        if not self.offline_left:
            self.pupil = None
            self.meta = self._meta(own.meta_lr)
            self.adaptive = self._adaptive(self.model, self.optimiser)

    def _online_step(self) -> None:
        own, number = self.settings, self.online
        self._look(number)
        rate = own.rate(number, self.lr)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        recorded = number == 0 or (number + 1) % self._every == 0 or number + 1 == own.steps
        batch = self._batch(self.task.train, number, own.steps, own.seed)
        held_out = ()
        if own.method in ("adalfl", "learned-rate"):
            held_out = self._batch(self.task.valid, number, own.steps, own.seed + 3)  # type: ignore[assignment]
        with seeded((own.seed * _FIRST_SEED + number) % 2**63):
            seen = self.adaptive.step(*batch, *held_out, measure=recorded)
        if own.method == "learned-rate":
            self.lr = max(self.lr + own.meta_lr * seen.slope, _LEAST_RATE)
        self.online += 1
        if recorded:
            self._record(rate, seen)
        self._look(self.online)

    def _record(self, rate: float, seen: Step) -> None:
        metric = self.metric(self.task.valid)
        self.records.append(Record(self.online, rate, seen.loss, seen.task_loss, seen.effective_rate, metric))

    def _look(self, number: int) -> None:
        """Keep the shape of the loss after so many online steps, once."""
        if number in self._looks and all(step != number for step, _ in self.snapshots):
            found = shapes.curves(self.loss, self.task.kind)
            if found is not None:
                self.snapshots.append((number, found))
                self.weights.append(parameters_to_vector(self.phi).detach().double().cpu().numpy().copy())

    def metric(self, split: Split) -> float:
        """The task's metric of the model on a part of the data."""
        with evaluating([self.model]):
            outputs = [self.model(split.x[start : start + _ROWS]) for start in range(0, len(split), _ROWS)]
        value = self.task.metric(torch.cat(outputs), split.y)
        return value if math.isfinite(value) else math.inf

    def save(self, directory: checkpoint.AdaptDirectory) -> None:
        """Write everything that the next step depends on, between two updates of the loss."""
        arrays = {
            **checkpoint.pack_module("model", self.model), **checkpoint.pack_module("loss", self.loss),
            **checkpoint.pack_optimiser("optimiser", self.optimiser), **checkpoint.pack_optimiser("meta", self.meta),
            "records": np.array([astuple(record) for record in self.records], np.float64),
            "snapshots": np.array([curve for _, curve in self.snapshots], np.float64),
            "weights": np.array(self.weights, np.float64),
        }  # fmt: skip
        if self.pupil is not None:
            arrays |= checkpoint.pack_module("pupil", self.pupil)
        facts = {
            "offline": self.offline, "online": self.online, "lr": self.lr, "steps": self.adaptive.steps,
            "guard": self.adaptive.guard.state(), "looks": [step for step, _ in self.snapshots],
        }  # fmt: skip
        directory.save(arrays, facts)

    def restore(self, directory: checkpoint.AdaptDirectory) -> None:
        """Go on from what `save` wrote, if there is anything.

        Raises:
            RunError: If it does not fit.
        """
        found = directory.load()
        if found is None:
            return
        arrays, facts = found
        try:
            self.offline, self.online, self.lr = int(facts["offline"]), int(facts["online"]), float(facts["lr"])
            if self.settings.learns_offline and not self.offline_left:
                self.meta = self._meta(self.settings.meta_lr)
                self.adaptive = self._adaptive(self.model, self.optimiser)
            checkpoint.unpack_module("model", self.model, arrays)
            checkpoint.unpack_module("loss", self.loss, arrays)
            if any(name.startswith("pupil/") for name in arrays):
                self.pupil = self.task.new_model(0).train()
                checkpoint.unpack_module("pupil", self.pupil, arrays)
            checkpoint.unpack_optimiser("optimiser", self.optimiser, arrays)
            checkpoint.unpack_optimiser("meta", self.meta, arrays)
            self.adaptive.steps = int(facts["steps"])
            self.adaptive.guard.restore(facts["guard"])
            self.records = [Record(int(row[0]), *map(float, row[1:])) for row in arrays["records"]]
            self.snapshots = list(zip(map(int, facts["looks"]), arrays["snapshots"], strict=True))
            self.weights = list(arrays["weights"])
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise RunError(f"{directory.path} has a damaged checkpoint ({reason}); restore it or start anew") from None

    def history(self) -> str:
        """The records as CSV text."""
        rows = [",".join(field.name for field in fields(Record))]
        rows += [",".join(repr(value) for value in asdict(record).values()) for record in self.records]
        return "\n".join(rows) + "\n"
