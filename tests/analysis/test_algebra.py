"""The derivation in symbols: right where it is given, and printable."""

from __future__ import annotations

import pytest
import sympy as sp
from matplotlib.mathtext import MathTextParser

import symloss as sl
from symloss.analysis import algebra, label_smoothing
from symloss.analysis.gradients import FormulaSide
from tests.strategies import expressions

P, Q = sp.symbols("p q", positive=True)


def derivation(loss: str, count: int = 10) -> algebra.Derivation:
    found = label_smoothing(loss, count, seconds=60).derivation
    assert found is not None
    return found


def test_of_the_absolute_cross_entropy() -> None:
    found = derivation("2.0*abs(log(1.25*y*f))")
    assert found.wrong == 0
    assert sp.simplify(found.gradient - 2 * (1 - P) * sp.sign(sp.log(sp.Float(1.25) * P))) == 0
    assert [float(root) for root in found.roots] == [pytest.approx(0.8)]
    assert found.limit == 0


def test_of_label_smoothing_and_its_sparse_form() -> None:
    """One gradient on the slice, p − A, from different slopes."""
    for loss, wrong in (("-(0.75*y + 0.025)*log(f)", -0.025 / Q), ("-y*(0.775*log(f) + 0.225*log(1 - f))", 0)):
        found = derivation(loss)
        assert sp.simplify(found.wrong - wrong) == 0
        assert sp.simplify(found.gradient - (P - sp.Float(0.775))) == 0
        assert float(found.roots[0]) == pytest.approx(0.775)
        assert float(found.limit) == pytest.approx(0.225)


def test_an_exact_root() -> None:
    """Baikal, Σ y/f − log f, rests at p* = 1/√C."""
    assert derivation("baikal").roots == (sp.sqrt(10) / 10,)


@pytest.mark.parametrize(
    ("loss", "count", "expected"),
    [
        ("-(0.9*y + 0.01)*log(f)", 10, True),
        ("-(0.9*y + 0.01)*log(f) + 3.3*f", 10, True),
        ("-2.0*y*log(f)", 10, True),
        ("-(0.9*y + 0.01)*log(f) + 0.000001*y*f", 10, False),
        ("-y*(0.91*log(f) + 0.09*log(1 - f))", 10, False),
        ("-y*(0.91*log(f) + 0.09*log(1 - f))", 2, True),
        ("abs(log(1.1*y*f))", 10, False),
        ("focal", 2, False),
    ],
)
def test_proofs(loss: str, count: int, expected: bool) -> None:
    expression = sl.losses.loss(loss).expression
    assert algebra.proved(expression, count, None, 60.0) is expected


def test_without_time_there_is_no_proof() -> None:
    assert not algebra.proved(sl.parse("-y*log(f)"), 10, None, 0.0)


def test_too_large_for_algebra() -> None:
    text = "+".join(["abs(log(1.1*y*f))"] * 101)
    report = label_smoothing(text)
    assert report.derivation is None
    assert report.smoothing == pytest.approx((1 - 1 / 1.1) * 10 / 9)


@pytest.mark.parametrize(
    "loss", ["ace", "-(0.9*y+0.01)*log(f)", "0.3*sqrt(log(1.5*y*f)) - y*f", "max(y*(0.7 - f), 0*f)"]
)
def test_latex_renders(loss: str) -> None:
    report = label_smoothing(loss)
    assert report.derivation is not None
    MathTextParser("path").parse(f"${report.latex()}$")
    assert report.derivation.latex() in report.latex()
    assert str(report.derivation).splitlines()[0].startswith("d1(p) = ")
    assert str(report.derivation).splitlines()[0] in str(report)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_the_catalogue_renders(kind: str) -> None:
    for name in sl.losses.names(kind):
        report = label_smoothing(sl.losses.get(name, kind), 7)
        MathTextParser("path").parse(f"${report.latex()}$")
        report.figure().savefig("/dev/null", format="png")


@pytest.mark.slow
def test_slopes_of_random_losses() -> None:
    """In symbols as by forward differentiation, wherever no protection acts."""
    from hypothesis import given, settings

    @given(expressions(max_depth=4))
    @settings(max_examples=200)
    def check(expression: sl.Expression) -> None:
        import numpy as np

        p = np.array([0.137, 0.41, 0.773])
        try:
            _, _, gradient = algebra._gradient(expression, 4, None, exact=False)
            values = [complex(gradient.subs(P, x).evalf()) for x in p]
        except Exception:  # SymPy has no form of it
            return
        found, _ = FormulaSide(expression, 4).target(np.log(p / (1 - p)))
        for ours, theirs in zip(found, values, strict=True):
            if np.isfinite(ours) and abs(theirs) < 1e6:
                assert ours == pytest.approx(theirs.real, rel=1e-6, abs=1e-6)

    check()
