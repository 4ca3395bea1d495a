"""adapt: both phases and the controls, resuming, what is printed, mistakes."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parameters_to_vector

import symloss as sl
from symloss.errors import LossError, RunError, SearchError
from symloss.evaluation.training import fit
from symloss.losses.network import LossNetwork
from symloss.online import METHODS, Adaptation, AdaptiveLoss, AdaptSettings, ScaledTaskLoss, loss_network, run, shapes
from symloss.online.training import _FIRST_SEED, Training
from symloss.tasks.task import Task
from tests.evaluation.helpers import CLASSES, FEATURES, data, make_task

SMALL: dict[str, Any] = {"offline_steps": 6, "steps": 20, "batch_size": 16, "lr": 0.1, "tune_lr": False}


def small(task: Task | None = None, **options: Any) -> Adaptation:
    loss = options.pop("loss", None)
    return sl.adapt(task or make_task(), loss, **{**SMALL, **options})


def assert_same(a: Adaptation, b: Adaptation) -> None:
    """Bit for bit."""
    for one, other in ((a.model, b.model), (a.loss, b.loss)):
        mine, theirs = one.state_dict(), other.state_dict()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert a.records == b.records
    assert (a.metrics, a.learning_rate, a.online, a.offline) == (b.metrics, b.learning_rate, b.online, b.offline)
    assert [step for step, _ in a.snapshots] == [step for step, _ in b.snapshots]
    assert all(np.array_equal(x, y) for (_, x), (_, y) in zip(a.snapshots, b.snapshots, strict=True))
    assert np.array_equal(a.weights, b.weights)


class Dropping:
    """A perceptron with dropout and batch norm; pickles."""

    def __call__(self) -> nn.Module:
        return nn.Sequential(
            nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, CLASSES)
        )


def dropping() -> Task:
    train, valid, test = (data("multiclass", size, seed) for seed, size in enumerate((80, 50, 60)))
    return Task(Dropping(), train, valid, test, name="drops")


class TestRuns:
    @pytest.mark.parametrize("kind", ["multiclass", "soft", "binary", "regression"])
    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_on_every_kind(self, kind: str, method: str) -> None:
        lr = 0.01 if kind == "regression" else 0.1
        found = small(make_task(kind), method=method, meta_lr=1e-3, lr=lr)
        assert found.stopped == "all steps done"
        assert set(found.metrics) == {"training", "validation", "test"}
        assert all(math.isfinite(value) for value in found.metrics.values())
        assert found.online == 20
        assert found.offline == (6 if method in ("adalfl", "frozen") else 0)
        assert [record.step for record in found.records] == list(range(1, 21))
        assert [step for step, _ in found.snapshots][:2] == [0, 1]
        assert found.snapshots[-1][0] == 20
        adapted = not np.array_equal(found.snapshots[0][1], found.snapshots[-1][1])
        assert adapted == (method == "adalfl")
        assert (found.learning_rate != lr) == (method == "learned-rate")

    def test_a_seed_gives_one_result(self) -> None:
        first, again, other = small(dropping(), seed=3), small(dropping(), seed=3), small(dropping(), seed=4)
        assert_same(first, again)
        assert first.records != other.records

    def test_global_random_numbers_do_not_matter_and_stay(self) -> None:
        torch.manual_seed(1)
        first = small(dropping())
        drawn = torch.rand(1)
        torch.manual_seed(1)
        assert torch.equal(torch.rand(1), drawn)
        assert_same(first, small(dropping()))

    def test_the_task_loss_trains_as_an_evaluation_does(self) -> None:
        task = make_task()
        options: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}
        found = small(task, method="task-loss", seed=5, **options)
        model = fit(task, "cross-entropy", seed=5, steps=20, batch_size=16, learning_rate=0.1, **options)
        for mine, other in zip(found.model.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-12, atol=1e-12)

    def test_the_rate_of_the_task_loss_is_tuned(self) -> None:
        task = make_task()
        found = small(task, method="task-loss", tune_lr=True, lr=0.01)
        assert found.learning_rate == sl_tuned(task)
        assert "tuned rate" in str(found)

    def test_the_learned_rate_follows_its_derivative(self) -> None:
        """α ← α − η dL_task(θ − α g)/dα = α + η g·∇L_task(θ′), step by step."""
        task, meta_lr = make_task(), 0.01
        found = small(task, method="learned-rate", meta_lr=meta_lr, steps=5)
        training = Training(task, found.settings, nn.ParameterList([nn.Parameter(torch.zeros(1))]), 0.1)  # its batches
        model, rate = task.new_model(0), 0.1
        for number, record in enumerate(found.records):
            assert record.learning_rate == pytest.approx(rate, rel=1e-12)
            (x, y) = training._batch(task.train, number, 5, 0)
            valid_x, valid_y = training._batch(task.valid, number, 5, 3)
            g = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
            with torch.no_grad():
                for p, slope in zip(model.parameters(), g, strict=True):
                    p.sub_(rate * slope)
            v = torch.autograd.grad(F.cross_entropy(model(valid_x), valid_y), list(model.parameters()))
            rate += meta_lr * sum(float((a * b).sum()) for a, b in zip(g, v, strict=True))
        assert found.learning_rate == pytest.approx(rate, rel=1e-12)

    def test_the_offline_phase_teaches_one_step(self) -> None:
        """From weights that it never saw, one step under the taught loss lowers the task loss more than before."""
        task = make_task()
        taught = small(task, offline_steps=300, offline_horizon=1, steps=1, method="frozen", offline_lr=0.3).loss

        def after_one_step(loss: nn.Module) -> float:
            values = []
            for seed in range(50, 60):
                model = task.new_model(seed)
                sgd = torch.optim.SGD(model.parameters(), 0.3)
                AdaptiveLoss(loss, model, sgd).step(task.train.x, task.train.y)
                values.append(float(F.cross_entropy(model(task.valid.x), task.valid.y).detach()))
            return float(np.mean(values))

        assert after_one_step(taught) < 0.8 * after_one_step(loss_network("multiclass", CLASSES))

    @pytest.mark.parametrize(("horizon", "models"), [(1, 6), (4, 2), (20, 1)])
    def test_a_model_of_the_offline_phase_is_trained_for_its_horizon(
        self, horizon: int, models: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its second step starts from where the first ended."""
        starts, step = [], AdaptiveLoss.step

        def watched(self: AdaptiveLoss, *batch: Any, **options: Any) -> Any:
            starts.append(parameters_to_vector(self.model.parameters()).detach().clone())
            found = step(self, *batch, **options)
            ends.append(parameters_to_vector(self.model.parameters()).detach().clone())
            return found

        ends: list[torch.Tensor] = []
        monkeypatch.setattr(AdaptiveLoss, "step", watched)
        small(offline_horizon=horizon, steps=1)
        goes_on = [torch.equal(end, start) for end, start in zip(ends[:5], starts[1:6], strict=True)]
        assert goes_on == [number % horizon != 0 for number in range(1, 6)]
        assert sum(not one for one in goes_on) == models - 1

    def test_the_rate_of_the_offline_phase_is_that_of_the_model(self) -> None:
        assert AdaptSettings(lr=0.2).offline_rate == 0.2
        assert AdaptSettings(lr=0.2, momentum=0.9).offline_rate == pytest.approx(2.0)  # the same step in the long run
        assert AdaptSettings(lr=0.2, offline_lr=0.5).offline_rate == 0.5

    def test_a_model_that_diverges_offline_makes_way_for_the_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The loss goes on learning from fresh weights; what fails at once has no remedy."""
        step, tried = AdaptiveLoss.step, []

        def failing(self: AdaptiveLoss, *batch: Any, **options: Any) -> Any:
            tried.append(parameters_to_vector(self.model.parameters()).detach().clone())
            if len(tried) in fails:
                raise LossError("infinite")
            return step(self, *batch, **options)

        monkeypatch.setattr(AdaptiveLoss, "step", failing)
        fails: set[int] = {3}
        found = small(steps=1, seed=1)
        assert (found.offline, found.stopped) == (6, "all steps done")
        fresh = make_task().new_model(_FIRST_SEED + 100_003 + 3)
        assert torch.equal(tried[3], parameters_to_vector(fresh.parameters()))
        tried.clear()
        fails = {3, 4}
        found = small(steps=1)
        assert (found.offline, found.stopped) == (3, "infinite")

    @pytest.mark.parametrize(("steps", "records", "kept"), [(20, 4, [1, 5, 10, 15, 20]), (20, 1, [1, 20])])
    def test_how_often_the_model_is_measured(self, steps: int, records: int, kept: list[int]) -> None:
        assert [record.step for record in small(steps=steps, records=records).records] == kept

    def test_the_loss_at_every_snapshot(self) -> None:
        found = small(meta_lr=1e-2)
        for place, (_, curve) in enumerate(found.snapshots):
            drawn = shapes.curves(found.loss_at(place), found.kind)
            assert drawn is not None
            np.testing.assert_array_equal(drawn, curve)
        assert not np.array_equal(found.snapshots[0][1], found.snapshots[-1][1])

    def test_a_formula_adapts(self) -> None:
        found = small(loss="abs(log(1.2*y*f))", meta_lr=0.01)
        assert isinstance(found.loss, sl.SymbolicLoss)
        assert found.loss.expression.nodes == sl.parse("abs(log(1.2*y*f))").nodes
        assert found.loss.expression != sl.parse("abs(log(1.2*y*f))")
        assert f"loss now: {found.loss.expression}" in str(found)

    @pytest.mark.parametrize("options", [
        {"optimiser": "adam", "lr": 0.01}, {"optimiser": "adamw", "lr": 0.01, "weight_decay": 0.1},
        {"momentum": 0.9, "nesterov": True, "clip": 1.0}, {"residual": True, "offline_steps": 0}, {"inner_steps": 3},
        {"output": "softplus"},
    ], ids=str)  # fmt: skip
    def test_options(self, options: dict[str, Any]) -> None:
        found = small(dropping(), **options)
        assert found.stopped == "all steps done"
        assert all(math.isfinite(r.loss) for r in found.records)

    def test_schedules(self) -> None:
        rates = [record.learning_rate for record in small(schedule="cosine").records]
        assert rates == pytest.approx([0.05 * (1 + math.cos(math.pi * t / 20)) for t in range(20)])
        assert small(schedule="linear").records[10].learning_rate == pytest.approx(0.05)

    def test_a_run_that_explodes_says_so(self) -> None:
        loss = ScaledTaskLoss("regression", -1.0)
        found = small(make_task("regression", double=False), loss=loss, offline_steps=0, lr=1e6, steps=500)
        assert "infinite or NaN" in found.stopped
        assert found.online < 500
        assert f"after 0 offline and {found.online} online steps" in str(found)


def sl_tuned(task: Task) -> float:
    from symloss.evaluation.tuning import tuned_rate

    return tuned_rate(task, "cross-entropy", steps=20, batch_size=16, learning_rate=0.01)


class KilledError(Exception):
    """What ends a run between two steps."""


def at(line: str, then: Callable[[], object]) -> Callable[[str], None]:
    def listen(text: str) -> None:
        if text.startswith(line):
            then()

    return listen


def kill() -> None:
    raise KilledError


class TestResuming:
    @pytest.fixture(autouse=True)
    def _often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run, "KEPT_EVERY", 4)

    @pytest.mark.parametrize("options", [
        {"momentum": 0.9}, {"optimiser": "adam", "lr": 0.01}, {"method": "learned-rate", "meta_lr": 1e-3},
        {"inner_steps": 3}, {"residual": True}, {"loss": "abs(log(1.2*y*f))"},
    ], ids=str)  # fmt: skip
    @pytest.mark.parametrize("line", ["offline meta-step 4/6", "step 10/20"])
    def test_a_killed_run_ends_the_same(self, tmp_path: Path, options: dict[str, Any], line: str) -> None:
        """What is killed between two checkpoints is computed anew."""
        whole = small(dropping(), **options)
        if options.get("method") == "learned-rate":
            line = "step 12/20"
        with pytest.raises(KilledError):
            small(dropping(), out=tmp_path, progress=at(line, kill), **options)
        resumed = small(dropping(), out=tmp_path, **options)
        assert resumed.directory == tmp_path
        assert_same(whole, resumed)

    def test_ctrl_c_keeps_what_is_there(self, tmp_path: Path) -> None:
        whole = small(dropping())
        interrupt = at("step 10/20", lambda: os.kill(os.getpid(), signal.SIGINT))
        stopped = small(dropping(), out=tmp_path, progress=interrupt)
        assert (stopped.stopped, stopped.online) == ("interrupted", 10)
        assert stopped.records == whole.records[:10]
        assert_same(whole, small(dropping(), out=tmp_path))

    def test_a_finished_run_is_read(self, tmp_path: Path) -> None:
        first = small(dropping(), out=tmp_path)
        lines: list[str] = []
        assert_same(first, small(dropping(), out=tmp_path, progress=lines.append))
        assert not lines
        rows = (tmp_path / "history.csv").read_text().splitlines()
        assert rows[0].startswith("step,learning_rate,loss,task_loss")
        assert len(rows) == 21
        kept = sl.load(tmp_path / "best.json")
        assert isinstance(first.loss, LossNetwork)
        assert torch.equal(kept.weights, first.loss.weights.detach())

    def test_other_settings_are_refused(self, tmp_path: Path) -> None:
        small(out=tmp_path)
        with pytest.raises(RunError, match=r"holds a run with other settings \(lr was 0.1, is 0.2\)"):
            small(out=tmp_path, lr=0.2)
        with pytest.raises(RunError, match=r"\(loss was"):
            small(out=tmp_path, loss="abs(log(y*f))")
        with pytest.raises(RunError, match=r"\(task was"):
            small(make_task("soft"), out=tmp_path)

    def test_damage(self, tmp_path: Path) -> None:
        small(out=tmp_path)
        checkpoint = tmp_path / "checkpoint.npz"
        content = checkpoint.read_bytes()
        checkpoint.write_bytes(content[: len(content) // 2])
        with pytest.raises(RunError, match=r"checkpoint.npz is damaged .*; remove it to start over"):
            small(out=tmp_path)
        (tmp_path / "config.json").write_text("[")
        with pytest.raises(RunError, match=r"config.json is damaged"):
            small(out=tmp_path)

    def test_a_directory_of_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("")
        with pytest.raises(RunError, match=r"files that are not this run's \(thesis.tex\)"):
            small(out=tmp_path)


def test_plain_values() -> None:
    import json

    found = small()
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values["settings"]["lr"] == 0.1
    assert len(values["records"]) == len(found.to_dataframe()) == 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ada"}, "method is one of adalfl, frozen"),
        ({"steps": 0}, "steps is a whole number of at least 1; received 0"),
        ({"offline_steps": -1}, "offline_steps is a whole number"),
        ({"lr": float("nan")}, "lr is a number from 1e-12"),
        ({"nesterov": True}, "nesterov needs a momentum"),
        ({"optimiser": "adam", "momentum": 0.9}, "momentum is for sgd"),
        ({"optimiser": "lamb"}, "optimiser is one of sgd, adam, adamw"),
        ({"schedule": "warm"}, "schedule is one of"),
        ({"method": "learned-rate", "schedule": "cosine"}, "it is its own schedule"),
        ({"method": "task-loss", "tune_lr": True, "optimiser": "adam"}, "use tune_lr=False"),
        ({"method": "task-loss", "loss": "focal"}, "leave the loss out"),
        ({"learning_rate": 0.1}, "there is no setting 'learning_rate'; there is: method"),
        ({"momentum": 1.0}, "momentum is a number from 0"),
        ({"residual": 1}, "residual is True or False"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SearchError, match=message) as caught:
        small(**options)
    assert "\n" not in str(caught.value)


def test_more_mistakes() -> None:
    with pytest.raises(SearchError, match="a task is a Task or the name of one"):
        sl.adapt(3)  # type: ignore[arg-type]
    with pytest.raises(LossError, match="has no weights to adapt"):
        small(loss=nn.CrossEntropyLoss())
