"""From any loss to the gradient at the logits that the engine trains with: by its formula, or by autograd."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from symloss.errors import LossError, SymlossError
from symloss.losses.base import Loss
from symloss.losses.network import LossNetwork
from symloss.losses.plain import TorchLoss
from symloss.losses.symbolic import SymbolicLoss
from symloss.population.training import Gradient, Workspace
from symloss.tasks.reading import carried
from symloss.tasks.task import Task

TASK_LOSSES = {"multiclass": "cross-entropy", "binary": "cross-entropy", "regression": "squared-error"}
"""Name in the catalogue of each kind's task loss."""


def is_task_loss(loss: nn.Module, task: Task) -> bool:
    """Whether a loss is the task loss itself (cross-entropy or the mean squared error) as the catalogue has it."""
    return type(loss) is TorchLoss and loss.name == TASK_LOSSES[task.kind] and _plain(loss, task)


def gradient_of(workspace: Workspace, name: str, loss: nn.Module, count: int) -> Gradient:
    """Gradient of `count` models' losses at their logits.

    A formula or a network with the usual mean, and the task loss, are the engine's; any other module is differentiated
    by autograd.

    Args:
        workspace: Task and data.
        name: What to call the loss in errors.
        loss: The loss, called as `loss(outputs, targets)` with outputs **[B, C]** and the task's targets.
        count: Number of models P, all under this loss.

    Returns:
        A function from logits **[P, C, B]** and a target to the gradient **[P, C, B]**.

    Raises:
        LossError: If the module cannot be copied.
    """
    if is_task_loss(loss, workspace.task):
        return workspace.task_gradient
    if type(loss) is SymbolicLoss and _plain(loss, workspace.task):
        return workspace.loss_gradient([loss.expression] * count)
    if type(loss) is LossNetwork and _plain(loss, workspace.task):
        return workspace.loss_gradient([loss.network] * count)
    return ModuleGradient(workspace, name, loss, count)


def _plain(loss: Loss, task: Task) -> bool:
    """Whether it is the plain mean over all samples of the task."""
    ignoring = task.kind == "multiclass" and 0 <= loss.ignore_index < task.outputs
    return loss.reduction == "mean" and loss.weight is None and not ignoring


class ModuleGradient:
    """Gradient at the logits of P models under one module, by autograd.

    Nothing is assumed about how the loss depends on the samples of a batch. Each model has its own copy of the module,
    so that a loss with a state keeps one for each. A model whose outputs are not finite is not shown to the loss (some
    losses refuse such outputs): its gradient is NaN.

    Args:
        workspace: Task and data.
        name: What to call the loss in errors.
        loss: The module; it is not changed.
        count: Number of models P.

    Raises:
        LossError: If the module cannot be copied.
    """

    def __init__(self, workspace: Workspace, name: str, loss: nn.Module, count: int) -> None:
        self._name, self._indices = name, workspace.indices
        try:
            self._losses = [copy.deepcopy(loss).to(workspace.device) for _ in range(count)]
        except Exception as error:
            raise LossError(f"loss {name!r} cannot be copied, once for each model: {carried(error)}") from error

    def __call__(self, logits: Tensor, target: Tensor) -> Tensor:
        """Gradient of each model's loss: logits [P, C, B] and a target -> [P, C, B]."""
        finite = logits.isfinite().flatten(1).all(1)
        gradient = torch.full_like(logits, torch.nan)
        alive = [i for i, ok in enumerate(finite.tolist()) if ok]
        if not alive:
            return gradient
        y = target if self._indices else target.t()
        outputs = [logits[i].detach().t().contiguous() for i in alive]
        try:
            with torch.enable_grad():
                copies = (y.clone(memory_format=torch.contiguous_format) for _ in alive)
                models = zip(alive, outputs, copies, strict=True)
                values = [self._checked(self._losses[i](o.requires_grad_(), own)) for i, o, own in models]
                slopes = torch.autograd.grad(values, outputs, materialize_grads=True)
        except SymlossError:
            raise
        except Exception as error:
            shapes = f"outputs {list(outputs[0].shape)} and {y.dtype} targets {list(y.shape)}"
            raise LossError(f"loss {self._name!r} failed on {shapes}: {carried(error)}") from error
        gradient[finite] = torch.stack(slopes).transpose(1, 2)
        return gradient

    def _checked(self, value: object) -> Tensor:
        if not isinstance(value, Tensor) or value.numel() != 1:
            received = f"shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise LossError(
                f"loss {self._name!r} must return one number for a batch, as with reduction='mean'; received {received}"
            )
        if not value.requires_grad:
            raise LossError(f"loss {self._name!r} does not depend on the outputs in a way that can be differentiated")
        return value


def check_loss(workspace: Workspace, name: str, loss: nn.Module) -> None:
    """Try a loss on the first batch of an untrained model, before anything is trained.

    Raises:
        LossError: If it fails, does not return one number, or is a module without any gradient there.
    """
    gradient = gradient_of(workspace, name, loss, 1)
    split, seed = workspace.train, 0
    x, target = workspace.pick(split, workspace.batches(len(split.x), 1, seed)[0])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)
        parameters = [p.unsqueeze(0) for p in workspace.initial(seed)]
        slope = gradient(workspace.network.evaluate(parameters, x), target)
    if isinstance(gradient, ModuleGradient) and not slope.any():
        raise LossError(
            f"loss {name!r} has no gradient at the outputs of an untrained model: nothing would be trained; "
            f"is it meant for another kind of task than {workspace.kind}?"
        )
