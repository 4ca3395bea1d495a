"""Text to Expression: an operator-precedence reader with a closed grammar that executes nothing.

It is iterative, so no text can exhaust the interpreter's stack, and it takes every tree that `str` can print. Python's
own parser could not be used: it refuses 200 nested brackets, where a valid expression may print 400.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NoReturn, TypeVar

from symloss.errors import ExpressionError, ParseError
from symloss.expression import primitives
from symloss.expression.expression import MAX_DEPTH, MAX_SIZE, Expression
from symloss.expression.tree import Term, power

T = TypeVar("T")

MAX_LENGTH = 1_000_000
"""Most characters of a text; the longest text of a valid expression is shorter."""
MAX_BRACKETS = 2 * MAX_DEPTH + 100
"""Most brackets open at once; a valid expression prints at most two per level."""
MAX_TOKENS = 10 * MAX_SIZE
"""Most words, numbers and symbols of a text; a valid expression prints fewer than ten per node."""
MAX_DIGITS = 1000
"""Most characters of one number."""

_SPACE = "[ \\t\\r\\n\\f\\v]"
_TOKEN = re.compile(
    rf"(?P<space>{_SPACE}+)|(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    rf"|(?P<call>[^\W0-9]\w*+{_SPACE}*+\()|(?P<name>[^\W0-9]\w*)|(?P<symbol>\*\*|[-+*/(),])|(?P<other>.)",
    re.DOTALL,
)
_INFIX = {"+": (1, "add"), "-": (1, "sub"), "*": (2, "mul"), "/": (2, "truediv"), "**": (4, "pow")}
_NEGATE = 3  # binds more tightly than *, less than **: -f**2 is -(f**2), and 2*-f is 2*(-f)

_SYMBOL_HINTS = {
    "^": "write ** for a power",
    "|": "write abs(...)",
    "−": "write - with the plain minus sign",
    "–": "write - with the plain minus sign",
    "×": "write *",
    "·": "write *",
    "÷": "write /",
    "[": "use round brackets",
    "{": "use round brackets",
}
_OTHER_NAMES = {
    **dict.fromkeys(("y_true", "target", "label"), "y"),
    **dict.fromkeys(("y_pred", "y_hat", "yhat", "pred", "prediction", "output"), "f"),
    **dict.fromkeys(("ln", "log2", "log10"), "log"),
    **{"maximum": "max", "minimum": "min", "power": "pow", "divide": "truediv", "multiply": "mul", "subtract": "sub"},
}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


@dataclass
class _Pending:
    """An operator that waits for its right side, or an open bracket (binding 0) that waits for its end."""

    binding: int
    name: str
    position: int
    arguments: int = 0


def parse(text: str | Expression) -> Expression:
    """Read an expression from text; `parse(str(e)) == e` exactly, for every expression.

    Variables are `y` (target) and `f` (prediction). Operations are written `name(...)` for every primitive, or infix
    `+ - * /`, unary minus and `**`. A number times something is the weight of its edge, and a number alone is a
    constant. `/` is the protected quotient `truediv`, or a weight if the divisor is a number. `x**2` is
    `square(x)`; an odd whole power keeps the sign (`x**3` is `x*x**2`); any other power is `pow`, of the absolute
    value. A weight of the whole expression goes to the edges below the root, or into a product with a number.

    Args:
        text: The text; an Expression is returned as it is.

    Raises:
        ParseError: If the text is not an expression; its `position` is the index of the character, and
            `pointer()` shows it.
    """
    if isinstance(text, Expression):
        return text
    if not isinstance(text, str):
        raise ParseError(f"an expression is read from text; received {type(text).__name__}: write it as a str")
    if len(text) > MAX_LENGTH:
        raise ParseError(f"the text has {len(text)} characters; at most {MAX_LENGTH} are read", text[:100], 0)
    return _Reader(text).read()


class _Reader:
    """Shunting-yard over the tokens: `operands` are finished terms, `pending` what still waits."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.operands: list[tuple[Term, bool]] = []  # a term, and whether it is the bare integer 1
        self.pending: list[_Pending] = []
        self.brackets = 0

    def read(self) -> Expression:
        want_operand = True
        for count, token in enumerate(self._tokens(), start=1):
            if count > MAX_TOKENS:
                self._fail(f"the text has more than {MAX_TOKENS} words, numbers and symbols", token.position)
            want_operand = self._operand(token) if want_operand else self._operator(token)
        if want_operand:
            self._fail("the text ends where a number, variable or operation is expected: complete it", len(self.text))
        self._reduce(1)
        if self.pending:
            self._fail("the bracket is never closed: add )", self.pending[-1].position)
        return self._build(0, self._pop().expression)

    def _tokens(self) -> Iterator[_Token]:
        for match in _TOKEN.finditer(self.text):
            kind = match.lastgroup or "other"
            if kind == "other":
                hint = _SYMBOL_HINTS.get(match[0], "expressions hold y, f, numbers, operations and + - * / ** ( )")
                self._fail(f"{match[0]!r} has no meaning here: {hint}", match.start())
            if kind != "space":
                yield _Token(kind, match[0], match.start())

    def _operand(self, token: _Token) -> bool:
        """Read what may start an operand; return whether an operand is still wanted."""
        if token.kind == "number":
            self.operands.append((self._number(token), token.text == "1"))
            return False
        if token.kind == "name":
            self._variable(token.text, token.position)
            return False
        if token.kind == "call" or token.text == "(":
            self._open(token.text[:-1].rstrip(), token.position)
        elif token.text == "-":
            self.pending.append(_Pending(_NEGATE, "-", token.position))
        elif token.text != "+":
            bracket = self.pending[-1] if self.pending else None
            if token.text == ")" and bracket and bracket.binding == bracket.arguments == 0 and bracket.name:
                self._wrong_arity(bracket)
            self._fail(f"{token.text!r} stands where a number, variable or operation is expected", token.position)
        return True

    def _operator(self, token: _Token) -> bool:
        """Read what may follow an operand; return whether an operand is wanted next."""
        if token.text in _INFIX:
            binding, name = _INFIX[token.text]
            self._reduce(binding + (name == "pow"))  # powers group from the right
            self.pending.append(_Pending(binding, name, token.position))
            return True
        if token.text not in (",", ")"):
            self._fail(f"an operator is missing before {_short(token.text)}: write * to multiply", token.position)
        self._reduce(1)
        if not self.pending:
            self._fail(f"{token.text!r} has no open bracket before it: add ( or remove it", token.position)
        bracket = self.pending[-1]
        bracket.arguments += 1
        if token.text == ",":
            if not bracket.name:
                self._fail("a comma separates the arguments of an operation: name the operation", token.position)
            return True
        self._close(self.pending.pop())
        return False

    def _variable(self, name: str, position: int) -> None:
        if primitives.is_known(name):
            self._fail(f"{name} is an operation: write its arguments in brackets, as in {name}(f)", position)
        if name not in ("y", "f"):
            hint = _suggestion(name, ["y", "f"]) or "write one of them"
            variables = "the variables are y (target) and f (prediction)"
            self._fail(f"unknown variable {_short(name)}; {variables}: {hint}", position)
        self.operands.append((Term(name), False))

    def _number(self, token: _Token) -> Term:
        digits = token.text
        if len(digits) > MAX_DIGITS:
            self._fail(f"a number has {len(digits)} characters; at most {MAX_DIGITS} are read", token.position)
        value = float(digits)
        if math.isinf(value) or (value == 0 and re.search("[1-9]", re.split("[eE]", digits)[0])):
            self._fail(f"the number {_short(digits)} is outside the range of a float: rescale it", token.position)
        return Term("1", weight=value)

    def _open(self, name: str, position: int) -> None:
        if name in ("y", "f"):
            self._fail(f"{name} is a variable, not an operation: write * to multiply", position)
        if name and not primitives.is_known(name):
            known = [primitive.name for primitive in primitives.primitives()]
            hint = _suggestion(name, known) or f"known: {', '.join(known)}"
            self._fail(f"unknown operation {_short(name)}: {hint}", position)
        self.brackets += 1
        if self.brackets > MAX_BRACKETS:
            self._fail(f"brackets are nested more than {MAX_BRACKETS} deep: nest them less", position)
        self.pending.append(_Pending(0, name, position))

    def _close(self, bracket: _Pending) -> None:
        self.brackets -= 1
        if not bracket.name:
            return
        arity = primitives.get(bracket.name).arity
        if bracket.arguments != arity:
            self._wrong_arity(bracket)
        arguments = tuple(self._pop() for _ in range(arity))[::-1]
        self._push(bracket.position, bracket.name, arguments)

    def _wrong_arity(self, bracket: _Pending) -> NoReturn:
        arity = primitives.get(bracket.name).arity
        plural = "" if arity == 1 else "s"
        self._fail(f"{bracket.name} takes {arity} argument{plural}; received {bracket.arguments}", bracket.position)

    def _reduce(self, binding: int) -> None:
        """Apply the pending operators that bind at least as tightly as `binding`."""
        while self.pending and self.pending[-1].binding >= binding:
            operator = self.pending.pop()
            right, is_one = self.operands.pop()
            if operator.binding == _NEGATE:
                self.operands.append((Term("-1") if is_one else right.scaled(-1.0), False))
            else:
                self._infix(operator, self._pop(), right)

    def _infix(self, operator: _Pending, left: Term, right: Term) -> None:
        position, name = operator.position, operator.name
        value = right.number
        if name == "mul" and left.number is not None:
            factor = left.number
            term = self._build(position, lambda: right.scaled(factor))
        elif name == "mul" and value is not None:
            term = self._build(position, lambda: left.scaled(value))
        elif name == "truediv" and value is not None:
            if value == 0:
                self._fail("division by zero: divide by another number", position)
            term = self._build(position, lambda: replace(left, weight=left.weight / value))
        elif name == "pow" and value is not None:
            term = self._build(position, lambda: power(left, value))
        else:
            return self._push(position, name, (left, right))
        self.operands.append((term, False))
        return None

    def _push(self, position: int, name: str, arguments: tuple[Term, ...]) -> None:
        self.operands.append((self._build(position, lambda: Term(name, arguments)), False))

    def _pop(self) -> Term:
        return self.operands.pop()[0]

    def _build(self, position: int, build: Callable[[], T]) -> T:
        """`build()`, with the position added to its error (size, depth, a weight that is not finite)."""
        try:
            return build()
        except ExpressionError as error:
            raise ParseError(str(error), self.text, position) from None

    def _fail(self, message: str, position: int) -> NoReturn:
        raise ParseError(message, self.text, position)


def _short(text: str) -> str:
    return repr(text if len(text) <= 30 else text[:30] + "…")


def _suggestion(name: str, known: list[str]) -> str:
    """`did you mean ...?` if a name of `known` is close, or the usual other name of one."""
    aliases = {other: usual for other, usual in _OTHER_NAMES.items() if usual in known}
    close = difflib.get_close_matches(name[:40], [*known, *aliases], n=1)
    return f"did you mean {aliases.get(close[0], close[0])}?" if close else ""
