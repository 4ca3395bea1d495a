"""Formulas in MathML say what the expression says: read back, they have its values."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import symloss as sl
from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.expression.latex import Typesetter
from symloss.report.mathml import UnknownError, formula, from_latex
from tests.strategies import expressions

FUNCTIONS = {row.name for row in primitives.primitives()}
ORDINARY = st.sampled_from([1.0, -1.0, 0.5, -2.0, 1.3, 3.0, -0.25])


def read(markup: str) -> Expression:
    """The expression that a formula shows, by the rules by which a person reads it."""
    row = ElementTree.fromstring(markup.replace("\u2061", "APPLY"))[0]
    tokens = [t for child in row for t in words(child)]
    start = tokens.index("=") + 1
    assert "".join(tokens[: start - 1]) == "ℓ(y,f)"
    text = ""
    for left, token in zip(["", *tokens[start:]], tokens[start:], strict=False):
        if (left, token) == ("log", "abs"):  # the protected logarithm is that of the absolute value
            continue
        operand = token[0].isalnum() or token[0] == "("
        text += ("*" if operand and (left[:1].isdigit() or left in ("y", "f", ")")) else "") + token
    return sl.parse(text)


def words(element: ElementTree.Element) -> list[str]:
    inner = [t for child in element for t in words(child)]
    if element.tag == "mspace" or element.text == "APPLY":
        return []
    if element.tag in ("mn", "mi"):
        return [str(element.text)]
    if element.tag == "mo":
        return ["" if element.text is None else {"−": "-", "×": "*"}.get(element.text, element.text)]
    if element.tag == "mfrac":
        over, under = (" ".join(words(child)) for child in element)
        return ["(", *words(element[0]), ")", "/", "(", *words(element[1]), ")"] if over and under else []
    if element.tag == "msqrt":
        return ["sqrt", "(", *inner, ")"]
    if element.tag == "msup":
        base, power = words(element[0]), words(element[1])
        if power == ["2"]:
            return ["square", "(", *base, ")"]
        return ["pow", "(", *base, ",", *power, ")"]
    if inner and inner[0] == "|":
        return ["abs", "(", *inner[1:-1], ")"]
    return inner


def same(expression: Expression) -> None:
    shown = read(formula(expression, digits=17))
    y, f = np.meshgrid([0.0, 1.0, 0.3, -0.7], np.linspace(0.03, 0.97, 11))
    with np.errstate(all="ignore"):
        wanted, found = expression.evaluate(y, f), shown.evaluate(y, f)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        "abs(log(1.2*y*f))", "-y*log(f)", "square(1.4*div(square(f + 1.4), 1.4*y))", "max(1.2*f, y) - min(f, -1.0)",
        "0.5*(y - f)*(y - f)", "f - (y - f)", "tanh(sqrt(f)) + sign(y)*f", "1e-7*f + 2.5e9*y", "exp(-1*f)*y",
        "pow(f, 0.5)", "f/y",
    ],
)  # fmt: skip
def test_forms(text: str) -> None:
    if "/" not in text:  # the textbook's quotient has no protection to be read back
        same(sl.parse(text))
    assert "<mtext>" not in formula(sl.parse(text))


@given(expressions(max_depth=4, weights=ORDINARY, max_size=20))
@settings(max_examples=60)
def test_values(expression: Expression) -> None:
    same(expression)


@given(expressions(primitives="all"))
@settings(max_examples=40)
def test_well_formed(expression: Expression) -> None:
    root = ElementTree.fromstring(formula(expression))
    assert root.tag == "math"
    assert "mtext" not in {element.tag for element in root.iter()}


def test_brackets_around_what_is_tall_stretch() -> None:
    assert 'stretchy="true"' in formula(sl.parse("square(div(y, f))"))
    assert 'stretchy="true"' not in formula(sl.parse("square(y - f)")).replace(">|<", "")


@pytest.mark.parametrize(
    "latex", [r"\unknown", "{", "}", r"\frac{1}", r"\left(y", r"\left\langle y\right)", "é\0", "^"]
)
def test_what_is_not_known(latex: str) -> None:
    with pytest.raises(UnknownError):
        from_latex(latex)


@given(st.text("\\{}()^_|<>&\"'yf12leftrighfacsqr ", max_size=40))
def test_anything_is_read_or_refused(latex: str) -> None:
    try:
        markup = from_latex(latex)
    except UnknownError:
        return
    ElementTree.fromstring(f"<math>{markup}</math>")


def test_an_operation_with_other_latex_is_told_as_text() -> None:
    primitives.register(
        "cube", 1, lambda xp, a: a * a * a, sympy=lambda sp, a: a**3, latex=r"\mathbb{{<img>}} {0}", search=False
    )
    try:
        assert "<mtext>ℓ(y, f) = cube(f)</mtext>" in formula(sl.parse("cube(f)"))
        assert "<img" not in formula(sl.parse("cube(f)"))
    finally:
        primitives.unregister("cube")


@given(expressions())
@settings(max_examples=40, deadline=None)
def test_a_long_formula_stands_on_lines(expression: Expression) -> None:
    equations = Typesetter(4, 20.0).equations(expression)
    root = ElementTree.fromstring(formula(expression, line=20.0))
    lines = sum(len(equation.lines) for equation in equations)
    assert len(root.findall(".//mtr")) == (lines if lines > 1 else 0)
    shown, written = root.itertext(), " ".join(line for equation in equations for line in equation.lines)
    digits = [text for text in shown if text[0].isdigit()]
    assert len(digits) >= len(re.findall(r"\d+\.\d+", written))
    assert root.find(".//mtext") is None
