"""Registration: a user's primitive is checked before it joins the table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from symloss.errors import ExpressionError
from symloss.expression import primitives
from symloss.expression.latex import to_latex
from symloss.expression.parsing import parse
from tests.expression.helpers import registered_soft_plus


def register(**changes: Any) -> None:
    """Register a copy of tanh, changed, and remove it again."""
    row = {
        "name": "mine",
        "arity": 1,
        "function": lambda xp, a: xp.tanh(a),
        "sympy": lambda sp, a: sp.tanh(a),
    } | changes
    primitives.register(row.pop("name"), row.pop("arity"), row.pop("function"), **row)
    primitives.unregister("mine")


def test_a_good_one_is_accepted_whatever_is_left_out() -> None:
    register()
    register(gradient=lambda xp, a: (1 - xp.tanh(a) ** 2,))
    register(latex=r"\operatorname{{t}}\left({0}\right)", source="torch.tanh({0})")
    register(search=False, function=lambda xp, a: xp.exp(a), sympy=lambda sp, a: sp.exp(a))
    register(arity=2, function=lambda xp, a, b: a * xp.tanh(b), sympy=lambda sp, a, b: a * sp.tanh(b))
    assert not primitives.is_known("mine")


@pytest.mark.parametrize("name", ["log", "y", "f", "1", "-1", "", "a b", "lambda", "_hidden", "é", "x" * 33, 3])
def test_names(name: Any) -> None:
    with pytest.raises(ExpressionError, match=r"name|primitive 'log' already"):
        register(name=name)


@pytest.mark.parametrize("arity", [0, 3, "1", None])
def test_arity(arity: Any) -> None:
    with pytest.raises(ExpressionError, match="1 or 2 arguments"):
        register(arity=arity)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"function": lambda xp, a: 1 / a, "sympy": lambda sp, a: 1 / a}, "inf at 0: protect it there"),
        ({"function": lambda xp, a: xp.log(a), "sympy": lambda sp, a: sp.log(a)}, "inf at 0"),
        ({"function": lambda xp, a: xp.log(a + 0.25), "sympy": lambda sp, a: sp.log(a)}, "nan at -"),
        ({"function": lambda xp, a: xp.exp(a), "sympy": lambda sp, a: sp.exp(a)}, r"inf at 1e\+06: .* search=False"),
        (
            {"function": lambda xp, a: xp.sqrt(xp.abs(a)), "sympy": lambda sp, a: sp.sqrt(sp.Abs(a))},
            "first derivative is (nan|inf) at 0",
        ),
        (
            {"function": lambda xp, a: xp.abs(a) * xp.sqrt(xp.abs(a)), "sympy": lambda sp, a: sp.Abs(a) ** 1.5},
            "derivative is (nan|inf) at 0",
        ),
        ({"function": lambda xp, a: a - a.mean()}, "must be elementwise"),
        ({"function": lambda xp, a: a.sum()}, "keep the shape"),
        ({"function": lambda xp, a: a > 0}, "keep the shape and float type"),
        ({"function": lambda xp, a: torch.tanh(a)}, "the NumPy form failed with TypeError"),
        ({"function": lambda xp, a, b: a}, "the NumPy form failed with TypeError"),
        (
            {"function": lambda xp, a: xp.tanh(a) + (xp is torch), "sympy": lambda sp, a: sp.tanh(a)},
            "NumPy and torch forms disagree",
        ),
        ({"sympy": lambda sp, a: sp.tan(a)}, "NumPy and SymPy forms disagree"),
        ({"sympy": lambda sp, a: 3}, "must return a SymPy expression"),
        ({"sympy": lambda sp, a: sp.Symbol("z")}, "must return a SymPy expression"),
        ({"sympy": lambda sp, a: sp.nothing(a)}, "the SymPy form failed with AttributeError"),
        ({"algebra": lambda sp, a: None}, "the algebra form must return"),
        ({"gradient": lambda xp, a: (xp.tanh(a),)}, "gradient and central differences disagree"),
        ({"gradient": lambda xp, a: xp.tanh(a)}, "must return a tuple of 1"),
        ({"gradient": lambda xp, a: (1 / a,)}, "gradient is inf at 0"),
        ({"hessian": lambda xp, a: (1.0,)}, "hessian and central differences disagree"),
        ({"latex": "{2}"}, "latex failed with IndexError"),
        ({"latex": "{{{0}"}, "braces of LaTeX doubled"),
        ({"source": "torch.tanh({0}"}, "source failed with SyntaxError"),
        ({"source": "import os"}, "source failed with SyntaxError"),
    ],
)
def test_what_is_refused_is_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ExpressionError, match=message) as caught:
        register(**changes)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("primitive 'mine' cannot be registered: ")
    assert not primitives.is_known("mine")


def test_own_rows_stay() -> None:
    with pytest.raises(ExpressionError, match="stays"):
        primitives.unregister("tanh")
    with pytest.raises(ExpressionError, match="unknown operation"):
        primitives.unregister("mine")


def test_derived_derivatives_compose_with_torch() -> None:
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    with registered_soft_plus() as row:
        (first,) = row.gradient(torch, x)
        torch.testing.assert_close(first, torch.sigmoid(x))
        (second,) = torch.autograd.grad(first.sum(), x)  # still differentiable
        torch.testing.assert_close(second, row.hessian(torch, x)[0])
        with torch.no_grad():
            assert not row.gradient(torch, x)[0].requires_grad
        rows = x.detach().reshape(3, 3)
        torch.testing.assert_close(torch.func.vmap(lambda a: row.gradient(torch, a)[0])(rows), torch.sigmoid(rows))
        np.testing.assert_allclose(row.gradient(np, np.array([0.0]))[0], 0.5)
        assert to_latex(parse("soft_plus(f)")) == r"\operatorname{soft\_plus}\left(f\right)"


def test_rows_travel_to_another_process() -> None:
    with registered_soft_plus() as row:
        rows = primitives.registered()
        assert rows == (row,)
    assert primitives.registered() == ()
    primitives.restore([*rows, primitives.get("tanh")])
    assert primitives.get("soft_plus") is row
    primitives.unregister("soft_plus")
