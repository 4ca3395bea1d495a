"""Comparisons with numbers drawn at random: nothing is searched or trained."""

from __future__ import annotations

import math

import numpy as np

from symloss.comparison.cells import Outcome, TaskFacts
from symloss.comparison.plan import LOSS, REFERENCES, SEARCH, TUNED, UNTUNED, Choice, Method, Plan
from symloss.comparison.result import Comparison
from symloss.evaluation.protocol import Protocol

LABELS = ("EvoMAL", "EvoMAL, scale-free", "GP-LFL", "TaylorGLO", "ML3", "random search")


def make_plan(
    tasks: int = 2, searches: int = 2, *, handcrafted: bool = True, seeds: int = 5, training: int = 4
) -> Plan:
    """Tasks named task 0, task 1, ..., the first of them classification, every third regression."""
    methods = [Method(label, SEARCH, "evomal", {"label": label}) for label in LABELS[:searches]]
    methods += [Method("focal", LOSS, "focal", {})] if handcrafted else []
    choices = [Choice(f"task {i}", {"name": f"task-{i}"}) for i in range(tasks)]
    return Plan(tuple(choices), (*methods, *REFERENCES), tuple(range(seeds)), Protocol(seeds=training, steps=500))


def make_comparison(plan: Plan, effect: float = 0.1, seed: int = 0) -> Comparison:
    """Metrics around 0.1 (squared errors around 0.5); searches of one method differ, and methods by `effect`."""
    rng = np.random.default_rng(seed)
    outcomes = {}
    for choice in plan.tasks:
        regression = int(choice.label.split()[1]) % 3 == 2
        facts = TaskFacts(
            "regression" if regression else "multiclass", "mean squared error" if regression else "error rate", 300,
            choice.label, 1.1,
        )  # fmt: skip
        level = rng.uniform(0.3, 0.7) if regression else rng.uniform(0.02, 0.2)
        training = rng.normal(size=plan.protocol.seeds) * 0.03
        shifts = {m: rng.normal() * effect for m in plan.methods}
        for cell in (c for c in plan.cells if c.task == choice.label):
            shift = {TUNED: 0.0, UNTUNED: 1.0}.get(cell.method.kind, shifts[cell.method])
            search = rng.normal() * 0.1 * (cell.seed is not None)
            values = level * np.exp(shift + search + training + rng.normal(size=len(training)) * 0.02)
            outcomes[cell] = Outcome(
                facts, formula="-y*log(f)", rate=0.1, tuning=((0.2, math.inf),), values=tuple(map(float, values)),
                candidates=500, search_seconds=30.0, evaluation_seconds=4.0,
            )  # fmt: skip
    return Comparison(plan, outcomes)
