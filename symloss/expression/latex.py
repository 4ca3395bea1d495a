"""Expression to LaTeX, for amsmath."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from symloss.expression.expression import Expression
from symloss.expression.primitives import Primitive

_SUM, _PRODUCT, _APPLIED, _ATOM = range(4)
_BINDINGS = {"add": _SUM, "sub": _SUM, "mul": _PRODUCT, "abs": _ATOM}


@dataclass(frozen=True)
class _Piece:
    """`coefficient * text`: the text of a subtree, and how tightly its outermost operation binds.

    A template of the table may ask for brackets around what binds less tightly: `{0:product}`, `{0:atom}`.
    """

    text: str
    binding: int
    digits: int
    coefficient: float = 1.0

    def whole(self) -> _Piece:
        """The same with the coefficient written out."""
        if self.coefficient == 1.0 and self.text:
            return self
        size = _decimal(abs(self.coefficient), self.digits)
        sign = "-" if self.coefficient < 0 else ""
        body = self.bracketed(_PRODUCT)
        if not body:
            binding = _SUM if sign else _PRODUCT if "^" in size else _ATOM
            return replace(self, text=sign + size, binding=binding, coefficient=1.0)
        product = body if size == "1" else rf"{size} \, {body}"
        return replace(self, text=sign + product, binding=_SUM if sign else _PRODUCT, coefficient=1.0)

    def scaled(self, weight: float) -> _Piece:
        """`weight` times the same, in one coefficient unless that leaves the range of a float."""
        product = self.coefficient * weight
        if not math.isfinite(product) or (product == 0 and self.coefficient and weight):
            return replace(self.whole(), coefficient=weight)
        return replace(self, coefficient=product)

    def bracketed(self, binding: int) -> str:
        return self.text if self.binding >= binding else rf"\left({self.text}\right)"

    def __format__(self, spec: str) -> str:
        whole = self.whole()
        return whole.bracketed({"": _SUM, "product": _PRODUCT, "atom": _ATOM}[spec])


def to_latex(expression: Expression, digits: int = 4) -> str:
    r"""LaTeX source of a formula in `y` and `f`, without delimiters; it needs amsmath.

    Args:
        expression: The expression.
        digits: Significant digits of the weights.

    Returns:
        For example `\left|\log\left|1.2 \, y \, f\right|\right|`.
    """
    piece: _Piece = expression.fold(
        lambda name: leaf(name, digits), _join, lambda piece, weight, _: piece.scaled(weight)
    )
    return piece.whole().text


def leaf(name: str, digits: int = 4) -> _Piece:
    """What a template of the table is given for a terminal."""
    return _Piece("" if name in ("1", "-1") else name, _ATOM, digits, -1.0 if name == "-1" else 1.0)


def _join(primitive: Primitive, arguments: list[_Piece]) -> _Piece:
    digits = arguments[0].digits
    if primitive.name in ("add", "sub"):
        left, right = arguments
        # the sign of the second term is written once: a + (-0.5) b is a - 0.5 b
        minus = (primitive.name == "sub") != (math.copysign(1.0, right.coefficient) < 0)
        positive = replace(right, coefficient=abs(right.coefficient))
        return _Piece(f"{left} {'-' if minus else '+'} {positive:product}", _SUM, digits)
    if primitive.name == "mul":
        left, right = arguments
        pieces = [piece for piece in arguments if piece.text]
        if len(pieces) < 2:
            number, other = (left, right) if right.text else (right, left)
            return other.scaled(number.coefficient)
        text = r" \, ".join(piece.bracketed(_PRODUCT) for piece in pieces)
        return _Piece(text, _PRODUCT, digits, left.coefficient).scaled(right.coefficient)
    return _Piece(primitive.latex.format(*arguments), _BINDINGS.get(primitive.name, _APPLIED), digits)


def _decimal(value: float, digits: int) -> str:
    """`value` to so many significant digits, as 0.25, 3 or 1.5 x 10^-7."""
    mantissa, _, exponent = f"{value:.{digits}g}".partition("e")
    if not exponent:
        return mantissa
    power = f"10^{{{int(exponent)}}}"
    return power if mantissa == "1" else rf"{mantissa} \times {power}"
