"""P models trained under P losses together: one workspace of data, batches and initial weights, one SGD loop."""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor

from symloss.expression.expression import Expression
from symloss.losses.network import EntryNetwork
from symloss.population import dense
from symloss.population.compiled import CompiledObjective
from symloss.population.functional import Parameters
from symloss.population.networks import Network, network_for, trainable
from symloss.population.objective import Objective, make_objective
from symloss.population.predictions import Kind, predict, task_gradient
from symloss.tasks.task import Task

T = TypeVar("T")

STEPS_BETWEEN_CHECKS = 50
_KEPT_BYTES = 256 * 2**20  # what does not depend on a loss is kept for reuse up to this size, for each kind of it


class Gradient(Protocol):
    """Where the cotangent at the logits comes from: a population's losses, or the task loss."""

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Gradient of the mean loss of each model at its logits; [P, C, B] and a target -> [P, C, B]."""


@dataclass(frozen=True)
class LossGradient:
    """The gradient of an objective's losses as a function of the logits."""

    objective: Objective
    kind: Kind

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """[P, C, B] and a target -> [P, C, B]."""
        return self.objective.logits_gradient(predict(logits, self.kind), target)


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent: d ← μ d + ∇ + λ θ, then θ ← θ - α d, or θ - α (∇ + λ θ + μ d) if Nesterov.

    Args:
        learning_rate: α, one number or one per model [P].
        momentum: μ.
        nesterov: Nesterov's form.
        weight_decay: λ.
    """

    learning_rate: float | Tensor = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0

    @property
    def first_step(self) -> float:
        """Factor on the gradient in the very first step: α, or α (1 + μ) if Nesterov."""
        rate = float(self.learning_rate)
        return rate * (1 + self.momentum) if self.nesterov else rate

    def step(
        self,
        parameters: Parameters,
        gradients: Parameters,
        state: list[Tensor | None],
        unused: list[Tensor] | None = None,
    ) -> None:
        """Update `parameters` in place; `state` holds the momentum of each, None before the first step.

        A model leaves the parameters that it did not use (see `Network`) as they are, and their momentum.
        """
        for index, (theta, gradient) in enumerate(zip(parameters, gradients, strict=True)):
            idle = None if unused is None or not bool(unused[index].any()) else per_model(unused[index], theta)
            before = None if idle is None else theta.clone()
            if self.weight_decay:
                gradient = gradient.add(theta, alpha=self.weight_decay)
            if self.momentum:
                held = state[index]
                if idle is not None:
                    held = torch.zeros_like(theta) if held is None else held
                    velocity = torch.where(idle, held, held * self.momentum + gradient)
                else:
                    velocity = gradient.clone() if held is None else held.mul_(self.momentum).add_(gradient)
                state[index] = velocity
                gradient = gradient.add(velocity, alpha=self.momentum) if self.nesterov else velocity
            if isinstance(self.learning_rate, Tensor):
                theta.addcmul_(gradient, per_model(self.learning_rate, theta), value=-1)
            else:
                theta.add_(gradient, alpha=-self.learning_rate)
            if idle is not None and before is not None:
                theta.copy_(torch.where(idle, before, theta))


def per_model(values: Tensor, like: Tensor) -> Tensor:
    """[P] in a shape that broadcasts over [P, ...]."""
    return values.view(-1, *[1] * (like.dim() - 1))


class _Memo(Generic[T]):
    """Values that are computed once, as long as they are small together; when they are not, all are forgotten.

    Threads wait for one another here: a value that draws random numbers uses torch's global generator.
    """

    def __init__(self, lock: RLock) -> None:
        self._lock = lock
        self._kept: dict[Any, T] = {}
        self._bytes = 0

    def get(self, key: Any, compute: Callable[[], T]) -> T:
        """The value of `key`, computed if it is not there."""
        with self._lock:
            if key not in self._kept:
                value = compute()
                size = sum(t.nbytes for t in _tensors(value))
                if self._bytes + size > _KEPT_BYTES:
                    self._kept.clear()
                    self._bytes = 0
                if size > _KEPT_BYTES:
                    return value
                self._kept[key] = value
                self._bytes += size
            return self._kept[key]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)


class Workspace:
    """What all candidates of a task share: data, batches, initial weights and the network that runs them.

    Args:
        task: The task; its training part is batched, its validation part measured.
        batch_size: Samples per batch (all samples, if there are fewer).
    """

    def __init__(self, task: Task, batch_size: int) -> None:
        self.task, self.batch_size = task, batch_size
        self.kind = cast(Kind, task.kind)
        self.train, self.valid = task.train, task.valid
        self.dtype, self.device = task.dtype, self.train.x.device
        self.indices = not self.train.y.is_floating_point()
        self.network: Network = network_for(lambda: task.new_model(0), self.train.x[:batch_size])
        self._lock = RLock()
        self._weights: _Memo[Parameters] = _Memo(self._lock)
        self._starts: _Memo[Tensor] = _Memo(self._lock)
        self._remembered: _Memo[Any] = _Memo(self._lock)
        self._batches: _Memo[Tensor] = _Memo(self._lock)

    def resplit(self, seed: int) -> Workspace:
        """The workspace of `Task.resplit`: other data, the same network, initial weights and orders of batches."""
        other = copy.copy(self)
        other.task = self.task.resplit(seed)
        other.train, other.valid = other.task.train, other.task.valid
        other._remembered = _Memo(self._lock)
        return other

    def initial(self, seed: int) -> Parameters:
        """Initial parameters of the model with this seed; the network is that model's from now on."""
        self.network.restart(lambda: self.task.new_model(seed))
        return self._weights.get(seed, lambda: [p.clone() for p in trainable(self.task.new_model(seed))])

    def batches(self, count: int, steps: int, seed: int) -> Tensor:
        """Indices [steps, B] of shuffled epochs over `count` samples, last incomplete batch dropped."""

        def compute() -> Tensor:
            generator = torch.Generator().manual_seed(seed)
            size = min(self.batch_size, count)
            per_epoch = count // size
            epochs = [
                torch.randperm(count, generator=generator)[: per_epoch * size].view(per_epoch, size)
                for _ in range(math.ceil(steps / per_epoch))
            ]
            return torch.cat(epochs)[:steps].to(self.device)

        return self._batches.get((count, steps, seed), compute)

    def pick(self, split: Any, index: Tensor) -> tuple[Tensor, Tensor]:
        """Samples x [B, ...] and targets: class indices [B], or [C, B]."""
        return self.inputs(split, index), self.target(split.y.index_select(0, index))

    def inputs(self, split: Any, index: Tensor) -> Tensor:
        """Samples x [B, ...]; those of the training part with the changes that the task makes to them.

        The changes follow from the indices of the batch alone, and so are the same for every candidate and worker.
        """
        x: Tensor = split.x.index_select(0, index)
        if split is not self.train or self.task.augment is None:
            return x
        seed = zlib.crc32(index.cpu().numpy().tobytes())
        return self.task.augment(x, torch.Generator().manual_seed(seed))

    def target(self, y: Tensor) -> Tensor:
        """Targets as the engine has them: class indices [B], or [C, B]."""
        return y if self.indices else y.t().contiguous()

    def objective(
        self, expressions: Sequence[Expression] | Sequence[EntryNetwork], *, freeze: bool, shared: bool = False
    ) -> Objective:
        """The losses of `expressions` on this task."""
        return make_objective(
            expressions, self.kind, indices=self.indices, freeze=freeze, shared=shared,
            dtype=self.dtype, device=self.device,
        )  # fmt: skip

    def task_gradient(self, logits: Tensor, target: Tensor) -> Tensor:
        """Gradient of the task loss at the logits, [P, C, B]."""
        return task_gradient(logits, target, self.kind)

    def remembered(self, key: Any, compute: Callable[[], T]) -> T:
        """What `compute` gave for this key the first time."""
        value: T = self._remembered.get(key, compute)
        return value

    def starts(self, seeds: Sequence[int]) -> Tensor:
        """Initial parameters of the models of these seeds, each as one row: [seeds, total]."""
        return self._starts.get(tuple(seeds), lambda: torch.stack([dense.row(self.initial(seed)) for seed in seeds]))

    def loss_gradient(self, expressions: Sequence[Expression] | Sequence[EntryNetwork]) -> LossGradient:
        """Gradient of the expressions' losses at the logits, with their own weights."""
        return LossGradient(self.objective(expressions, freeze=True), self.kind)


def train(
    workspace: Workspace,
    gradient: Gradient,
    count: int,
    steps: int,
    optimiser: Sgd,
    *,
    seed: int = 0,
    batch_seed: int = 0,
    scale: Tensor | None = None,
) -> Parameters:
    """Train `count` models from the same initial weights on the same batches, each under its own loss.

    Args:
        workspace: Task, data and network.
        gradient: Of the P losses at the logits.
        count: P.
        steps: Optimiser steps.
        optimiser: Step size (one, or one per model) and momentum.
        seed: Of the initial weights.
        batch_seed: Of the order of the batches.
        scale: Factor on each model's gradient, [P].

    Returns:
        Trained parameters, [P, ...] each. A model that diverged has non-finite ones; training ends early once all have.
    """
    start, batches = workspace.initial(seed), workspace.batches(len(workspace.train.x), steps, batch_seed)
    if dense.usable(workspace):
        objective = gradient.objective if isinstance(gradient, LossGradient) else None
        if isinstance(objective, CompiledObjective) or gradient == workspace.task_gradient:
            return dense.train(workspace, objective, start, count, batches, optimiser, scale)  # type: ignore[arg-type]
    parameters = [p.expand(count, *p.shape).clone() for p in start]
    state: list[Tensor | None] = [None] * len(parameters)
    network, split = workspace.network, workspace.train
    network.begin(count)
    with torch.no_grad(), torch.random.fork_rng(devices=_cuda(workspace.device)):
        torch.manual_seed(batch_seed)  # for dropout: the same masks for every candidate
        for number in range(steps):
            x, target = workspace.pick(split, batches[number])
            logits, saved = network.forward(parameters, x)
            cotangent = gradient(logits, target)
            if scale is not None:
                cotangent = cotangent * per_model(scale, cotangent)
            gradients = network.backward(parameters, saved, cotangent)
            optimiser.step(parameters, gradients, state, network.unused)
            if number % STEPS_BETWEEN_CHECKS == 0 and not bool(logits.isfinite().flatten(1).all(1).any()):
                break
    return parameters


def validation_metric(workspace: Workspace, parameters: Parameters, split: Any = None) -> list[float]:
    """Task metric of P models on the whole validation part (or `split`); inf where an output is not finite."""
    split = workspace.valid if split is None else split
    logits = torch.cat([workspace.network.evaluate(parameters, x) for x in split.x.split(1024)], 2)
    return metric(logits, workspace.target(split.y), workspace.kind)


def metric(logits: Tensor, target: Tensor, kind: Kind) -> list[float]:
    """Error rate, or mean squared error, of each model: [P, C, B] and a target -> P numbers; inf if not finite."""
    if kind == "regression":
        values = (logits - target).square().mean((1, 2))
    elif kind == "binary":
        values = ((logits > 0) != (target > 0.5)).to(logits.dtype).mean((1, 2))
    else:
        truth = target if target.dim() == 1 else target.argmax(0)
        values = (logits.argmax(1) != truth).to(logits.dtype).mean(1)
    finite = logits.isfinite().flatten(1).all(1)
    return [
        float(v) if ok and math.isfinite(v) else math.inf
        for v, ok in zip(values.tolist(), finite.tolist(), strict=True)
    ]


def gradient_norms(workspace: Workspace, gradient: Gradient, count: int, *, seed: int, batch_seed: int) -> Tensor:
    """Norm of each loss's gradient in the parameters at initialisation, on one batch: [P]."""
    network, split = workspace.network, workspace.train
    parameters = workspace.initial(seed)
    x, target = workspace.pick(split, workspace.batches(len(split.x), 1, batch_seed)[0])
    with torch.no_grad():
        logits, saved = network.forward_shared(parameters, x)
        cotangent = gradient(logits.expand(count, -1, -1), target)
        gradients = network.backward_shared(parameters, saved, cotangent)
        return norms(gradients)


def norms(gradients: Parameters) -> Tensor:
    """Euclidean norm of P gradients, [P, ...] each -> [P]."""
    return torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()


def matching_scale(wanted: Tensor, norm: Tensor) -> Tensor:
    """Factor [P] that gives gradients of norm `norm` the norm `wanted`; 0 where they are nothing but rounding."""
    negligible = norm <= wanted * torch.finfo(norm.dtype).eps
    return torch.where(negligible, 0.0, wanted / norm)


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
