"""NPBML: a few-shot learner whose initialisation, optimiser and loss are meta-learned; MAML and Meta-SGD by flags."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from symloss.errors import TaskError
from symloss.fewshot import encoders, storage
from symloss.fewshot.encoders import Architecture
from symloss.fewshot.episodes import Episodes, Source, Tasks, whole
from symloss.fewshot.model import Batch, Model, Theta
from symloss.fewshot.result import Curve, Scores
from symloss.fewshot.settings import KINDS, Settings, formula
from symloss.fewshot.training import Training, TrainingSettings, train
from symloss.online.run import Progress, listener

CHUNK = 10
"""Tasks that are evaluated together."""


class NPBML:
    r"""A few-shot learner: Φ = {θ, ω, φ, ψ}, meta-learned so that a few steps on a support set do well on queries.

    Inner loop: θ_{j+1} = θ_j − α P_ω ∇_θ M_{φ,ψ}(θ_j), J steps on the support set. Outer loop:
    Φ ← Φ − η ∇_Φ mean_i L_task(queries_i, θ_{i,J}), through the inner steps.

    All tasks of a meta-batch are computed together, and what is not adapted once per task. At the start warp layers,
    FiLM layers and the learned loss are such that the inner loop is MAML's.

    Args:
        encoder: `"conv4"`, `"resnet12"` or `"mlp"`, or a `Conv4`, `ResNet12` or `MLP`.
        ways: Classes N of a task; number of outputs for regression (None is 5, or 1).
        shots: Support samples per class K.
        kind: `"multiclass"` or `"regression"`.
        optimiser: Whether warp layers ω are learned.
        loss: Whether the inner loss is learned.
        film: Whether FiLM layers ψ are learned.
        transductive: Whether the inner loss sees the inputs of the queries.
        base_loss: L_base: a named loss, a formula, a file, a run directory or a module with a formula; None is
            cross-entropy, or the squared error.
        device: Where tensors are kept and computed.
        dtype: Floating-point precision.
        options: More fields of `Settings`, such as `inner_steps=5`, `lr=0.01`, `first_order=True` or
            `learn_rates=True`, and options of the encoder, such as `width=64`.

    Attributes:
        settings: All of them.
        architecture: The encoder.
        model: The meta-parameters; None before any data were seen.
        history: What was measured by `fit`.

    Raises:
        TaskError: If a setting cannot be used.
        LossError: If there is no such base loss.

    Example::

        learner = sl.fewshot.NPBML("conv4", ways=5, shots=1, width=32)
        learner.fit(sl.fewshot.Episodes(glyphs.train, 5, 1), sl.fewshot.Episodes(glyphs.valid, 5, 1), iterations=3000)
        print(learner.evaluate(sl.fewshot.Episodes(glyphs.test, 5, 1), tasks=600))

    Source: Raymond et al., *Meta-Learning Neural Procedural Biases*, arXiv 2406.07983.
    """

    def __init__(
        self, encoder: str | Architecture = "conv4", ways: int | None = None, shots: int = 1, *,
        kind: str = "multiclass", optimiser: bool = True, loss: bool = True, film: bool = True,
        transductive: bool = False, base_loss: Any = None, device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32, **options: Any,
    ) -> None:  # fmt: skip
        if kind not in KINDS:
            raise TaskError(f"kind of a few-shot learner is one of {', '.join(KINDS)}; received {kind!r:.60}")
        own = {name: options.pop(name) for name in list(options) if name in Settings.__dataclass_fields__}
        self.settings = Settings(
            kind=kind, ways=(5 if kind == "multiclass" else 1) if ways is None else ways, shots=shots,
            optimiser=optimiser, loss=loss, film=film, transductive=transductive, base_loss=formula(base_loss, kind),
            **own,
        )  # fmt: skip
        self.architecture = encoders.architecture(encoder, options)
        self.device, self.dtype = torch.device(device), dtype
        self.model: Model | None = None
        self.history: list[dict[str, float]] = []

    def build(self, shape: Sequence[int]) -> Model:
        """The meta-parameters for inputs of a shape: at the first call with their initial values, later as they are.

        Raises:
            TaskError: If they are there for inputs of another shape.
        """
        if self.model is None:
            self.model = Model(self.architecture, self.settings, shape).to(self.device, self.dtype)
        if self.model.shape != tuple(shape):
            raise TaskError(
                f"this learner takes inputs of shape {list(self.model.shape)}; received {list(shape)}: make a new one"
            )
        return self.model

    def fit(
        self, episodes: Source, valid: Source | None = None, iterations: int = 3000, *,
        out: str | os.PathLike[str] | None = None, progress: Progress = None, **options: Any,
    ) -> NPBML:  # fmt: skip
        """Meta-learn from tasks; with validation tasks the parameters that did best on them are kept.

        Iteration i learns from its own meta-batch of tasks, whatever came before. Ctrl-C keeps what is there; the same
        call with the same `out` goes on where it was stopped or killed, and ends as if it had not been.

        Args:
            episodes: Tasks to learn from.
            valid: Tasks to choose by.
            iterations: Meta-iterations.
            out: Directory of the run; None keeps nothing on disk.
            progress: True writes lines to stderr, None does so if stderr is a terminal, False never; a function is
                called with each line instead.
            options: More fields of `TrainingSettings`, such as `meta_batch=4` or `meta_lr=1e-3`.

        Returns:
            The learner itself.

        Raises:
            TaskError: If tasks do not fit the learner, or an option cannot be used.
            LossError: If training diverges.
            RunError: If `out` cannot be used, or holds another run.
        """
        own = TrainingSettings.from_options({"iterations": iterations, **options})
        model = self.build(self._shape_of(episodes))
        if valid is not None:
            self.build(self._shape_of(valid))
        training = Training(self, model, own, episodes, valid)
        train(training, out, listener(progress))
        self.history = training.records
        return self

    def pretrain(
        self, episodes: Episodes, iterations: int = 1000, *, batch_size: int = 128, lr: float = 1e-3,
        progress: Progress = None,
    ) -> NPBML:  # fmt: skip
        """Train the encoder's initial tensors to tell all classes of a data set apart, with a classifier of their own.

        Args:
            episodes: Where samples and their augmentation come from; its classes are all classified at once.
            iterations: Steps of Adam.
            batch_size: Samples in a batch.
            lr: Learning rate, falling to 0 in a cosine curve.
            progress: As in `fit`.

        Returns:
            The learner itself.

        Raises:
            TaskError: If the learner is for regression, or an option cannot be used.
        """
        from symloss.fewshot.pretraining import pretrain

        if self.settings.kind != "multiclass" or not isinstance(episodes, Episodes):
            raise TaskError("pre-training is for classes: it takes Episodes of a labelled data set")
        pretrain(self.build(episodes.shape), episodes, iterations, batch_size, lr, listener(progress))
        return self

    def adapt(self, support: tuple[Any, Any], queries: Any = None, steps: int | None = None) -> Adapted:
        """A model for one task.

        Args:
            support: Inputs **[S, ...]** with class indices 0 ... N − 1 **[S]**, or real targets **[S]** or **[S, C]**.
            queries: Inputs **[Q, ...]** that a transductive learner adapts to as well.
            steps: Inner steps; None is as many as were trained with.

        Returns:
            A function from inputs **[Q, ...]** to logits, or predictions **[Q, C]**.

        Raises:
            TaskError: If the data do not fit the learner.
        """
        x, y = (torch.as_tensor(part) for part in support)
        if self.settings.transductive and queries is None:
            raise TaskError("a transductive learner adapts to the inputs of queries, too; give queries=...")
        x = x.to(self.device, self.dtype)
        y = self._targets(y, len(x))
        model = self.build(x.shape[1:])
        q = None if queries is None else torch.as_tensor(queries).to(self.device, self.dtype).unsqueeze(0)
        if q is not None and q.shape[2:] != x.shape[1:]:
            raise TaskError(f"queries have inputs of shape {list(q.shape[2:])}, the support set {list(x.shape[1:])}")
        with torch.no_grad():
            batch = model.batch(x.unsqueeze(0), y.unsqueeze(0), q if self.settings.transductive else None)
            return Adapted(model, batch, model.adapt(batch, self._steps(steps)))

    def predict(self, tasks: Tasks, steps: int | None = None) -> Tensor:
        """Logits, or predictions **[T, Q, C]** for the queries of tasks, adapted together; labels of queries are not
        looked at.
        """
        found: list[Tensor] = []
        self._along(self.checked(tasks), [self._steps(steps)], lambda step, outputs: found.append(outputs))
        return found[0]

    def evaluate(self, episodes: Source, tasks: int = 600, steps: int | None = None) -> Scores:
        """Accuracy, or mean squared error, over tasks of the stream `"test"`: the same ones for every learner.

        Args:
            episodes: Where the tasks come from.
            tasks: How many.
            steps: Inner steps; None is as many as were trained with.

        Returns:
            The metric of each task, its mean and the 95 % interval.

        Raises:
            TaskError: If the tasks do not fit the learner.
        """
        return self.scores(episodes, range(whole("tasks", tasks)), "test", steps)

    def scores(self, episodes: Source, numbers: Iterable[int], stream: str, steps: int | None = None) -> Scores:
        """As `evaluate`, on the tasks of these numbers of a stream."""
        values = np.concatenate([found[0] for found in self._metrics(episodes, numbers, stream, [self._steps(steps)])])
        return Scores(values, self.metric_name, self._steps(steps))

    def curve(self, episodes: Source, tasks: int = 100, steps: int = 15) -> Curve:
        """The metric after 0, 1, ..., `steps` inner steps, also beyond the trained number.

        Returns:
            Metrics **[steps + 1, tasks]** with means and intervals.
        """
        places = list(range(whole("steps", steps, 0) + 1))
        parts = list(self._metrics(episodes, range(whole("tasks", tasks)), "test", places))
        values = np.concatenate([np.stack(part) for part in parts], 1)
        return Curve(values, self.metric_name, self.settings.inner_steps)

    @property
    def metric_name(self) -> str:
        """What is measured: `"accuracy"`, or `"mean squared error"`."""
        return "accuracy" if self.settings.kind == "multiclass" else "mean squared error"

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the learner to a file of plain arrays (.npz); `load` reads it.

        Raises:
            RunError: If it cannot be written.
            TaskError: If there is nothing to save before any data were seen.
        """
        storage.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: torch.device | str = "cpu") -> NPBML:
        """A learner from a file that `save` wrote, or from the directory of a run of `fit` (its best parameters).

        Raises:
            RunError: If there is none, or it is damaged.
        """
        return storage.load(cls, path, device)

    def _metrics(
        self, episodes: Source, numbers: Iterable[int], stream: str, places: list[int]
    ) -> Iterator[list[np.ndarray[Any, Any]]]:
        """Metrics of each chunk of tasks: arrays [tasks], one for each number of inner steps in `places`."""
        model, numbers = self.build(self._shape_of(episodes)), list(numbers)
        for start in range(0, len(numbers), CHUNK):
            drawn = self.checked(episodes.tasks(numbers[start : start + CHUNK], stream))
            found: list[np.ndarray[Any, Any]] = []
            y = drawn.query_y

            def measure(step: int, outputs: Tensor, y: Tensor = y, found: list[Any] = found) -> None:
                found.append(model.metric(outputs, y).double().cpu().numpy())

            self._along(drawn, places, measure)
            yield found

    def _along(self, tasks: Tasks, places: list[int], use: Callable[[int, Tensor], object]) -> None:
        """Call `use` with the outputs for the queries of checked tasks after these numbers of steps, in their order."""
        model = self.build(tasks.support_x.shape[2:])
        with torch.no_grad():
            batch = model.batch(tasks.support_x, tasks.support_y, tasks.query_x)
            queries = batch.queries
            assert queries is not None

            def watch(step: int, theta: Theta) -> None:
                if step in places:
                    with torch.no_grad():
                        use(step, model.predict(batch, theta, queries))

            model.adapt(batch, places[-1], watch=watch)

    def checked(self, tasks: Tasks) -> Tasks:
        """Tasks on the learner's device and in its precision.

        Raises:
            TaskError: If their labels do not fit the learner.
        """
        own = self.settings
        for name, x, y in (("support", tasks.support_x, tasks.support_y), ("query", tasks.query_x, tasks.query_y)):
            if x.ndim < 3 or y.shape[:2] != x.shape[:2]:
                raise TaskError(
                    f"{name} sets of tasks are inputs [T, B, ...] and as many targets; received {list(x.shape)} and "
                    f"{list(y.shape)}"
                )
            self._targets(y.flatten(0, 1), x.shape[0] * x.shape[1])
        if own.kind == "multiclass" and own.prototypes and any(len(row.unique()) < own.ways for row in tasks.support_y):
            raise TaskError(f"prototypes need a support sample of each of {own.ways} classes")
        return tasks.to(self.device, self.dtype)

    def _shape_of(self, episodes: Source) -> tuple[int, ...]:
        """Shape of a sample, after checking that ways, shots and kind are the learner's."""
        own = self.settings
        if not callable(getattr(episodes, "tasks", None)):
            raise TaskError(f"tasks come from Episodes or Sinusoids; received {type(episodes).__name__}")
        for name in ("kind", "ways", "shots"):
            wanted, received = getattr(own, name), getattr(episodes, name)
            if wanted != received:
                raise TaskError(
                    f"these tasks have {name}={received!r}, the learner {name}={wanted!r}; give tasks of the same "
                    f"{name}, or NPBML(..., {name}={received!r})"
                )
        shape = getattr(episodes, "shape", None)
        return tuple(episodes.tasks([0], "train").support_x.shape[2:] if shape is None else shape)

    def _targets(self, y: Tensor, count: int) -> Tensor:
        """Targets [B] or [B, C] of one set of samples, checked and on the device."""
        own = self.settings
        if own.kind == "regression":
            y = y.unsqueeze(-1) if y.ndim == 1 else y
            if y.shape != (count, own.ways):
                raise TaskError(f"targets are real numbers [{count}, {own.ways}] here; received {list(y.shape)}")
            return y.to(self.device, self.dtype)
        if y.shape != (count,) or y.is_floating_point():
            raise TaskError(f"labels are class indices [{count}] here; received {list(y.shape)}, {y.dtype}")
        if count == 0 or int(y.min()) < 0 or int(y.max()) >= own.ways:
            received = f"{int(y.min())} to {int(y.max())}" if count else "none"
            raise TaskError(f"labels of a {own.ways}-way task are 0 to {own.ways - 1}; received {received}")
        return y.to(self.device, torch.int64)

    def _steps(self, steps: int | None) -> int:
        return self.settings.inner_steps if steps is None else whole("steps", steps, 0)

    def __repr__(self) -> str:
        own = self.settings
        flags = ", ".join(
            f"{name}={getattr(own, name)}" for name in ("optimiser", "loss", "film", "transductive", "learn_rates")
        )
        ways = f"{own.ways}-way " if own.kind == "multiclass" else ""
        return f"NPBML({self.architecture}, {ways}{own.shots}-shot, {flags}, {own.inner_steps} steps)"


class Adapted(nn.Module):
    """A model that has adapted to the support set of one task.

    Args:
        model: The meta-parameters.
        batch: The support set.
        theta: Tensors of the task **[1, ...]**.
    """

    def __init__(self, model: Model, batch: Batch, theta: Theta) -> None:
        super().__init__()
        self._model, self._batch = (model,), batch  # a tuple, so that the meta-parameters are not this module's
        self.theta = {name: tensor.detach() for name, tensor in theta.items()}

    def forward(self, x: Any) -> Tensor:
        """Logits, or predictions **[Q, C]** for inputs **[Q, ...]**.

        Raises:
            TaskError: If inputs have another shape than the support set.
        """
        (model,) = self._model
        some = next(model.parameters())
        inputs = torch.as_tensor(x).to(some)
        if tuple(inputs.shape[1:]) != model.shape:
            raise TaskError(f"inputs have shape [Q, {', '.join(map(str, model.shape))}]; received {list(inputs.shape)}")
        with torch.no_grad():
            queries = model.trunk(inputs.unsqueeze(0), self._batch)
            return model.predict(self._batch, self.theta, queries)[0]
