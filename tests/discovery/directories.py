"""A small run directory, made by hand."""

from __future__ import annotations

import math

import pytest
from numpy.random import RandomState

from symloss.discovery.archive import Candidate
from symloss.discovery.evolution import Individual, state_to_json
from symloss.discovery.record import Checkpoint, Generation, RunConfig
from symloss.discovery.settings import Settings
from symloss.errors import RunError
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse

CONFIG = RunConfig(
    method="evomal",
    settings=Settings(population_size=7, target_fitness=0.1 + 0.2, learning_rate=1e-7),
    task={"name": "a \"quoted\"\n\\ name\x7f", "kind": "regression", "outputs": 1, "metric": "mean squared error",
          "identity": "0123", "recipe": {"name": "diabetes", "model_options": {"hidden": [3, 4]}}},
    guesses=(parse("square(1.5*y - f)"), parse("abs(y - 0.1*f)")),
    primitives=("add", "sub"),
)  # fmt: skip
TREE = Expression(("square", "sub", "y", "f"), (0.1 + 0.2, 1 / 3, 1e-300))
HISTORY = [{"number": n, "best": None, "median": None, "counts": {"evaluated": 2 - n}, "seconds": {}} for n in range(2)]


def rows(count: int) -> list[Candidate]:
    return [
        Candidate(i, i // 2, TREE, "regression", "evaluated", fitness=1 / (i + 1), fingerprint="x")
        for i in range(count)
    ]


def checkpoint(count: int = 3) -> Checkpoint:
    rng = RandomState(3)
    rng.normal(size=3)
    history = (
        Generation(0, 0.5, math.inf, {"evaluated": 2, "rejected": 0}, {"screen": 0.1}),
        Generation(1, 1 / 3, math.inf, {"evaluated": count - 2}, {}),
    )
    members = (Individual(TREE, 1 / 3), Individual(TREE, 1.0))
    return Checkpoint(count, members, state_to_json(rng), history, 1.5, 1e-7)


def one_line(caught: pytest.ExceptionInfo[RunError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text
