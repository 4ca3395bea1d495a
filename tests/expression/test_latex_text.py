"""Any text in LaTeX: nothing in it is obeyed, nothing of it is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from symloss.expression.latex_text import escape, literal, width

TOKEN = re.compile(
    r"\\(?:textbackslash|textasciicircum|textasciitilde|textless|textgreater|textbar|textquotesingle|textasciigrave|ss|ae"
    r"|AE|oe|OE|o|O|l|L|i|dots|S)\{\}|\\symbol\{34\}|\\[{}$&#_%]|\\[`'^~=u.\"rHvc]\{[A-Za-z]\}|\{[-,]\}|---?"
    r"|\\ensuremath\{(?:-|\^2|\\[A-Za-z]+|\\frac\{1\}\{2\})\}|\[U\+[0-9A-F]{4,6}\]|[ !()*+./0-9:;=?@A-Za-z\[\]]"
)
"""All that escaped text may consist of."""


@settings(max_examples=60)
@given(st.text() | st.text("\\{}$&#_%^~<>|\"'`-,\x00\n\r\x7f5c ", max_size=30))
def test_nothing_but_text_comes_out(text: str) -> None:
    for written in (escape(text), literal(text).removeprefix(r"\texttt{")[:-1].replace(r"\allowbreak{}", "")):
        assert TOKEN.sub("", written) == ""
        assert written == escape(text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_ascii_comes_back(text: str) -> None:
    back = escape(text)
    for command, c in [
        ("textasciicircum", "^"), ("textasciitilde", "~"), ("textless", "<"), ("textgreater", ">"), ("textbar", "|"),
        ("textquotesingle", "'"), ("textasciigrave", "`"),
    ]:  # fmt: skip
        back = back.replace(rf"\{command}{{}}", c)
    back = back.replace(r"\symbol{34}", '"').replace("{-}", "-").replace("{,}", ",")
    back = re.sub(r"\\textbackslash\{\}|\\([{}$&#_%])", lambda found: found[1] or "\\", back)
    assert back == text


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50% of $x_1", r"50\% of \$x\_1"),
        (r"\input{a}", r"\textbackslash{}input\{a\}"),
        ("^^5c", r"\textasciicircum{}\textasciicircum{}5c"),
        ("--a", "{-}{-}a"),
        ("é ñ Å ż", r"\'{e} \~{n} \r{A} \.{z}"),
        ("e\u0301", r"\'{e}"),
        ("λφ ≤ ∞", r"\ensuremath{\lambda}\ensuremath{\phi} \ensuremath{\le} \ensuremath{\infty}"),
        ("日", "[U+65E5]"),
        ("\udcff", "[U+DCFF]"),
        ("a\nb\x00c\u2028d", "a b c d"),
    ],
)
def test_texts(text: str, latex: str) -> None:
    assert escape(text) == latex


@given(st.text("ab1_-.*", min_size=30))
def test_long_words_can_be_broken(text: str) -> None:
    parts = literal(text).removeprefix(r"\texttt{")[:-1].split(r"\allowbreak{}")
    assert max(len(part.replace(r"\_", "_").replace("{-}", "-")) for part in parts) <= 8


@pytest.mark.parametrize(
    ("formula", "em"),  # measured by pdflatex in display style, Computer Modern at 10 points
    [
        (r"\left|\log\left|1.2 \, y \, f\right|\right|", 5.304),
        (r"\frac{y}{\sqrt{1 + f^2}}", 4.008),
        (r"0.5 \, f^2 + 2.5 \, y - 1.234 \times 10^{-7}", 12.479),
        (r"\operatorname{sign}\left(\tanh\left(f\right)\right)", 6.214),
        (r"\max\left(y,\, -f\right)", 5.318),
        (
            r"\left(1.377 \, \left(1.361 \, \frac{1.36 \, f}{\sqrt{1 + \left(1.4 \, y\right)^2}} + 1.4\right)\right)^2",
            17.66,
        ),
    ],
)
def test_widths(formula: str, em: float) -> None:
    assert em <= width(formula) <= 1.35 * em
