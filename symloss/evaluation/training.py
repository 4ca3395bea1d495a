"""What is sent to workers: models trained under one loss from one seed, and measured. And one trained model to keep."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

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
from symloss.population.state import logits
from symloss.population.training import train, validation_metric
from symloss.tasks.models import seeded
from symloss.tasks.task import Task

_EXPLODED = 1000.0


def check(task: Task, settings: Settings, name: str, loss: nn.Module) -> None:
    """Try a loss on one batch; see `check_loss`."""
    check_loss(workspace(task, settings), name, loss)


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
                    raise EvaluationError(f"training diverged before step {number + 1}; use a smaller learning_rate")
                optimiser.zero_grad()
                module(outputs, task.train.y[index]).backward()
                for p in model.parameters():  # torch's weight decay refuses sparse gradients
                    if p.grad is not None and p.grad.layout != torch.strided:
                        p.grad = p.grad.to_dense()
                optimiser.step()
    return model.eval()
