"""Expression to SymPy and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from symloss.errors import ExpressionError
from symloss.expression import primitives
from symloss.expression.equivalence import Equivalence, equivalent
from symloss.expression.expression import MAX_DEPTH, MAX_SIZE, Expression
from symloss.expression.latex import to_latex
from symloss.expression.primitives import EPSILON, Primitive
from symloss.expression.simplification import simplify
from symloss.expression.tree import Term, balanced, number, power, total

if TYPE_CHECKING:
    import sympy

__all__ = ["Equivalence", "equivalent", "from_sympy", "simplify", "to_latex", "to_sympy"]

MAX_EXACT = 4096
"""Whole numbers up to here become exact integers in SymPy; beyond, powers of them could take all memory."""


class _Form(NamedTuple):
    """A SymPy form, and its value in float64 if it is a constant."""

    expr: Any
    value: float | None


def to_sympy(expression: Expression, protected: bool = True, evaluate: bool = True) -> sympy.Expr:
    """The SymPy form of an expression, in the real symbols `y` and `f`.

    Whole weights up to 4096 become exact integers, all others `Float`s of the same 53 bits.

    Args:
        expression: The expression.
        protected: Keep the protection of `log`, `sqrt`, `truediv` and `pow`, so that values are the same everywhere.
            Otherwise take the textbook forms, which SymPy simplifies better.
        evaluate: Let SymPy rewrite as it builds (`x + x` to `2*x`).

    Raises:
        ExpressionError: If a constant part is not finite, or a power is too high for SymPy.
    """
    import sympy as sp

    with sp.evaluate(evaluate):
        leaves = {"y": _Form(sp.Symbol("y", real=True), None), "f": _Form(sp.Symbol("f", real=True), None)}
        leaves |= {"1": _Form(sp.Integer(1), 1.0), "-1": _Form(sp.Integer(-1), -1.0)}
        try:
            form = expression.fold(
                leaves.__getitem__,
                lambda primitive, arguments: _branch(sp, primitive, arguments, protected),
                lambda form, weight, _: _weighted(sp, form, weight),
            )
        except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
            if isinstance(error, ExpressionError):
                raise
            raise ExpressionError(f"SymPy cannot hold this expression ({error}); keep it as it is") from None
    if form.expr.has(sp.nan, sp.zoo, sp.oo, -sp.oo):
        raise ExpressionError("without protection this expression is not finite; use protected=True")
    return form.expr


def _number(sp: Any, value: float) -> Any:
    return sp.Integer(int(value)) if value == int(value) and abs(value) <= MAX_EXACT else sp.Float(value)


def _weighted(sp: Any, form: _Form, weight: float) -> _Form:
    if weight == 1.0:
        return form
    if weight == 0.0:
        return _Form(sp.Integer(0), 0.0)
    value = None if form.value is None else form.value * weight
    if value is not None and form.expr in (1, -1):
        return _Form(_number(sp, value), value)
    return _Form(_number(sp, weight) * form.expr, value)


def _branch(sp: Any, primitive: Primitive, arguments: list[_Form], protected: bool) -> _Form:
    build = primitive.sympy if protected or primitive.algebra is None else primitive.algebra
    value = _constant(primitive, arguments)
    if value is not None and not 1e-15 <= abs(value) <= MAX_EXACT:
        return _Form(_number(sp, value), value)
    for argument in arguments:
        for factor in sp.Mul.make_args(argument.expr):
            if factor.is_Pow and factor.exp.is_Integer and abs(factor.exp) > MAX_EXACT:
                raise ExpressionError(f"powers above {MAX_EXACT} are too high for SymPy; nest fewer of them")
    return _Form(build(sp, *(argument.expr for argument in arguments)), value)


def _constant(primitive: Primitive, arguments: list[_Form]) -> float | None:
    values = [np.float64(argument.value) for argument in arguments if argument.value is not None]
    if len(values) < len(arguments):
        return None
    with np.errstate(all="ignore"):
        value = float(primitive.numpy(*values))
    if not math.isfinite(value):
        raise ExpressionError(f"{primitive.name} of constants is {value}; use smaller numbers")
    return value


def from_sympy(expr: sympy.Expr) -> Expression:
    """The expression of a SymPy form in the symbols `y` and `f`; numbers become weights.

    Takes sums, products, powers, `Abs`, `sign`, `log`, `exp`, `tanh`, `Max`, `Min`, what `to_sympy` writes, and
    what registered primitives write. The value is the same wherever the form is real and no protection acts;
    `log(x)` and `sqrt(x)` become those of `|x|`.

    Raises:
        ExpressionError: If the form holds anything else, or is larger than an expression may be.
    """
    return term_from_sympy(expr).expression()


def term_from_sympy(expr: sympy.Expr) -> Term:
    """As `from_sympy`, with the weight of the whole kept apart."""
    import sympy as sp

    if not isinstance(expr, sp.Expr):
        raise ExpressionError(f"a SymPy expression is needed; received {type(expr).__name__}")
    return _Reader(sp).read(expr)


class _Reader:
    """SymPy to Term, one method per kind of node."""

    def __init__(self, sp: Any) -> None:
        self.sp = sp
        self.depth = self.count = 0
        self.kinds = {
            sp.Symbol: self._symbol, sp.Add: self._sum, sp.Mul: self._product, sp.Pow: self._power,
            sp.exp: self._power, sp.Abs: self._named("abs"), sp.sign: self._named("sign"),
            sp.tanh: self._named("tanh"), sp.log: self._log,
            sp.Piecewise: self._piecewise, sp.Max: self._extreme("max"), sp.Min: self._extreme("min"),
        }  # fmt: skip

    def read(self, expr: Any) -> Term:
        self.depth += 1
        try:
            self.count += 1
            if self.count > 2 * MAX_SIZE:
                raise ExpressionError(f"an expression has at most {MAX_SIZE} nodes; received a larger SymPy form")
            if self.depth > MAX_DEPTH // 2:
                raise ExpressionError(f"the SymPy form is more than {MAX_DEPTH // 2} deep; nest it less")
            if not expr.free_symbols:
                return number(self._value(expr))
            kind: Callable[[Any], Term] = self.kinds.get(expr.func, self._registered)
            return kind(expr)
        finally:
            self.depth -= 1

    def _value(self, expr: Any) -> float:
        try:
            value = float(expr)
        except (TypeError, ValueError, OverflowError):
            value = math.nan
        if not math.isfinite(value):
            raise ExpressionError(f"{_short(expr)} is not a finite real number; use one that is")
        return value

    def _symbol(self, symbol: Any) -> Term:
        if symbol.name not in ("y", "f"):
            raise ExpressionError(f"unknown symbol {symbol.name!r}; the symbols are y (target) and f (prediction)")
        return Term(symbol.name)

    def _named(self, name: str) -> Any:
        return lambda expr: Term(name, (self.read(expr.args[0]),))

    def _log(self, expr: Any) -> Term:
        inside = self._protected(expr.args[0])
        return Term("log", (self.read(self._bare(expr.args[0] if inside is None else inside)),))

    def _protected(self, expr: Any) -> Any:
        """The a of max(|a|, EPSILON), or None."""
        if expr.func is not self.sp.Max or len(expr.args) != 2:
            return None
        bound, other = sorted(expr.args, key=lambda argument: not argument.is_number)
        return self._bare(other) if bound.is_number and float(bound) == EPSILON and other.is_nonnegative else None

    def _bare(self, expr: Any) -> Any:
        """An expression of the same magnitude, without absolute values around its factors."""
        if expr.is_Mul:
            return self.sp.Mul(*map(self._bare, expr.args))
        return expr.args[0] if expr.func is self.sp.Abs else expr

    def _extreme(self, name: str) -> Any:
        return lambda expr: self._joined(name, self._terms(expr))

    def _sum(self, expr: Any) -> Term:
        return total(self._terms(expr))

    def _terms(self, expr: Any) -> list[Term]:
        return [self.read(argument) for argument in self.sp.ordered(expr.args)]

    def _joined(self, name: str, terms: list[Term]) -> Term:
        return balanced(lambda left, right: Term(name, (left, right)), terms)

    def _product(self, expr: Any) -> Term:
        return self._quotient(list(self.sp.ordered(expr.args)))

    def _quotient(self, parts: list[Any]) -> Term:
        """Numbers, factors, and divisors: b^-n divides by b^n, and (1 + b^2)^(-1/2) is the analytic quotient."""
        weight, factors, roots, divisors = 1.0, [], [], []
        for part in parts:
            base, exponent = part.as_base_exp() if part.is_Pow else (part, self.sp.Integer(1))
            if not part.free_symbols:
                weight *= self._value(part)
            elif not (exponent.is_number and exponent.is_negative) or self._protected(base) is not None:
                factors.append(self.read(part))
            elif (root := self._analytic(base, exponent)) is not None:
                roots.append(self.read(root))
            else:
                divisors.append(self._divisor(base, -exponent))
        term = self._joined("mul", factors) if factors else Term("1")
        for root in roots:
            term = Term("div", (term, root))
        if divisors:
            term = Term("truediv", (term, self._joined("mul", divisors)))
        return term.scaled(weight)

    def _divisor(self, base: Any, exponent: Any) -> Term:
        """b^n below a fraction line; `truediv` brings its own protection."""
        return self.read(self.sp.Pow(base, exponent, evaluate=False) if exponent != 1 else base)

    def _piecewise(self, expr: Any) -> Term:
        """1 / b or b as `truediv` protects it, in the form that SymPy gives to it."""
        truediv = primitives.get("truediv").sympy
        value = expr.args[0][0]
        if not value.is_zero and truediv(self.sp, 1, 1 / value) == expr:
            return Term("truediv", (Term("1"), self.read(1 / value)))
        if truediv(self.sp, 1, value) == 1 / expr:
            return self.read(value)
        return self._registered(expr)

    def _analytic(self, base: Any, exponent: Any) -> Any:
        """The b of (1 + b^2)^(-1/2), or None."""
        if exponent != self.sp.Rational(-1, 2) or not base.is_Add:
            return None
        root = self.sp.Integer(1)
        for factor in self.sp.Mul.make_args(base - 1):
            if factor.is_number and factor.is_positive:
                root *= self.sp.sqrt(factor)
            elif factor.is_Pow and factor.exp.is_Integer and factor.exp % 2 == 0:
                root *= factor.base ** (factor.exp / 2)
            else:
                return None
        return root

    def _power(self, expr: Any) -> Term:
        if expr.func is self.sp.exp:
            return Term("exp", (self.read(expr.args[0]),))
        base, exponent = expr.base, expr.exp
        inside = self._protected(base)
        if inside is None and exponent.is_number and exponent.is_negative:
            return self._quotient([expr])
        if exponent == self.sp.Rational(1, 2):
            return Term("sqrt", (self.read(self._bare(base) if inside is None else inside),))
        if inside is None and exponent.is_Integer and base.func is not self.sp.Abs:
            return power(self.read(base), self._value(exponent))
        return Term("pow", (self.read(self._bare(base) if inside is None else inside), self.read(exponent)))

    def _registered(self, expr: Any) -> Term:
        for primitive in primitives.primitives():
            if primitive.arity == len(expr.args) and self._writes(primitive, expr):
                return Term(primitive.name, tuple(self.read(argument) for argument in expr.args))
        raise ExpressionError(f"{_short(expr)} is none of the primitives; register one that writes it")

    def _writes(self, primitive: Primitive, expr: Any) -> bool:
        try:
            return any(form(self.sp, *expr.args) == expr for form in (primitive.sympy, primitive.algebra) if form)
        except Exception:  # the forms of registered primitives are the user's code, and here meet any argument
            return False


def _short(expr: Any) -> str:
    text = str(expr)
    return repr(text if len(text) <= 60 else text[:60] + "…")
