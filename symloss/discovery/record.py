"""The plain records of a run (configuration, history, checkpoint) and their text forms."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from symloss.discovery.evolution import Individual
from symloss.discovery.settings import Settings
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse


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
            "symloss": versions()["symloss"],
            "method": self.method,
            "guesses": [str(guess) for guess in self.guesses],
            "primitives": list(self.primitives),
            "task": self.task,
            "settings": self.settings.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RunConfig:
        """The configuration of `to_dict`'s form.

        Raises:
            KeyError, TypeError, ValueError, SymlossError: If the values are not of that form.
        """
        task = values["task"]
        for name in ("name", "kind", "metric", "identity"):
            _text(task[name])
        for name in Settings().to_dict():
            values["settings"][name]  # a file that was cut off must not turn into one of defaults
        return cls(
            method=_text(values["method"]),
            settings=Settings.from_dict(values["settings"]),
            task=task,
            guesses=tuple(parse(_text(guess)) for guess in values["guesses"]),
            primitives=tuple(map(_text, values["primitives"])),
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
    def from_json(cls, values: dict[str, Any]) -> Generation:
        """The record of `to_json`'s form."""
        return cls(
            number=_whole(values["number"]),
            best=_fitness(values["best"]),
            median=_fitness(values["median"]),
            counts={_text(stage): _whole(count) for stage, count in values["counts"].items()},
            seconds={_text(stage): float(seconds) for stage, seconds in values["seconds"].items()},
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
    """

    candidates: int = 0
    population: tuple[Individual, ...] = ()
    random: dict[str, Any] = field(default_factory=dict)
    history: tuple[Generation, ...] = ()
    seconds: float = 0.0
    learning_rate: float | None = None
    stopped: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, with the versions that computed them; numbers round-trip exactly."""
        return {
            "versions": versions(),
            "generation": len(self.history),
            "candidates": self.candidates,
            "seconds": self.seconds,
            "learning_rate": self.learning_rate,
            "stopped": self.stopped,
            "history": [generation.to_json() for generation in self.history],
            "population": [
                {"nodes": m.expression.nodes, "weights": m.expression.weights, "fitness": _finite(m.fitness)}
                for m in self.population
            ],
            "random": self.random,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Checkpoint:
        """The checkpoint of `to_json`'s form.

        Raises:
            KeyError, TypeError, ValueError, SymlossError: If the values are not of that form.
        """
        rate = values["learning_rate"]
        checkpoint = cls(
            candidates=_whole(values["candidates"]),
            population=tuple(
                Individual(Expression(tuple(m["nodes"]), tuple(m["weights"])), _fitness(m["fitness"]))
                for m in values["population"]
            ),
            random=values["random"],
            history=tuple(Generation.from_json(entry) for entry in values["history"]),
            seconds=float(values["seconds"]),
            learning_rate=None if rate is None else float(rate),
            stopped=_text(values["stopped"]),
        )
        if len(checkpoint.history) != values["generation"] or bool(checkpoint.history) != bool(checkpoint.population):
            raise ValueError("generation, history and population do not fit together")
        return checkpoint


def versions() -> dict[str, str]:
    """Versions on which the bits of a result depend."""
    try:
        own = version("symloss")
    except PackageNotFoundError:  # run from its source
        own = "unknown"
    return {
        "symloss": own, "python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__,
    }  # fmt: skip


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


def _fitness(value: Any) -> float:
    return math.inf if value is None else float(value)


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is not a count")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is not text")
    return value
