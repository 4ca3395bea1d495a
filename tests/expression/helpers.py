"""Points, a registered primitive, and derivatives by the table's chain rule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch

from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.expression.primitives import Primitive

Array = np.ndarray[Any, np.dtype[np.float64]]

EDGES = np.array([0.0, 1e-9, -1e-9, 1e-7, -1e-7, 1e-5, -1e-5, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0])
GENERIC = np.array([-2.71, -1.37, -0.83, -0.29, 0.31, 0.77, 1.43, 2.57])


def plane(axis: Array) -> tuple[Array, Array]:
    """All pairs of an axis with itself, flat."""
    y, f = np.meshgrid(axis, axis, indexing="ij")
    return y.ravel(), f.ravel()


def soft_plus(xp: Any, a: Any) -> Any:
    return xp.log1p(xp.exp(-xp.abs(a))) + 0.5 * (a + xp.abs(a))


@contextmanager
def registered_soft_plus(name: str = "soft_plus") -> Iterator[Primitive]:
    """log(1 + exp(a)) as a user's own primitive, with the derivatives left out."""
    row = primitives.register(
        name,
        1,
        soft_plus,
        sympy=lambda sp, a: sp.log(1 + sp.exp(-sp.Abs(a))) + sp.Max(a, 0),
        source="torch.nn.functional.softplus({0})",
    )
    try:
        yield row
    finally:
        primitives.unregister(name)


class Jet(NamedTuple):
    """A value, its first and second derivative in f, and how large the terms are that may have cancelled in these."""

    value: Any
    first: Any
    second: Any
    first_size: Any = 0.0
    second_size: Any = 0.0


def jet(expression: Expression, y: Any, f: Any, xp: Any) -> Jet:
    """ℓ, dℓ/df and d²ℓ/df² by the chain rule from the table's gradients and Hessians."""
    one = xp.ones_like(f)
    leaves = {
        "y": Jet(y, 0 * one, 0 * one),
        "f": Jet(f, one, 0 * one, one, 0 * one),
        "1": Jet(one, 0 * one, 0 * one),
        "-1": Jet(-one, 0 * one, 0 * one),
    }

    def branch(primitive: Primitive, arguments: list[Jet]) -> Jet:
        values = [a.value for a in arguments]
        gradient, hessian = primitive.gradient(xp, *values), primitive.hessian(xp, *values)
        pairs = [(0, 0)] if primitive.arity == 1 else [(0, 0), (0, 1), (1, 1)]
        first = sum(g * a.first for g, a in zip(gradient, arguments, strict=True))
        second = sum(g * a.second for g, a in zip(gradient, arguments, strict=True))
        first_size = sum((1 + abs(g)) * a.first_size for g, a in zip(gradient, arguments, strict=True))
        second_size = sum((1 + abs(g)) * a.second_size for g, a in zip(gradient, arguments, strict=True))
        for h, (i, j) in zip(hessian, pairs, strict=True):
            second = second + h * arguments[i].first * arguments[j].first * (1 if i == j else 2)
            second_size = second_size + (1 + abs(h)) * arguments[i].first_size * arguments[j].first_size
        return Jet(primitive.function(xp, *values), first, second, first_size, second_size)

    def weigh(jet: Jet, weight: float, _: int) -> Jet:
        return Jet(*(part * weight for part in jet[:3]), *(size * abs(weight) for size in jet[3:]))

    return expression.fold(leaves.__getitem__, branch, weigh)


def autograd_jet(expression: Expression, y: Array, f: Array) -> Jet:
    """The same by torch's automatic differentiation."""
    leaf = torch.tensor(f, requires_grad=True)
    value = expression.evaluate(torch.tensor(y), leaf, xp=torch)
    zero = 0.0 * leaf.sum()  # connects what does not depend on f
    (first,) = torch.autograd.grad(value.sum() + zero, leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum() + 0.0 * leaf.sum(), leaf)
    return Jet(value.detach().numpy(), first.detach().numpy(), second.numpy())
