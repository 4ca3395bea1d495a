"""Derivations: every line is the function that was found, and says how far it can be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from symloss.errors import ExpressionError
from symloss.expression import derivation as module
from symloss.expression.derivation import ALGEBRA, FOLDED, FOUND, RULES, SLICE, derivation
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from tests.strategies import expressions

F = np.linspace(0.02, 0.98, 49)


def test_steps() -> None:
    found = derivation(parse("0.5*log(y*f) - 1.5*log(y*f) + abs(2*0.5)*f*0"), "multiclass")
    assert [(step.reason, step.verdict) for step in found.steps] == [
        (FOUND, ""), (FOLDED, "proved"), (RULES, "proved"),
    ]  # fmt: skip
    assert [step.left for step in found.slices] == [r"\ell(1, f)", r"\ell(0, f)"]
    assert all(step.reason == SLICE and step.verdict for step in found.slices)
    assert found.simplified.size == 6
    assert found.rounding == 0.0
    assert str(found).splitlines()[-1].startswith("ℓ(0, f) ≈ ")
    lines = found.latex().splitlines()
    assert (lines[0], lines[-1]) == (r"\begin{align*}", r"\end{align*}")
    assert lines[3] == r" &= -\log\left|y \, f\right| \tag*{\footnotesize exact rules, proved} \\"
    assert lines[4].startswith(r"\ell(1, f) &= -\log\left|f\right| \tag*{\footnotesize proved}")


def test_algebra() -> None:
    found = derivation(parse("square(y + f) - square(y - f)"), "regression", seconds=60)
    assert found.steps[-1].reason == ALGEBRA
    assert found.slices == ()
    y, f = np.meshgrid(F, -F)
    np.testing.assert_allclose(found.simplified.evaluate(y, f), 4 * y * f, rtol=1e-12)


@settings(max_examples=25)
@given(expressions(max_depth=4, max_size=20))
def test_every_line_is_the_same_function(e: Expression) -> None:
    found = derivation(e, "multiclass", seconds=0.0)
    for target in (0.0, 1.0):
        wanted = e.evaluate(np.full_like(F, target), F)
        slices = [step for step in found.slices if step.left == rf"\ell({target:.0f}, f)"]
        for step in (*found.steps, *slices):
            value = step.expression.evaluate(np.full_like(F, target), F)
            np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(wanted).max()))


def test_a_wrong_simplification_is_no_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "simplify", lambda *_: parse("2*f"))
    found = derivation(parse("abs(y*f + f)"), "regression", seconds=0.0)
    assert [step.reason for step in found.steps] == [FOUND]


def test_rounding_is_marked_and_measured() -> None:
    found = derivation(parse("abs(1.23456*f)"), "regression", digits=3, seconds=0.0)
    assert r"\ell(y, f) &\approx" in found.latex()
    assert found.rounded() == parse("abs(1.23*f)")
    assert found.rounding == pytest.approx(0.00456 / 1.23456)
    exact = derivation(parse("abs(1.23456*f)"), "regression", digits=6, seconds=0.0)
    assert r"\approx" not in exact.latex()
    assert exact.rounding == 0.0


def test_weights_stand_on_their_edges_at_first() -> None:
    first, second, *_ = derivation(parse("abs(2*(3*y*(4*f)))"), "regression", seconds=0.0).latex().splitlines()[1:]
    assert r"2 \cdot 3 \, y \cdot 4 \, f" in first
    assert r"24 \," in second


@pytest.mark.parametrize("digits", [0, 18])
def test_digits(digits: int) -> None:
    with pytest.raises(ExpressionError, match="1 to 17 significant digits"):
        parse("f").derivation(digits=digits)


@pytest.mark.parametrize("text", ["y", "f", "1", "y/(f - f)", "exp(1000*1) + f"])
def test_odd_ones(text: str) -> None:
    for kind in ("multiclass", None):
        assert parse(text).derivation(kind, seconds=0.0).latex().startswith(r"\begin{align*}")
