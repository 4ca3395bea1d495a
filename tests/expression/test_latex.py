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
from symloss.expression.latex import Typesetter, to_cell, to_latex, to_lines
from symloss.expression.latex_text import width
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


class TestLines:
    """Formulas of any length on lines of a given width."""

    def test_sums_are_broken_and_parts_are_named(self) -> None:
        e = parse("log(1.2*y*f + 2.5*square(f) - 0.5*abs(y - 1.1*f))*0.5 + max(1.2*y, 2*log(f)) - y*f")
        assert to_lines(e, line=14) == "\n".join([
            r"\begin{aligned}",
            r"\ell(y, f) &= 0.5 \, \log\left|u_{1}\right| \\",
            r"&\quad {}+ \max\left(1.2 \, y,\, 2 \, \log\left|f\right|\right) - y \, f \\",
            r"u_{1} &= 1.2 \, y \, f + 2.5 \, f^2 - 0.5 \, \left|y - 1.1 \, f\right|",
            r"\end{aligned}",
        ])  # fmt: skip

    def test_short_ones_stay_on_one_line(self) -> None:
        assert to_lines(parse("y + f")) == "\\begin{aligned}\n\\ell(y, f) &= y + f\n\\end{aligned}"
        assert to_cell(parse("y + f")) == r"$\displaystyle y + f$"

    def test_rounded_weights_are_marked(self) -> None:
        assert r"\ell(y, f) &\approx 1.235 \, f" in to_lines(parse("abs(1.23456*f)")).replace(r"\left|", "")
        assert r"&= 1.23456" in to_lines(parse("abs(1.23456*f)"), digits=6).replace(r" \left|", " ").replace(
            r"\left|", ""
        )

    @settings(max_examples=60)
    @given(expressions(max_depth=8, max_size=80, primitives="all", weights=any_weights))
    def test_nothing_is_lost(self, e: Expression) -> None:
        """With the names replaced by what they stand for, it is the formula on one line, brackets apart."""
        whole, *named = Typesetter(line=16.0).equations(e)
        text = " ".join(whole.lines)
        for part in reversed(named):
            text = text.replace(part.left, " ".join(part.lines))
        bare = re.compile(r"\\(left|right)[()]")
        assert bare.sub("", text) == bare.sub("", to_latex(e))

    @settings(max_examples=60)
    @given(expressions(max_depth=8, max_size=80, weights=any_weights))
    def test_lines_fit(self, e: Expression) -> None:
        for equation in Typesetter(line=24.0).equations(e):
            for text in equation.lines:
                assert width(text) <= 24.0
                assert text.count(r"\left") == text.count(r"\right")
                assert text.count("{") == text.count("}")

    def test_equal_parts_share_a_name(self) -> None:
        long = "(y + 2*f + 3*abs(y) + 4*abs(f) + 5*tanh(y) + 6*tanh(f) + 7*sqrt(y))"
        equations = Typesetter(line=16.0).equations(parse(f"tanh({long})*log({long})"))
        assert len(equations) == 2
        assert equations[0].lines == (r"\tanh\left(u_{1}\right) \, \log\left|u_{1}\right|",)

    def test_each_weight_on_its_edge(self) -> None:
        e = parse("2*(3*y*(4*f))*(0.5*abs(2*(y + f)))")
        written = Typesetter(merged=False).write(e)
        assert written == r"2 \cdot 3 \, y \cdot 4 \, f \cdot 0.5 \, \left|2 \, \left(y + f\right)\right|"

    def test_enormous_formulas_take_no_time(self) -> None:
        text = "f"
        for k in range(9):
            text = f"({text} + {text}*{k + 2}.5)"
        e = parse(text)
        assert e.size > 1000
        assert to_lines(e).count("\\\\") > 10
