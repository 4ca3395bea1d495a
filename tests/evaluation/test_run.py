from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from symloss.discovery.executor import Executor
from symloss.errors import EvaluationError, LossError, ParseError, SearchError, TaskError
from symloss.evaluation import Evaluation, evaluate, fit
from symloss.losses import SymbolicLoss, get
from symloss.tasks import Task
from tests.evaluation.helpers import make_task
from tests.population import problems
from tests.population.zoo import ZOO

RATES = tuple(10 ** (k / 2) / 100 for k in range(6))  # 0.01 to 3.2
QUICK: dict[str, Any] = {"seeds": 4, "tuning_seeds": 2, "steps": 40, "batch_size": 20, "rates": RATES}


class Explosive(nn.Module):
    """Drives every output to infinity."""

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        return -outputs.square().square().sum()


def numbers(evaluation: Evaluation, name: str) -> tuple[object, ...]:
    row = evaluation[name]
    return row.learning_rate, row.values, row.tuning, row.score, row.difference


# What it concludes


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_a_scaled_task_loss_is_not_distinguishable_from_the_tuned_one(kind: str) -> None:
    """Its factor √10 is one step of the grid, so that it does the same one learning rate lower."""
    c = 10**0.5
    formula = {
        "multiclass": f"-{c!r}*y*log(f)",
        "binary": f"-{c!r}*y*log(f) - {c!r}*(1 - y)*log(1 - f)",
        "regression": f"{c!r}*square(y - f)",
    }[kind]
    found = evaluate(make_task(kind), {"scaled": formula}, **QUICK)
    scaled, reference = found["scaled"], next(row for row in found.rows if row.role == "tuned reference")
    for mine, theirs in zip(scaled.tuning, reference.tuning, strict=True):
        assert mine[:-1] == pytest.approx(theirs[1:], rel=1e-9)
    assert scaled.learning_rate * c == pytest.approx(reference.learning_rate)
    assert scaled.values == pytest.approx(reference.values, rel=1e-9)
    assert scaled.verdict == "not distinguishable"
    assert scaled.untuned_verdict == reference.untuned_verdict == "better"
    assert "not distinguishable from tuned" in found.verdicts["scaled"]
    assert "but so is" in found.verdicts["scaled"]


def test_a_loss_of_the_wrong_sign_is_worse() -> None:
    found = evaluate(make_task(), {"broken": "y*log(f)"}, **QUICK)
    assert found["broken"].verdict == found["broken"].untuned_verdict == "worse"
    assert found["broken"].difference.low > 0.2
    assert found["broken"].at_edge
    assert found.verdicts["broken"].startswith("worse than tuned cross-entropy: error rate higher by ")


def test_a_loss_that_suits_the_noise_is_better() -> None:
    """One training target in ten is off by fifty: the absolute error does not mind."""
    task = make_task("regression")
    task.train.y[::10] += 50
    found = evaluate(task, {"absolute": "abs(y - f)"}, **{**QUICK, "steps": 150})
    assert found["absolute"].verdict == "better"
    assert found["absolute"].difference.high < 0
    assert found.verdicts["absolute"].startswith("better than tuned mean squared error: mean squared error lower by ")


def test_the_module_path_gives_what_the_engine_gives() -> None:
    class Same(SymbolicLoss):
        """Not recognised as a formula, so that autograd has to do it."""

    formula = "abs(log(1.1*y*f)) + 0.1*square(y - f)"
    found = evaluate(make_task(), {"engine": formula, "module": Same(formula)}, **QUICK)
    engine, module = found["engine"], found["module"]
    assert engine.learning_rate == module.learning_rate
    np.testing.assert_allclose(engine.tuning, module.tuning, rtol=1e-9)
    assert engine.values == pytest.approx(module.values, rel=1e-9)


# Tuning and pairing


def test_each_reported_value_is_that_of_a_model_trained_by_torchs_own_sgd() -> None:
    for kind, options in (("multiclass", {"momentum": 0.9, "nesterov": True}), ("soft", {"weight_decay": 0.01})):
        task = make_task(kind, batch_norm=kind == "soft")
        found = evaluate(task, {"found": "abs(log(1.1*y*f))"}, **{**QUICK, **options, "rates": RATES[:3]})
        assert task.test is not None
        for row in found.rows:
            loss = row.formula if row.role == "loss" else "cross-entropy"
            for seed, value in zip(found.protocol.reported_seeds, row.values, strict=True):
                model = fit(
                    task, loss, seed=seed, steps=40, batch_size=20,
                    learning_rate=row.learning_rate, **options,
                )  # fmt: skip
                assert not model.training
                assert task.metric(model(task.test.x), task.test.y) == pytest.approx(value, abs=1e-12)


def test_the_rate_is_the_best_on_validation_data_and_the_differences_are_paired() -> None:
    found = evaluate(make_task("regression"), {"absolute": "abs(y - f)"}, **QUICK)
    reference = next(row for row in found.rows if row.role == "tuned reference")
    untuned = next(row for row in found.rows if row.role == "untuned reference")
    for row in (found["absolute"], reference):
        means = np.where(np.isfinite(row.tuning).all(0), np.mean(row.tuning, axis=0), np.inf)
        assert row.learning_rate == found.protocol.grid[int(means.argmin())]
        assert row.tuned
        assert row.difference.mean == pytest.approx(np.mean(np.subtract(row.values, reference.values)))
        assert row.to_untuned.mean == pytest.approx(np.mean(np.subtract(row.values, untuned.values)))
    assert untuned.learning_rate == 0.01
    assert not untuned.tuned
    assert reference.difference.mean == reference.difference.low == reference.difference.high == 0


def test_of_equally_good_rates_the_one_nearest_to_the_untuned_rate_is_taken() -> None:
    flat = SymbolicLoss("sign(y - f)")  # its gradient is zero: every rate gives the untrained model
    row = evaluate(make_task(), {"flat": flat}, **{**QUICK, "seeds": 2})["flat"]
    assert len({value for values in row.tuning for value in values}) <= 2
    assert row.learning_rate == 0.01
    assert row.at_edge  # of these rates it is the smallest


def test_losses_get_the_same_numbers_whatever_they_are_beside() -> None:
    alone = evaluate(make_task(double=False), {"a": "abs(log(1.1*y*f))"}, **QUICK)
    beside = evaluate(make_task(double=False), {"b": "label-smoothing", "a": "abs(log(1.1*y*f))"}, **QUICK)
    assert numbers(alone, "a") == numbers(beside, "a")
    fewer = evaluate(make_task(double=False), {"a": "abs(log(1.1*y*f))"}, **{**QUICK, "seeds": 2})
    assert fewer["a"].values == alone["a"].values[:2]


def test_same_seeds_give_the_same_evaluation_and_leave_no_trace() -> None:
    class Noisy(nn.Module):
        def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
            return nn.functional.cross_entropy(nn.functional.dropout(outputs, 0.3), target)

    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    seen: list[int] = []
    losses = {"noisy": Noisy(), "found": "-y*log(f)"}
    try:
        first, second = (
            evaluate(make_task(), losses, progress=lambda line: seen.append(torch.get_num_threads()), **QUICK)
            for _ in range(2)
        )
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert first == second
    assert first != evaluate(make_task(), losses, seed=1, **QUICK)
    assert set(seen) == {1}
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Executor, "patience", 60.0)  # so that the workers do have a part
    losses = {"found": "abs(log(1.1*y*f))", "smoothed": get("label-smoothing")}
    assert evaluate(make_task(), losses, n_jobs=2, **QUICK) == evaluate(make_task(), losses, **QUICK)


def test_signs_of_life_come_after_each_seed() -> None:
    lines: list[str] = []
    evaluate(make_task(), {"found": "-y*log(f)"}, progress=lines.append, **QUICK)
    assert len(lines) == 2 * 2 + 3 * 4
    assert lines[0].startswith("tuning found: 6 learning rates, seed 1 of 2 (")
    assert lines[4].startswith("training with found: learning rate ")
    assert not any("\n" in line for line in lines)


# Diverged seeds


def test_diverged_seeds_count_as_error_rate_one() -> None:
    found = evaluate(make_task(), {"explosive": Explosive()}, **{**QUICK, "rates": (1.0, 10.0)})
    row = found["explosive"]
    assert row.values == (math.inf,) * 4
    assert row.counted == (1.0,) * 4
    assert (row.diverged, row.score.mean, row.verdict) == (4, 1.0, "worse")
    assert "training diverged in 4 of 4 seeds" in found.verdicts["explosive"]
    assert "a diverged seed counts as the worst outcome, error rate 1.0000" in str(found)
    assert row.learning_rate == 1.0  # the nearest to the untuned rate, since all are equally bad


def test_diverged_seeds_count_as_the_worst_squared_error() -> None:
    task = make_task("regression")
    assert task.test is not None
    constant = (task.test.y - task.train.y.mean()).square().mean().item()
    found = evaluate(task, {"explosive": Explosive()}, **{**QUICK, "rates": (0.1, 1.0)})
    others = [value for row in found.rows for value in row.values if math.isfinite(value)]
    assert found["explosive"].counted == (pytest.approx(max(constant, *others)),) * 4
    assert found["explosive"].verdict == "worse"
    badly = evaluate(task, {"explosive": Explosive(), "slow": "1e-9*square(y - f)"}, **{**QUICK, "rates": (0.1, 1.0)})
    assert badly["explosive"].score.mean == max(badly["slow"].values)  # an untrained model is worse than a constant


def test_a_rate_at_which_no_seed_diverges_is_preferred() -> None:
    """The squared error diverges at the larger rates; its rate is never one of those."""
    found = evaluate(make_task("regression"), "mse", **{**QUICK, "rates": (0.001, 0.1, 100.0)})
    assert np.isinf([values[-1] for values in found.rows[0].tuning]).all()
    assert found.rows[0].learning_rate == 0.1
    assert found.rows[0].diverged == 0


# What it takes


def test_losses_in_every_form(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    SymbolicLoss("-2.0*y*log(f)").save(tmp_path / "run" / "best.json")
    losses = {
        "named": "focal", "formula": "-2.0*y*log(f)", "expression": SymbolicLoss("-2.0*y*log(f)").expression,
        "file": tmp_path / "run" / "best.json", "run": str(tmp_path / "run"), "module": nn.CrossEntropyLoss(),
    }  # fmt: skip
    found = evaluate(make_task(), losses, tune_lr=False, **{**QUICK, "seeds": 2})
    assert [row.name for row in found.rows] == [*losses, "tuned cross-entropy", "untuned cross-entropy"]
    assert found["formula"].values == found["expression"].values == found["file"].values == found["run"].values
    assert found["module"].values == pytest.approx(found["untuned cross-entropy"].values)
    assert not any(row.tuned for row in found.rows[:-2])
    assert found["tuned cross-entropy"].tuned


def test_losses_without_names_get_some() -> None:
    given = [nn.CrossEntropyLoss(), get("focal"), SymbolicLoss("-1.23456789*y*log(f)"), "y*f"]
    names = [row.name for row in evaluate(make_task(), given, tune_lr=False, **{**QUICK, "seeds": 2}).rows]
    assert names[:4] == ["CrossEntropyLoss", "focal", "-1.235*y*log(f)", "y*f"]
    assert evaluate(make_task(), "focal", **{**QUICK, "seeds": 2}).rows[0].name == "focal"


@pytest.mark.parametrize(("tune_lr", "role", "added"), [(True, "tuned", "untuned"), (False, "untuned", "tuned")])
def test_the_task_loss_among_the_losses_is_the_reference(tune_lr: bool, role: str, added: str) -> None:
    found = evaluate(make_task(), {"mine": "ce"}, tune_lr=tune_lr, **{**QUICK, "seeds": 2})
    assert [row.name for row in found.rows] == ["mine", f"{added} cross-entropy"]
    assert [row.role for row in found.rows] == [f"{role} reference", f"{added} reference"]
    assert found.verdicts == {}


@pytest.mark.parametrize(
    ("losses", "error", "says"),
    [
        ({}, LossError, "no loss to evaluate"),
        ([], LossError, "no loss to evaluate"),
        (["focal", "focal"], LossError, "two losses are called 'focal'"),
        ({"": "focal"}, LossError, "name of a loss"),
        ({"a\nb": "focal"}, LossError, "name of a loss"),
        ({3: "focal"}, LossError, "name of a loss"),
        ({"tuned cross-entropy": "focal"}, LossError, "another name"),
        ({"a": "crossentropy"}, LossError, "did you mean 'cross-entropy'"),
        ({"a": "huber"}, LossError, "huber is for regression"),
        ({"a": SymbolicLoss("square(y - f)", "regression")}, LossError, "of kind 'regression'; wanted 'multiclass'"),
        ({"a": "y*("}, ParseError, "the text ends"),
        ({"a": 7}, LossError, "received int"),
        (7, LossError, "received int"),
        ({"a": "nowhere/best.json"}, LossError, "nowhere"),
    ],
)
def test_unusable_losses_get_one_line(losses: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as caught:
        evaluate(make_task(), losses, **QUICK)
    assert "\n" not in str(caught.value)


def test_unusable_tasks_and_options_get_one_line() -> None:
    class Unsendable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stream = (number for number in range(3))

    with pytest.raises(TaskError, match="no test data"):
        evaluate(make_task(test=False), "focal")
    with pytest.raises(TaskError, match="received str"):
        evaluate("digits", "focal")  # type: ignore[arg-type]
    with pytest.raises(EvaluationError, match="seeds is a whole number"):
        evaluate(make_task(), "focal", seeds=0)
    with pytest.raises(SearchError, match="n_jobs"):
        evaluate(make_task(), "focal", n_jobs=0)
    with pytest.raises(EvaluationError, match="use n_jobs=1"):
        evaluate(make_task(), {"a": Unsendable()}, n_jobs=2)
    with pytest.raises(EvaluationError, match="diverged before step"):
        fit(make_task(), Explosive(), learning_rate=10.0)


# Any model


@pytest.mark.parametrize("name", ["FrozenLayer", "RandomAttribute", "SparseBag", "batch_norm", "CountsItsCalls"])
def test_fit_is_what_was_measured_for_any_model(name: str) -> None:
    task = any_model(ZOO[name])
    options: dict[str, Any] = {"momentum": 0.9, "weight_decay": 0.01, "batch_size": 20, "steps": 30}
    found = evaluate(
        task, {"a": "abs(log(1.1*y*f))"}, seeds=2, tune_lr=False, rates=(0.1, 0.2), tuning_seeds=1, **options
    )
    for seed, value in zip(found.protocol.reported_seeds, found["a"].values, strict=True):
        model = fit(task, "abs(log(1.1*y*f))", seed=seed, **options)
        assert task.test is not None
        with torch.no_grad():
            assert task.metric(model(task.test.x), task.test.y) == pytest.approx(value)


def test_a_model_that_fails_in_training_is_one_line() -> None:
    task = any_model(Grumpy)
    for call in (lambda: evaluate(task, "focal", **QUICK), lambda: fit(task, "focal")):
        with pytest.raises(TaskError, match="RuntimeError: not today") as caught:
            call()
        assert "\n" not in str(caught.value)


class Grumpy(ZOO["RandomFeatures"]):  # type: ignore[misc]
    """It evaluates, but does not train."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("not today\nor tomorrow")
        output: Tensor = super().forward(x)
        return output


def any_model(build: Any) -> Task:
    parts = [problems.task("multiclass"), problems.task("multiclass", samples=40)]
    splits = [parts[0].train, parts[0].valid, parts[1].valid]
    return Task(build, *splits).to(dtype=torch.float64)
