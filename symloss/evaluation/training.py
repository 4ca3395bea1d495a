"""What is sent to workers: models trained under one loss from one seed, and measured. And one trained model to keep."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence

import cloudpickle
import torch
from torch import nn

from symloss.discovery.executor import Executor
from symloss.discovery.refinement import optimiser_of
from symloss.discovery.settings import Settings
from symloss.discovery.stages import workspace
from symloss.errors import EvaluationError
from symloss.evaluation.entries import AnyLoss
from symloss.evaluation.gradients import check_loss, gradient_of
from symloss.evaluation.protocol import Protocol
from symloss.losses import resolve
from symloss.population.networks import DenseNetwork
from symloss.population.state import logits, trained
from symloss.population.training import train, validation_metric
from symloss.tasks.models import seeded
from symloss.tasks.reading import carried
from symloss.tasks.task import Task

_EXPLODED = 1000.0


class DivergedError(EvaluationError):
    """The outputs of a model in training are no longer finite."""


def check(task: Task, settings: Settings, losses: Mapping[str, nn.Module], n_jobs: int = 1) -> None:
    """Try each loss on one batch, before anything is trained; see `check_loss`.

    Raises:
        EvaluationError: If there are several processes, and it cannot be sent to them.
        LossError: If it cannot be used.
    """
    for name, loss in losses.items():
        if n_jobs != 1:
            _check_sendable(name, loss)
        check_loss(workspace(task, settings), name, loss)


def _check_sendable(name: str, loss: nn.Module) -> None:
    try:
        cloudpickle.dumps(loss)
    except Exception as error:
        raise EvaluationError(
            f"loss {name!r} cannot be sent to other processes ({carried(error)}); use n_jobs=1"
        ) from None


def trial(
    task: Task, settings: Settings, name: str, loss: nn.Module, rates: Sequence[float], seed: int, part: str
) -> tuple[list[float], float]:
    """Train a model under a loss at each learning rate, from the same weights on the same batches, and measure them.

    Args:
        task: The task.
        settings: Steps, batch size and the options of SGD.
        name: What to call the loss in errors.
        loss: The loss.
        rates: R learning rates.
        seed: Of the initial weights and the batches: the same for every loss that is given it.
        part: The part of the data that is measured, `"valid"` or `"test"`.

    Returns:
        Task metric at each rate, inf where training diverged: outputs are not finite, or (regression) the metric is
        more than 1000 times the mean square of the training targets, which is what predicting 0 gets. And seconds.
    """
    started = time.perf_counter()
    shared = workspace(task, settings)
    gradient = gradient_of(shared, name, loss, len(rates))
    optimiser = optimiser_of(settings, torch.tensor(list(rates), dtype=shared.dtype, device=shared.device))
    parameters = train(shared, gradient, len(rates), settings.fitness_steps, optimiser, seed=seed, batch_seed=seed)
    values = validation_metric(shared, parameters, getattr(task, part))
    if task.kind == "regression":
        bound = _EXPLODED * float(task.train.y.square().mean())
        values = [value if value <= bound else math.inf for value in values]
    return values, time.perf_counter() - started


def model_of_trial(
    task: Task, settings: Settings, name: str, loss: nn.Module, rate: float, seed: int
) -> nn.Module | None:
    """The model that `trial` measures, in evaluation mode, up to rounding; None if its training diverged.

    A stack of linear layers is trained by the engine, which is many times faster; any other model by torch.
    """
    shared = workspace(task, settings)
    if isinstance(shared.network, DenseNetwork):
        optimiser = optimiser_of(settings, torch.tensor([rate], dtype=shared.dtype, device=shared.device))
        gradient = gradient_of(shared, name, loss, 1)
        found = train(shared, gradient, 1, settings.fitness_steps, optimiser, seed=seed, batch_seed=seed)
        if not all(bool(p.isfinite().all()) for p in found):
            return None
        model = task.new_model(seed).eval()
        with torch.no_grad():
            for own, p in zip(trained(model), found, strict=True):
                own.copy_(p[0])
        return model
    try:
        return fit(
            task, loss, seed=seed, steps=settings.fitness_steps, batch_size=settings.batch_size, learning_rate=rate,
            momentum=settings.momentum, nesterov=settings.nesterov, weight_decay=settings.weight_decay,
        )  # fmt: skip
    except DivergedError:
        return None


def fit(
    task: Task,
    loss: AnyLoss,
    *,
    seed: int = 0,
    steps: int = 2000,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> nn.Module:
    """One model trained under a loss, by torch's own SGD.

    With a seed of an evaluation it is the model that was measured there, up to rounding.

    Args:
        task: Data and model.
        loss: A named loss, a formula, a `.json` file, a run directory, or a module called as `loss(outputs, targets)`.
        seed: Of the initial weights and of the batches.
        steps: Training steps.
        batch_size: Samples in a batch.
        learning_rate: Step size.
        momentum: Momentum of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: L2 penalty of SGD.

    Returns:
        The trained model in evaluation mode, on the task's device.

    Raises:
        EvaluationError: If an option is out of its range, or training diverges.
        LossError: If the loss cannot be used.
    """
    protocol = Protocol(
        steps=steps, batch_size=batch_size, learning_rate=learning_rate, momentum=momentum, nesterov=nesterov,
        weight_decay=weight_decay,
    )  # fmt: skip
    module = resolve.loss(loss, task.kind)
    with Executor(task):  # on one thread
        shared = workspace(task, protocol.settings)
        check_loss(shared, type(module).__name__, module)
        model = task.new_model(seed)
        optimiser = torch.optim.SGD(
            [p for p in model.parameters() if p.requires_grad],
            lr=learning_rate, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay,
        )  # fmt: skip
        with seeded(seed):
            for number, index in enumerate(shared.batches(len(task.train), steps, seed)):
                outputs = logits(model, model, shared.inputs(shared.train, index), twice=False).t()
                if not outputs.isfinite().all():
                    raise DivergedError(f"training diverged before step {number + 1}; use a smaller learning_rate")
                optimiser.zero_grad()
                module(outputs, task.train.y[index]).backward()
                for p in model.parameters():  # torch's weight decay refuses sparse gradients
                    if p.grad is not None and p.grad.layout != torch.strided:
                        p.grad = p.grad.to_dense()
                optimiser.step()
    return model.eval()
