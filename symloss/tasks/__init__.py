"""What a loss is tried on: tasks, data sets and base models."""

from symloss.tasks import sources  # they register their data sets
from symloss.tasks.architectures.lenet import lenet5
from symloss.tasks.architectures.perceptrons import linear, mlp
from symloss.tasks.architectures.sizes import ACTIVATIONS
from symloss.tasks.augmentation import Augmentation
from symloss.tasks.conditions import Conditions
from symloss.tasks.loading import load_task
from symloss.tasks.models import MODELS, ModelFactory, seeded
from symloss.tasks.registry import DataSet, describe, names, register, unregister
from symloss.tasks.splits import Samples, Split, split_indices, standardise
from symloss.tasks.task import KINDS, Task

__all__ = [
    "ACTIVATIONS",
    "KINDS",
    "MODELS",
    "Augmentation",
    "Conditions",
    "DataSet",
    "ModelFactory",
    "Samples",
    "Split",
    "Task",
    "describe",
    "lenet5",
    "linear",
    "load_task",
    "mlp",
    "names",
    "register",
    "seeded",
    "sources",
    "split_indices",
    "standardise",
    "unregister",
]
