"""Equivalent: proved, numeric or different, with a point where two expressions differ."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings

from symloss.errors import ExpressionError, ParseError
from symloss.expression.domains import compare, domain, points
from symloss.expression.equivalence import Equivalence, equivalent
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from tests.strategies import expressions


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("y + f", "f + y"),
        ("square(y - f)", "square(f - y)"),
        ("min(y, f)", "-max(-y, -f)"),
        ("abs(f)*sign(f)", "f"),
        ("-2*max(y, f)", "min(-2*f, -2*y)"),
        ("y*(f*log(f))", "log(f)*f*y"),
        ("f - f", "mul(0, 1)"),
    ],
)
def test_proved_by_rules(a: str, b: str) -> None:
    result = equivalent(a, b, seconds=0)
    assert result.verdict == "proved"
    assert result.witness is None
    assert result


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("square(y - f)", "square(y) - 2*y*f + square(f)"),
        ("(y + f)*(y - f)", "square(y) - square(f)"),
        ("0.1*(y*f + log(f))", "0.1*y*f + 0.1*log(f)"),
        ("exp(y)*exp(f)", "exp(y + f)"),
    ],
)
def test_proved_by_algebra(a: str, b: str) -> None:
    assert equivalent(a, b, seconds=20).verdict == "proved"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("y", "f"),
        ("f/f", "1"),
        ("log(f*f)", "2*log(f)"),
        ("sqrt(f*y)", "sqrt(f)*sqrt(y)"),
        ("sqrt(square(f))", "abs(f)"),
        ("log(exp(f))", "f"),
        ("div(y, f)", "y/f"),
        ("f**3", "abs(f)**3"),
        ("y*f", "1.0001*y*f"),
    ],
)
def test_different_with_a_witness(a: str, b: str) -> None:
    result = equivalent(a, b)
    assert result.verdict == "different"
    assert not result
    assert result.witness is not None
    y, f = map(np.float64, result.witness)
    assert abs(parse(a).evaluate(y, f) - parse(b).evaluate(y, f)) == pytest.approx(result.largest_difference)


def test_rounding_is_not_a_difference() -> None:
    """Near y = f, both amplify the rounding of y - f by 1e7; at f = 0.9999999 they differ by 1e5 in float64."""
    a, b = "square(2*y/(min(2*f, 1.719*f) - 1.719*y))", "4*square(y/(1.719*(f - y)))"
    assert not compare(parse(a), parse(b), domain("multiclass")).agree
    assert equivalent(a, b, kind="multiclass", seconds=0)
    assert equivalent("1/(0.3*y - 0.3*f)", "1/(0.3*y - 0.30000001*f)", seconds=0).verdict == "different"


@pytest.mark.parametrize(
    ("a", "b"), [("f + 1e20 - 1e20", "f"), ("y*(f + 1e17) - 1e17*y", "y*f"), ("1e18*f - (1e18*f - y)", "y")]
)
@pytest.mark.parametrize("seconds", [0, 5])
def test_what_float64_spoils_is_different(a: str, b: str, seconds: float) -> None:
    """Equal among the reals; a loss is computed in floats."""
    result = equivalent(a, b, seconds=seconds)
    assert result.verdict == "different"
    assert result.witness is not None
    assert max(map(abs, result.witness)) <= 11
    y, f = map(np.float64, result.witness)
    assert abs(parse(a).evaluate(y, f) - parse(b).evaluate(y, f)) == result.largest_difference > 1e-3
    assert parse(a).simplify(seconds=0).evaluate(y, f) == parse(a).evaluate(y, f)


def test_numeric_when_no_proof_is_found() -> None:
    result = equivalent("tanh(f)", "1 - 2/(exp(2*f) + 1)", seconds=0)
    assert result.verdict == "numeric"
    assert result
    assert result.largest_difference < 1e-12


@pytest.mark.parametrize(
    ("a", "b"),
    [("square(y)", "y"), ("abs(log(f))", "-log(f)"), ("max(y, f)", "y + (1 - y)*f"), ("abs(y*f)", "y*f")],
)
def test_classification_knows_more(a: str, b: str) -> None:
    for kind in ("multiclass", "binary"):
        assert equivalent(a, b, kind=kind, seconds=0).verdict == "proved"
    assert equivalent(a, b, kind="regression", seconds=0).verdict == "different"


def test_a_witness_lies_where_the_task_lives() -> None:
    result = equivalent("y*log(f)", "log(f)", kind="multiclass")
    assert result.witness is not None
    assert result.witness[0] == 0.0
    assert 0 < result.witness[1] < 1


@settings(max_examples=50)
@given(expressions())
def test_every_expression_equals_itself_and_not_itself_plus_something(e: Expression) -> None:
    assert equivalent(e, e, seconds=0).verdict == "proved"
    shifted = Expression(("add", "1", *e.nodes), (1.0, 1.0, *e.weights))
    y, f = points(domain(None))
    with np.errstate(all="ignore"):
        seen = np.abs(e.evaluate(y, f)) < 1e6
    if seen.any():
        assert equivalent(e, shifted, seconds=0).verdict == "different"


def test_the_answer_is_frozen_and_prints_one_sentence() -> None:
    answers = [
        Equivalence("proved", None, 0.0),
        Equivalence("numeric", None, 1e-16),
        Equivalence("different", (1.0, 0.5), 0.25),
    ]
    for answer in answers:
        assert str(answer).endswith(".")
        assert "\n" not in str(answer)
    assert "y = 1, f = 0.5" in str(answers[2])
    with pytest.raises(dataclasses.FrozenInstanceError):
        answers[0].verdict = "numeric"  # type: ignore[misc]


def test_bad_input() -> None:
    with pytest.raises(ParseError):
        equivalent("y", "lgo(f)")
    with pytest.raises(ExpressionError, match="kind is multiclass, binary, regression or None"):
        equivalent("y", "f", kind="both")
