"""A small task and instant judges of candidates, functions of the expression alone, for tests of the loop."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from zlib import crc32

import torch
from torch import nn

from symloss.discovery.settings import Settings
from symloss.discovery.stages import Outcome, Stages
from symloss.expression.expression import Expression
from symloss.tasks.task import Task


def make_model() -> nn.Module:
    return nn.Linear(2, 1)


def make_task(name: str = "planted", samples: int = 24) -> Task:
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(3 * samples, 2, generator=generator)
    y = x.sum(1, keepdim=True) + torch.randn(3 * samples, 1, generator=generator)
    parts = [(x[i::3], y[i::3]) for i in range(3)]
    return Task(make_model, *parts, kind="regression", name=name)


def draw(e: Expression, salt: str) -> float:
    """A number in [0, 1) that depends on the tree alone."""
    return crc32((salt + " ".join(e.nodes)).encode()) % 10_007 / 10_007


def fingerprints(expressions: Sequence[Expression], kind: str) -> list[str | None]:
    """Trees with the same names in another order are twins, as are those that differ in `abs` alone."""
    assert kind == "regression"
    return [None if e.nodes[0] == "sign" else " ".join(sorted(n for n in e.nodes if n != "abs")) for e in expressions]


def screen(task: Task, settings: Settings, expressions: Sequence[Expression]) -> list[bool]:
    return [draw(e, "screen") > 0.3 for e in expressions]


def develop(
    task: Task, settings: Settings, expressions: Sequence[Expression], refined: Sequence[bool]
) -> list[Outcome]:
    assert torch.get_num_threads() == 1
    return [_outcome(task, e, r and settings.refine) for e, r in zip(expressions, refined, strict=True)]


def _outcome(task: Task, e: Expression, refined: bool) -> Outcome:
    if refined:
        e = e.with_weights([w * 1.1 for w in e.weights])
    fate = draw(e, "fate")
    if fate < 0.1:
        return Outcome(e, "rejected after refinement", "planted", math.inf, 0.0)
    if fate < 0.2:
        return Outcome(e, "diverged", "planted", math.nan, 0.0)
    # the sum of the data is in it, so that a worker with other data would be noticed
    value = draw(e, "value") + 1 / e.size + sum(e.weights, 0.0) * 1e-3 + float(task.train.x.sum()) * 1e-6
    return Outcome(e, "evaluated", "", value, 0.0)


def develop_in_a_worker(*arguments: object) -> list[Outcome]:
    assert os.environ.get("SYMLOSS_TEST_PARENT") != str(os.getpid()), "this was to run in a worker"
    return develop(*arguments)  # type: ignore[arg-type]


def tuned_rate(task: Task, settings: Settings) -> float:
    return settings.learning_rate / 3


STAGES = Stages(fingerprints, screen, develop, tuned_rate)
