"""Fingerprints and the rejection protocol."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from symloss.discovery.filters import Adam, fingerprints, passes_rejection
from symloss.discovery.settings import Settings
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.population import dense
from symloss.population.compiled import CompiledObjective
from symloss.population.predictions import Kind, predict
from symloss.population.training import Workspace
from tests.population.problems import LOSSES, task
from tests.strategies import expressions


def prints(kind: str, *texts: str) -> list[str | None]:
    return fingerprints([parse(text) for text in texts], kind)


@pytest.mark.parametrize("text", ["sign(f)*y", "y*y + 1", "sign(y - f)", "y + f - f", "exp(exp(100*f))*y"])
@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_no_gradient_or_no_finite_one_has_no_fingerprint(text: str, kind: str) -> None:
    assert prints(kind, text) == [None]


def test_a_constant_slope_trains_nothing_where_probabilities_sum_to_one() -> None:
    assert prints("multiclass", "y + f") == [None]
    assert prints("binary", "y + f") != [None]


@given(e=expressions(max_depth=4), scale=st.sampled_from([0.25, 3.0, 1000.0]))
def test_scale_does_not_matter(e: Expression, scale: float) -> None:
    scaled = Expression(("mul", "1", *e.nodes), (scale, 1.0, *e.weights))
    assert fingerprints([scaled], "multiclass") == fingerprints([e.with_weights(e.weights)], "multiclass") or all(
        abs(w - 1) <= 0.01 for w in e.weights
    )


def test_twins_and_strangers() -> None:
    a, b, c, d = prints("multiclass", "y*log(f)", "3.0*(y*log(f))", "y*log(f)*y", "square(y - f)")
    assert a == b == c != d
    assert prints("multiclass", "-1.0*y*log(f)")[0] != a  # the sign is not a scale
    assert prints("multiclass", "y*log(f) + f")[0] == a  # Σ f = 1
    assert prints("binary", "y*log(f) + f")[0] != prints("binary", "y*log(f)")[0]


def test_weights_at_birth_count_as_one() -> None:
    e = parse("y*log(f) + square(f)")
    born = e.with_weights([1 + 1e-3 * (-1) ** k for k in range(e.size - 1)])
    grown = e.with_weights([1.5, *[1.0] * (e.size - 2)])
    assert fingerprints([born], "multiclass") == fingerprints([e], "multiclass")
    assert fingerprints([grown], "multiclass") != fingerprints([e], "multiclass")


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_losses_pass_and_their_opposites_do_not(kind: str) -> None:
    workspace, chosen = Workspace(task(kind), 16), Settings(rejection_steps=300)
    good = [parse(text) for text in LOSSES[kind][:2]]
    bad = [parse(f"-1.0*({text})") for text in LOSSES[kind][:2]]
    assert passes_rejection(workspace, chosen, [*good, *bad]) == [True, True, False, False]
    assert passes_rejection(workspace, chosen, []) == []


def test_not_a_number_is_rejected() -> None:
    workspace = Workspace(task("regression"), 16)
    overflowing = Expression(("mul", "y", "square", "square", "exp", "square", "f"), (1e200,) * 6)
    assert passes_rejection(workspace, Settings(rejection_steps=20), [overflowing, parse("square(y - f)")]) == [
        False,
        True,
    ]


def test_flat_losses_are_rejected_because_better_means_strictly() -> None:
    assert passes_rejection(Workspace(task(), 16), Settings(), [parse("sign(y - f)")]) == [False]


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
@given(found=st.lists(expressions(max_depth=4), min_size=1, max_size=3))
@settings(max_examples=20)
def test_compiled_descent_is_adam_on_the_gradient_at_the_outputs(kind: Kind, found: list[Expression]) -> None:
    outputs = 1 if kind != "multiclass" else 4
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(len(found), outputs, 7, generator=generator, dtype=torch.float64)
    target = torch.rand(outputs, 7, generator=generator).round().double() if outputs == 1 else torch.arange(7) % 4
    options = {"indices": outputs == 4, "freeze": True, "dtype": torch.float64}
    objective, mine, theirs = CompiledObjective(found, kind, **options), start.clone(), start.clone()
    dense.descend(objective, mine, target, 12, 0.05)
    adam = Adam(theirs, 0.05)
    for _ in range(12):
        adam.step(objective.logits_gradient(predict(theirs, kind), target))
    assert torch.allclose(mine, theirs, rtol=1e-6, atol=1e-6, equal_nan=True)


def test_adam_is_torch_adam() -> None:
    start = torch.randn(4, dtype=torch.float64)
    mine, theirs = start.clone(), start.clone().requires_grad_()
    adam, reference = Adam(mine, 0.03), torch.optim.Adam([theirs], 0.03)
    for step in range(20):
        gradient = torch.sin(start * step)
        adam.step(gradient)
        theirs.grad = gradient
        reference.step()
    assert torch.allclose(mine, theirs, atol=1e-12)
