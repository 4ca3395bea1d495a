"""Term: a weighted subtree, the form in which expressions are built and rewritten before they are frozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from symloss.errors import ExpressionError
from symloss.expression.expression import MAX_DEPTH, MAX_SIZE, Expression


@dataclass(frozen=True, eq=False)
class Term:
    """`weight * name(*arguments)`: a subtree together with the weight of the edge above it.

    A number is the terminal `"1"` or `"-1"` with a weight. `low` and `high` bound `name(*arguments)`, as far as
    whoever built the term knows.

    Raises:
        ExpressionError: If the term is larger or deeper than an expression may be, or its weight is not finite.
    """

    name: str
    arguments: tuple[Term, ...] = ()
    weight: float = 1.0
    low: float = -math.inf
    high: float = math.inf
    size: int = field(init=False, repr=False)
    depth: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        size = 1 + sum(argument.size for argument in self.arguments)
        depth = 1 + max((argument.depth for argument in self.arguments), default=-1)
        if size > MAX_SIZE:
            raise ExpressionError(f"an expression has at most {MAX_SIZE} nodes; received more: write a shorter one")
        if depth > MAX_DEPTH:
            raise ExpressionError(f"an expression is at most {MAX_DEPTH} deep; received a deeper one: nest it less")
        if not math.isfinite(self.weight):
            raise ExpressionError(f"weights must be finite; received {self.weight}: use smaller numbers")
        object.__setattr__(self, "size", size)
        object.__setattr__(self, "depth", depth)

    @property
    def number(self) -> float | None:
        """The value of a number, None for anything else."""
        return {"1": self.weight, "-1": -self.weight}.get(self.name)

    @property
    def bounds(self) -> tuple[float, float]:
        """Bounds of the value, weight included."""
        if self.weight == 0.0:
            return 0.0, 0.0
        low, high = self.weight * self.low, self.weight * self.high
        return (low, high) if self.weight > 0 else (high, low)

    @cached_property
    def key(self) -> tuple[object, ...]:
        """Names and inner weights in preorder: equal for terms that differ at most in their own weight."""
        nodes, weights = self._flat()
        return nodes, weights

    @property
    def unit(self) -> Term:
        """The same subtree with weight 1."""
        return self if self.weight == 1.0 else replace(self, weight=1.0)

    def scaled(self, factor: float) -> Term:
        """The same subtree with its weight multiplied by `factor`."""
        return replace(self, weight=factor * self.weight)

    def _flat(self) -> tuple[tuple[str, ...], tuple[float, ...]]:
        nodes: list[str] = []
        weights: list[float] = []
        stack = [self]
        while stack:
            term = stack.pop()
            nodes.append(term.name)
            weights.append(term.weight)
            stack.extend(reversed(term.arguments))
        return tuple(nodes), tuple(weights[1:])

    def expression(self) -> Expression:
        """The expression of this term's value.

        The root of an expression has no edge above it. A weight left there goes to the first child's edge of a
        product or quotient, to both edges of a sum, and otherwise into a product with a number.
        """
        return Expression(*_without_weight(self)._flat())


def number(value: float) -> Term:
    """The constant `value`: terminal `"1"` or `"-1"` where that is exact, else the terminal `"1"` with a weight."""
    return Term("-1", low=-1.0, high=-1.0) if value == -1.0 else Term("1", weight=value, low=1.0, high=1.0)


def from_expression(expression: Expression) -> Term:
    """The term of an expression, with weight 1."""
    return expression.fold(
        Term,
        lambda primitive, arguments: Term(primitive.name, tuple(arguments)),
        lambda term, weight, _: replace(term, weight=weight),
    )


def _without_weight(term: Term) -> Term:
    weight, unit = term.weight, term.unit
    if weight == 1.0:
        return unit
    first, *others = unit.arguments or (unit,)
    if unit.name in ("mul", "div", "truediv"):
        return replace(unit, arguments=(first.scaled(weight), *others))
    if unit.name in ("add", "sub"):
        return replace(unit, arguments=tuple(argument.scaled(weight) for argument in unit.arguments))
    return Term("mul", (Term("1", weight=weight), unit))


def power(base: Term, exponent: float) -> Term:
    """`base ** exponent` as textbooks have it: odd whole powers keep the sign, which `pow` alone does not.

    x^1 = x, x^2 = square(x), x^3 = x square(x), x^5 = x pow(x, 4), x^-1 = 1/x; else pow(x, e) = |x|^e.
    """
    if exponent == 2:
        return Term("square", (base,))
    if base.number is not None and base.number > 0:
        return Term("pow", (base, number(exponent)))
    if exponent == 1:
        return base
    if exponent % 2 == 1:
        if exponent < 0:
            return Term("truediv", (Term("1"), power(base, -exponent)))
        return Term("mul", (base, power(base, exponent - 1)))
    return Term("pow", (base, number(exponent)))


def balanced(join: Callable[[Term, Term], Term], terms: Sequence[Term]) -> Term:
    """`terms` joined in pairs, in their order, to a tree that is as shallow as can be."""
    while len(terms) > 1:
        pairs = [join(*pair) for pair in zip(terms[::2], terms[1::2], strict=False)]
        terms = [*pairs, terms[-1]] if len(terms) % 2 else pairs
    return terms[0]


def total(terms: Sequence[Term], build: Callable[[str, tuple[Term, ...]], Term] = Term) -> Term:
    """The sum of `terms`: what is positive first, what is negative subtracted."""

    def negative(term: Term) -> bool:
        return (term.weight if term.number is None else term.number) < 0

    def join(left: Term, right: Term) -> Term:
        if not negative(right):
            return build("add", (left, right))
        return build("sub", (left, right.scaled(-1.0) if right.number is None else number(-right.number)))

    return balanced(join, sorted(terms, key=negative))
