"""LaTeX to presentational MathML: the part of LaTeX in which symloss writes formulas."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from html import escape

from symloss.expression.expression import Expression
from symloss.expression.latex import Equation, Typesetter

_TOKEN = re.compile(r"\\[A-Za-z]+|\\[^A-Za-z]|\d+(?:\.\d+)?|\S")
_FUNCTIONS = ("exp", "log", "max", "min", "tanh", "sin", "cos", "sinh", "cosh", "tan")
_SYMBOLS = {r"\ell": "ℓ", r"\alpha": "α", r"\beta": "β", r"\gamma": "γ", r"\pi": "π"}
_OPERATORS = {
    r"\times": "×",
    r"\cdot": "⋅",
    r"\le": "≤",
    r"\ge": "≥",
    r"\colon": ":",
    r"\lt": "<",
    r"\gt": ">",
    "-": "−",
}
_SPACES = {r"\,": "0.17em", r"\;": "0.28em", r"\:": "0.22em", r"\quad": "1em", r"\ ": "0.25em"}
_APPLY = "<mo>\u2061</mo>"
_DEEPEST = 200


class UnknownError(ValueError):
    """A command or a form that is not in the part of LaTeX that is read."""


def formula(expression: Expression, digits: int = 4, line: float = math.inf) -> str:
    """A `<math>` element that says ℓ(y, f) = expression; the formula as text where its LaTeX is beyond this module.

    Args:
        expression: The expression.
        digits: Significant digits of the weights.
        line: Width in em beyond which it is broken over lines, as `Typesetter` does: u₁, u₂, ... are parts of it.

    Returns:
        Markup in which all text is escaped.
    """
    equations = Typesetter(digits, line).equations(expression)
    try:
        rows = [row for equation in equations for row in _rows(equation)]
    except UnknownError:
        rows = [("", f"<mtext>ℓ(y, f) = {escape(str(expression))}</mtext>")]
    if len(rows) == 1:
        return f'<math display="block"><mrow>{"".join(rows[0])}</mrow></math>'
    cells = "".join(f"<mtr><mtd>{left}</mtd><mtd>{right}</mtd></mtr>" for left, right in rows)
    return f'<math display="block"><mtable displaystyle="true">{cells}</mtable></math>'


def _rows(equation: Equation) -> Iterator[tuple[str, str]]:
    """What stands left and right of the alignment, line by line."""
    first, *others = equation.lines
    yield from_latex(equation.left), from_latex(f"= {first}")
    for text in others:
        yield "", from_latex(rf"\quad {{}} {text}")


def from_latex(latex: str) -> str:
    r"""The content of a `<math>` element for LaTeX of numbers, letters, operators, `\frac`, `\sqrt`, `\left \right`,
    `\operatorname`, named functions and powers.

    Raises:
        UnknownError: If there is anything else.
    """
    reader = _Reader(_TOKEN.findall(latex))
    body = "".join(reader.items(0))
    if reader.here is not None:
        raise UnknownError(f"{reader.here!r} closes nothing")
    return body


class _Reader:
    """Tokens to MathML, one method per form."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.place = tokens, 0

    @property
    def here(self) -> str | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def take(self, wanted: str | None = None) -> str:
        token = self.here
        if token is None or (wanted is not None and token != wanted):
            raise UnknownError(f"{wanted or 'more'!r} is missing")
        self.place += 1
        return token

    def items(self, depth: int) -> Iterator[str]:
        """Everything up to what closes the group."""
        if depth > _DEEPEST:
            raise UnknownError("it is nested too deeply")
        while self.here not in (None, "}", r"\right"):
            item = self.atom(depth)
            if self.here in ("^", "_"):
                tag = "msup" if self.take() == "^" else "msub"
                item = f"<{tag}>{item}{self.atom(depth)}</{tag}>"
            yield item

    def group(self, depth: int) -> str:
        self.take("{")
        body = "".join(self.items(depth + 1))
        self.take("}")
        return f"<mrow>{body}</mrow>"

    def atom(self, depth: int) -> str:
        if self.here == "{":
            return self.group(depth)
        token = self.take()
        if token == r"\left":
            return self.fenced(depth)
        if token == r"\frac":
            return f"<mfrac>{self.group(depth)}{self.group(depth)}</mfrac>"
        if token == r"\sqrt":
            return f"<msqrt>{self.group(depth)}</msqrt>"
        if token in (r"\operatorname", r"\mathrm"):
            return f"<mi>{self.name()}</mi>" + (_APPLY if self.here == r"\left" else "")
        if token[1:] in _FUNCTIONS and token[0] == "\\":
            return f"<mi>{token[1:]}</mi>{_APPLY}"
        if token in _SPACES:
            return f'<mspace width="{_SPACES[token]}"></mspace>'
        if token in _SYMBOLS:
            return f"<mi>{_SYMBOLS[token]}</mi>"
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        if token.isalpha() and len(token) == 1:
            return f"<mi>{token}</mi>"
        if token in "()[]|":
            return f'<mo stretchy="false" lspace="0em" rspace="0em">{token}</mo>'
        if token in _OPERATORS or token in tuple("+=,/<>*:;!"):
            return f"<mo>{escape(_OPERATORS.get(token, token))}</mo>"
        raise UnknownError(f"{token!r:.40} is not known")

    def fenced(self, depth: int) -> str:
        opening = self.take()
        body = "".join(self.items(depth + 1))
        self.take(r"\right")
        closing = self.take()
        if {opening, closing} - set("()|[]"):
            raise UnknownError(f"{opening!r:.40} is no bracket that is known")
        tall = (
            "true" if "<mfrac>" in body else "false"
        )  # others need no more than they are, and browsers give them more
        fence = f'<mo form="{{}}" stretchy="{tall}" lspace="0em" rspace="0em">{{}}</mo>'
        return f"<mrow>{fence.format('prefix', opening)}{body}{fence.format('postfix', closing)}</mrow>"

    def name(self) -> str:
        self.take("{")
        letters = []
        while self.here not in (None, "}"):
            token = self.take()
            letters.append("_" if token == r"\_" else token)
        self.take("}")
        name = "".join(letters)
        if not name.isidentifier():
            raise UnknownError(f"{name!r:.40} is no name")
        return escape(name)
