r"""Text and lengths for LaTeX: any text as itself, whatever is in it, and how wide a formula comes out."""

from __future__ import annotations

import re
import unicodedata

_COMMANDS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\symbol{34}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "-": "{-}", ",": "{,}",  # which would join with the next one
    "ß": r"\ss{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}", "ø": r"\o{}", "Ø": r"\O{}",
    "ł": r"\l{}", "Ł": r"\L{}", "ı": r"\i{}", "–": "--", "—": "---", "…": r"\dots{}", "§": r"\S{}",
    "−": r"\ensuremath{-}", "×": r"\ensuremath{\times}", "·": r"\ensuremath{\cdot}", "±": r"\ensuremath{\pm}",
    "≈": r"\ensuremath{\approx}", "≤": r"\ensuremath{\le}", "≥": r"\ensuremath{\ge}", "≠": r"\ensuremath{\ne}",
    "∂": r"\ensuremath{\partial}", "∞": r"\ensuremath{\infty}", "ℓ": r"\ensuremath{\ell}", "²": r"\ensuremath{^2}",
    "Σ": r"\ensuremath{\Sigma}", "√": r"\ensuremath{\surd}", "½": r"\ensuremath{\frac{1}{2}}",
}  # fmt: skip
_GREEK = {c: unicodedata.name(c).split()[-1].lower() for c in "αβγδεζηθικμνξπρστυφχψω"} | {"λ": "lambda"}
_COMMANDS |= {letter: rf"\ensuremath{{\{name}}}" for letter, name in _GREEK.items()}
_ACCENTS = dict(zip(
    "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=u.\"rHvc", strict=True
))  # fmt: skip
_ACCENTED = re.compile(f"[A-Za-z][{''.join(_ACCENTS)}]")


def escape(text: str) -> str:
    r"""LaTeX source, in ASCII, that shows a text as it is and does nothing else.

    Every character with a meaning in TeX becomes a command of LaTeX's kernel that prints it. Letters with accents,
    Greek letters and the common signs of mathematics are written with commands; any other character beyond ASCII as
    [U+hexadecimal number]; line breaks and control characters as a space.

    Args:
        text: Any text.

    Returns:
        For example `50\% of \$x\_1` of `50% of $x_1`.
    """
    return "".join(map(_character, re.findall(f"{_ACCENTED.pattern}|.", _separated(text), re.DOTALL)))


def literal(text: str) -> str:
    """The same in typewriter letters, with a line break allowed after every eight characters and every sign but `-`."""
    words = re.findall(r"[\w-]{1,8}|[^\w-]", text)
    breakable = r"\allowbreak{}".join(map(escape, words))
    return rf"\texttt{{{breakable}}}"


def _separated(text: str) -> str:
    """The text with each letter and its accent apart, where LaTeX can put them together again."""
    parts = ((c, unicodedata.normalize("NFD", c)) for c in text)
    return "".join(apart if _ACCENTED.fullmatch(apart) else c for c, apart in parts)


def _character(c: str) -> str:
    if len(c) == 2:
        return rf"\{_ACCENTS[c[1]]}{{{c[0]}}}"
    if c in _COMMANDS:
        return _COMMANDS[c]
    if c.isascii():
        return c if c.isprintable() else " "
    return " " if c.isspace() else f"[U+{ord(c):04X}]"


_WIDTHS = {
    "+": 1.23, "-": 1.23, "=": 1.34, r"\times": 1.23, r"\cdot": 0.73, "|": 0.3, "(": 0.5, ")": 0.5, ".": 0.28,
    ",": 0.28, r"\,": 0.17, r"\quad": 1.0, " ": 0.0, "&": 0.0, r"\left": 0.2, r"\right": 0.2, r"\operatorname": 0.17,
}  # fmt: skip


def width(formula: str) -> float:
    """How wide a formula comes out in display style, in em: an estimate, rather too much than too little.

    Args:
        formula: LaTeX source as `to_latex` writes it.
    """
    tokens = re.findall(r"\\[A-Za-z]+|\\.|.", formula, re.DOTALL)[::-1]

    def group() -> float:
        total = 0.0
        while tokens and (token := tokens.pop()) != "}":
            total += one(token)
        return total

    def one(token: str) -> float:
        if token == "{":
            return group()
        if token in ("^", "_"):
            return 0.72 * argument()
        if token == r"\frac":
            return max(argument(), argument()) + 0.4
        if token == r"\sqrt":
            return 1.0 + argument()
        return _WIDTHS.get(token, 0.53 * len(token.lstrip("\\")) + 0.17 * (len(token) > 1))

    def argument() -> float:
        return one(tokens.pop()) if tokens else 0.0

    return group()
