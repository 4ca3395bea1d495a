from __future__ import annotations

import json
import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from symloss.discovery.archive import STAGES, Archive, Candidate, pareto_front
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse

NEST = [Expression((*["abs"] * depth, "sub", "y", "f")) for depth in range(8)]
FITNESS = st.one_of(st.sampled_from([0.0, 0.25, 0.5, math.inf, math.nan]), st.floats(0, 1))


def candidate(
    number: int, depth: int, fitness: float, stage: str = "evaluated", fingerprint: str | None = None
) -> Candidate:
    return Candidate(number, 0, NEST[depth], "regression", stage, fitness=fitness, fingerprint=fingerprint)


candidates = st.lists(st.tuples(st.integers(0, 7), FITNESS, st.sampled_from(STAGES)), max_size=25).map(
    lambda rows: [candidate(i, *row) for i, row in enumerate(rows)]
)


def brute_force(found: Sequence[Candidate]) -> list[Candidate]:
    """The definition: evaluated, finite, and no other is at least as good in both and better in one, or earlier."""

    def dominates(a: Candidate, b: Candidate) -> bool:
        no_worse = a.complexity <= b.complexity and a.fitness <= b.fitness
        equal = a.complexity == b.complexity and a.fitness == b.fitness
        return no_worse and (not equal or a.id < b.id)

    able = [c for c in found if c.stage == "evaluated" and math.isfinite(c.fitness)]
    front = [c for c in able if not any(dominates(other, c) for other in able)]
    return sorted(front, key=lambda c: c.complexity)


@given(candidates)
def test_the_front_is_that_of_the_definition(found: list[Candidate]) -> None:
    front = pareto_front(found)
    assert front == brute_force(found)
    assert all(a.fitness > b.fitness for a, b in pairwise(front))


@given(candidates, st.randoms(use_true_random=False))
def test_the_archive_does_not_depend_on_the_order_of_adding(found: list[Candidate], random: object) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    a, b = Archive(found), Archive(shuffled)
    assert a.front == b.front == pareto_front(found)
    assert a.best is b.best
    assert b.sort_from(0) == found


def test_nan_is_the_worst_fitness_never_the_best() -> None:
    archive = Archive([candidate(0, 0, math.nan), candidate(1, 3, 0.9), candidate(2, 1, math.nan)])
    assert archive.candidates[0].fitness == math.inf
    assert archive.front == [archive.candidates[1]]
    assert archive.best is archive.candidates[1]


def test_of_equals_the_smaller_then_the_first_is_best() -> None:
    archive = Archive([candidate(3, 2, 0.5), candidate(1, 2, 0.5), candidate(2, 1, 0.5), candidate(4, 1, 0.5)])
    assert archive.best is not None
    assert archive.best.id == 2


@pytest.mark.parametrize("stage", ["rejected", "rejected after refinement", "diverged"])
def test_the_cache_holds_what_was_rejected_at_any_size(stage: str) -> None:
    archive = Archive([candidate(0, 3, math.inf, stage, "same")])
    assert all(archive.twin("same", size) is archive.candidates[0] for size in (3, 6, 20))
    assert archive.twin("other", 6) is None


def test_a_smaller_twin_of_an_evaluated_one_is_not_a_duplicate_until_it_was_tried() -> None:
    large, small = candidate(0, 3, 0.4, fingerprint="a"), candidate(1, 1, 0.6, fingerprint="a")
    archive = Archive([large])
    assert archive.twin("a", large.complexity) is large
    assert archive.twin("a", large.complexity - 1) is None
    archive.add(small)
    assert archive.twin("a", small.complexity) is large, "the best twin is the one to copy"
    rejected = candidate(2, 0, math.inf, "rejected", "a")
    archive.add(rejected)
    assert archive.twin("a", rejected.complexity) is large, "what was tried once is not tried again"


def test_duplicates_neither_enter_the_front_nor_become_twins() -> None:
    archive = Archive([candidate(0, 0, 0.1, "duplicate", "a")])
    assert archive.front == []
    assert archive.twin("a", 3) is None


@given(
    st.floats(),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
    st.text(max_size=20),
    st.sampled_from(STAGES),
)
def test_a_candidate_survives_its_text_bit_for_bit(
    fitness: float, weights: list[float], reason: str, stage: str
) -> None:
    twin = 1 if stage == "duplicate" else None
    before = Candidate(
        3, 2, NEST[1].with_weights(weights), "regression", stage, reason, abs(fitness), 0.1 + 0.2, "abc", twin, 1 / 3
    )
    assert Candidate.from_json(json.loads(json.dumps(before.to_json(), allow_nan=False)), "regression") == before


@pytest.mark.parametrize(
    "change",
    [{"id": "x"}, {"id": 1.5}, {"stage": "won"}, {"nodes": ["sub", "y"]}, {"weights": [1.0]}, {"duplicate_of": "0"}],
)
def test_a_damaged_row_is_refused(change: dict[str, object]) -> None:
    row = candidate(0, 0, 0.5).to_json()
    with pytest.raises((ValueError, TypeError)):
        Candidate.from_json({**row, **change}, "regression")


def test_the_loss_of_a_candidate_has_its_kind_and_value() -> None:
    squared = Candidate(0, 0, Expression(("square", "sub", "y", "f")), "regression", "evaluated", fitness=0.5)
    outputs, y = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [1.0]])
    assert squared.loss.kind == "regression"
    assert squared.loss(outputs, y).item() == pytest.approx((1 + 4) / 2)
    assert squared.complexity == 4


def test_the_loss_of_a_candidate_carries_its_scale() -> None:
    y, f = torch.tensor([0.0, 1.0]), torch.tensor([0.3, 0.6])
    for text in ("abs(log(y*f))", "y*log(f)", "y - f", "sqrt(y*f)"):
        candidate = Candidate(0, 0, parse(text), "regression", "evaluated", fitness=0.1, scale=2.5)
        expected = 2.5 * candidate.expression.evaluate(y, f, torch)
        assert torch.allclose(candidate.loss.expression.evaluate(y, f, torch), expected)
