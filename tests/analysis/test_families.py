"""Families: what is equal up to scale and writing is together, what differs by more than the limit is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import symloss as sl
from symloss.analysis import families
from symloss.analysis.behaviour import distance, gradients, grid, known
from symloss.discovery.result import SearchResult
from symloss.discovery.runs import discover
from symloss.errors import LossError, ParseError, RunError
from symloss.expression.expression import Expression
from symloss.expression.tree import from_expression
from symloss.losses import get, names
from symloss.population.predictions import Kind
from tests.discovery.fakes import make_task
from tests.discovery.runs import SMALL
from tests.strategies import expressions

KINDS: tuple[Kind, ...] = ("multiclass", "binary", "regression")


# The gradients that are compared


@pytest.mark.parametrize("kind", KINDS)
def test_formulas_against_autograd(kind: Kind) -> None:
    """The module of a formula, differentiated by torch, has the gradient of the formula; and all have one."""
    modules = [get(name, kind) for name in names(kind)]
    modules = [module for module in modules if module.expression is not None]
    by_formula = gradients([module.expression for module in modules if module.expression is not None], kind)
    by_autograd = gradients(modules, kind)
    np.testing.assert_allclose(by_formula, by_autograd, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(np.abs(by_formula).sum(1), 1.0)


def test_closed_forms() -> None:
    """Cross-entropy f − y; squared error r; binary cross-entropy f − y."""
    for kind, name in (("multiclass", "cross-entropy"), ("binary", "cross-entropy"), ("regression", "squared-error")):
        at = grid(kind)  # type: ignore[arg-type]
        difference = (at.f - at.y).flatten().numpy()
        (row,) = gradients([get(name, kind)], kind)  # type: ignore[arg-type]
        np.testing.assert_allclose(row, difference / np.abs(difference).sum(), rtol=1e-9, atol=1e-12)


def test_distance_is_a_share() -> None:
    """0 for itself, 1 for the negative of itself; a metric between the known losses."""
    _, rows = known("multiclass")
    apart = distance(rows[:, None], rows)
    assert np.allclose(distance(rows, -rows), 1)
    assert np.allclose(apart, apart.T)
    assert (apart.diagonal() == 0).all()
    assert (apart[:, None, :] <= apart[:, :, None] + apart[None, :, :] + 1e-12).all()


@given(expressions(max_depth=4), st.sampled_from(KINDS), st.floats(-3, 3))
def test_scale_and_constant_do_not_matter(e: Expression, kind: Kind, exponent: float) -> None:
    scaled = from_expression(e).scaled(10**exponent).expression()
    shifted = sl.parse(f"{scaled} - 3.0")
    rows = gradients([e, scaled, shifted], kind)
    assume(np.isfinite(rows).all())
    for row in rows[1:]:
        assert distance(rows[0], row) < 1e-6


@settings(max_examples=25)
@given(expressions(max_depth=3, max_size=12), st.sampled_from(KINDS))
def test_rewriting_does_not_matter(part: Expression, kind: Kind) -> None:
    """Each formula is in one family with its own simplification and with longer ways to write it."""
    e = sl.parse(f"{part} - 0.3*(y*f)")
    rewritten = [e, e.simplify(seconds=1.0), sl.parse(f"0.25*({e}) + 0.75*({e})"), sl.parse(f"2.0*(0.5*({e}) + 0.0*y)")]
    rows = gradients(rewritten, kind)
    assume(np.isfinite(rows[0]).all())
    report = families([*rewritten, "cross-entropy" if kind != "regression" else "squared-error"], kind, 1e-5)
    together = next(f for f in report.families if any(m.expression == e for m in f.members))
    assert {str(m.expression) for m in together.members} >= {str(one) for one in rewritten}
    assert together.spread < 1e-5
    assert not report.left_out


# The families


def test_what_is_alike_is_together() -> None:
    report = families(["-y*log(f)", "abs(log(f))*y*7.0", "square(y - f)", "f*f - 2.0*y*f", "focal"], distance=0.01)
    groups = [{m.formula for m in f.members} for f in report.families]
    assert [sorted(group) for group in groups if "square(y - f)" in group] == [["f*f - 2.0*y*f", "square(y - f)"]]
    assert sorted(map(len, groups)) == [1, 2, 2]
    assert {f.name for f in report.families} == {"cross-entropy", "squared-error", "focal, gamma 2"}
    assert [f.nearest_distance for f in report.families] == pytest.approx([0.0] * 3, abs=1e-8)


def test_a_gradient_of_rounding_is_none() -> None:
    """The probabilities sum to 1, whatever the logits are."""
    (member,) = families(["f", "-y*log(f)"]).left_out
    assert member.formula == "f"


@pytest.mark.parametrize("kind", KINDS)
def test_every_known_loss_has_its_own_name(kind: Kind) -> None:
    report = families(names(kind), kind, 0.0)
    for family in report.families:
        assert family.name is not None
        assert any(family.name.startswith(str(m.label)) for m in family.members)
    assert len(report.members) + len(report.left_out) == len(names(kind))


@pytest.mark.parametrize("limit", [0.0, 0.03, 0.1, 0.5, 1.0])
def test_no_two_members_are_further_apart(limit: float) -> None:
    report = families(names("multiclass"), distance=limit)
    for family in report.families:
        apart = distance(family.gradients[:, None], family.gradients)
        assert family.spread == pytest.approx(apart.max(), abs=1e-8)
        assert family.spread <= limit + 1e-6
        assert apart.mean(1).argmin() == 0
    assert sum(len(f.members) for f in report.families) == len(names("multiclass"))
    assert (len(report.families) == 1) == (limit == 1.0)


def test_the_order_does_not_matter() -> None:
    given = [*names("multiclass"), "-y*log(f)", "square(f - y)*4.0", "tanh(y*f)", "y*f - sqrt(f)"]
    mixed = np.random.default_rng(0).permutation(given).tolist()
    one, other = families(given), families(mixed)
    assert one == other
    assert str(one) == str(families(given))


def test_the_representative_of_equals_is_the_shortest() -> None:
    (family,) = families(["y*log(f)*-1.0 + 0.0*f", "-y*log(f)", "0.5*y*log(f) - 1.5*y*log(f)"]).families
    assert family.representative.expression == sl.parse("-y*log(f)")


def test_modules_without_a_formula() -> None:
    report = families({"torch": nn.CrossEntropyLoss(label_smoothing=0.2), "own": sl.LabelSmoothing(0.2)})
    (family,) = report.families
    assert family.name == "label-smoothing, smoothing 0.2"
    assert {m.label for m in family.members} == {"torch", "own"}
    assert family.representative.nodes == 0
    assert report.primitives == ()


def test_unknown_losses_have_no_name() -> None:
    (family,) = families(["sqrt(f)*tanh(3.0*y) + f"]).families
    assert family.name is None
    assert family.nearest_distance > 0.05
    assert family.title.startswith(f"nearest {family.nearest} (0.")


def test_left_out() -> None:
    report = families({"flat": "sign(f)*y", "huge": "exp(exp(exp(8.0*f)))*y + f", "fine": "-y*log(f)"})
    assert {m.label for m in report.left_out} == {"flat", "huge"}
    assert [m.label for m in report.members] == ["fine"]
    assert "left out, since they have no finite gradient on the whole grid: 2" in str(report)
    with pytest.raises(LossError, match="no family to draw"):
        families("sign(f)*y").figure()


# Runs


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, Path]:
    """A run and its directory."""
    directory = tmp_path_factory.mktemp("whole") / "run"
    return discover(make_task(), out=directory, **SMALL), directory


def test_runs(whole: tuple[SearchResult, Path]) -> None:
    result, directory = whole
    evaluated = [c for c in result.candidates if c.stage == "evaluated"]
    report = families(directory)
    assert report.kind == "regression"
    assert {(m.fitness, m.formula) for m in (*report.members, *report.left_out)} == {
        (c.fitness, str(c.expression)) for c in evaluated
    }
    assert report.families == families(replace(result, directory=Path(directory))).families
    both = families([directory, result, "huber"])
    assert len(both.members) == 2 * len(report.members) + 1
    assert len({s for f in both.families for s in f.sources}) <= 2
    named = families({"a": directory, "b": result})
    assert {s for f in named.families for s in f.sources} == {"a", "b"}
    assert "runs" in str(named)
    assert "best fitness" in str(report)
    family = report.families[0]
    assert family.best_fitness == min(m.fitness for m in family.members if m.fitness is not None)


def test_primitives() -> None:
    report = families(["-y*log(f)", "square(y - f)", "abs(y - f)*log(f)"], distance=0.0)
    shares = dict(report.primitives)
    assert shares["log"] == shares["mul"] == pytest.approx(2 / 3)
    assert shares["square"] == shares["abs"] == pytest.approx(1 / 3)
    assert next(iter(shares.values())) == max(shares.values())


# Forms and errors


def test_it_prints() -> None:
    text = str(families(["-y*log(f)", "abs(log(f))*y", "square(y - f)"]))
    lines = text.splitlines()
    assert lines[0].startswith("3 multiclass losses in 2 families, 2 of them known")
    assert lines[2].split() == ["losses", "spread", "known", "loss", "representative"]
    assert lines[3].split()[:3] == ["2", "0.000", "cross-entropy"]
    many = families([f"y*log(f + {k / 3!r})" for k in range(1, 40)], distance=0.0)
    assert "... and 19 more with 19 losses" in str(many)


def test_dataframe() -> None:
    pytest.importorskip("pandas")
    report = families(["-y*log(f)", "abs(log(f))*y", "square(y - f)", "sign(f)*y"])
    table = report.to_dataframe()
    assert table["family"].tolist()[:3] == [1, 1, 2]
    assert table["family"].isna().tolist() == [False, False, False, True]
    assert table["representative"].sum() == 2


class Failing(nn.Module):
    kind = "binary"

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        return torch.ones(())


@pytest.mark.parametrize(
    ("losses", "options", "error", "said"),
    [
        ([], {}, LossError, "there is no loss to group"),
        ("focal", {"distance": 2}, LossError, "distance is a number from 0 to 1"),
        ("focal", {"kind": "ternary"}, LossError, "kind must be one of"),
        (["huber"], {}, LossError, "huber is for regression"),
        (["log(("], {}, ParseError, "the text ends where"),
        ([3], {}, LossError, "a loss is a name"),
        ([Failing(), sl.LabelSmoothing()], {}, LossError, "wanted 'binary'"),
        ([Failing()], {}, LossError, "Failing has no gradient at the outputs"),
    ],
)
def test_errors(losses: object, options: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        families(losses, **options)  # type: ignore[arg-type]


def test_other_kinds_and_damaged_runs(whole: tuple[SearchResult, Path], tmp_path: Path) -> None:
    result, _ = whole
    with pytest.raises(LossError, match="is a search of kind 'regression', the others are 'binary'"):
        families(result, "binary")
    with pytest.raises(RunError):
        families(tmp_path)


def test_one_loss_is_told_in_the_singular() -> None:
    assert str(families("focal")).startswith("1 multiclass loss in 1 family, 1 of them known")
    assert str(families(["focal", "cross-entropy"])).startswith("2 multiclass losses in 1 family")
