"""The trials of an evaluation: every learning rate of a loss on validation data, then the chosen one on test data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from symloss.discovery.executor import Executor
from symloss.evaluation.entries import Entry
from symloss.evaluation.protocol import Protocol
from symloss.evaluation.training import trial

Progress = Callable[[str], object]
Job = tuple[Entry, tuple[float, ...], int, str]
"""Loss, learning rates, seed, part of the data."""


class Tuning:
    """What the tuning of one loss measured: the validation metric of each tuning seed **[seeds][rates]**."""

    def __init__(self) -> None:
        self.values: list[list[float]] = []
        self.seconds = 0.0

    def best(self, protocol: Protocol) -> tuple[int, float, float, float]:
        """The least of all rates: diverged seeds, mean of the others, distance from the untuned rate, rate."""

        def key(index: int) -> tuple[int, float, float, float]:
            column = [values[index] for values in self.values]
            finite = [v for v in column if math.isfinite(v)]
            mean = math.fsum(finite) / len(finite) if finite else math.inf
            rate = protocol.grid[index]
            return len(column) - len(finite), mean, round(abs(math.log(rate / protocol.learning_rate)), 9), rate

        return min(map(key, range(len(protocol.grid))))

    def choose(self, protocol: Protocol) -> float:
        """The rate with the fewest diverged seeds, then the lowest mean, then the nearest to the untuned one."""
        return self.best(protocol)[-1]


class Runner:
    """Sends trials out and collects their results, in order, with signs of life."""

    def __init__(self, executor: Executor, protocol: Protocol, progress: Progress) -> None:
        self._executor, self._protocol, self._progress = executor, protocol, progress

    def tune(self, tuned: Sequence[Entry]) -> dict[str, Tuning]:
        """Every rate on every tuning seed, for each loss; the rates of a seed are trained together."""
        grid, seeds = self._protocol.grid, self._protocol.rate_seeds
        found = {entry.name: Tuning() for entry in tuned}
        jobs = [(entry, grid, seed, "valid") for entry in tuned for seed in seeds]
        for number, (entry, values, seconds) in enumerate(self._run(jobs)):
            found[entry.name].values.append(values)
            found[entry.name].seconds += seconds
            what = f"{len(grid)} learning rates, seed {number % len(seeds) + 1} of {len(seeds)}"
            self._progress(f"tuning {entry.name}: {what} ({seconds:.1f} s)")
        return found

    def measure(self, wanted: Sequence[Entry], chosen: Sequence[float]) -> dict[str, tuple[list[float], float]]:
        """Test metric of each reported seed and seconds, for each loss at its rate."""
        seeds = self._protocol.reported_seeds
        values: dict[str, list[float]] = {entry.name: [] for entry in wanted}
        spent = dict.fromkeys(values, 0.0)
        jobs = [(e, (rate,), seed, "test") for e, rate in zip(wanted, chosen, strict=True) for seed in seeds]
        for number, (entry, (value,), seconds) in enumerate(self._run(jobs)):
            values[entry.name].append(value)
            spent[entry.name] += seconds
            what = f"learning rate {jobs[number][1][0]:.4g}, seed {number % len(seeds) + 1} of {len(seeds)}"
            self._progress(f"training with {entry.name}: {what} ({seconds:.1f} s)")
        return {name: (values[name], spent[name]) for name in values}

    def _run(self, jobs: Sequence[Job]) -> Iterable[tuple[Entry, list[float], float]]:
        chunks: list[tuple[Any, ...]] = [(e.name, e.loss, rates, seed, part) for e, rates, seed, part in jobs]
        results = self._executor.map(trial, self._protocol.settings, chunks)
        for (entry, *_), (values, seconds) in zip(jobs, results, strict=True):
            yield entry, values, seconds
