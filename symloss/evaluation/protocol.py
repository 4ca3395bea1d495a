"""Protocol: everything that defines an evaluation besides the task and the losses."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from symloss.discovery.settings import Settings
from symloss.errors import EvaluationError

HALF_DECADES = 6
"""How many half-decades the grid of learning rates has on either side of its middle."""


@dataclass(frozen=True)
class Protocol:
    """How every loss is treated, the same for all.

    Args:
        seeds: How many seeds are reported. A seed is one set of initial weights and one order of batches.
        tune_lr: Whether the learning rate of each loss is tuned; that of the reference always is.
        steps: Training steps of each model.
        batch_size: Samples in a batch.
        learning_rate: The untuned rate: of the untuned reference, and of every loss if `tune_lr` is off.
        rates: Learning rates that are tried, in rising order; None: half-decades, three decades to either side of
            `learning_rate`.
        tuning_seeds: How many seeds a learning rate is chosen on; they are none of those reported.
        momentum: Momentum of SGD.
        nesterov: Whether the momentum is Nesterov's.
        weight_decay: L2 penalty of SGD.
        seed: Other numbers give other seeds.

    Raises:
        EvaluationError: If a count or a rate is out of its range.
        SearchError: If an option of SGD is out of its range.
    """

    seeds: int = 10
    tune_lr: bool = True
    steps: int = 2000
    batch_size: int = 128
    learning_rate: float = 0.01
    rates: Sequence[float] | None = None
    tuning_seeds: int = 3
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("seeds", "steps", "batch_size", "tuning_seeds"):
            check_count(name, getattr(self, name))
        if not isinstance(self.seed, numbers.Integral) or not 0 <= self.seed < 2**32:
            raise EvaluationError(f"seed is a whole number from 0 to 2**32 - 1; received {self.seed!r:.40}")
        _check_rates("learning_rate", (self.learning_rate,))
        if self.rates is not None:
            given = tuple(self.rates) if isinstance(self.rates, Iterable) else (self.rates,)
            _check_rates("rates", given)
            object.__setattr__(self, "rates", tuple(sorted({float(rate) for rate in given})))
        _ = self.settings  # its own checks

    @property
    def grid(self) -> tuple[float, ...]:
        """The learning rates that are tried, in rising order."""
        if self.rates is not None:
            return tuple(self.rates)
        return tuple(self.learning_rate * 10 ** (k / 2) for k in range(-HALF_DECADES, HALF_DECADES + 1))

    @property
    def reported_seeds(self) -> tuple[int, ...]:
        """The seeds whose test results are reported; the first few stay the same for any number of them."""
        return _draw(self.seed, 0, self.seeds)

    @property
    def rate_seeds(self) -> tuple[int, ...]:
        """The seeds on which learning rates are chosen."""
        return _draw(self.seed, 1, self.tuning_seeds)

    @property
    def settings(self) -> Settings:
        """What the engine needs to know of the training."""
        return Settings(
            fitness_steps=int(self.steps), batch_size=int(self.batch_size), learning_rate=float(self.learning_rate),
            momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay,
        )  # fmt: skip


def _draw(seed: int, purpose: int, count: int) -> tuple[int, ...]:
    """Seeds apart from those of a search, which are small numbers: no loss is measured where it was selected."""
    words = np.random.SeedSequence([int(seed), purpose]).generate_state(int(count))
    return tuple(map(int, words))


def check_count(name: str, value: object) -> None:
    """Whether a value is a count.

    Raises:
        EvaluationError: If not.
    """
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < 1:
        raise EvaluationError(f"{name} is a whole number of at least 1; received {value!r:.40}")


def _check_rates(name: str, values: tuple[object, ...]) -> None:
    if not values:
        raise EvaluationError(f"{name} holds at least one learning rate; received none")
    for value in values:
        number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not 1e-12 <= float(value) <= 1e18:  # type: ignore[arg-type]
            raise EvaluationError(f"{name}: a learning rate lies between 1e-12 and 1e18; received {value!r:.40}")
