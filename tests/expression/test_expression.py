"""Expression: what a valid tree is, and what can be computed from it."""

from __future__ import annotations

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from symloss.errors import ExpressionError
from symloss.expression.expression import MAX_DEPTH, MAX_SIZE, Expression
from symloss.expression.tree import from_expression
from tests.expression.helpers import EDGES, plane
from tests.strategies import any_weights, expressions


@pytest.mark.parametrize(
    ("nodes", "weights", "message"),
    [
        ((), (), "1 to 10000 nodes"),
        (("add", "y"), (1.0,), "lacks arguments"),
        (("y", "f"), (1.0,), "complete before node 1"),
        (("cosh", "y"), (1.0,), "unknown operation 'cosh'"),
        (("abs", "y"), (1.0, 2.0), "2 nodes need 1 weights"),
        (("abs", "y"), (math.nan,), "weights must be finite"),
        (("abs",) * (MAX_DEPTH + 1) + ("y",), (), "at most 200 deep"),
        (("y",) * (MAX_SIZE + 1), (), "1 to 10000 nodes"),
    ],
)
def test_invalid_trees_are_refused_in_one_line(
    nodes: tuple[str, ...], weights: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ExpressionError, match=message) as caught:
        Expression(nodes, weights)
    assert "\n" not in str(caught.value)


def test_structure() -> None:
    e = Expression(("mul", "y", "log", "f"), (2.0, 1.0, 0.5))
    assert (e.size, e.depth, e.parents, e.depths) == (4, 2, (-1, 0, 0, 2), (0, 1, 1, 2))
    assert e.variables == {"y", "f"}
    assert str(e) == "2.0*y*log(0.5*f)"
    assert repr(e) == "Expression('2.0*y*log(0.5*f)')"
    assert e.latex() in e._repr_latex_()
    assert e._repr_latex_()[0] == e._repr_latex_()[-1] == "$"
    assert Expression(("abs", "f")).weights == (1.0,)


@given(expressions(primitives="all", weights=any_weights))
def test_an_expression_can_be_hashed_copied_and_pickled(e: Expression) -> None:
    assert hash(e) == hash(Expression(e.nodes, e.weights))
    assert copy.deepcopy(e) == e == pickle.loads(pickle.dumps(e))
    assert from_expression(e).expression() == e


@settings(max_examples=60)
@given(expressions(primitives="all"))
def test_numpy_and_torch_agree(e: Expression) -> None:
    y, f = plane(EDGES)
    with np.errstate(all="ignore"):
        ours = e.evaluate(y, f)
    theirs = e.evaluate(torch.tensor(y), torch.tensor(f), xp=torch)
    assert ours.shape == theirs.shape == y.shape
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-9, atol=1e-12)


def test_evaluate_broadcasts_and_takes_other_weights() -> None:
    e = Expression(("mul", "y", "f"), (2.0, 3.0))
    y, f = np.arange(3.0)[:, None], np.arange(4.0)
    np.testing.assert_array_equal(e.evaluate(y, f), 6 * y * f)
    np.testing.assert_array_equal(e.evaluate(y, f, weights=[1.0, 1.0]), y * f)
    assert Expression(("1",)).evaluate(y, f).shape == (3, 4)
    weights = torch.ones(2, requires_grad=True)
    e.evaluate(torch.tensor(2.0), torch.tensor([3.0]), xp=torch, weights=weights).sum().backward()
    assert weights.grad is not None
    assert weights.grad.tolist() == [6.0, 6.0]


def test_methods_lead_to_the_other_modules() -> None:
    e = Expression(("abs", "abs", "f"))
    assert str(e.sympy()) == "Abs(f)"
    assert e.latex() == r"\left|\left|f\right|\right|"
    assert str(e.simplify()) == "abs(f)"
    assert str(e.simplify(kind="multiclass")) == "f"
    assert e.draw().get_axes()
