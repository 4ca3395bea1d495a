"""Results of every kind to make pages of, without any search."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import symloss as sl
from symloss.discovery.archive import STAGES, Candidate
from symloss.discovery.record import Generation, RunConfig
from symloss.discovery.result import SearchResult
from symloss.discovery.settings import Settings
from symloss.evaluation import Evaluation
from tests.evaluation.test_result import make_evaluation, make_row

FORMULAS = ("y*f", "abs(y - f)", "abs(log(1.2*y*f))", "square(y - f) + f", "0.5*square(1.1*f - 0.9*y) + 0.1*sign(y)*f")
RECIPE = {"name": "wine", "model": "mlp", "seed": 3, "model_options": {"hidden": [8, 4]}}


def make_result(kind: str = "regression", formulas: tuple[str, ...] = FORMULAS, **task: Any) -> SearchResult:
    """A finished run, whose losses are all on the front."""
    metric = "mean squared error" if kind == "regression" else "error rate"
    chosen = sorted(map(sl.parse, formulas), key=lambda e: e.size)
    rows = [
        Candidate(i, i % 3, expression, kind, "evaluated", fitness=0.9 * 0.6**i, seconds=0.5)
        for i, expression in enumerate(chosen)
    ]
    rows.append(Candidate(len(rows), 2, sl.parse("f*f"), kind, "rejected", "why"))
    history = tuple(
        Generation(
            number, 0.9 * 0.6**number, (math.inf, 0.6, 0.3)[number], {s: number + k for k, s in enumerate(STAGES)},
            {"propose": 0.01, "fingerprint": 0.02, "screen": 0.3, "develop": 1.0 + number},
        )
        for number in range(3)
    )  # fmt: skip
    outputs = 10 if kind == "multiclass" else 1
    record = {"name": "digits", "kind": kind, "metric": metric, "outputs": outputs, "identity": "0", "recipe": RECIPE}
    config = RunConfig("evomal", Settings(population_size=6, generations=3), record | task, (), ("add",))
    return SearchResult(config, tuple(rows), history, "all generations done", 3.2, 0.01, versions={"symloss": "1"})


def evaluated(result: SearchResult, **changes: Any) -> Evaluation:
    """An evaluation of the pick, which is better, beside the references."""
    row = replace(make_row("found", (0.05, 0.07, 0.061)), formula=str(result.best.loss.expression))
    return replace(make_evaluation(row, kind=result.kind), **changes)
