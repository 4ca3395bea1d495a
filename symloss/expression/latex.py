"""Expression to LaTeX, for amsmath."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from symloss.expression.expression import Expression
from symloss.expression.latex_text import width
from symloss.expression.primitives import Primitive

_SUM, _PRODUCT, _APPLIED, _ATOM = range(4)
_BINDINGS = {"add": _SUM, "sub": _SUM, "mul": _PRODUCT, "abs": _ATOM}
_BREAK = "\n"
LINE = 36.0
"""Width of a line in em that leaves room for what stands before and after a formula on a page."""


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
        space = r" \cdot " if body[0].isdigit() else r" \, "
        product = body if size == "1" else f"{size}{space}{body}"
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


@dataclass(frozen=True)
class Equation:
    r"""`left = lines`, the right-hand side on one line or more; the further ones begin with `+` or `-`."""

    left: str
    lines: tuple[str, ...]


class Typesetter:
    r"""Writes formulas on lines of a given width: breaks sums between their terms, and gives names to what is too wide.

    What does not fit into the operation around it is called $u_1$, $u_2$, ... and has an equation of its own. Equal
    parts of all formulas that one typesetter writes share a name.

    Args:
        digits: Significant digits of the weights.
        line: Width of a line in em.
        merged: Whether weights that multiply each other are written as one number, or each on its edge.
        names: Names in use, by what they stand for, to be added to.
    """

    def __init__(
        self, digits: int = 4, line: float = LINE, merged: bool = True, names: dict[str, str] | None = None
    ) -> None:
        self.digits, self.line, self.merged = digits, line, merged
        self._names = {} if names is None else names

    def equations(self, expression: Expression, left: str = r"\ell(y, f)") -> list[Equation]:
        """`left` = the formula, then one equation for each name in it that is new."""
        known = set(self._names)
        text = self.write(expression)
        new = [(name, body) for body, name in self._names.items() if body not in known]
        return [Equation(name, tuple(body.split(_BREAK))) for name, body in [(left, text), *new]]

    def write(self, expression: Expression) -> str:
        """The formula, its lines separated by line breaks."""
        piece: _Piece = expression.fold(lambda name: leaf(name, self.digits), self._joined, self._weighed)
        return piece.whole().text

    def _weighed(self, piece: _Piece, weight: float, _: int) -> _Piece:
        if self.merged or not piece.text or weight == 1.0:
            return piece.scaled(weight)
        return replace(self._named(piece).whole(), coefficient=weight)

    def _joined(self, primitive: Primitive, arguments: list[_Piece]) -> _Piece:
        """The operation on its arguments, of which the widest are named until it fits."""
        total = primitive.name in ("add", "sub")
        first = arguments[0] if total and arguments[0].coefficient == 1.0 else self._named(arguments[0])
        arguments = [first, *map(self._named, arguments[1:])]
        while True:
            joined = _join(primitive, arguments, self.merged)
            if self._fits(joined):
                return joined
            if total and (broken := _join(primitive, arguments, self.merged, _BREAK)) and self._fits(broken):
                return broken
            sizes = [width(argument.text) for argument in arguments]
            widest = sizes.index(max(sizes))
            named = self._named(arguments[widest], always=True)
            if sizes[widest] <= width(named.text):
                return joined  # nothing is left that a name would make shorter
            arguments[widest] = named

    def _fits(self, piece: _Piece) -> bool:
        """Whether the last two lines do; those before them were looked at when they were the last."""
        return self.line == math.inf or max(map(width, piece.whole().text.rsplit(_BREAK, 2)[-2:])) <= self.line

    def _named(self, piece: _Piece, always: bool = False) -> _Piece:
        """A piece that stands on one line: itself, or a name for its text."""
        if not always and _BREAK not in piece.text:
            return piece
        name = self._names.setdefault(piece.text, f"u_{{{len(self._names) + 1}}}")
        return replace(piece, text=name, binding=_ATOM)


def to_latex(expression: Expression, digits: int = 4) -> str:
    r"""LaTeX source of a formula in `y` and `f` on one line, without delimiters; it needs amsmath.

    Args:
        expression: The expression.
        digits: Significant digits of the weights.

    Returns:
        For example `\left|\log\left|1.2 \, y \, f\right|\right|`.
    """
    return Typesetter(digits, math.inf).write(expression)


def to_lines(expression: Expression, digits: int = 4, line: float = LINE, left: str = r"\ell(y, f)") -> str:
    r"""LaTeX source of a formula of any length, broken over lines: an `aligned` environment for `\[...\]`.

    Args:
        expression: The expression.
        digits: Significant digits of the weights.
        line: Width of a line in em.
        left: What stands before the equals sign.

    Returns:
        For example `\begin{aligned} \ell(y, f) &= y + f \end{aligned}`.
    """
    equations, relation = Typesetter(digits, line).equations(expression, left), relation_of(expression, digits)
    rows = [row for equation in equations for row in aligned_rows(equation, relation)]
    return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"


def to_cell(expression: Expression, digits: int = 4, line: float = LINE) -> str:
    """A formula of any length for a cell of a table, with the dollars: on one line if it fits, else on several."""
    rows, relation = [], relation_of(expression, digits)
    for equation in Typesetter(digits, line).equations(expression, ""):
        first, *others = equation.lines
        rows += [
            f"{equation.left} {relation} {first}" if equation.left else first,
            *(rf"\quad {{}}{text}" for text in others),
        ]
    if len(rows) == 1:
        return rf"$\displaystyle {rows[0]}$"
    return r"$\begin{aligned}[t] &" + r" \\ &".join(rows) + r" \end{aligned}$"


def relation_of(expression: Expression, digits: int) -> str:
    r"""`=` if so many digits show every weight as it is, else `\approx`."""
    return "=" if all(float(f"{weight:.{digits}g}") == weight for weight in expression.weights) else r"\approx"


def aligned_rows(equation: Equation, relation: str = "=") -> list[str]:
    """An equation as rows of an `align` environment."""
    first, *others = equation.lines
    return [f"{equation.left} &{relation} {first}", *(rf"&\quad {{}}{line}" for line in others)]


def leaf(name: str, digits: int = 4) -> _Piece:
    """What a template of the table is given for a terminal."""
    return _Piece("" if name in ("1", "-1") else name, _ATOM, digits, -1.0 if name == "-1" else 1.0)


def _join(primitive: Primitive, arguments: list[_Piece], merged: bool = True, space: str = " ") -> _Piece:
    digits = arguments[0].digits
    if primitive.name in ("add", "sub"):
        left, right = arguments
        # the sign of the second term is written once: a + (-0.5) b is a - 0.5 b
        minus = (primitive.name == "sub") != (math.copysign(1.0, right.coefficient) < 0)
        positive = replace(right, coefficient=abs(right.coefficient))
        return _Piece(f"{left}{space}{'-' if minus else '+'} {positive:product}", _SUM, digits)
    if primitive.name == "mul":
        left, right = arguments
        pieces = [piece for piece in arguments if piece.text]
        if len(pieces) < 2:
            number, other = (left, right) if right.text else (right, left)
            return other.scaled(number.coefficient)
        if not merged and right.coefficient != 1.0:
            return _Piece(rf"{left:product} \cdot {right:product}", _PRODUCT, digits)
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
