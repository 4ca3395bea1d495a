"""What a loss is tried on: data, a model and a metric."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import is_dataclass
from itertools import chain
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parameter import is_lazy

from symloss.errors import TaskError
from symloss.tasks.architectures.sizes import unknown
from symloss.tasks.checks import check_augmentation, check_model, check_splits
from symloss.tasks.models import seeded
from symloss.tasks.reading import Data, class_count, read_split
from symloss.tasks.splits import Split

KINDS = ("multiclass", "binary", "regression")


class Task:
    """Training, validation and test data with a model to train on them, checked once, held in memory.

    Args:
        model: Function without arguments that builds a new `nn.Module` from inputs **[B, ...]** to outputs **[B, C]**:
            logits, or the prediction itself for regression. It draws its weights from torch's global generator.
        train: Training data: (X, y) with X **[N, ...]**, or a torch `Dataset` of pairs, which is read once. y is
            class indices **[N]** or probabilities **[N, C]** for multiclass, 0/1 for binary, real for regression.
        valid: Validation data.
        test: Test data; None leaves them out.
        kind: "multiclass", "binary" or "regression".
        name: How reports call the task.
        classes: Number of classes C of a multiclass task; needed only where some do not occur in the data.
        tokens: Whether X holds integer tokens (for embeddings), which stay int64; all other inputs become float32.
        augment: Random changes of training batches, called with inputs **[B, ...]** and a `torch.Generator` on the CPU
            from which alone it draws; what is measured is never changed. It must pickle for several workers.

    Attributes:
        outputs: C for multiclass, else 1.
        classes: C for multiclass, 2 for binary, None for regression.
        train, valid, test: The `Split`s; `test` may be None.
        metric_name: "error rate" or "mean squared error".
        parameters: Number of trainable parameters of the model.
        recipe: Arguments of `load_task` that make the task anew, as plain values; None for a task of the user's own.

    Raises:
        TaskError: If the data or the model cannot be used: one line says what was received and what to do.
    """

    def __init__(
        self,
        model: Callable[[], nn.Module],
        train: Data,
        valid: Data,
        test: Data | None = None,
        kind: str = "multiclass",
        name: str = "custom",
        *,
        classes: int | None = None,
        tokens: bool = False,
        augment: Callable[[torch.Tensor, torch.Generator], torch.Tensor] | None = None,
    ) -> None:
        if kind not in KINDS:
            raise unknown("kind of task", kind, KINDS)
        if classes is not None and (kind != "multiclass" or not isinstance(classes, int) or classes < 2):
            raise TaskError(f"classes is a whole number from 2 on, for multiclass tasks; received {classes!r} ({kind})")
        self.model, self.kind, self.name, self.augment = model, kind, name, augment
        self.recipe: dict[str, Any] | None = None
        self.classes_declared = classes is not None
        self.train = read_split(train, "training", kind, tokens)
        self.valid = read_split(valid, "validation", kind, tokens).to(self.device)
        self.test = None if test is None else read_split(test, "test", kind, tokens).to(self.device)
        self.dtype = torch.float32
        self.classes = None if kind == "regression" else 2
        if kind == "multiclass":
            self.classes = class_count(self._splits().values(), classes)
        check_splits(self)
        check_augmentation(self)
        self.outputs: int = self.classes if kind == "multiclass" and self.classes else 1
        self.parameters = check_model(self)

    @property
    def device(self) -> torch.device:
        """Where the data are and models go."""
        return self.train.x.device

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample's inputs."""
        return tuple(self.train.x.shape[1:])

    @property
    def metric_name(self) -> str:
        """What `metric` measures; lower is better."""
        return "mean squared error" if self.kind == "regression" else "error rate"

    def make_model(self) -> nn.Module:
        """A new model on the task's device, in its precision, drawn from torch's global generator."""
        model = self.model()
        if not isinstance(model, nn.Module):
            raise TaskError(f"the model factory must return an nn.Module; it returned {type(model).__name__}")
        if any(map(is_lazy, chain(model.parameters(), model.buffers()))):
            training, x = model.training, self.train.x[:2].cpu()
            with torch.no_grad():
                model.eval()(x.float() if x.is_floating_point() else x)
            model.train(training)
        return model.to(device=self.device, dtype=self.dtype)

    def new_model(self, seed: int) -> nn.Module:
        """The model of this seed; torch's global generators are left as they were."""
        with seeded(seed):
            return self.make_model()

    def sample_metric(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The metric of each sample; NaN where an output is NaN.

        Args:
            outputs: Outputs of one model or of many **[..., N, C]**.
            y: Targets **[N]** or **[N, C]**.

        Returns:
            **[..., N]**: 1 where the predicted class is wrong, else 0; for regression the squared error.
        """
        if self.kind == "regression":
            return (outputs - y).square().squeeze(-1)
        if self.kind == "binary":
            wrong = ((outputs > 0) != (y > 0.5)).squeeze(-1)
        else:
            wrong = outputs.argmax(dim=-1) != (y.argmax(dim=-1) if y.ndim == 2 else y)
        return wrong.to(outputs.dtype).masked_fill(outputs.isnan().any(dim=-1), torch.nan)

    def metric(self, outputs: torch.Tensor, y: torch.Tensor) -> float:
        """Error rate (classification) or mean squared error (regression).

        Args:
            outputs: Outputs of one model **[N, C]**.
            y: Targets **[N]** or **[N, C]**.

        Returns:
            The mean over samples; NaN if an output is NaN.
        """
        return self.sample_metric(outputs, y).mean(dtype=torch.float64).item()

    def task_loss(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Cross-entropy (multiclass), its binary form on logits, or the mean squared error (regression).

        Args:
            outputs: Outputs **[B, C]**.
            y: Targets **[B]** or **[B, C]**.

        Returns:
            The mean over samples, a scalar tensor.
        """
        if self.kind == "multiclass":
            return F.cross_entropy(outputs, y)
        return F.mse_loss(outputs, y) if self.kind == "regression" else F.binary_cross_entropy_with_logits(outputs, y)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Task:
        """The same task on another device or in another floating-point precision, its models too.

        Raises:
            TaskError: If `dtype` is not a floating-point type.
        """
        if dtype is not None and not dtype.is_floating_point:
            raise TaskError(f"a task's dtype is a floating-point type; received {dtype}")
        task = copy.copy(self)
        task.dtype = dtype or self.dtype
        task.train, task.valid = self.train.to(device, dtype), self.valid.to(device, dtype)
        task.test = None if self.test is None else self.test.to(device, dtype)
        return task

    def resplit(self, seed: int) -> Task:
        """The same task with training and validation data pooled and divided anew, into parts of the same sizes.

        The test part is what it was. Samples are drawn without regard to classes or groups.
        """
        order = torch.randperm(len(self.train) + len(self.valid), generator=torch.Generator().manual_seed(seed))
        chosen = torch.split(order.to(self.device), [len(self.train), len(self.valid)])
        x, y = (torch.cat([getattr(part, name) for part in (self.train, self.valid)]) for name in ("x", "y"))
        task = copy.copy(self)
        task.train, task.valid = (Split(x[index], y[index]) for index in chosen)
        task.recipe = None
        return task

    def identity(self) -> str:
        """Sixteen hexadecimal digits that change with the data, the name, the kind or the model's structure.

        Device, process and conversion to float64 do not matter: a resumed run can notice another task.
        """
        model = self.new_model(0)
        structure = [type(module).__qualname__ for module in model.modules()]
        shapes = [(name, list(parameter.shape)) for name, parameter in model.named_parameters()]
        digest = hashlib.sha256(repr((self.name, self.kind, self.outputs, structure, shapes)).encode())
        if self.augment is not None:
            known = is_dataclass(self.augment)
            digest.update((repr(self.augment) if known else getattr(self.augment, "__qualname__", "")).encode())
        for part, split in self._splits().items():
            for tensor in (split.x, split.y):
                tensor = tensor.float() if tensor.is_floating_point() else tensor
                digest.update(f"{part} {list(tensor.shape)} {tensor.dtype}".encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def summary(self) -> str:
        """The task in one line."""
        kind = f"{self.kind}, {self.classes} classes" if self.kind == "multiclass" else self.kind
        samples = " + ".join(f"{len(split)} {part}" for part, split in self._splits().items())
        inputs = "×".join(map(str, self.shape))
        return f"{self.name}: {kind}; {samples}; inputs {inputs}; {self.parameters} parameters; {self.metric_name}"

    def __repr__(self) -> str:
        return f"Task({self.summary()})"

    def _splits(self) -> dict[str, Split]:
        parts = {"training": self.train, "validation": self.valid, "test": self.test}
        return {part: split for part, split in parts.items() if split is not None}
