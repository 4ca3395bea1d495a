"""Checks of a whole task: its splits against each other, and its model against the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from symloss.errors import TaskError
from symloss.tasks.models import seeded
from symloss.tasks.reading import carried
from symloss.tasks.splits import Split

if TYPE_CHECKING:
    from symloss.tasks.task import Task


def check_task(task: object) -> None:
    """Raise a TaskError unless it is a task."""
    from symloss.tasks.task import Task

    if not isinstance(task, Task):
        raise TaskError(f"task must be a Task, as load_task('digits') gives; received {type(task).__name__}")


def check_splits(task: Task) -> None:
    """The splits have inputs of one shape, and the training and validation targets vary.

    Raises:
        TaskError: If not.
    """
    parts: dict[str, Split | None] = {"validation": task.valid, "test": task.test}
    for part, split in parts.items():
        if split is not None and split.x.shape[1:] != task.train.x.shape[1:]:
            raise TaskError(
                f"inputs of one sample have shape {list(task.train.x.shape[1:])} in the training data but "
                f"{list(split.x.shape[1:])} in the {part} data; make them equal"
            )
    for part, split in (("training", task.train), ("validation", task.valid)):
        hard = split.y.ndim == 1 or task.kind != "multiclass"
        if not hard or (part == "validation" and task.kind == "regression") or split.y.min() != split.y.max():
            continue
        value = f"{split.y.min().item():g}"
        if task.kind == "regression":
            raise TaskError(f"every training target is {value}: nothing to learn; give targets that vary")
        raise TaskError(
            f"{part} labels hold one class only ({value}) in {len(split)} samples; "
            "give at least two (were sorted data split without shuffling?)"
        )


def check_augmentation(task: Task) -> None:
    """The augmentation, if there is one, keeps the shape and type of a batch and repeats with its generator.

    Raises:
        TaskError: If not.
    """
    if task.augment is None:
        return
    x = task.train.x[:3]
    try:
        changed, again = (task.augment(x.clone(), torch.Generator().manual_seed(0)) for _ in range(2))
    except Exception as error:
        raise TaskError(f"augment failed on inputs of shape {list(x.shape)}: {carried(error)}") from error
    if not isinstance(changed, torch.Tensor) or (changed.shape, changed.dtype) != (x.shape, x.dtype):
        got = f"{changed.dtype} {list(changed.shape)}" if isinstance(changed, torch.Tensor) else type(changed).__name__
        raise TaskError(f"augment must return inputs like those it gets, {x.dtype} {list(x.shape)}; received {got}")
    if not torch.equal(changed, again):
        raise TaskError("augment gave two results for one state of its generator; draw from that generator alone")


def check_model(task: Task) -> int:
    """The model is a factory of fresh, reproducible modules whose outputs fit the task.

    Returns:
        The number of trainable parameters.

    Raises:
        TaskError: If not.
    """
    if isinstance(task.model, nn.Module) or not callable(task.model):
        what = "an nn.Module that is already built" if isinstance(task.model, nn.Module) else repr(task.model)
        raise TaskError(f"model must be a function without arguments that builds a new nn.Module; received {what}")
    first, second = _build(task), _build(task)
    parameters = list(first.parameters())
    if first is second or {id(p) for p in parameters} & {id(p) for p in second.parameters()}:
        raise TaskError("the model factory must build a new module at each call; it returned the same one twice")
    if not any(p.requires_grad for p in parameters):
        raise TaskError("the model has no trainable parameters; there is nothing to train")
    if not all(map(torch.equal, parameters, second.parameters())):
        raise TaskError(
            "the model factory gave different weights for the same seed; draw them from torch's generator alone"
        )
    _check_outputs(task, first)
    return sum(p.numel() for p in parameters if p.requires_grad)


def _build(task: Task) -> nn.Module:
    try:
        model: Any = task.new_model(0)
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"the model factory failed: {carried(error)}") from error
    return model  # type: ignore[no-any-return]


def _check_outputs(task: Task, model: nn.Module) -> None:
    """One forward pass of three samples gives finite outputs of shape **[3, C]**."""
    x = task.train.x[:3]
    try:
        with torch.no_grad(), seeded(0):
            outputs: Any = model.eval()(x)
    except Exception as error:
        raise TaskError(f"the model cannot take inputs of shape {list(x.shape)}: {carried(error)}") from error
    expected = [len(x), task.outputs]
    if not isinstance(outputs, torch.Tensor):
        raise TaskError(f"the model must return a tensor of shape {expected}; received {type(outputs).__name__}")
    if list(outputs.shape) != expected:
        raise TaskError(
            f"the model returned shape {list(outputs.shape)} for {len(x)} samples, expected {expected}: {_why(task)}"
        )
    if not torch.isfinite(outputs).all():
        raise TaskError("the untrained model returns NaN or infinite outputs for the first training samples")
    if task.outputs > 1 and (outputs >= 0).all() and ((outputs.sum(dim=1) - 1).abs() < 1e-5).all():
        raise TaskError("the model returns probabilities; return logits: leave the softmax at its end out")


def _why(task: Task) -> str:
    if task.kind != "multiclass":
        return f"a {task.kind} task has one output"
    labels = [split.y for split in (task.train, task.valid, task.test) if split is not None and split.y.ndim == 1]
    if task.classes_declared or not labels:
        return f"the task has {task.outputs} classes"
    smallest, largest = (int(f(torch.stack([f(y) for y in labels]))) for f in (torch.min, torch.max))
    return f"labels run from {smallest} to {largest} (pass classes=... if some classes do not occur)"
