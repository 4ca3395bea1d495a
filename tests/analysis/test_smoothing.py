"""Planted losses are recognised, random ones agree with a dense scan, and nothing gets a ξ that it does not have."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import symloss as sl
from symloss.analysis import SmoothingReport, label_smoothing
from symloss.analysis.report import VERDICTS
from symloss.errors import LossError
from symloss.expression.expression import Expression
from tests.strategies import expressions

COUNTS = (2, 3, 10, 100, 1000)
every_count = pytest.mark.parametrize("count", COUNTS)
PLANTED = [(0.01, 1.0), (0.1, 0.37), (0.4, 5.0)]
planted = pytest.mark.parametrize(("smoothing", "scale"), PLANTED)


def optimum(smoothing: float, count: int) -> float:
    return 1 - smoothing * (count - 1) / count


def dense(smoothing: float, count: int, scale: float = 1.0) -> str:
    return f"-{scale!r}*({1 - smoothing!r}*y + {smoothing / count!r})*log(f)"


def sparse(smoothing: float, count: int, scale: float = 1.0) -> str:
    a = optimum(smoothing, count)
    return f"-{scale!r}*y*({a!r}*log(f) + {1 - a!r}*log(1 - f))"


def scaled(loss: Callable[..., Tensor], scale: float) -> Callable[..., Tensor]:
    return lambda z, y: scale * loss(z, y)


def assert_smoothing(report: SmoothingReport, verdict: str, smoothing: float, rel: float = 1e-6) -> None:
    assert report.verdict == verdict
    assert report.smoothing == pytest.approx(smoothing, rel=rel)
    assert report.attractors == (pytest.approx(optimum(smoothing, report.classes), rel=1e-9),)
    assert report.family == "smoothing"


class TestPlanted:
    @pytest.mark.parametrize(
        ("smoothing", "scale", "count"),
        [(0.1, 0.37, 2), (0.01, 1.0, 3), (0.1, 0.37, 10), (0.4, 5.0, 100), (0.1, 2.0, 1000)],
    )
    def test_label_smoothing_as_a_formula(self, smoothing: float, scale: float, count: int) -> None:
        report = label_smoothing(dense(smoothing, count, scale), count, seconds=60)
        assert_smoothing(report, "exact", smoothing)
        assert report.proof == "algebra"
        assert report.scale == pytest.approx(scale, rel=1e-9)
        assert not report.target_only
        assert report.gap_max is not None
        assert report.gap_max < 1e-12
        assert report.null_gradient == pytest.approx(scale * (1 / count - optimum(smoothing, count)))
        assert report.limit_gradient == pytest.approx(scale * (1 - optimum(smoothing, count)))
        assert f"ξ = {smoothing:g}" in report.statement

    @every_count
    @planted
    def test_label_smoothing_of_torch(self, smoothing: float, scale: float, count: int) -> None:
        for reduction in ("mean", "sum"):
            for make in (sl.LabelSmoothing, lambda xi, **options: nn.CrossEntropyLoss(label_smoothing=xi, **options)):
                report = label_smoothing(scaled(make(smoothing, reduction=reduction), scale), count)
                assert_smoothing(report, "exact", smoothing)
            assert report.proof == "measurement"
            assert report.scale == pytest.approx(scale, rel=1e-9)
            assert report.limit_gradient == pytest.approx(scale * (1 - optimum(smoothing, count)), rel=1e-6)
            assert not report.target_only

    @every_count
    @planted
    def test_sparse_label_smoothing(self, smoothing: float, scale: float, count: int) -> None:
        """Equal for two classes; otherwise equal only where the wrong classes are."""
        for loss in (scaled(sl.SparseLabelSmoothing(smoothing), scale), sparse(smoothing, count, scale)):
            report = label_smoothing(loss, count, seconds=60.0 * (count == 2))
            assert_smoothing(report, "exact" if count == 2 else "same optimum", smoothing)
            assert report.target_only
            assert report.scale == pytest.approx(scale, rel=1e-9)
            assert report.gap_on_slice == pytest.approx(0, abs=1e-9)
            if count > 2:
                assert report.gap_max is not None
                assert report.gap_max > 0.1 * (1 - optimum(smoothing, count))
                assert "Where wrong classes are alike its gradient is that of label smoothing" in report.notes[0]

    @every_count
    @pytest.mark.parametrize(("phi0", "phi1"), [(1.0, 1.001), (0.3, 1.1), (7.0, 1.7)])
    def test_absolute_cross_entropy(self, phi0: float, phi1: float, count: int) -> None:
        report = label_smoothing(f"{phi0!r}*abs(log({phi1!r}*y*f))", count, seconds=0)
        assert_smoothing(report, "same optimum", (1 - 1 / phi1) * count / (count - 1))
        assert report.target_only
        assert report.null_gradient == pytest.approx(-phi0 * (1 - 1 / count))
        assert report.limit_gradient == pytest.approx(0, abs=1e-9)
        assert f"Up to p* it is {phi0:g} × cross-entropy, beyond it exactly the negative of that" in report.notes[0]
        assert "only a learning rate" in report.notes[0]
        assert "chatters" in report.notes[-1]
        assert "not label smoothing" in report.statement

    @every_count
    @pytest.mark.parametrize("phi1", [0.4, 1.0])
    def test_absolute_cross_entropy_without_regularisation(self, phi1: float, count: int) -> None:
        report = label_smoothing(f"abs(log({phi1!r}*y*f))", count, seconds=0)
        assert (report.verdict, report.smoothing, report.attractors) == ("none", None, ())
        assert report.family == "cross-entropy-like"
        assert "is 1 × cross-entropy" in report.statement

    @every_count
    @pytest.mark.parametrize(
        ("loss", "family", "alone"),
        [
            ("-0.3*y*log(f)", "cross-entropy-like", True),
            (nn.CrossEntropyLoss(), "cross-entropy-like", True),
            ("focal", "focal-like", True),
            ("-y*pow(1 - f, 0.5)*log(f)", "focal-like", True),
            ("2.0*square(y - f)", "squared", False),
            ("generalised-cross-entropy", None, True),
            ("truediv(y*(1 - pow(f, 0.1)), 0.1)", "cross-entropy-like", True),
            ("max(y*(0.999 - f), 0*f)", "hinge-like", True),
            ("y*log(f)", "unconventional", True),
            ("mae", None, False),
        ],
    )
    def test_losses_without_smoothing(self, loss: Any, family: str | None, alone: bool, count: int) -> None:
        report = label_smoothing(loss, count, kind="multiclass", seconds=0)
        assert (report.verdict, report.smoothing, report.attractors) == ("none", None, ())
        assert report.proof is None
        assert report.target_only == alone or count == 2
        if family and not (count == 1000 and loss == "truediv(y*(1 - pow(f, 0.1)), 0.1)"):
            assert report.family == family

    def test_nearly(self) -> None:
        report = label_smoothing(f"{dense(0.1, 10)} + 0.002*square(y - f)", seconds=0)
        assert report.verdict == "approximate"
        assert report.gap_max is not None
        assert 0 < report.gap_max < 0.01
        assert report.smoothing == pytest.approx(0.1, rel=1e-2)
        assert "nearly" in report.statement

    def test_without_time_for_a_proof_it_is_not_exact(self) -> None:
        assert label_smoothing(dense(0.1, 10), seconds=0).verdict == "approximate"

    @given(st.floats(1e-3, 0.9), st.floats(0.01, 100), st.sampled_from(COUNTS), st.floats(-5, 5))
    @settings(max_examples=20)
    def test_any_strength(self, smoothing: float, scale: float, count: int, shift: float) -> None:
        """A constant times Σ f = 1 changes nothing."""
        report = label_smoothing(f"{dense(smoothing, count, scale)} + {shift!r}*f", count, seconds=0)
        assert report.smoothing == pytest.approx(smoothing, rel=1e-6)
        assert report.scale == pytest.approx(scale, rel=1e-6)
        assert report.verdict == "approximate"
        assert report.gap_max == pytest.approx(0, abs=1e-9)


class TestTrueStatements:
    def test_several_attractors(self) -> None:
        """Two kinks that attract, one that repels: |p − 0.4| and |p − 0.8|, lowest of both."""
        report = label_smoothing("y*min(abs(f - 0.4), abs(f - 0.8))", seconds=0)
        assert report.verdict == "none"
        assert report.attractors == (pytest.approx(0.4), pytest.approx(0.8))
        assert report.repellers == (pytest.approx(0.6),)
        assert (
            "raises p up to 0.4, lowers p up to 0.6, raises p up to 0.8 and lowers p from there to 1"
            in report.statement
        )
        assert "depends on where it starts" in report.notes[0]

    def test_two_kinks_close_together(self) -> None:
        """A dip that a grid would step over."""
        report = label_smoothing("y*(abs(f - 0.5) - abs(f - 0.500001) - 0.1*f) - 0.1*y*log(f)", seconds=0)
        assert report.attractors == (pytest.approx(0.5, abs=1e-12),)
        assert report.repellers == (pytest.approx(0.500001, abs=1e-12),)

    def test_a_gradient_that_touches_zero(self) -> None:
        """(p − 0.5)³ has a point of rest that attracts nobody."""
        for loss in ("y*(f - 0.5)*square(f - 0.5)", "-y*(f - 0.5)*square(f - 0.5)"):
            report = label_smoothing(loss, seconds=0)
            assert report.attractors == report.repellers == ()

    @pytest.mark.parametrize("depth", [1e-3, 1e-6, 1e-9])
    def test_a_gradient_that_crosses_zero_twice_nearby(self, depth: float) -> None:
        """g ∝ −((p − a)² − depth): an attractor and a repeller, far nearer to each other than any grid."""
        a = 0.6180339
        cubic = f"(f - {a})*square(f - {a})*0.3333333333333333 - {depth!r}*f"
        report = label_smoothing(f"-y*({cubic})", seconds=0)
        assert report.attractors == (pytest.approx(a - math.sqrt(depth), abs=1e-7),)
        assert report.repellers == (pytest.approx(a + math.sqrt(depth), abs=1e-7),)
        assert report.smoothing is None

    def test_a_plateau_to_rest_on(self) -> None:
        report = label_smoothing("y*max(max(0.4 - f, f - 0.7), 0*f)", seconds=0)
        assert (report.verdict, report.attractors) == ("none", ())
        assert report.plateaus == ((pytest.approx(0.4), pytest.approx(0.7)),)
        assert "raises p up to 0.4, leaves p alone up to 0.7 and lowers p from there to 1" in report.statement

    def test_a_plateau_on_the_way_is_no_equivalence(self) -> None:
        report = label_smoothing("y*(max(0.3 - f, 0*f) + 0.5*abs(max(f, 0.6) - 0.9))", seconds=0)
        assert len(report.attractors) == 1
        assert report.smoothing is None

    def test_a_cusp(self) -> None:
        """√|log(1.3 p)|: the gradient is infinite on either side of p*, and protected in between."""
        report = label_smoothing("sqrt(log(1.3*y*f))", seconds=0)
        assert_smoothing(report, "same optimum", (1 - 1 / 1.3) * 10 / 9)

    @pytest.mark.parametrize(
        ("loss", "said"),
        [
            ("y*log(f)", "it lowers p everywhere"),
            ("sign(f)*y", "it leaves p alone everywhere"),
            ("focal", "it raises p everywhere"),
            ("-y*log(f) + y*exp(exp(exp(9.0*f)))", "has no finite gradient between"),
            ("y*square(f - 0.5)*-1.0", "lowers p up to 0.5 and raises p from there to 1"),
        ],
    )
    def test_in_words(self, loss: str, said: str) -> None:
        report = label_smoothing(loss, seconds=0)
        assert (report.verdict, report.smoothing) == ("none", None)
        assert said in report.statement

    def test_unbounded(self) -> None:
        report = label_smoothing("y*log(1 - f)")
        assert report.limit_gradient == pytest.approx(-1)
        assert "no minimum there" in report.notes[0]

    def test_where_protection_begins(self) -> None:
        """LSR as a formula: beyond p = 1 − 1e-7 (C − 1) the logarithms of the wrong classes are flat."""
        report = label_smoothing(dense(0.1, 1000), 1000)
        assert report.verdict == "exact"
        assert report.repellers == (pytest.approx(1 - 999e-7),)
        assert "1e−7" in report.notes[-1]

    def test_only_what_the_loss_does_counts(self) -> None:
        """So weak a smoothing of so many classes is all protected: the formula never rests."""
        report = label_smoothing(dense(5e-5, 1000), 1000, seconds=0)
        assert report.smoothing is None
        assert label_smoothing(nn.CrossEntropyLoss(label_smoothing=5e-5), 1000).smoothing == pytest.approx(
            5e-5, rel=1e-6
        )

    def test_many_classes(self) -> None:
        report = label_smoothing("abs(log(1.1*y*f))", 1_000_000, seconds=0)
        assert report.smoothing == pytest.approx((1 - 1 / 1.1) * 1e6 / (1e6 - 1), rel=1e-6)
        report = label_smoothing(nn.CrossEntropyLoss(label_smoothing=0.1), 5000)
        assert_smoothing(report, "exact", 0.1)

    def test_where_protection_begins_is_no_optimum(self) -> None:
        """Σ log f raises p everywhere, but for the protection of the wrong classes' logarithms."""
        for count in (2, 10, 1000):
            for loss in ("log(f)", "log(0.5*f)"):
                assert label_smoothing(loss, count, seconds=0).smoothing is None

    def test_a_gradient_that_fades_slowly_has_the_limit_zero(self) -> None:
        for loss in (lambda z, y: F.cross_entropy(0.5 * z, y), "y*sqrt(1 - f)"):
            for count in (2, 10, 1000):
                report = label_smoothing(loss, count, seconds=0)
                assert abs(report.limit_gradient) < 1e-4 or count == 1000
                assert not any("still pulls" in note for note in report.notes)

    def test_weak_smoothing_is_told_from_its_sparse_form(self) -> None:
        for smoothing in (1e-9, 1e-7, 1e-4):
            assert label_smoothing(sl.SparseLabelSmoothing(smoothing), 10).verdict == "same optimum"
            report = label_smoothing(sl.LabelSmoothing(smoothing), 10)
            assert report.verdict == "exact"
            assert not report.target_only


class TestBinary:
    @planted
    def test_label_smoothing(self, smoothing: float, scale: float) -> None:
        a = optimum(smoothing, 2)
        formula = f"-{scale!r}*(y*{2 * a - 1!r} + {1 - a!r})*log(f) - {scale!r}*({a!r} - {2 * a - 1!r}*y)*log(1 - f)"
        report = label_smoothing(formula, kind="binary")
        assert_smoothing(report, "exact", smoothing)
        assert (report.proof, report.classes, report.scale) == ("algebra", 2, pytest.approx(scale))

        def measured(z: Tensor, y: Tensor) -> Tensor:
            return scale * F.binary_cross_entropy_with_logits(z, y * (1 - smoothing) + smoothing / 2)

        assert_smoothing(label_smoothing(measured, kind="binary"), "exact", smoothing)

    def test_named_losses(self) -> None:
        assert_smoothing(label_smoothing(sl.losses.get("lsr", "binary", smoothing=0.3)), "exact", 0.3)
        report = label_smoothing(sl.losses.get("ace", "binary", phi1=1.25), seconds=0)
        assert_smoothing(report, "same optimum", 0.4)
        assert report.statement.startswith("This binary loss has the optimum of label smoothing with ξ = 0.4")
        assert label_smoothing("cross-entropy", kind="binary", seconds=0).family == "cross-entropy-like"
        assert label_smoothing("mse", kind="binary", seconds=0).family == "squared"

    def test_labels_that_differ(self) -> None:
        report = label_smoothing("abs(log(1.1*y*f))", kind="binary", seconds=0)
        assert report.verdict == "none"
        assert "for label 1 it raises p up to 0.909091" in report.statement
        assert "for label 0 it leaves p alone everywhere" in report.statement
        two = "abs(log(1.1*y*f)) + abs(log(1.2*(1 - y)*(1 - f)))"
        report = label_smoothing(two, kind="binary", seconds=0)
        assert (report.smoothing, len(report.attractors)) == (None, 2)


class TestMeasured:
    """Functions without a formula."""

    def test_the_modules_themselves(self) -> None:
        for module, verdict in ((sl.LabelSmoothing(0.2), "exact"), (sl.SparseLabelSmoothing(0.2), "same optimum")):
            report = label_smoothing(module, 6)
            assert_smoothing(report, verdict, 0.2)
            assert report.loss == type(module).__name__
        report = label_smoothing(sl.AbsoluteCrossEntropy(2.0, 1.25), 5, seconds=0)
        assert_smoothing(report, "same optimum", 0.25)

    def test_as_formulas(self) -> None:
        for name in ("focal", "mse", "ace", "baikal", "confidence-penalty"):
            module = sl.losses.get(name, "multiclass")
            formula = label_smoothing(module, 5, seconds=0)
            measured = label_smoothing(lambda z, y, module=module: module(z, y), 5)
            assert formula.verdict == measured.verdict
            assert formula.family == measured.family
            assert formula.target_only == measured.target_only
            assert measured.attractors == tuple(pytest.approx(p, rel=1e-9) for p in formula.attractors)
            assert measured.gap_max == pytest.approx(formula.gap_max, rel=1e-6)
            assert measured.derivation is None

    def test_in_float32(self) -> None:
        """Rounding must not look like attractors."""
        report = label_smoothing(lambda z, y: F.cross_entropy(z.float(), y, label_smoothing=0.1))
        assert report.smoothing == pytest.approx(0.1, rel=1e-5)
        assert label_smoothing(lambda z, y: F.cross_entropy(z.float(), y)).attractors == ()

    @pytest.mark.parametrize("loss", ["focal", "-y*pow(1 - f, 5.0)*log(f)", "-1.0*y*tanh(60.0*f)"])
    def test_what_fades_is_no_plateau(self, loss: str) -> None:
        """As p → 1 the gradient is lost in rounding, but it never is zero."""
        module = sl.SymbolicLoss(sl.losses.get("focal").expression if loss == "focal" else loss)
        for what in (module, lambda z, y: module(z, y)):
            report = label_smoothing(what, seconds=0)
            assert report.plateaus == ()
            assert report.family == "focal-like"
            assert "raises p everywhere" in report.statement

    def test_margin_losses(self) -> None:
        report = label_smoothing(nn.MultiMarginLoss())
        assert (report.verdict, report.family) == ("none", "hinge-like")

    @pytest.mark.parametrize(
        ("loss", "said"),
        [
            (
                nn.CrossEntropyLoss(weight=torch.arange(1.0, 11, dtype=torch.float64), label_smoothing=0.1),
                "differently",
            ),
            (nn.CrossEntropyLoss(weight=torch.arange(1.0, 11, dtype=torch.float64)), "differently"),
            (sl.SparseLabelSmoothing(0.1, weight=torch.tensor([2.0, *[1.0] * 9])), "without weight"),
            (lambda z, y: z.square().mean(), "constant added to all logits"),
            (lambda z, y: F.cross_entropy(z, y) * F.cross_entropy(z, y), "mixes the samples"),
            (lambda z: z, "cannot be measured on logits"),
            (lambda z, y: 3.0, "cannot be measured"),
        ],
    )
    def test_what_has_no_slice(self, loss: Any, said: str) -> None:
        with pytest.raises(LossError, match=said) as caught:
            label_smoothing(loss)
        assert "\n" not in str(caught.value)


class TestArguments:
    @pytest.mark.parametrize(
        ("loss", "options", "said"),
        [
            ("focall", {}, "did you mean 'focal'"),
            ("focal", {"classes": 1}, "classes is a whole number from 2"),
            ("focal", {"classes": 10.0}, "classes is a whole number"),
            ("focal", {"classes": 10**7}, "to 1000000"),
            ("huber", {"kind": "regression"}, "kind 'multiclass' or 'binary'"),
            (sl.SymbolicLoss("square(y - f)", "regression"), {}, "received 'regression'"),
            (3, {}, "a loss is a name"),
        ],
    )
    def test_errors(self, loss: Any, options: dict[str, Any], said: str) -> None:
        with pytest.raises(LossError, match=said):
            label_smoothing(loss, **options)

    def test_whatever_means_a_loss(self, tmp_path: Any) -> None:
        formula = "abs(log(1.1*y*f))"
        sl.SymbolicLoss(formula).save(tmp_path / "best.json")
        for loss in (formula, sl.parse(formula), sl.SymbolicLoss(formula), tmp_path / "best.json", tmp_path):
            assert label_smoothing(loss, seconds=0).smoothing == pytest.approx(10 / 99)

    def test_the_same_every_time(self) -> None:
        first, second = (label_smoothing("confidence-penalty", 7, seconds=0) for _ in range(2))
        assert str(first) == str(second)


def scan(expression: Expression, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The oracle: g from torch's automatic differentiation of the module, at 4001 margins."""
    margin = torch.linspace(-math.log(count - 1), 16.0, 4001, dtype=torch.float64)
    z = torch.zeros(len(margin), count, dtype=torch.float64)
    z[:, 0] = margin + math.log(count - 1)
    z.requires_grad_()
    loss = sl.SymbolicLoss(expression, reduction="sum")(z, torch.zeros(len(margin), dtype=torch.int64))
    return margin.numpy(), torch.autograd.grad(loss, z)[0][:, 0].numpy()


@given(expressions(), st.sampled_from([2, 3, 10]))
@settings(max_examples=120)
def test_random_losses_against_a_dense_scan(expression: Expression, count: int) -> None:
    assert_as_scanned(expression, count)


@pytest.mark.slow
@given(expressions(max_depth=7), st.sampled_from([2, 3, 10, 100]))
@settings(max_examples=1500)
def test_many_random_losses(expression: Expression, count: int) -> None:
    assert_as_scanned(expression, count)


def assert_as_scanned(expression: Expression, count: int) -> None:
    if "f" not in expression.variables:
        return
    report = label_smoothing(expression, count, seconds=0)
    assert report.verdict in VERDICTS
    margin, g = scan(expression, count)
    part = report.slices[0]
    if not np.isfinite(g).all():
        assert report.smoothing is None or not np.isfinite(g[margin > 15]).all()
        return
    sure = np.abs(g) > 1e-8 * np.abs(g).max()
    if not sure.any():
        assert report.smoothing is None or np.abs(part.gradient).max() > 0
        return
    at, sign = margin[sure], np.sign(g[sure])
    turns = np.flatnonzero(sign[1:] > sign[:-1])
    for turn in turns:  # every attractor of the scan is an attractor, or a plateau, of the report
        low, high = at[turn] - 1e-9, at[turn + 1] + 1e-9
        flat = any(a <= high and b >= low for a, b in part.plateaus)
        assert flat or any(low <= rest <= high for rest in part.attractors)
    if report.smoothing is not None:  # and a ξ means that the scan is pulled up below p*, and pushed down above
        (rest,) = part.attractors
        last = math.log(1 / ((count - 1) * 1.01e-7) - 1)
        assert (sign[at < rest - 1e-6] < 0).all()
        assert (sign[(at > rest + 1e-6) & (at < last)] > 0).all()
        assert report.smoothing == pytest.approx(count / (count - 1) / (1 + math.exp(rest)), rel=1e-9)
