"""What a user's primitive must satisfy before it joins the table, and the derivatives that it may leave out."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Callable
from itertools import product
from typing import Any, NoReturn

import numpy as np
import torch

from symloss.errors import ExpressionError
from symloss.expression import latex
from symloss.expression.primitives import Partial, Primitive

MAX_NAME = 32
"""Most characters of a primitive's name."""

_MAGNITUDES = (1e-9, 1e-7, 1e-3, 0.5, 1.0, 2.5, 10.0, 100.0)
_FAR = 1e6  # the search multiplies numbers without restraint
_GENERIC = ((-6.1, -2.71, -1.37, -0.83, -0.29, 0.31, 0.77, 1.43, 2.57, 7.9), (-3.3, -1.13, -0.41, 0.59, 1.91, 4.7))

Array = np.ndarray[Any, np.dtype[np.float64]]


def autograd_gradient(function: Callable[..., Any], arity: int) -> Callable[..., tuple[Partial, ...]]:
    """`gradient(xp, *arguments)` of an elementwise `function(xp, *arguments)`, by torch's automatic differentiation.

    It composes with `torch.func`, stays differentiable, and takes NumPy arrays too (in float64).
    """

    def gradient(xp: Any, *arguments: Any) -> tuple[Partial, ...]:
        tensors = _tensors(arguments)
        return _as(xp, torch.func.grad(lambda *a: function(torch, *a).sum(), argnums=tuple(range(arity)))(*tensors))

    return gradient


def autograd_hessian(function: Callable[..., Any], arity: int) -> Callable[..., tuple[Partial, ...]]:
    """`hessian(xp, *arguments)` of an elementwise `function(xp, *arguments)`, as `autograd_gradient`."""

    def hessian(xp: Any, *arguments: Any) -> tuple[Partial, ...]:
        tensors = _tensors(arguments)

        def second(i: int, j: int) -> Any:
            first = torch.func.grad(lambda *a: function(torch, *a).sum(), argnums=i)
            return torch.func.grad(lambda *a: first(*a).sum(), argnums=j)(*tensors)

        return _as(xp, tuple(second(i, j) for i, j in _pairs(arity)))

    return hessian


def check_name(name: str, taken: Callable[[str], bool]) -> None:
    """Raise an ExpressionError unless `name` can name a new primitive."""
    if not (isinstance(name, str) and name.isidentifier() and name.isascii() and len(name) <= MAX_NAME):
        raise ExpressionError(
            f"a primitive's name is an ASCII identifier of at most {MAX_NAME} characters; received {name!r}"
        )
    if keyword.iskeyword(name) or name in ("y", "f") or name.startswith("_"):
        raise ExpressionError(f"the name {name!r} is reserved; choose another")
    if taken(name):
        raise ExpressionError(
            f"there is a primitive {name!r} already; choose another name, or unregister your own first"
        )


def check(primitive: Primitive) -> None:
    """Raise an ExpressionError unless every form of the primitive is usable and agrees with the others.

    Values and derivatives up to the second must be finite at zero, at negative and at large numbers (up to 100;
    up to a million for the search), the NumPy, torch and SymPy forms must agree, and the derivatives must be those
    of central differences.
    """
    with np.errstate(all="ignore"):
        grid = _grid(primitive)
        values = _check_values(primitive, grid)
        _check_derivatives_finite(primitive, grid)
        _check_central_differences(primitive)
        _check_sympy(primitive, grid, values)
    _check_text(primitive)


def _grid(primitive: Primitive) -> list[Array]:
    positive = _MAGNITUDES + ((_FAR,) if primitive.search else ())
    points = (0.0, *positive, *(-p for p in positive))
    return [np.array(axis) for axis in zip(*product(points, repeat=primitive.arity), strict=True)]


def _check_values(primitive: Primitive, grid: list[Array]) -> Array:
    forms = {
        "NumPy": lambda *a: np.asarray(primitive.numpy(*a)),
        "torch": lambda *a: primitive.torch(*_tensors(a)).numpy(),
    }
    values: dict[str, Array] = {}
    for form, function in forms.items():
        value = values[form] = _called(primitive, f"the {form} form", function, *grid)
        if value.shape != grid[0].shape or value.dtype != np.float64:
            _refuse(primitive, f"the {form} form must keep the shape and float type of its arguments")
        _check_finite(primitive, f"the {form} form", value, grid)
        reordered = _called(primitive, f"the {form} form", function, *(a[::-1].copy() for a in grid))
        if not np.allclose(reordered[::-1], value, rtol=1e-9, atol=1e-12):
            _refuse(primitive, f"the {form} form must be elementwise")
    _check_close(primitive, "the NumPy and torch forms", values["NumPy"], values["torch"], grid, 1e-9)
    return values["NumPy"]


def _check_derivatives_finite(primitive: Primitive, grid: list[Array]) -> None:
    """Of the torch form, which models are trained through, and of the derivatives that were given."""
    function, arity = primitive.function, primitive.arity
    for what, derivative, count in (
        ("first derivative", autograd_gradient(function, arity), arity),
        ("second derivative", autograd_hessian(function, arity), len(_pairs(arity))),
        ("gradient", primitive.gradient, arity),
        ("hessian", primitive.hessian, len(_pairs(arity))),
    ):
        partials = _partials(primitive, what, derivative, count, np, grid)
        tensors = _partials(primitive, what, derivative, count, torch, _tensors(grid))
        for ours, theirs in zip(partials, tensors, strict=True):
            _check_finite(primitive, f"the {what}", ours, grid)
            _check_close(primitive, f"the NumPy and torch forms of the {what}", ours, theirs, grid, 1e-9)


def _check_central_differences(primitive: Primitive) -> None:
    """Away from kinks: f'(x) = (f(x + h) - f(x - h)) / 2h + O(h²), with h the cube root of the rounding error."""
    points = [np.array(axis) for axis in zip(*product(*_GENERIC[: primitive.arity]), strict=True)]
    arity, pairs = primitive.arity, _pairs(primitive.arity)
    gradient = _partials(primitive, "gradient", primitive.gradient, arity, np, points)
    hessian = _partials(primitive, "hessian", primitive.hessian, len(pairs), np, points)

    def difference(function: Callable[..., Any], axis: int) -> Array:
        step = 6e-6 * np.maximum(1.0, np.abs(points[axis]))
        forward, backward = [[*points] for _ in range(2)]
        forward[axis], backward[axis] = points[axis] + step, points[axis] - step
        change = np.broadcast_to(function(*forward), step.shape) - np.broadcast_to(function(*backward), step.shape)
        return np.asarray(change / (forward[axis] - backward[axis]))

    for axis in range(arity):
        _check_close(
            primitive,
            "gradient and central differences",
            gradient[axis],
            difference(primitive.numpy, axis),
            points,
            1e-5,
        )
    for entry, (i, j) in enumerate(pairs):
        expected = difference(lambda *a, i=i: primitive.gradient(np, *a)[i], j)
        _check_close(primitive, "hessian and central differences", hessian[entry], expected, points, 1e-5)


def _check_sympy(primitive: Primitive, grid: list[Array], values: Array) -> None:
    import sympy

    symbols = sympy.symbols("a b", real=True)[: primitive.arity]
    for what, form in (("the SymPy form", primitive.sympy), ("the algebra form", primitive.algebra)):
        if form is None:
            continue
        expr = _called(primitive, what, form, sympy, *symbols)
        if not isinstance(expr, sympy.Expr) or not expr.free_symbols <= set(symbols):
            _refuse(primitive, f"{what} must return a SymPy expression in its arguments")
        if what == "the algebra form":  # it may differ where the primitive is protected
            continue
        function = sympy.lambdify(symbols, expr, ["scipy", "numpy"])
        result = np.broadcast_to(_called(primitive, what, function, *grid), values.shape)
        _check_close(primitive, "the NumPy and SymPy forms", values, result, grid, 1e-7)


def _check_text(primitive: Primitive) -> None:
    names = ("y", "f")[: primitive.arity]
    text = _called(primitive, "latex", primitive.latex.format, *map(latex.leaf, names))
    if text.count("{") != text.count("}"):
        _refuse(primitive, f"latex is a format string with braces of LaTeX doubled; received {primitive.latex!r}")
    if primitive.source is not None:
        source = _called(primitive, "source", primitive.source.format, *names)
        _called(primitive, "source", lambda: ast.parse(source, mode="eval"))


def _called(primitive: Primitive, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`; whatever it raises becomes one line."""
    try:
        return function(*arguments)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        _refuse(primitive, f"{what} failed with {type(error).__name__}: {reason}")


def _partials(
    primitive: Primitive, what: str, derivative: Callable[..., Any], count: int, xp: Any, points: Any
) -> list[Array]:
    partials = _called(primitive, f"the {what}", derivative, xp, *points)
    if not isinstance(partials, tuple) or len(partials) != count:
        _refuse(primitive, f"the {what} must return a tuple of {count} arrays or numbers")
    return [np.broadcast_to(np.asarray(p, dtype=np.float64), points[0].shape) for p in partials]


def _check_finite(primitive: Primitive, what: str, values: Array, grid: list[Array]) -> None:
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        far = any(abs(axis[bad[0]]) == _FAR for axis in grid)
        hint = "keep it out of the search with search=False, or protect it" if far else "protect it there"
        _refuse(primitive, f"{what} is {values[bad[0]]} at {_point(grid, bad[0])}: {hint}")


def _check_close(
    primitive: Primitive, what: str, ours: Array, theirs: Array, grid: list[Array], tolerance: float
) -> None:
    scale = np.maximum(np.abs(ours), np.abs(theirs))
    bad = np.flatnonzero(~(np.abs(ours - theirs) <= tolerance * (scale + 1e-3)))
    if bad.size:
        at = bad[0]
        _refuse(primitive, f"{what} disagree at {_point(grid, at)}: {ours[at]:.9g} against {theirs[at]:.9g}")


def _point(grid: list[Array], index: int) -> str:
    return ", ".join(f"{axis[index]:g}" for axis in grid)


def _refuse(primitive: Primitive, reason: str) -> NoReturn:
    raise ExpressionError(f"primitive {primitive.name!r} cannot be registered: {reason}")


def _pairs(arity: int) -> tuple[tuple[int, int], ...]:
    return ((0, 0),) if arity == 1 else ((0, 0), (0, 1), (1, 1))


def _tensors(arguments: Any) -> list[torch.Tensor]:
    tensors = (a if isinstance(a, torch.Tensor) else torch.from_numpy(np.array(a, dtype=np.float64)) for a in arguments)
    return list(torch.broadcast_tensors(*tensors))  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _as(xp: Any, tensors: tuple[torch.Tensor, ...]) -> tuple[Partial, ...]:
    dense = tuple(t.clone() for t in tensors)  # torch marks some derivatives as "zero", without memory
    return dense if xp is torch else tuple(t.numpy(force=True) for t in dense)
