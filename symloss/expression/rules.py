"""Exact local rules: what can be simplified without algebra, and without changing a value anywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from symloss.errors import ExpressionError
from symloss.expression import primitives
from symloss.expression.bounds import bounds
from symloss.expression.domains import Domain
from symloss.expression.expression import Expression
from symloss.expression.tree import Term, balanced, number, total


class Rewriter:
    """Rewrites expressions from the leaves up, by rules that hold on a domain.

    Args:
        where: The domain of y and f.
        deadline: Value of `time.monotonic()` at which to give up.
        ordered: Whether to put the arguments of commutative operations in a fixed order, so that expressions
            that differ in it come out identical.
    """

    def __init__(self, where: Domain, deadline: float = math.inf, ordered: bool = False) -> None:
        self.where = where
        self.deadline = deadline
        self.ordered = ordered
        self.rules: dict[str, Callable[..., Term]] = {
            "add": self._sum, "sub": self._sum, "mul": self._product, "div": self._div, "truediv": self._truediv,
            "min": self._extreme, "max": self._extreme, "sign": self._sign, "square": self._square, "abs": self._abs,
            "log": self._of_magnitude, "sqrt": self._of_magnitude, "pow": self._of_magnitude, "tanh": self._tanh,
        }  # fmt: skip

    def rewrite(self, expression: Expression, target: float | None = None) -> Term:
        """The rewritten expression, with the weight of the whole kept apart.

        Args:
            expression: The expression.
            target: A number to put in place of y.

        Raises:
            TimeoutError: If the deadline passed.
            ExpressionError: If a weight overflowed or underflowed.
        """
        try:
            return expression.fold(
                lambda name: self.leaf(name) if name != "y" or target is None else number(target),
                lambda primitive, arguments: self.apply(primitive.name, *arguments),
                lambda term, weight, _: number(0.0) if weight == 0 else term.scaled(weight),
            )
        except OverflowError:
            raise ExpressionError("a weight overflows when this is simplified; use smaller numbers") from None

    def leaf(self, name: str) -> Term:
        """A terminal, with its bounds."""
        if name in ("1", "-1"):
            return number(float(name))
        low, high = self.where.y if name == "y" else self.where.f
        return Term(name, low=low, high=high)

    def apply(self, name: str, *arguments: Term) -> Term:
        """`name(*arguments)`, simplified, of arguments that are so already."""
        if time.monotonic() > self.deadline:
            raise TimeoutError
        constant = _constant(name, arguments)
        if constant is not None:
            return number(constant)
        rule = self.rules.get(name)
        term = rule(name, *arguments) if rule else self._plain(name, arguments)
        if term.low == term.high and math.isfinite(term.weight * term.low):
            return number(term.weight * term.low)
        return term

    def _plain(self, name: str, arguments: tuple[Term, ...]) -> Term:
        low, high = bounds(name, [argument.bounds for argument in arguments])
        return Term(name, arguments, low=low, high=high)

    def _order(self, terms: Sequence[Term]) -> list[Term]:
        return sorted(terms, key=lambda term: (term.key, term.weight)) if self.ordered else list(terms)

    # Sums: a linear combination of distinct terms, and a constant.

    def _sum(self, name: str, left: Term, right: Term) -> Term:
        coefficients: dict[object, float] = {}
        units: dict[object, Term] = {}
        constant = 0.0
        stack = [right.scaled(-1.0) if name == "sub" else right, left]
        while stack:
            term = stack.pop()
            if term.number is not None:
                constant += term.number
            elif term.name in ("add", "sub"):
                first, second = (argument.scaled(term.weight) for argument in term.arguments)
                stack += [second.scaled(-1.0) if term.name == "sub" else second, first]
            else:
                coefficients[term.key] = coefficients.get(term.key, 0.0) + term.weight
                units.setdefault(term.key, term.unit)
        terms = self._order([units[key].scaled(c) for key, c in coefficients.items() if c != 0])
        if constant or not terms:
            terms.append(number(constant))
        return self._combination(terms)

    def _combination(self, terms: list[Term]) -> Term:
        """The sum of distinct terms; a magnitude that all coefficients share, and the first sign, are taken out."""
        if len(terms) == 1:
            return terms[0]
        scale = terms[0].weight
        values = [term.weight if term.number is None else term.number for term in terms]
        if all(abs(value) == abs(scale) for value in values):
            terms = [
                number(value / scale) if term.number is not None else term.unit.scaled(value / scale)
                for term, value in zip(terms, values, strict=True)
            ]
        else:
            scale = 1.0
        return total(terms, self._plain).scaled(scale)

    # Products: a coefficient, powers of distinct factors, and what numbers are divided by.

    def _product(self, name: str, *arguments: Term) -> Term:
        coefficient = 1.0
        factors: dict[object, tuple[Term, int]] = {}
        divisors: list[tuple[str, Term]] = []
        stack = [(argument, 1) for argument in reversed(arguments)]
        while stack:
            term, exponent = stack.pop()
            if term.bounds == (0.0, 0.0):
                return number(0.0)
            coefficient *= (term.weight if term.number is None else term.number) ** exponent
            if coefficient == 0:
                raise ExpressionError("a weight underflows to zero; use larger numbers")
            if term.number is not None:
                continue
            if term.name == "mul":
                stack += [(argument, exponent) for argument in reversed(term.arguments)]
            elif term.name == "square":
                stack.append((term.arguments[0], 2 * exponent))
            elif term.name in ("div", "truediv") and exponent == 1 and term.arguments[0].number is not None:
                coefficient *= term.arguments[0].number
                divisors.append((term.name, term.arguments[1]))
            else:
                unit, count = factors.get(term.key, (term.unit, 0))
                factors[term.key] = unit, count + exponent
        term = self._powers(self._signs(factors))
        for quotient, divisor in divisors:
            term = self._plain(quotient, (term, divisor))
        return term.scaled(coefficient)

    def _signs(self, factors: dict[object, tuple[Term, int]]) -> list[tuple[Term, int]]:
        """sign(x) x = |x| and sign(x) |x| = x."""
        for key, (unit, exponent) in list(factors.items()):
            if unit.name != "sign" or exponent != 1:
                continue
            inside = unit.arguments[0].unit
            magnitude = self._plain("abs", (inside,))
            for source, target in ((inside, magnitude), (magnitude, inside)):
                if factors.get(source.key, (source, 0))[1] == 1:
                    del factors[key], factors[source.key]
                    old = factors.get(target.key, (target, 0))[1]
                    factors[target.key] = target, old + 1
                    break
        return list(factors.values())

    def _powers(self, factors: list[tuple[Term, int]]) -> Term:
        """The product of x^n: odd powers give x, and half of the rest is squared."""
        if self.where.binary_target:  # y is 0 or 1
            factors = [(unit, 1 if unit.name == "y" else exponent) for unit, exponent in factors]
        single = [unit for unit, exponent in factors if exponent % 2]
        half = [(unit, exponent // 2) for unit, exponent in factors if exponent > 1]
        magnitudes = [unit.arguments[0] for unit in single if unit.name == "abs"]
        if len(magnitudes) > 1:
            single = [unit for unit in single if unit.name != "abs"]
            single.append(self.apply("abs", self._times(magnitudes)))
        if half:
            single.append(self.apply("square", self._powers(half)))
        return self._times(single)

    def _times(self, terms: list[Term]) -> Term:
        weight = math.prod(term.weight for term in terms)
        units = self._order([term.unit for term in terms])
        if not units:
            return number(weight)
        return balanced(lambda left, right: self._plain("mul", (left, right)), units).scaled(weight)

    # Quotients: a weight above the line is a weight of the whole; below it, div sees only the magnitude.

    def _div(self, name: str, above: Term, below: Term) -> Term:
        if above.number == 0:
            return number(0.0)
        if below.number is not None:
            return above.scaled(1.0 / math.sqrt(1.0 + below.number**2))
        return self._plain(name, (above.unit, self._magnitude(below))).scaled(above.weight)

    def _truediv(self, name: str, above: Term, below: Term) -> Term:
        if above.number == 0:
            return number(0.0)
        if below.number is not None:
            return above.scaled(float(primitives.get(name).numpy(1.0, below.number)))
        return self._plain(name, (above.unit, below)).scaled(above.weight)

    # Functions of one argument.

    def _magnitude(self, term: Term) -> Term:
        """A term of the same magnitude: signs and absolute values are left out where only products carry them."""
        if term.name == "abs":
            return self._magnitude(term.arguments[0].scaled(term.weight))
        if term.name == "mul" and any(a.name in ("abs", "mul") or a.weight < 0 for a in term.arguments):
            term = self.apply("mul", *map(self._magnitude, term.arguments)).scaled(term.weight)
        return replace(term, weight=abs(term.weight)) if term.number is None else number(abs(term.number))

    def _of_magnitude(self, name: str, term: Term, *others: Term) -> Term:
        """log, sqrt and pow see |a| only."""
        if others and others[0].number == 0:
            return number(1.0)
        return self._plain(name, (self._magnitude(term), *others))

    def _abs(self, name: str, term: Term) -> Term:
        low, high = term.bounds
        if low >= 0:
            return term
        if high <= 0:
            return term.scaled(-1.0)
        inside = self._magnitude(term)
        return self._plain(name, (inside.unit,)).scaled(inside.weight)

    def _square(self, name: str, term: Term) -> Term:
        if self.where.binary_target and term.name == "y":
            return term.unit.scaled(term.weight**2)
        inside = self._magnitude(term)
        weight = inside.weight**2
        if weight == 0:  # it underflowed
            return self._plain(name, (inside,))
        return self._plain(name, (inside.unit,)).scaled(weight)

    def _sign(self, name: str, term: Term) -> Term:
        flip = math.copysign(1.0, term.weight)
        inside = term.unit
        if inside.name in ("tanh", "div"):  # odd and increasing, or a positive divisor
            return self.apply(name, inside.arguments[0]).scaled(flip)
        if inside.name == "sign":
            return inside.scaled(flip)
        if inside.name == "mul":
            signed = [a for a in inside.arguments if a.bounds[0] <= 0 <= a.bounds[1]]
            if len(signed) == 1:
                flip *= math.prod(math.copysign(1.0, a.bounds[0]) for a in inside.arguments if a not in signed)
                return self.apply(name, signed[0]).scaled(flip)
        return self._plain(name, (inside,)).scaled(flip)

    def _tanh(self, name: str, term: Term) -> Term:
        return self._plain(name, (replace(term, weight=abs(term.weight)),)).scaled(math.copysign(1.0, term.weight))

    # Minimum and maximum of a set.

    def _extreme(self, name: str, *arguments: Term) -> Term:
        terms = self._undominated(name, self._flattened(name, arguments))
        terms = self._folded(name, terms)
        if len(terms) == 1:
            return terms[0]
        weights = {term.weight if term.number is None else term.number for term in terms}
        scale = weights.pop() if len(weights) == 1 else 1.0
        if scale != 1.0:
            terms = [number(1.0) if term.number is not None else term.unit for term in terms]
        shape = name if scale > 0 else _OPPOSITE[name]
        return balanced(lambda left, right: self._plain(shape, (left, right)), self._order(terms)).scaled(scale)

    def _flattened(self, name: str, arguments: Sequence[Term]) -> list[Term]:
        """Distinct members: max(a, 2 max(b, c)) has a, 2b and 2c; max(a, -min(b, c)) has a, -b and -c."""
        members: dict[object, Term] = {}
        stack = list(reversed(arguments))
        while stack:
            term = stack.pop()
            if term.name == (name if term.weight > 0 else _OPPOSITE[name]):
                stack += [argument.scaled(term.weight) for argument in reversed(term.arguments)]
            else:
                members.setdefault((term.key, term.weight), term)
        return list(members.values())

    def _undominated(self, name: str, terms: list[Term]) -> list[Term]:
        """Without the members that another is always beyond, and without min(a, b) beside a in a maximum."""

        def beyond(a: Term, b: Term) -> bool:
            if b.name == _OPPOSITE[name] and b.weight == 1.0 and any(_same(a, inner) for inner in b.arguments):
                return True
            if a.key == b.key and (a.low >= 0 or a.high <= 0):
                return ((a.weight >= b.weight) == (a.low >= 0)) == (name == "max")
            return a.bounds[0] >= b.bounds[1] if name == "max" else a.bounds[1] <= b.bounds[0]

        kept: list[Term] = []
        for term in terms:
            if not any(beyond(other, term) for other in kept):
                kept = [other for other in kept if not beyond(term, other)] + [term]
        return kept

    def _folded(self, name: str, terms: list[Term]) -> list[Term]:
        """max(x, -x) = |x| and min(x, -x) = -|x|."""
        for term in terms:
            opposite = next((o for o in terms if o.key == term.key and o.weight == -term.weight), None)
            if opposite is not None and term.number is None:
                rest = [other for other in terms if other is not term and other is not opposite]
                return [self.apply("abs", term).scaled(1.0 if name == "max" else -1.0), *rest]
        return terms


_OPPOSITE = {"max": "min", "min": "max"}


def _same(a: Term, b: Term) -> bool:
    return a.key == b.key and a.weight == b.weight


def _constant(name: str, arguments: Sequence[Term]) -> float | None:
    """The value of a primitive of numbers, if it is finite."""
    values = [np.float64(argument.number) for argument in arguments if argument.number is not None]
    if len(values) < len(arguments):
        return None
    with np.errstate(all="ignore"):
        value = float(primitives.get(name).numpy(*values))
    return value if math.isfinite(value) else None


def settled(term: Term) -> Expression:
    """The expression of a term, its weight moved inside without new nodes where that can be done.

    Raises:
        ExpressionError: If a weight overflows.
    """
    weight, unit = term.weight, term.unit
    if weight == 1.0 or unit.number is not None:
        return (number(term.number) if term.number in (1.0, -1.0) else term).expression()
    scaled = [argument.scaled(weight) for argument in unit.arguments]
    if unit.name in ("add", "sub"):
        left, right = scaled
        return total([left, right if unit.name == "add" else right.scaled(-1.0)]).expression()
    if unit.name in _OPPOSITE:
        return Term(unit.name if weight > 0 else _OPPOSITE[unit.name], tuple(scaled)).expression()
    if unit.name == "square" and weight > 0:
        return Term("square", (unit.arguments[0].scaled(math.sqrt(weight)),)).expression()
    if (unit.name == "abs" and weight > 0) or (unit.name in ("sign", "tanh") and weight == -1.0):
        return Term(unit.name, tuple(scaled)).expression()
    return term.expression()
