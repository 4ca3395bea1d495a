"""LaTeX: what is written, and that it can be typeset."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from matplotlib.mathtext import MathTextParser

from symloss.expression.expression import Expression
from symloss.expression.latex import to_latex
from symloss.expression.parsing import parse
from tests.strategies import any_weights, expressions


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("y", "y"),
        ("1", "1"),
        ("-1", "-1"),
        ("0.5", "0.5"),
        ("-2*f", r"-2 \, f"),
        ("-f", "-f"),
        ("y + -0.5*f", r"y - 0.5 \, f"),
        ("y - -0.5*f", r"y + 0.5 \, f"),
        ("y + -1", "y - 1"),
        ("y - (f - 1)", r"y - \left(f - 1\right)"),
        ("y - f - 1", "y - f - 1"),
        ("2*y*(3*f)", r"6 \, y \, f"),
        ("(y + f)*f", r"\left(y + f\right) \, f"),
        ("mul(2, y + f)", r"2 \, \left(y + f\right)"),
        ("mul(-1, 2)", "-2"),
        ("abs(2*(y + f))", r"\left|2 \, \left(y + f\right)\right|"),
        ("abs(mul(2, y) + f)", r"\left|2 \, y + f\right|"),
        ("square(f)", "f^2"),
        ("square(square(f))", r"\left(f^2\right)^2"),
        ("square(-f)", r"\left(-f\right)^2"),
        ("square(abs(f))", r"\left|f\right|^2"),
        ("square(log(f))", r"\left(\log\left|f\right|\right)^2"),
        ("square(2*1)", "2^2"),
        ("square(1e-7*1)", r"\left(10^{-7}\right)^2"),
        ("abs(log(1.2*y*f))", r"\left|\log\left|1.2 \, y \, f\right|\right|"),
        ("div(y, f)", r"\frac{y}{\sqrt{1 + f^2}}"),
        ("y/(f + 1)", r"\frac{y}{f + 1}"),
        ("pow(1 - f, 0.7)", r"\left|1 - f\right|^{0.7}"),
        ("max(y, -f)", r"\max\left(y,\, -f\right)"),
        ("sign(tanh(sqrt(f)))", r"\operatorname{sign}\left(\tanh\left(\sqrt{\left|f\right|}\right)\right)"),
        ("1.23456789*y + 1e-7*f", r"1.235 \, y + 10^{-7} \, f"),
        ("abs(-1.5e22*f)", r"\left|-1.5 \times 10^{22} \, f\right|"),
        ("y + 1.00000001*f", "y + f"),
    ],
)
def test_formulas(text: str, latex: str) -> None:
    assert to_latex(parse(text)) == latex


def test_digits() -> None:
    assert to_latex(parse("abs(1.23456789*f)"), digits=2) == r"\left|1.2 \, f\right|"
    assert to_latex(parse("abs(1.23456789*f)"), digits=8) == r"\left|1.2345679 \, f\right|"


@settings(max_examples=30)
@given(expressions(max_depth=4, primitives="all", weights=any_weights))
def test_every_formula_can_be_typeset(e: Expression) -> None:
    latex = to_latex(e)
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\left") == latex.count(r"\right")
    assert not re.search(r"\^2\^|[+-] *[+-]|[^,]\\, *-|nan|inf", latex), latex
    MathTextParser("path").parse(f"${latex}$")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_formulas_compile(tmp_path: Path) -> None:
    texts = [
        "abs(log(1.2*y*f))",
        "square(square(-f))/pow(y, 2*f)",
        "div(min(y, 1e-9*f), max(sign(f), tanh(sqrt(exp(y)))))",
    ]
    body = "\n".join(f"\\[{to_latex(parse(text))}\\]" for text in texts)
    source = f"\\documentclass{{article}}\\usepackage{{amsmath}}\\begin{{document}}{body}\\end{{document}}"
    (tmp_path / "a.tex").write_text(source)
    subprocess.run(["pdflatex", "-halt-on-error", "a.tex"], cwd=tmp_path, check=True, capture_output=True)
