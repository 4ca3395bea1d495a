"""Few-shot tasks: a few labelled samples to learn from, the support, and others to be judged by, the queries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from symloss.errors import TaskError
from symloss.tasks.reading import Data, read_split

STREAMS = ("train", "valid", "test")
"""Independent sequences of tasks: those that are learnt from, chosen by, and judged by."""


@dataclass(frozen=True, eq=False, repr=False)
class Tasks:
    """T tasks of one size.

    Args:
        support_x: Inputs to learn from **[T, S, ...]**.
        support_y: Their targets: classes 0 ... N − 1 **[T, S]**, or real numbers **[T, S, 1]**.
        query_x: Inputs to be judged by **[T, Q, ...]**.
        query_y: Their targets **[T, Q]** or **[T, Q, 1]**.
    """

    support_x: Tensor
    support_y: Tensor
    query_x: Tensor
    query_y: Tensor

    def __len__(self) -> int:
        return len(self.support_x)

    def __getitem__(self, which: slice) -> Tasks:
        return Tasks(self.support_x[which], self.support_y[which], self.query_x[which], self.query_y[which])

    def __repr__(self) -> str:
        return f"Tasks(support={list(self.support_x.shape)}, queries={list(self.query_x.shape)})"

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Tasks:
        """The same tasks on another device, floating-point tensors in another precision."""
        parts = (self.support_x, self.support_y, self.query_x, self.query_y)
        return Tasks(*(p.to(device=device, dtype=dtype if p.is_floating_point() else None) for p in parts))


class Source(Protocol):
    """Where tasks come from: task i of a stream is the same whenever it is asked for.

    Attributes:
        kind: `"multiclass"` or `"regression"`.
        ways: Classes N of a task; 1 for regression.
        shots: Support samples per class K.
        queries: Query samples per class.
    """

    kind: str
    ways: int
    shots: int
    queries: int

    def tasks(self, numbers: Iterable[int], stream: str = "test") -> Tasks:
        """The tasks of these numbers."""


@dataclass(frozen=True, eq=False, repr=False)
class ClassSet:
    """Labelled samples, of whose classes tasks are made.

    Args:
        x: Inputs **[N, ...]**; bytes (uint8) stay bytes and are divided by 255 where tasks are made of them.
        y: Class of each sample **[N]**.
        name: How reports call it.
        mean: What is taken off the inputs of a task, per channel **[C]** or one number.
        deviation: What they are then divided by.
    """

    x: Tensor
    y: Tensor
    name: str = "samples"
    mean: Tensor | float = 0.0
    deviation: Tensor | float = 1.0

    @property
    def classes(self) -> int:
        """Number of classes that have a sample."""
        return len(set(self.y.tolist()))

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        return f"ClassSet({self.name}: {len(self)} samples {list(self.x.shape[1:])} in {self.classes} classes)"


@dataclass(frozen=True)
class ClassSplits:
    """A data set in three parts without a common class.

    Args:
        train: Classes to learn from.
        valid: Classes to choose by.
        test: Classes to be judged by.
    """

    train: ClassSet
    valid: ClassSet
    test: ClassSet


class Episodes:
    """N-way, K-shot classification tasks from any labelled data held in memory.

    Task i draws N classes, and from each K + `queries` different samples; everything random in it follows from
    (`seed`, stream, i) alone, so that tasks can be asked for in any order, and learners compared on the same ones. The
    samples of a task are sorted by class.

    Args:
        dataset: A `ClassSet`, a pair (X, y) with X **[N, ...]** and class indices y **[N]**, or a torch `Dataset`.
        ways: Classes N of a task.
        shots: Support samples per class K.
        queries: Query samples per class.
        seed: Of the tasks.
        augment: Random changes of the samples, called with inputs **[B, ...]** and a NumPy generator, such as
            `Distortion()`; they are part of the task, for support and queries alike.

    Raises:
        TaskError: If a number cannot be used, or the data have too few classes or samples.
    """

    kind = "multiclass"

    def __init__(
        self, dataset: ClassSet | Data, ways: int = 5, shots: int = 1, queries: int = 15, seed: int = 0, *,
        augment: Callable[[Tensor, np.random.Generator], Tensor] | None = None,
    ) -> None:  # fmt: skip
        self.ways, self.shots, self.queries = whole("ways", ways, 2), whole("shots", shots), whole("queries", queries)
        self.seed, self.augment = whole("seed", seed, 0), augment
        if not isinstance(dataset, ClassSet):
            read = read_split(dataset, "few-shot", "multiclass", bytes_stay=True)
            dataset = ClassSet(read.x.cpu(), read.y.cpu())
        self.dataset, y = dataset, dataset.y
        if y.ndim != 1 or y.is_floating_point():
            raise TaskError(f"labels of few-shot data are class indices [N]; received {list(y.shape)}, {y.dtype}")
        order = y.argsort(stable=True).numpy()
        labels, counts = np.unique(y.numpy(), return_counts=True)
        self._members = np.split(order, np.cumsum(counts)[:-1])
        if len(labels) < ways:
            raise TaskError(f"{ways} ways need as many classes; {dataset.name} has {len(labels)}: use fewer ways")
        need, least = shots + queries, int(counts.argmin())
        if counts[least] < need:
            raise TaskError(
                f"shots + queries are {shots} + {queries} = {need} samples of a class; class {labels[least]} of "
                f"{dataset.name} has {counts[least]}: use fewer queries, or leave such classes out"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample's inputs."""
        return tuple(self.dataset.x.shape[1:])

    def tasks(self, numbers: Iterable[int], stream: str = "test") -> Tasks:
        """The tasks of these numbers.

        Args:
            numbers: T numbers from 0 on.
            stream: One of `STREAMS`.

        Returns:
            T tasks of N·K support and N·`queries` query samples.
        """
        drawn = [self._draw(generator(self.seed, stream, number)) for number in numbers]
        x = torch.stack(drawn)
        x = x.view(len(drawn), self.ways, self.shots + self.queries, *x.shape[2:])
        labels = torch.arange(self.ways).expand(len(drawn), self.ways)
        return Tasks(
            x[:, :, : self.shots].flatten(1, 2), labels.repeat_interleave(self.shots, 1),
            x[:, :, self.shots :].flatten(1, 2), labels.repeat_interleave(self.queries, 1),
        )  # fmt: skip

    def _draw(self, random: np.random.Generator) -> Tensor:
        """Samples of one task [N·(K + queries), ...], class by class."""
        need = self.shots + self.queries
        classes = random.choice(len(self._members), self.ways, replace=False)
        picked = np.concatenate([random.choice(self._members[c], need, replace=False) for c in classes])
        return self._inputs(torch.from_numpy(picked), random)

    @property
    def samples(self) -> tuple[Callable[[int, int], tuple[Tensor, Tensor]], int]:
        """A function that draws batch i of so many samples of all classes **[B, ...]** with labels **[B]**; and C."""

        def draw(number: int, size: int) -> tuple[Tensor, Tensor]:
            random = np.random.default_rng([self.seed, len(STREAMS), number])
            labels = random.integers(len(self._members), size=size)
            picked = np.array([random.choice(self._members[c]) for c in labels])
            return self._inputs(torch.from_numpy(picked), random), torch.from_numpy(labels)

        return draw, len(self._members)

    def _inputs(self, picked: Tensor, random: np.random.Generator) -> Tensor:
        """The samples of these indices, augmented and standardised."""
        x = self.dataset.x[picked]
        x = x.float() / 255 if x.dtype == torch.uint8 else x.float()
        if self.augment is not None:
            x = self.augment(x, random)
        return (x - _per_channel(self.dataset.mean, x)) / _per_channel(self.dataset.deviation, x)

    def __repr__(self) -> str:
        return (
            f"Episodes({self.dataset.name}: {self.ways}-way {self.shots}-shot, {self.queries} queries per class, "
            f"{self.dataset.classes} classes, seed={self.seed})"
        )


class Sinusoids:
    """Regression tasks y = A sin(x − b), A uniform in 0.1 ... 5, b in 0 ... π, x in −5 ... 5.

    Args:
        shots: Support samples K.
        queries: Query samples.
        seed: Of the tasks.

    Raises:
        TaskError: If a number cannot be used.

    Source: Finn et al., *Model-Agnostic Meta-Learning*, arXiv 1703.03400, section 5.1.
    """

    kind = "regression"
    ways = 1
    shape = (1,)

    def __init__(self, shots: int = 10, queries: int = 10, seed: int = 0) -> None:
        self.shots, self.queries, self.seed = whole("shots", shots), whole("queries", queries), whole("seed", seed, 0)

    def tasks(self, numbers: Iterable[int], stream: str = "test") -> Tasks:
        """The tasks of these numbers; arguments as in `Episodes.tasks`."""
        drawn = []
        for number in numbers:
            random = generator(self.seed, stream, number)
            amplitude, phase = random.uniform(0.1, 5.0), random.uniform(0.0, np.pi)
            x = random.uniform(-5.0, 5.0, (self.shots + self.queries, 1))
            drawn.append(np.stack([x, amplitude * np.sin(x - phase)]))
        x, y = torch.from_numpy(np.stack(drawn, 1)).float()
        k = self.shots
        return Tasks(x[:, :k], y[:, :k], x[:, k:], y[:, k:])

    def __repr__(self) -> str:
        return f"Sinusoids({self.shots} shots, {self.queries} queries, seed={self.seed})"


def generator(seed: int, stream: str, number: int) -> np.random.Generator:
    """The random numbers of one task."""
    if stream not in STREAMS:
        raise TaskError(f"a stream of tasks is one of {', '.join(STREAMS)}; received {stream!r:.60}")
    return np.random.default_rng([seed, STREAMS.index(stream), number])


def whole(name: str, value: Any, least: int = 1) -> int:
    """A whole number of at least `least`.

    Raises:
        TaskError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value < 2**31:
        raise TaskError(f"{name} is a whole number of at least {least}; received {value!r:.60}")
    return int(value)


def _per_channel(value: Tensor | float, x: Tensor) -> Tensor | float:
    """A number, or numbers [C] shaped to fit inputs [B, C, ...]."""
    return value.view(1, -1, *[1] * (x.ndim - 2)) if isinstance(value, Tensor) else value
