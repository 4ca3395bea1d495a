from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import RandomState

import symloss as sl
from symloss.discovery.archive import Candidate
from symloss.discovery.proposal import Request
from symloss.discovery.runs import discover
from symloss.discovery.settings import Settings
from symloss.discovery.stages import Outcome, Stages
from symloss.discovery.taylorglo import PARAMETERS, TaylorGLO, polynomial
from symloss.expression.expression import Expression
from tests.discovery.fakes import make_task

THETA = [0.7, -0.4, 1.5, -2.0, 0.9, 3.0, -1.1, 0.6]


def written_out(theta: list[float], y: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
    t, a, b = theta, f - theta[1], y - theta[0]
    return (
        t[2] * a + t[3] * a**2 / 2 + t[4] * a**3 / 6
        + t[5] * a * b + t[6] * a**2 * b / 2 + t[7] * a * b**2 / 2
    )  # fmt: skip


def test_the_tree_is_the_polynomial() -> None:
    generator = torch.Generator().manual_seed(0)
    y, f = torch.randn(2, 50, generator=generator, dtype=torch.float64)
    for theta in (THETA, [0.0] * 8, *torch.randn(5, 8, generator=generator, dtype=torch.float64).tolist()):
        e = polynomial(theta)
        torch.testing.assert_close(e.evaluate(y, f, torch), written_out(theta, y, f))
        assert e.size == 43
        assert sl.parse(str(e)) == e
    assert polynomial(THETA).nodes == polynomial([1.0] * 8).nodes


def test_every_parameter_but_the_label_s_place_acts_on_the_gradient_in_f() -> None:
    """What the source leaves out of the bivariate polynomial is what has no gradient: all eight that stay have one."""
    y, f = torch.tensor([0.0, 1.0, 0.3], dtype=torch.float64), torch.tensor([0.2, 0.9, 0.5], dtype=torch.float64)

    def slope(theta: list[float]) -> torch.Tensor:
        x = f.clone().requires_grad_()
        return torch.autograd.grad(polynomial(theta).evaluate(y, x, torch).sum(), x)[0]

    for place in range(PARAMETERS):
        other = [t + 0.5 * (i == place) for i, t in enumerate(THETA)]
        assert (slope(other) - slope(THETA)).abs().max() > 1e-3, f"θ{place}"


def theta_of(e: Expression) -> np.ndarray:
    """θ read from the weights of the tree: those that `polynomial` puts there."""
    marks = (101.0, 103.0, 107.0, 109.0, 113.0, 127.0, 131.0, 137.0)
    marked = polynomial(marks).weights
    found = []
    for k, factor in enumerate((1, 1, 1, 2, 6, 1, 2, 2)):
        place = next(i for i, w in enumerate(marked) if math.isclose(w, marks[k] / factor))
        found.append(e.weights[place] * factor)
    return np.array(found)


def planted(task: Any, settings: Settings, expressions: list[Expression], refined: list[bool]) -> list[Outcome]:
    """A bowl with its bottom at `THETA`; every seventh candidate diverges."""
    assert not any(refined)
    values = [float(((theta_of(e) - THETA) ** 2).sum()) for e in expressions]
    bad = [int(abs(theta_of(e)[2]) * 1e6) % 7 == 0 for e in expressions]
    return [
        Outcome(e, "diverged", "planted", math.nan, 0.0) if b else Outcome(e, "evaluated", "", v, 0.0)
        for e, v, b in zip(expressions, values, bad, strict=True)
    ]


def refuse(*arguments: Any) -> list[bool]:
    """A filter that nothing passes."""
    return [False] * len(arguments[-1])


def test_cma_es_finds_the_bottom_of_a_planted_fitness() -> None:
    stages = Stages(screen=refuse, develop=planted)  # type: ignore[arg-type]
    result = discover(
        make_task(), method="taylorglo", stages=stages, population_size=12, generations=120, chunk_size=6, seed=1
    )
    assert result.best.fitness < 1e-6
    np.testing.assert_allclose(theta_of(result.best.expression), THETA, atol=1e-3)
    assert result.counts["diverged"] > 50
    assert sum(result.counts.values()) == result.counts["diverged"] + result.counts["evaluated"] == 12 * 120, (
        "nothing is filtered or taken for a twin"
    )


def test_told_anew_it_stands_where_it_stood() -> None:
    """The state of CMA-ES follows from the fitnesses: asked once with all of them, or generation by generation."""
    settings, rng = Settings(population_size=7, seed=4), RandomState(0)
    steady, candidates = TaylorGLO(), list[Candidate]()
    request = Request(settings, rng)
    for generation in range(30):
        proposals = steady(replace(request, candidates=candidates))
        afresh = TaylorGLO()(replace(request, candidates=candidates))
        assert [p.expression for p in proposals] == [p.expression for p in afresh]
        assert steady(replace(request, candidates=candidates)) == proposals, "asked again, it answers the same"
        for p in proposals:
            value = math.inf if len(candidates) % 5 == 0 else float(((theta_of(p.expression) - THETA) ** 2).sum())
            stage = "evaluated" if math.isfinite(value) else "diverged"
            candidates.append(Candidate(len(candidates), generation, p.expression, "regression", stage, "", value))


@pytest.mark.parametrize("value", [math.inf, 0.25])
def test_a_flat_fitness_is_no_end(value: float) -> None:
    method, request, candidates = TaylorGLO(), Request(Settings(population_size=5), RandomState(0)), list[Candidate]()
    for generation in range(60):
        for p in method(replace(request, candidates=candidates)):
            candidates.append(
                Candidate(len(candidates), generation, p.expression, "regression", "evaluated", "", value)
            )
    assert len(candidates) == 300
