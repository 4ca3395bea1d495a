"""Equivalent: whether two expressions have the same value everywhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from symloss.errors import ExpressionError
from symloss.expression import sympy_process, sympy_worker
from symloss.expression.domains import Domain, compare, domain, values
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.expression.rules import Rewriter
from symloss.expression.simplification import LOCAL_SECONDS, MAX_ALGEBRA

DIGITS = 60
"""Digits of the second look at points where two expressions differ."""


@dataclass(frozen=True)
class Equivalence:
    """The answer of `equivalent`; true unless the verdict is `"different"`.

    Args:
        verdict: `"proved"` (by algebra), `"numeric"` (equal at every point that was tried) or `"different"`.
        witness: The point (y, f) where the two differ most, or None.
        largest_difference: Largest absolute difference at the points that were tried.
    """

    verdict: Literal["proved", "numeric", "different"]
    witness: tuple[float, float] | None
    largest_difference: float

    def __bool__(self) -> bool:
        return self.verdict != "different"

    def __str__(self) -> str:
        if self.witness is not None:
            y, f = self.witness
            return f"The two differ, by {self.largest_difference:.4g} at y = {y:.6g}, f = {f:.6g}."
        if self.verdict == "proved":
            return "The two are equal everywhere, proved by algebra."
        return f"The two agree to {self.largest_difference:.2g} wherever they were tried; a proof was not found."


def equivalent(a: Expression | str, b: Expression | str, kind: str | None = None, seconds: float = 5.0) -> Equivalence:
    """Whether two expressions have the same value everywhere.

    Values are compared on a grid in float64 that includes zero, the protected ranges and large numbers, and where they
    differ again in 60 digits. Where |y| and |f| are at most 11, float64 has the last word: f + 1e20 - 1e20 is f among
    the reals, but 0 in float64, and so another loss. A proof is that exact rules make the two the same (weights
    compared as floats), or that SymPy reduces their difference, protection included, to zero.

    Args:
        a: An expression or its text.
        b: Another.
        kind: `"multiclass"` or `"binary"` asks only about y in {0, 1} and f in (0, 1).
        seconds: Most seconds for the proof. With 0, only the exact rules are tried.

    Raises:
        ParseError: If a text is not an expression.
        ExpressionError: If there is no such kind.
    """
    a, b = parse(a), parse(b)
    deadline = time.monotonic() + seconds
    where = domain(kind)
    comparison = compare(a, b, where)
    if comparison.spoilt is not None:
        ours, theirs = (values(e, *map(np.atleast_1d, comparison.spoilt))[0] for e in (a, b))
        return Equivalence("different", comparison.spoilt, float(np.abs(ours - theirs)[0]))
    if _identical(a, b, where, deadline):
        return Equivalence("proved", None, comparison.largest)
    for point in comparison.suspects:  # rounding alone may separate what is equal, so look again with more digits
        difference = _difference(a, b, point)
        if difference is not None:
            return Equivalence("different", point, difference)
    verdict: Literal["proved", "numeric"] = "proved" if _proved(a, b, where, deadline) else "numeric"
    return Equivalence(verdict, None, comparison.largest)


def _identical(a: Expression, b: Expression, where: Domain, deadline: float) -> bool:
    """Whether exact rules make the two the same; where y is 0 or 1, for each of the two."""
    rewriter = Rewriter(where, deadline + LOCAL_SECONDS, ordered=True)
    try:
        for target in (0.0, 1.0) if where.binary_target else (None,):
            ours, theirs = rewriter.rewrite(a, target), rewriter.rewrite(b, target)
            if ours.key != theirs.key or ours.weight != theirs.weight:
                return a == b
    except (ExpressionError, TimeoutError):
        return a == b
    return True


def _difference(a: Expression, b: Expression, point: tuple[float, float]) -> float | None:
    """The absolute difference at a point in 60 digits, or None if the values agree to a relative 1e-9.

    Where a part overflows a float, it is the difference in floats: more digits would not end.
    """
    import sympy as sp

    (ours, ours_scale), (theirs, theirs_scale) = (values(e, *map(np.atleast_1d, point)) for e in (a, b))
    if not np.isfinite([ours_scale, theirs_scale]).all():
        return float(np.abs(ours - theirs)[0])
    y, f = (sp.Float(sp.Rational(*value.as_integer_ratio()), DIGITS) for value in point)
    leaves = {"y": y, "f": f, "1": sp.Float(1, DIGITS), "-1": sp.Float(-1, DIGITS)}

    def value(expression: Expression) -> sp.Expr:
        return expression.fold(
            leaves.__getitem__,
            lambda primitive, arguments: sp.N(primitive.sympy(sp, *arguments), DIGITS),
            lambda value, weight, _: value * sp.Rational(*weight.as_integer_ratio()),
        )

    first, second = value(a), value(b)
    difference = abs(first - second)
    return float(difference) if difference > 1e-9 * max(abs(first), abs(second)) else None


def _proved(a: Expression, b: Expression, where: Domain, deadline: float) -> bool:
    import sympy as sp

    from symloss.expression.sympy_bridge import to_sympy

    if a.size + b.size > MAX_ALGEBRA:
        return False
    try:
        ours, theirs = (to_sympy(e, evaluate=False) for e in (a, b))
        with sp.evaluate(False):
            difference = sp.Add(ours, sp.Mul(sp.Integer(-1), theirs))
            targets: list[Any] = [sp.Integer(0), sp.Integer(1)] if where.binary_target else [sp.Symbol("y", real=True)]
            forms = [difference.xreplace({sp.Symbol("y", real=True): y}) for y in targets]
        job = {"task": "is_zero", "positive": where.binary_target, "forms": list(map(sympy_worker.encode, forms))}
    except Exception:  # SymPy has no form of it that could be sent
        return False
    return any(answer["proved"] for answer in sympy_process.ask(job, deadline))
