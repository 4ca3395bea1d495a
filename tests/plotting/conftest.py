"""A search result made by hand, with every way in which a candidate can end."""

from __future__ import annotations

import math

import pytest

import symloss as sl
from symloss.discovery.archive import STAGES, Candidate
from symloss.discovery.record import Generation, RunConfig
from symloss.discovery.result import SearchResult
from symloss.discovery.settings import Settings


@pytest.fixture
def result() -> SearchResult:
    formulas = ["y*f", "abs(y - f)", "abs(log(1.2*y*f))", "square(y - f) + f", "y*log(f) + square(f)"]
    values = [0.9, 0.5, 0.04, 0.2, 0.3]
    candidates = [
        Candidate(i, i % 3, sl.parse(formula), "multiclass", "evaluated", fitness=value)
        for i, (formula, value) in enumerate(zip(formulas, values, strict=True))
    ]
    candidates.append(Candidate(5, 2, sl.parse("f*f"), "multiclass", "rejected", "why"))
    history = [
        Generation(
            number, (0.5, 0.2, 0.04)[number], (math.inf, 0.6, 0.3)[number],
            {stage: (number + place) % 4 for place, stage in enumerate(STAGES)},
            {"propose": 0.01, "fingerprint": 0.02, "screen": 0.3, "develop": 1.0 + number},
        )
        for number in range(3)
    ]  # fmt: skip
    task = {"name": "digits", "kind": "multiclass", "metric": "error rate", "identity": "0", "recipe": {"model": "mlp"}}
    config = RunConfig("evomal", Settings(population_size=6, generations=3), task, (), ("add",))
    return SearchResult(config, tuple(candidates), tuple(history), "all generations done", 3.2, 0.01)
