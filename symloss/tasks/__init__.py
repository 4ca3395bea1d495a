"""What a loss is tried on: tasks, data sets and base models."""

from symloss.tasks import mlxtend, scikit  # they register their data sets
from symloss.tasks.models import ACTIVATIONS, MODELS, ModelFactory, lenet5, linear, mlp, seeded
from symloss.tasks.registry import DataSet, describe, load_task, names, register, unregister
from symloss.tasks.splits import Split, split_indices, standardise
from symloss.tasks.task import KINDS, Task

__all__ = [
    "ACTIVATIONS",
    "KINDS",
    "MODELS",
    "DataSet",
    "ModelFactory",
    "Split",
    "Task",
    "describe",
    "lenet5",
    "linear",
    "load_task",
    "mlp",
    "mlxtend",
    "names",
    "register",
    "scikit",
    "seeded",
    "split_indices",
    "standardise",
    "unregister",
]
