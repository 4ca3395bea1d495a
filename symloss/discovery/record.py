"""The plain records of a run (configuration, history, checkpoint) and their text forms."""

from __future__ import annotations

import json
import math
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from symloss.discovery.archive import Candidate
from symloss.discovery.evolution import Individual, state_from_json
from symloss.discovery.methods import METHODS
from symloss.discovery.settings import BEFORE, Settings
from symloss.discovery.values import check_registered, fitness, formula, function, function_to_json, number, text, whole
from symloss.expression.expression import Expression
from symloss.tasks.task import KINDS


@cache
def current_versions() -> dict[str, str]:
    """Versions on which the bits of a result depend."""
    try:
        own = version("symloss")
    except PackageNotFoundError:  # run from its source
        own = "unknown"
    return {
        "symloss": own, "python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__,
        "numba": version("numba"), "cma": version("cma"),
    }  # fmt: skip


@dataclass(frozen=True)
class RunConfig:
    """What defines a run: config.toml.

    Args:
        method: Name of the search method.
        settings: All settings, resolved.
        task: `name`, `kind`, `outputs`, `metric` and `identity` of the task, and the `recipe` by which it is loaded,
            if it came from `load_task`.
        guesses: Expressions that the search started from.
        primitives: Names of the primitives that the search draws from.
    """

    method: str
    settings: Settings
    task: dict[str, Any]
    guesses: tuple[Expression, ...]
    primitives: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for TOML."""
        return {
            "symloss": current_versions()["symloss"],
            "method": self.method,
            "guesses": [str(guess) for guess in self.guesses],
            "primitives": list(self.primitives),
            "task": self.task,
            "settings": self.settings.to_dict(),
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> RunConfig:
        """The configuration of `to_dict`'s form.

        Raises:
            KeyError, TypeError, ValueError, SymlossError: If the values are not of that form.
        """
        text(record["symloss"])
        settings = {**BEFORE, **record["settings"]}
        for name in Settings().to_dict():
            settings[name]  # a file that was cut off must not turn into one of defaults
        if record["method"] not in METHODS:
            raise ValueError(f"unknown method {record['method']!r:.40}; there is: {', '.join(METHODS)}")
        for name in ("guesses", "primitives"):
            if type(record[name]) is not list:
                raise ValueError(f"{name} is a list of texts; received {record[name]!r:.40}")
        check_registered(map(text, record["primitives"]))
        return cls(
            method=record["method"],
            settings=Settings.from_dict(settings),
            task=_task(record["task"]),
            guesses=tuple(map(formula, record["guesses"])),
            primitives=tuple(record["primitives"]),
        )


@dataclass(frozen=True)
class Generation:
    """What one generation brought.

    Args:
        number: From 0.
        best: Lowest fitness found so far.
        median: Median fitness of the members of the population that have one.
        counts: How many new candidates ended at each of `STAGES`.
        seconds: Wall time of `"propose"`, `"fingerprint"`, `"screen"` and `"develop"`.
    """

    number: int
    best: float
    median: float
    counts: dict[str, int]
    seconds: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain values; an infinite fitness is null."""
        return {**asdict(self), "best": _finite(self.best), "median": _finite(self.median)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Generation:
        """The record of `to_json`'s form."""
        return cls(
            number=whole(record["number"]),
            best=fitness(record["best"]),
            median=fitness(record["median"]),
            counts={stage: whole(count) for stage, count in record["counts"].items()},
            seconds={stage: number(seconds, 0) for stage, seconds in record["seconds"].items()},
        )


@dataclass(frozen=True)
class Checkpoint:
    """Where a search stands after a whole generation: all that it needs to go on.

    Args:
        candidates: How many candidates were logged by then.
        population: Members, in order.
        random: State of the random numbers, as `evolution.state_to_json` writes it.
        history: One record per generation done.
        seconds: Computing time so far.
        learning_rate: Step size of the base optimiser in use; None until it is known.
        stopped: Why the search ended; empty while it runs.
        versions: What computed the latest part, as `current_versions` tells it.
    """

    candidates: int = 0
    population: tuple[Individual, ...] = ()
    random: dict[str, Any] = field(default_factory=dict)
    history: tuple[Generation, ...] = ()
    seconds: float = 0.0
    learning_rate: float | None = None
    stopped: str = ""
    versions: dict[str, str] = field(default_factory=current_versions)

    def to_json(self) -> dict[str, Any]:
        """Plain values; numbers round-trip exactly."""
        return {
            "versions": self.versions,
            "generation": len(self.history),
            "candidates": self.candidates,
            "seconds": self.seconds,
            "learning_rate": self.learning_rate,
            "stopped": self.stopped,
            "history": [generation.to_json() for generation in self.history],
            "population": [
                {**function_to_json(m.expression, moments=True), "fitness": _finite(m.fitness)} for m in self.population
            ],
            "random": self.random,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Checkpoint:
        """The checkpoint of `to_json`'s form.

        Raises:
            KeyError, TypeError, ValueError, SymlossError: If the values are not of that form.
        """
        rate = record["learning_rate"]
        state_from_json(record["random"])
        checkpoint = cls(
            candidates=whole(record["candidates"]),
            population=tuple(Individual(function(m), fitness(m["fitness"])) for m in record["population"]),
            random=record["random"],
            history=tuple(map(Generation.from_json, record["history"])),
            seconds=number(record["seconds"], 0),
            learning_rate=None if rate is None else number(rate, math.ulp(0.0)),
            stopped=text(record["stopped"]),
            versions={text(name): text(version) for name, version in record["versions"].items()},
        )
        numbers = [generation.number for generation in checkpoint.history]
        if numbers != list(range(whole(record["generation"]))) or bool(numbers) != bool(checkpoint.population):
            raise ValueError("generation, history and population do not fit together")
        return checkpoint

    def check(self, settings: Settings, candidates: Sequence[Candidate]) -> None:
        """Whether these settings and these candidates, in order, are of one run with it.

        Candidates beyond those counted are of the generation that was cut off.

        Raises:
            ValueError: If they are not.
        """
        counted = candidates[: self.candidates]
        if [c.id for c in counted] != list(range(self.candidates)):
            raise ValueError("the candidates are not numbered from 0 on")
        if any((c.duplicate_of or 0) >= self.candidates for c in counted):
            raise ValueError("a duplicate names a twin that is not there")
        found = Counter((c.generation, c.stage) for c in counted)
        told = {(g.number, stage): count for g in self.history for stage, count in g.counts.items() if count}
        if found != told or any(c.generation != len(self.history) for c in candidates[self.candidates :]):
            raise ValueError("the history counts other candidates in its generations")
        best = [math.inf] * len(self.history)
        for c in counted:
            if c.stage == "evaluated":
                best[c.generation] = min(best[c.generation], c.fitness)
        if [g.best for g in self.history] != list(accumulate(best, min)):
            raise ValueError("the history tells of another best fitness")
        known = {(c.expression, c.fitness) for c in counted}
        if any((member.expression, member.fitness) not in known for member in self.population):
            raise ValueError("a member of the population is no candidate")
        if not settings.scale_free and self.learning_rate not in (None, settings.learning_rate):
            raise ValueError("the learning rate is not that of the settings")


def _task(record: dict[str, Any]) -> dict[str, Any]:
    """The task of a run, whose parts fit together."""
    for name in ("name", "kind", "metric", "identity"):
        text(record[name])
    if not isinstance(record.get("recipe", {}), dict):
        raise ValueError(f"recipe is a table; received {record['recipe']!r:.40}")
    kind, outputs = record["kind"], whole(record["outputs"])
    if kind not in KINDS:
        raise ValueError(f"kind is one of {', '.join(KINDS)}; received {kind!r:.40}")
    regression = record["metric"] == "mean squared error"
    if regression != (kind == "regression") or (outputs < 2 if kind == "multiclass" else outputs != 1):
        raise ValueError(f"no {kind} task has {outputs} outputs and the metric {record['metric']!r:.40}")
    return record


def write_toml(values: dict[str, Any]) -> str:
    """TOML text of nested records of strings, booleans, numbers and lists of them; `tomllib` reads the same back."""
    return "".join(_table(values, ()))


def _table(values: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    if path:
        yield f"\n[{'.'.join(map(_key, path))}]\n"
    for key, value in values.items():
        if not isinstance(value, dict):
            yield f"{_key(key)} = {_value(value)}\n"
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _table(value, (*path, key))


def _key(key: str) -> str:
    return key if key.isascii() and key.replace("-", "_").isidentifier() else _quoted(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Sequence):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"TOML cannot hold {value!r}")


def _quoted(text: str) -> str:
    """A basic string: JSON's escapes, other characters as they are, except DEL, which TOML wants escaped too."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
