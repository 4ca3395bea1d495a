"""From a name or a file to a task: read, split, scaled, and put under the conditions that were asked for."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from symloss.errors import TaskError
from symloss.tasks.augmentation import Augmentation
from symloss.tasks.conditions import Conditions
from symloss.tasks.models import ModelFactory, takes_tokens
from symloss.tasks.reading import class_count
from symloss.tasks.registry import DataSet, find
from symloss.tasks.sources.tables import TABLES, table
from symloss.tasks.splits import Samples, Split, split_indices, standardise
from symloss.tasks.task import Task

DEFAULT_MODEL, DEFAULT_TOKEN_MODEL = "mlp", "charcnn"


def load_task(
    name: str | os.PathLike[str],
    model: str | Callable[[], nn.Module] | None = None,
    seed: int = 0,
    *,
    root: str | os.PathLike[str] | None = None,
    target: str | None = None,
    kind: str | None = None,
    image_size: int | None = None,
    train_samples: int | None = None,
    valid_samples: int | None = None,
    imbalance: float | None = None,
    label_noise: float = 0.0,
    clean_validation: bool = False,
    augment: bool | str = False,
    **model_options: Any,
) -> Task:
    """A task on real data, by name or from a file.

    Splits are 60 % training, 20 % validation, 20 % test, stratified and without a shared input; an official test part
    stays the test part, and 20 % of the rest are for validation. Inputs are standardised with the mean and deviation
    of the training part, per column or per image channel. So are regression targets: the mean squared error is
    in units of the training targets' variance, 1 for a model that always predicts their mean. Test labels are never
    changed.

    Args:
        name: One of `names()`, or the path of a .csv, .tsv or .npz file.
        model: A name of `MODELS`, or a function without arguments that builds a new `nn.Module`. None is "mlp", or
            "charcnn" for tokens.
        seed: Seed of the split and of the conditions; models are seeded apart, by `Task.new_model`.
        root: Directory to read a data set from that is on the user's own disk.
        target: Column (or array) of a file that holds the targets; None is the last column, or the array y.
        kind: "multiclass", "binary" or "regression", for a file; None tells by its targets.
        image_size: Height and width that images of a folder are resized to.
        train_samples: Size of the training part, for small training sets; a stratified choice.
        valid_samples: Size of the validation part, likewise.
        imbalance: How many times fewer training samples the last class has than the first; see `Conditions`.
        label_noise: Share of training and validation labels that are replaced by another class.
        clean_validation: Whether validation labels are spared by the noise.
        augment: Random changes of training batches of images: "crop", "flip", or True for both.
        **model_options: Options of the named model, such as `hidden=(64, 64)`.

    Returns:
        The task, in memory, float32, on the CPU. Its name tells the conditions, for whatever is measured on it.

    Raises:
        TaskError: If a name or option is unknown, the data are absent, or the model does not fit them.
    """
    conditions = Conditions(train_samples, valid_samples, imbalance, label_noise, clean_validation)
    changes = Augmentation.named(augment)
    if not isinstance(name, str | os.PathLike):
        raise TaskError(f"a task is a name or the path of a file; received {name!r:.60}")
    if root is not None and not isinstance(root, str | os.PathLike):
        raise TaskError(f"root is a directory; received {root!r:.60}")
    root = None if root is None else os.path.abspath(root)
    reading: dict[str, Any] = {"root": root, "image_size": image_size}
    data_set, place = _data_set(name, target, kind)
    data = data_set.load(**{option: value for option, value in reading.items() if value is not None})
    if changes is not None and data.x.ndim != 4:
        raise TaskError(f"augment is for images; inputs of task {data_set.name!r} have shape {list(data.x.shape[1:])}")
    classes = class_count([data], data_set.classes) if data_set.kind == "multiclass" else None
    factory = _factory(model, data, data_set, classes or 1, model_options)
    splits = _prepare(data, data_set, seed, conditions, classes or 2)
    declared = None if classes == 1 else classes  # of one class the task says what is wrong
    title = ", ".join(filter(None, (data_set.name, str(conditions), str(changes or ""))))
    task = Task(factory, *splits, data_set.kind, title, classes=declared, tokens=data_set.tokens, augment=changes)
    if isinstance(factory, ModelFactory):
        options = reading | vars(conditions) | {"augment": augment}
        if place != data_set.name:
            options |= {"target": target, "kind": data_set.kind}
        task.recipe = _recipe(place, factory.name, seed, model_options, options)
    return task


def _recipe(name: str, model: str, seed: int, model_options: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `load_task` as plain values; options that are not in use are left out."""
    used = {option: value for option, value in options.items() if value not in (None, False, 0.0)}
    recipe: dict[str, Any] = {"name": name, "model": model, "seed": seed, "model_options": dict(model_options)}
    return recipe | {"options": used} if used else recipe


def _data_set(name: str | os.PathLike[str], target: str | None, kind: str | None) -> tuple[DataSet, str]:
    """The data set of a name or of a file, and what a recipe calls it."""
    for option, value in (("target", target), ("kind", kind)):
        if value is not None and not isinstance(value, str):
            raise TaskError(f"{option} is a text; received {value!r:.60}")
    text = os.fspath(name)
    if Path(text).suffix.lower() in TABLES:
        path = os.path.abspath(text)
        return table(Path(path), target, kind), path
    if os.path.isdir(text) and os.sep in text:
        raise TaskError(f"{text!r:.200} is a directory; for images in folders give the task 'images' with root=...")
    data_set = find(text)
    if target is not None or kind is not None:
        raise TaskError(f"target and kind are for files; task {text!r} has its own")
    return data_set, text


def _factory(
    model: str | Callable[[], nn.Module] | None, data: Samples, data_set: DataSet, outputs: int, options: dict[str, Any]
) -> Callable[[], nn.Module]:
    """What builds the models: a named one knows the shape of the data and the size of their vocabulary."""
    if model is None:
        model = DEFAULT_TOKEN_MODEL if data_set.tokens else DEFAULT_MODEL
    if not isinstance(model, str):
        if options:
            raise TaskError(f"options such as {next(iter(options))} belong to models by name, not to {model!r}")
        return model
    factory = ModelFactory(model, tuple(data.x.shape[1:]), outputs, options)
    if takes_tokens(model) != data_set.tokens:
        holds, others = ("tokens", "charcnn or gru") if data_set.tokens else ("numbers, no tokens", "mlp or linear")
        raise TaskError(f"model {model!r} does not fit task {data_set.name!r}, whose inputs are {holds}; use {others}")
    if data_set.tokens and "vocabulary" not in options:
        factory = ModelFactory(model, factory.shape, outputs, options | {"vocabulary": int(data.x.max()) + 1})
    return factory


def _prepare(
    data: Samples, data_set: DataSet, seed: int, conditions: Conditions, classes: int
) -> tuple[Split, Split, Split]:
    """Split, put under the conditions, then standardise with statistics of the training part."""
    conditions.check(data_set.kind, data.y)
    x, y = data.x.numpy(), data.y.numpy()
    train, valid, test = split_indices(x, y, data_set.kind, seed, data.test, data.groups)
    train, valid = conditions.choose(train, valid, y, data_set.kind, seed)
    if min(map(len, (train, valid, test))) == 0:
        raise TaskError(f"{len(data)} samples are too few for three splits of task {data_set.name!r}; give more")
    indices = [torch.from_numpy(part) for part in (train, valid, test)]
    xs, ys = tuple(data.x[i] for i in indices), tuple(data.y[i] for i in indices)
    if not data_set.tokens:
        xs = standardise(*(part if part.is_floating_point() else part.float() for part in xs))
    if data_set.kind == "regression":
        ys = standardise(*ys)
    ys = (*conditions.label(ys[0], ys[1], classes, seed), ys[2])
    parts = tuple(map(Split, xs, ys))
    return parts[0], parts[1], parts[2]


TASK_OPTIONS = frozenset(inspect.signature(load_task).parameters) - {"model_options"}
"""Names of the arguments of `load_task`; what else it is given are options of the model."""
