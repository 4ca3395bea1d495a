"""The simplification of a formula step by step, each step shown to be the same function."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from symloss.errors import ExpressionError
from symloss.expression.domains import Domain, domain, points
from symloss.expression.equivalence import equivalent
from symloss.expression.expression import Expression
from symloss.expression.latex import LINE, Typesetter, aligned_rows, relation_of
from symloss.expression.primitives import Primitive
from symloss.expression.rules import Rewriter, settled
from symloss.expression.simplification import LOCAL_SECONDS, simplify
from symloss.expression.tree import Term, number

FOUND, FOLDED, RULES, ALGEBRA, SLICE = "as found", "constants folded", "exact rules", "computer algebra", "y fixed"
"""Why a step may be taken; computer algebra is SymPy."""
_REGION = np.linspace(0.01, 0.99, 99), np.linspace(-3.0, 3.0, 61)  # where the effect of rounding is measured


@dataclass(frozen=True)
class Step:
    r"""One line of a derivation.

    Args:
        left: Its left-hand side in LaTeX: `\ell(y, f)`, `\ell(1, f)` or `\ell(0, f)`.
        expression: Its right-hand side.
        reason: `FOUND`, `FOLDED`, `RULES`, `ALGEBRA` or `SLICE`.
        verdict: How it is known to be the function that was found: `"proved"` by algebra, or `"numeric"`, equal at
            every point that was tried; empty for the formula as found.
    """

    left: str
    expression: Expression
    reason: str
    verdict: str = ""

    def typesetter(self, digits: int, line: float = math.inf, names: dict[str, str] | None = None) -> Typesetter:
        """What writes it: the formula as found with each weight on its edge."""
        return Typesetter(digits, line, merged=self.reason != FOUND, names=names)

    @property
    def label(self) -> str:
        """The reason, and how it was checked; of a slice, whose left-hand side says the reason, the latter."""
        checked = "checked" if self.verdict == "numeric" else self.verdict
        return ", ".join(filter(None, ("" if self.reason == SLICE else self.reason, checked)))


@dataclass(frozen=True)
class Derivation:
    """A formula as found, the steps to its simplified form, and for classification its two slices.

    Args:
        steps: At least the formula as found.
        slices: ℓ(1, f) and ℓ(0, f), where they are shorter than the last step; else empty.
        digits: Significant digits that weights are written with.
        rounding: Largest difference that writing the last step with so many digits makes, relative to the range of its
            values: for f from 0.01 to 0.99 and y in {0, 1}, in regression for y and f from −3 to 3.
        tried: Number of points at which a step was compared that is only checked.
    """

    steps: tuple[Step, ...]
    slices: tuple[Step, ...]
    digits: int
    rounding: float
    tried: int

    @property
    def simplified(self) -> Expression:
        """The last step."""
        return self.steps[-1].expression

    def rounded(self) -> Expression:
        """The last step with its weights as they are written."""
        return _rounded(self.simplified, self.digits)

    def latex(self, line: float = LINE) -> str:
        r"""An `align*` environment for amsmath; ≈ stands where the written digits round a weight.

        Args:
            line: Width of a line in em; the reason of each step stands at the right margin or below.
        """
        rows = []
        names: dict[str, str] = {}
        for step in (*self.steps, *self.slices):
            setter = step.typesetter(self.digits, line, names)
            left = step.left if step.reason in (FOUND, SLICE) else ""
            relation = relation_of(step.expression, self.digits)
            own, *others = (aligned_rows(e, relation) for e in setter.equations(step.expression, left))
            own[-1] += rf" \tag*{{\footnotesize {step.label}}}"
            rows += [row for equation in (own, *others) for row in equation]
        return "\\begin{align*}\n" + " \\\\\n".join(rows) + "\n\\end{align*}"

    def __str__(self) -> str:
        """One line per step."""
        steps = (*self.steps, *self.slices)
        texts = [str(_rounded(step.expression, self.digits)) for step in steps]
        lefts = [step.left.replace(r"\ell", "ℓ") for step in steps]
        signs = [relation_of(step.expression, self.digits).replace(r"\approx", "≈") for step in steps]
        return "\n".join(
            f"{left} {sign} {text}   ({step.label})"
            for left, sign, text, step in zip(lefts, signs, texts, steps, strict=True)
        )


def derivation(expression: Expression, kind: str | None = None, digits: int = 4, seconds: float = 5.0) -> Derivation:
    """How a formula is simplified: constants folded, exact rules, computer algebra, each compared with the original.

    Args:
        expression: ℓ(y, f).
        kind: `"multiclass"` or `"binary"` also allows what holds only for y in {0, 1} and f in (0, 1), and gives the
            slices y = 1 and y = 0.
        digits: Significant digits that weights are written with.
        seconds: Most seconds for algebra, that of the proofs included; they are shared out among the steps.

    Returns:
        The derivation. A step that does not make the formula simpler, or that is not the same function, is left out.

    Raises:
        ExpressionError: If there is no such kind, or digits is not from 1 to 17.
    """
    if not 1 <= digits <= 17:
        raise ExpressionError(f"a float has 1 to 17 significant digits; received digits={digits}")
    where, end = domain(kind), time.monotonic() + seconds
    steps = [Step(r"\ell(y, f)", expression, FOUND)]
    for reason, candidate in _candidates(expression, kind, end - 0.6 * seconds):
        step = Step(r"\ell(y, f)", candidate, reason)
        if candidate == steps[-1].expression or _same_text(step, steps[-1], digits):
            continue
        verdict = equivalent(expression, candidate, kind, max(0.0, min(end - time.monotonic(), 0.2 * seconds))).verdict
        if verdict != "different":
            steps.append(replace(step, verdict=verdict))
    slices = _slices(expression, kind, where, end) if "y" in expression.variables else ()
    if any(part.expression.size >= steps[-1].expression.size for part in slices):
        slices = ()
    rounding = _rounding(steps[-1].expression, digits, where)
    return Derivation(tuple(steps), slices, digits, rounding, points(where)[0].size)


def _same_text(a: Step, b: Step, digits: int) -> bool:
    return a.typesetter(digits).write(a.expression) == b.typesetter(digits).write(b.expression)


def _candidates(expression: Expression, kind: str | None, deadline: float) -> Iterator[tuple[str, Expression]]:
    """What each way of simplifying makes of the result of the one before, if it can."""
    try:
        expression = _folded(expression).expression()
        yield FOLDED, expression
    except ExpressionError:  # a number overflowed
        pass
    expression = _collected(simplify(expression, 0.0, kind), kind)
    yield RULES, expression
    yield ALGEBRA, _collected(simplify(expression, max(0.0, deadline - time.monotonic()), kind), kind)


def _collected(expression: Expression, kind: str | None) -> Expression:
    """The same with fewer weights other than 1, if exact rules can collect them."""

    def cost(e: Expression) -> tuple[int, int]:
        return e.size, sum(abs(weight) != 1 for weight in e.weights)

    try:
        candidate = settled(Rewriter(domain(kind), time.monotonic() + LOCAL_SECONDS).rewrite(expression))
    except (ExpressionError, TimeoutError):
        return expression
    return min(expression, candidate, key=cost)


def _slices(expression: Expression, kind: str | None, where: Domain, end: float) -> tuple[Step, ...]:
    """ℓ(1, f) and ℓ(0, f), simplified."""
    if not where.binary_target:
        return ()
    slices = []
    for target in (1.0, 0.0):
        left = max(0.0, end - time.monotonic()) / (2 if target else 1)
        try:
            given = _folded(expression, target).expression()
        except ExpressionError:
            return ()
        smaller = _collected(simplify(given, left / 2, kind), kind)
        verdict = equivalent(given, smaller, kind, left / 2).verdict
        if verdict == "different":
            return ()
        slices.append(Step(rf"\ell({target:.0f}, f)", smaller, SLICE, verdict))
    return tuple(slices)


def _folded(expression: Expression, target: float | None = None) -> Term:
    """The formula with everything constant computed, and weights of products in one place; y = target if given."""

    def branch(primitive: Primitive, arguments: list[Term]) -> Term:
        if all(argument.number is not None for argument in arguments):
            with np.errstate(all="ignore"):
                return number(float(primitive.numpy(*(np.float64(argument.number) for argument in arguments))))
        if primitive.name != "mul":
            return Term(primitive.name, tuple(arguments))
        left, right = arguments
        for value, other in ((left.number, right), (right.number, left)):
            if value is not None:
                return number(0.0) if value == 0 else other.scaled(value)
        weight = left.weight * right.weight
        return number(0.0) if weight == 0 else Term("mul", (left.unit, right.unit), weight)

    return expression.fold(
        lambda name: number(target) if name == "y" and target is not None else _leaf(name),
        branch,
        lambda term, weight, _: number(0.0) if weight == 0 else term.scaled(weight),
    )


def _leaf(name: str) -> Term:
    return number(float(name)) if name in ("1", "-1") else Term(name)


def _rounded(expression: Expression, digits: int) -> Expression:
    largest = sys.float_info.max  # rounds to infinity
    return expression.with_weights([min(max(float(f"{w:.{digits}g}"), -largest), largest) for w in expression.weights])


def _rounding(expression: Expression, digits: int, where: Domain) -> float:
    """The largest difference between a formula and what is written of it, where both are finite."""
    y, f = (np.array([0.0, 1.0]), _REGION[0]) if where.binary_target else (_REGION[1], _REGION[1])
    y, f = (axis.ravel() for axis in np.meshgrid(y, f))
    with np.errstate(all="ignore"):
        values = expression.evaluate(y, f)
        gaps = np.abs(values - _rounded(expression, digits).evaluate(y, f))
    values, gaps = (array[np.isfinite(gaps)] for array in (values, gaps))
    if not gaps.size or not gaps.max():
        return 0.0
    return float(gaps.max() / (np.ptp(values) or np.abs(values).max() or 1.0))
