"""One contract for every primitive, a user's own included: all of its forms agree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
import sympy
import torch

from symloss.errors import ExpressionError
from symloss.expression import bounds, primitives, registration
from symloss.expression.domains import compare, domain
from symloss.expression.drawing import draw
from symloss.expression.equivalence import equivalent
from symloss.expression.expression import Expression
from symloss.expression.latex import to_latex
from symloss.expression.parsing import parse
from symloss.expression.primitives import Primitive
from symloss.expression.simplification import simplify
from symloss.expression.sympy_bridge import from_sympy, to_sympy
from tests.expression.helpers import EDGES, GENERIC, Array, registered_soft_plus

NAMES = [*(row.name for row in primitives.primitives()), "soft_plus"]


@pytest.fixture(params=NAMES)
def primitive(request: pytest.FixtureRequest) -> Iterator[Primitive]:
    """Each row of the table, and one that a user registered without derivatives."""
    with registered_soft_plus():
        yield primitives.get(request.param)


def points(primitive: Primitive, axis: Array) -> list[Array]:
    return [np.array(column) for column in zip(*product(axis, repeat=primitive.arity), strict=True)]


def broadcast(partials: tuple[object, ...], like: Array) -> list[Array]:
    return [np.broadcast_to(np.asarray(p), like.shape) for p in partials]


def plain(primitive: Primitive) -> Expression:
    return Expression((primitive.name, *("y", "f")[-primitive.arity :]))


def test_numpy_torch_and_sympy_agree(primitive: Primitive) -> None:
    arguments = points(primitive, EDGES)
    ours = primitive.numpy(*arguments)
    theirs = primitive.torch(*map(torch.tensor, arguments))
    assert theirs.dtype == torch.float64
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)
    symbols = sympy.symbols("a b", real=True)[: primitive.arity]
    function = sympy.lambdify(symbols, primitive.sympy(sympy, *symbols), "numpy")
    with np.errstate(all="ignore"):  # SymPy's code computes every branch of a case distinction
        np.testing.assert_allclose(function(*arguments), ours, rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_type_of_a_tensor_is_kept(primitive: Primitive, dtype: torch.dtype) -> None:
    arguments = [torch.tensor([-1.5, 0.0, 0.5], dtype=dtype) for _ in range(primitive.arity)]
    assert primitive.torch(*arguments).dtype == dtype


def test_derivatives_are_those_of_central_differences(primitive: Primitive) -> None:
    arguments = points(primitive, GENERIC)
    arguments[-1] = arguments[-1] * 1.1 + 0.01  # no ties
    gradient = broadcast(primitive.gradient(np, *arguments), arguments[0])
    step = 1e-5
    for axis in range(primitive.arity):
        shifted = [[a + sign * step * (i == axis) for i, a in enumerate(arguments)] for sign in (1, -1)]
        difference = (primitive.numpy(*shifted[0]) - primitive.numpy(*shifted[1])) / (2 * step)
        np.testing.assert_allclose(gradient[axis], difference, rtol=1e-6, atol=1e-8)
    hessian = broadcast(primitive.hessian(np, *arguments), arguments[0])
    for entry, (i, j) in enumerate([(0, 0)] if primitive.arity == 1 else [(0, 0), (0, 1), (1, 1)]):
        shifted = [[a + sign * step * (k == j) for k, a in enumerate(arguments)] for sign in (1, -1)]
        ends = [broadcast(primitive.gradient(np, *s), arguments[0])[i] for s in shifted]
        np.testing.assert_allclose(hessian[entry], (ends[0] - ends[1]) / (2 * step), rtol=1e-5, atol=1e-7)


def test_derivatives_are_those_of_autograd_at_kinks_and_in_protected_ranges(primitive: Primitive) -> None:
    arguments = points(primitive, EDGES)
    if primitive.name == "pow":  # torch's mixed derivative is 0 at b = 0, where the true one is 1/a
        arguments[1] = np.where(arguments[1] == 0, 0.25, arguments[1])
    tensors = [torch.tensor(a) for a in arguments]
    gradient = registration.autograd_gradient(primitive.function, primitive.arity)(torch, *tensors)
    hessian = registration.autograd_hessian(primitive.function, primitive.arity)(torch, *tensors)
    for expected, xp, inputs in ((gradient, np, arguments), (gradient, torch, tensors)):
        for ours, theirs in zip(primitive.gradient(xp, *inputs), expected, strict=True):
            np.testing.assert_allclose(np.asarray(ours) + 0 * arguments[0], theirs.numpy(), rtol=1e-9, atol=1e-12)
    for ours, theirs in zip(primitive.hessian(np, *arguments), hessian, strict=True):
        np.testing.assert_allclose(np.asarray(ours) + 0 * arguments[0], theirs.numpy(), rtol=1e-9, atol=1e-12)


def test_the_written_source_computes_the_same(primitive: Primitive) -> None:
    assert primitive.source is not None
    arguments = [torch.tensor(a) for a in points(primitive, EDGES)]
    text = primitive.source.format("a", "b")
    value = eval(text, {"torch": torch}, dict(zip("ab", arguments, strict=False)))
    torch.testing.assert_close(value, primitive.torch(*arguments), rtol=1e-12, atol=0)


def test_bounds_hold(primitive: Primitive) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        ends = np.sort(rng.choice([-3.0, -1.0, -0.2, 0.0, 1e-9, 0.5, 2.0, 4.0], size=(primitive.arity, 2)), axis=1)
        low, high = bounds.bounds(primitive.name, [tuple(map(float, pair)) for pair in ends])
        samples = [np.concatenate([pair, rng.uniform(*pair, 40)]) for pair in ends]
        with np.errstate(all="ignore"):
            values = primitive.numpy(*(rng.permutation(s) for s in samples))
        assert np.all(values >= low - 1e-12 * abs(low))
        assert np.all(values <= high + 1e-12 * abs(high))


def test_it_goes_through_everything(primitive: Primitive) -> None:
    e = plain(primitive)
    assert parse(str(e)) == e
    assert to_latex(e)
    assert draw(e).get_axes()
    assert compare(from_sympy(to_sympy(e)), e, domain(None)).agree
    assert simplify(e) is e
    assert equivalent(e, e).verdict == "proved"
    with_f = from_sympy(to_sympy(Expression(("tanh", *e.nodes))))
    assert compare(with_f, Expression(("tanh", *e.nodes)), domain(None)).agree


def test_the_table_passes_its_own_registration(primitive: Primitive) -> None:
    if primitive.name == "pow":  # a negative power of zero is finite, but not of every exponent
        with pytest.raises(ExpressionError, match="inf at 0, -100"):
            registration.check(primitive)
        return
    registration.check(primitive)


def test_the_search_set_is_that_of_evomal() -> None:
    expected = {"add", "sub", "mul", "div", "min", "max", "sign", "square", "abs", "log", "sqrt", "tanh"}
    assert {row.name for row in primitives.search_set()} == expected


def test_definitions() -> None:
    def value(name: str, *arguments: float) -> float:
        return float(primitives.get(name).numpy(*map(np.float64, arguments)))

    assert value("div", 3.0, 2.0) == pytest.approx(3 / 5**0.5)
    assert value("log", 0.0) == value("log", -1e-8) == np.log(1e-7)
    assert value("log", -2.0) == np.log(2.0)
    assert value("sqrt", -4.0) == 2.0
    assert value("sqrt", 0.0) == np.sqrt(1e-7)
    assert value("truediv", 3.0, 0.0) == pytest.approx(3e7)
    assert value("truediv", 3.0, -1e-9) == pytest.approx(-3e7)
    assert value("pow", -2.0, 3.0) == 8.0
    assert value("pow", 0.0, 1.0) == 1e-7
    assert value("sign", 0.0) == 0.0
