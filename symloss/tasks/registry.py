"""Tasks by name: one record per data set, built-in or the user's own."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from symloss.errors import TaskError
from symloss.tasks.models import ModelFactory, unknown
from symloss.tasks.reading import carried, class_count, read_split
from symloss.tasks.splits import Split, split_indices, standardise
from symloss.tasks.task import KINDS, Task

Loader = Callable[[], tuple[Any, Any]]


@dataclass(frozen=True)
class DataSet:
    """A named data set: what it is, and how it is loaded. Nothing is read before `load`.

    Args:
        name: Name for `load_task`.
        loader: Function without arguments that returns inputs **[N, ...]** and targets **[N]**, not split, not scaled.
        kind: "multiclass", "binary" or "regression".
        samples: Number of samples N, if known beforehand.
        shape: Shape of one sample's inputs, if known beforehand.
        classes: Number of classes, if known beforehand.
        source: Where the data come from, in words.
        package: Package that must be importable; empty if none.
        install: The one command that brings it.
        tokens: Whether inputs are integer tokens: they stay as they are.
    """

    name: str
    loader: Loader
    kind: str
    samples: int | None = None
    shape: tuple[int, ...] | None = None
    classes: int | None = None
    source: str = ""
    package: str = ""
    install: str = ""
    tokens: bool = False

    @property
    def present(self) -> bool:
        """Whether the data can be loaded, found without importing anything."""
        return not self.package or importlib.util.find_spec(self.package) is not None

    def load(self) -> Split:
        """All samples in float64, checked, before any split or scaling.

        Raises:
            TaskError: If the package is absent, the loader fails or the data cannot be used.
        """
        if not self.present:
            raise TaskError(
                f"task {self.name!r} needs the package {self.package}, which is absent; run: {self.install}"
            )
        try:
            data = self.loader()
        except TaskError:
            raise
        except Exception as error:
            raise TaskError(f"the data of task {self.name!r} cannot be loaded: {carried(error)}") from error
        return read_split(data, self.name, self.kind, self.tokens, torch.float64)


_DATA_SETS: dict[str, DataSet] = {}


def register(
    name: str,
    loader: Loader,
    *,
    kind: str,
    samples: int | None = None,
    shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    source: str = "",
    package: str = "",
    install: str = "",
    tokens: bool = False,
) -> DataSet:
    """Make a data set available to `load_task` under a name.

    `load_task` splits what the loader returns (60 % training, 20 % validation, 20 % test; stratified, seeded) and
    standardises it with training statistics; do neither in the loader. The arguments are those of `DataSet`.

    Returns:
        The record.

    Raises:
        TaskError: If the name is taken or malformed, the kind unknown, or the loader not a function.
    """
    if not re.fullmatch(r"[a-z0-9]+([-_.][a-z0-9]+)*", name):
        raise TaskError(f"a task's name has lower-case letters, digits and hyphens; received {name!r}")
    if name in _DATA_SETS:
        raise TaskError(f"task {name!r} exists already; choose another name or call unregister({name!r}) first")
    if kind not in KINDS:
        raise unknown("kind of task", kind, KINDS)
    if not callable(loader):
        raise TaskError(f"a loader is a function without arguments that returns (X, y); received {loader!r}")
    record = DataSet(name, loader, kind, samples, shape, classes, source, package, install, tokens)
    _DATA_SETS[name] = record
    return record


def unregister(name: str) -> None:
    """Take a data set out of the registry.

    Raises:
        TaskError: If there is none of that name.
    """
    _find(name)
    del _DATA_SETS[name]


def names() -> list[str]:
    """Names that `load_task` takes, in alphabetical order."""
    return sorted(_DATA_SETS)


def describe() -> list[DataSet]:
    """Every data set's record, without loading any: name, kind, samples, shape, classes, source, present, install."""
    return [_DATA_SETS[name] for name in names()]


def load_task(name: str, model: str | Callable[[], nn.Module] = "mlp", seed: int = 0, **model_options: Any) -> Task:
    """A task on real data, by name.

    Splits are 60 % training, 20 % validation, 20 % test, stratified and without a shared input. Inputs are standardised
    with the mean and deviation of the training part, per column or per image channel. So are regression targets: the
    mean squared error is in units of the training targets' variance, 1 for a model that always predicts their mean.

    Args:
        name: One of `names()`.
        model: "linear", "mlp" or "lenet5", or a function without arguments that builds a new `nn.Module`.
        seed: Seed of the split; models are seeded apart, by `Task.new_model`.
        **model_options: Options of the named model, such as `hidden=(64, 64)`.

    Returns:
        The task, in memory, float32, on the CPU.

    Raises:
        TaskError: If a name or option is unknown, the data are absent, or the model does not fit them.
    """
    data_set = _find(name)
    data = data_set.load()
    declared = data_set.classes if data_set.kind == "multiclass" else None
    outputs = class_count([data], declared) if data_set.kind == "multiclass" else 1
    if isinstance(model, str):
        factory: Callable[[], nn.Module] = ModelFactory(model, tuple(data.x.shape[1:]), outputs, model_options)
    elif model_options:
        raise TaskError(f"options such as {next(iter(model_options))} belong to models by name, not to {model!r}")
    else:
        factory = model
    splits = _prepare(data, data_set, seed)
    task = Task(factory, *splits, data_set.kind, name, classes=declared, tokens=data_set.tokens)
    if isinstance(model, str):
        task.recipe = {"name": name, "model": model, "seed": seed, "model_options": dict(model_options)}
    return task


def _prepare(data: Split, data_set: DataSet, seed: int) -> tuple[Split, Split, Split]:
    """Split, then standardise with statistics of the training part."""
    parts = split_indices(data.x.numpy(), data.y.numpy(), data_set.kind, seed)
    indices = [torch.from_numpy(part) for part in parts]
    if any(len(part) == 0 for part in parts):
        raise TaskError(f"{len(data)} samples are too few for three splits of task {data_set.name!r}; give more")
    xs, ys = tuple(data.x[i] for i in indices), tuple(data.y[i] for i in indices)
    if not data_set.tokens:
        xs = standardise(*xs)
    if data_set.kind == "regression":
        ys = standardise(*ys)
    train, valid, test = map(Split, xs, ys)
    return train, valid, test


def _find(name: str) -> DataSet:
    if name not in _DATA_SETS:
        raise unknown("task", name, names())
    return _DATA_SETS[name]
