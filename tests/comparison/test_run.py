from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import symloss as sl
from symloss.comparison import Comparison, carry_out, listing, plan, run, work
from symloss.comparison.cells import Store
from symloss.errors import EvaluationError, RunError, SearchError, TaskError
from symloss.evaluation import evaluate
from symloss.tasks.task import Task
from tests.evaluation.helpers import SIZES, Perceptron, data, make_task
from tests.tasks.sources import formats

ROOT = Path(__file__).parents[2]
BUDGET: dict[str, Any] = {
    "population_size": 6, "generations": 2, "refinement_steps": 3, "fitness_steps": 20, "rejection_steps": 30,
}  # fmt: skip
TRAINING: dict[str, Any] = {"steps": 30, "batch_size": 20, "rates": [0.01, 0.1, 1.0], "tuning_seeds": 2}
METHODS: list[Any] = ["evomal", "focal", {"name": "catalogue", "losses": ["focal", "poly", "huber"]}]
FILES = ("comparison.csv", "comparison.json", "comparison.tex")


def compare(tasks: Any = None, methods: Any = None, **options: Any) -> Comparison:
    given = {"seeds": 2, "training_seeds": 3, "budget": BUDGET, **TRAINING, **options}
    return sl.compare(tasks or make_task(double=False), methods or METHODS, **given)


def written(directory: Path) -> dict[str, str]:
    """What depends on the cells alone."""
    return {name: (directory / name).read_text() for name in FILES}


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Comparison, Path]:
    """A finished comparison and its directory."""
    path = tmp_path_factory.mktemp("comparison")
    return compare(out=path), path


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, int]]:
    """How many cells, searches and trainings were computed since the last call."""
    numbers = {"cells": 0, "searches": 0}

    def counted(name: str, function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            numbers[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(run, "compute", counted("cells", work.compute))
    monkeypatch.setattr(work, "discover", counted("searches", work.discover))

    def read() -> dict[str, int]:
        found = dict(numbers)
        numbers.update(dict.fromkeys(numbers, 0))
        return found

    return read


# --- what is computed


def test_a_search_is_that_of_discover_and_its_pick_is_treated_as_by_evaluate(whole: tuple[Comparison, Path]) -> None:
    task, found = make_task(double=False), whole[0]
    for seed in (0, 1):
        pick = sl.discover(task, seed=seed, **BUDGET).best
        row = evaluate(task, {"found": pick.loss}, seeds=3, **TRAINING)["found"]
        cell = next(c for c in found.plan.cells if c.seed == seed)
        outcome = found.outcomes[cell]
        assert outcome.formula == str(pick.loss.expression)
        assert (outcome.validation, outcome.complexity) == (pick.fitness, pick.complexity)
        assert (outcome.rate, outcome.tuning, outcome.values) == (row.learning_rate, row.tuning, row.values)


def test_the_references_and_named_losses_are_those_of_evaluate(whole: tuple[Comparison, Path]) -> None:
    found = whole[0]
    expected = {row.role: row for row in evaluate(make_task(double=False), "focal", seeds=3, **TRAINING).rows}
    for kind, role in (("loss", "loss"), ("tuned", "tuned reference"), ("untuned", "untuned reference")):
        cell = next(c for c in found.plan.cells if c.method.kind == kind)
        outcome, row = found.outcomes[cell], expected[role]
        assert (outcome.rate, outcome.tuning, outcome.values) == (row.learning_rate, row.tuning, row.values)


def test_the_best_of_the_catalogue_is_chosen_on_validation_data(whole: tuple[Comparison, Path]) -> None:
    found = whole[0]
    table = evaluate(make_task(double=False), ["focal", "poly"], seeds=3, **TRAINING)
    best = min((row for row in table.rows if row.role == "loss"), key=lambda row: np.mean(row.tuning, axis=0).min())
    cell = next(c for c in found.plan.cells if c.method.kind == "catalogue")
    outcome = found.outcomes[cell]
    assert outcome.formula == f"{best.name}: {best.formula}"
    assert outcome.validation == pytest.approx(np.mean(best.tuning, axis=0).min())
    assert outcome.values == best.values
    assert outcome.candidates == 2  # huber is for regression


def test_scores_are_paired_differences(whole: tuple[Comparison, Path]) -> None:
    found = whole[0]
    search, _, _, tuned, _ = found.plan.methods
    values, reference = found.values("blobs", search), found.values("blobs", tuned)
    assert values.shape == (2, 3)
    score = found.score("blobs", "evomal")
    assert score.mean is not None
    assert score.difference is not None
    assert score.mean.mean == pytest.approx(values.mean())
    assert score.difference.mean == pytest.approx((values - reference).mean())
    assert (score.wanted, score.finished) == (2, 2)
    assert score.candidates >= 12
    text = str(found)
    assert "blobs: error rate on 60 test samples after 30 steps of batch 20" in text
    assert "tuned cross-entropy" in text
    assert "2 pairs cannot give a p below 0.5" in text
    assert "2 search seeds are few: the intervals of searches are too narrow; take 4 or more" in text


def test_test_data_change_no_choice(whole: tuple[Comparison, Path], tmp_path: Path) -> None:
    """Other test data: the same searches, picks, validation metrics and rates; other test metrics."""
    x, y = data("multiclass", SIZES[2], 2)
    poisoned = Task(
        Perceptron(3), data("multiclass", SIZES[0], 0), data("multiclass", SIZES[1], 1),
        (torch.full_like(x, 1e6), (y + 1) % 3), kind="multiclass", name="blobs",
    )  # fmt: skip
    found = compare(poisoned, out=tmp_path)
    for cell, other in zip(whole[0].plan.cells, found.plan.cells, strict=True):
        mine, its = whole[0].outcomes[cell], found.outcomes[other]
        for name in ("formula", "complexity", "validation", "rate", "tuning", "candidates"):
            assert getattr(mine, name) == getattr(its, name), (str(cell), name)
        assert mine.values != its.values


def test_a_cell_on_disk_is_what_was_found(whole: tuple[Comparison, Path]) -> None:
    found, path = whole
    files = sorted((path / "cells").iterdir())
    assert [file.stem for file in files] == sorted(cell.name for cell in found.plan.cells)
    assert all(json.loads(file.read_text())["format"] == 1 for file in files)
    assert sum(file.stat().st_size for file in files) < 3000 * len(files)
    for cell in found.plan.cells:
        if cell.seed is not None:
            assert sl.load_run(path / "searches" / cell.search_name).settings.seed == cell.seed


# --- once, and again


def test_each_cell_is_computed_once(
    whole: tuple[Comparison, Path], tmp_path: Path, count: Callable[[], dict[str, int]]
) -> None:
    compare(out=tmp_path)
    assert count() == {"cells": 6, "searches": 2}
    assert written(tmp_path) == written(whole[1])
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "cells").iterdir()}
    compare(out=tmp_path)
    assert count() == {"cells": 0, "searches": 0}
    compare(out=tmp_path, seeds=3)
    assert count() == {"cells": 1, "searches": 1}
    compare(methods=["evomal", {"name": "evomal", "refine": False, "label": "plain"}], out=tmp_path)
    assert count() == {"cells": 2, "searches": 2}
    compare(out=tmp_path, training_seeds=4)
    assert count() == {"cells": 6, "searches": 0}  # the searches are still those
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())


def test_a_task_may_have_its_own_budget_and_training() -> None:
    x, y = data("multiclass", 100, 0)
    sl.tasks.register("scarce", lambda: (x, y), kind="multiclass")
    try:
        own = {"name": "scarce", "steps": 7, "budget": {"generations": 1, "population_size": 5}}
        found = compare([own, make_task(double=False)], ["evomal", {"name": "evomal", "generations": 3, "label": "3"}])
    finally:
        sl.tasks.unregister("scarce")
    numbers = {(s.task, s.method): s.candidates for s in found.scores}
    assert 5 <= numbers["scarce", "evomal"] <= 10 < 12 <= numbers["blobs", "evomal"]
    assert numbers["scarce", "3"] >= 13
    assert "scarce: error rate on 20 test samples after 7 steps of batch 20" in str(found)


def test_without_a_directory_nothing_is_kept(whole: tuple[Comparison, Path]) -> None:
    found = compare(methods="focal")
    assert found.score("blobs", "focal").mean == whole[0].score("blobs", "focal").mean


SCRIPT = """
import os, signal, sys
from pathlib import Path
from tests.comparison.test_run import compare
moment, own, number = int(sys.argv[2]), os.fsync, 0
def fsync(descriptor):
    global number
    number += 1
    if number == moment:
        os.kill(os.getpid(), signal.SIGKILL)
    own(descriptor)
os.fsync = fsync
compare(out=Path(sys.argv[1]))
"""


def test_killed_at_any_write_it_ends_the_same(whole: tuple[Comparison, Path], tmp_path: Path) -> None:
    """SIGKILL in the middle of a search, and once more in what goes on with it, just before something is on disk."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for moment in (17, 9):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path), str(moment)], cwd=ROOT, env=environment, capture_output=True
        )
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    finished = len(list((tmp_path / "cells").glob("[!.]*.json")))
    assert 4 <= finished < 6
    assert str(compare(out=tmp_path)).split("cost of")[0] == str(whole[0]).split("cost of")[0]
    assert written(tmp_path) == written(whole[1])


def test_interrupted_it_keeps_finished_cells_and_goes_on(
    whole: tuple[Comparison, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(event: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(work._Clock, "__call__", lambda self, event: stop(event))  # Ctrl-C in the first generation
        found = compare(out=tmp_path)
    assert found.interrupted
    assert len(found.outcomes) == 4
    assert found.pending == 2
    score = found.score("blobs", "evomal")
    assert (score.finished, score.reasons, score.mean) == (0, ("not computed yet",), None)
    assert "2 of 6 cells are not computed yet" in str(found)
    assert not compare(out=tmp_path).interrupted
    assert written(tmp_path) == written(whole[1])


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_processes(whole: tuple[Comparison, Path], tmp_path: Path) -> None:
    lines: list[str] = []
    compare(out=tmp_path, n_jobs=2, progress=lines.append)
    assert written(tmp_path) == written(whole[1])
    assert len(lines) == 6


def test_progress_says_what_was_found_and_what_is_left() -> None:
    lines: list[str] = []
    found = compare(methods=["focal", "huber"], progress=lines.append)
    assert [line.split(":")[0] for line in lines] == [f"cell {i}/4" for i in range(1, 5)]
    value = found.outcomes[found.plan.cells[0]].values
    assert lines[0].startswith(f"cell 1/4: blobs, task loss, tuned: error rate {np.mean(value):.4g} (")
    assert lines[-1].endswith("about 0 s left)")
    assert "missing, huber is for regression" in lines[-1]


# --- what is missing


def test_a_search_that_finds_nothing_is_missing_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: Callable[[], dict[str, int]]
) -> None:
    own = work.discover

    def fail(task: Task, **options: Any) -> Any:
        if options["seed"] == 1:
            raise SearchError("every candidate was rejected")
        return own(task, **options)

    monkeypatch.setattr(work, "discover", fail)
    found = compare(out=tmp_path)
    score = found.score("blobs", "evomal")
    assert (score.finished, score.wanted, score.reasons) == (1, 2, ("every candidate was rejected",))
    assert score.mean is not None
    assert np.isnan(score.p)
    assert "evomal" not in found.ranks.mean
    assert "missing of evomal: every candidate was rejected" in str(found)
    assert "1 of 2" in found.latex()
    count()
    assert written(tmp_path)
    compare(out=tmp_path)
    assert count()["cells"] == 0  # it would find nothing again


def test_a_loss_for_another_kind_is_missing() -> None:
    found = compare(methods=["huber", "focal"])
    score = found.score("blobs", "huber")
    assert score.mean is None
    assert score.reasons[0].startswith("huber is for regression")
    assert set(found.ranks.mean) == {"focal", "task loss, tuned"}
    assert next(row for row in found.overall if row.method == "huber").tasks == 0


def test_absent_data_are_missing_and_tried_again(tmp_path: Path) -> None:
    x, y = data("multiclass", 100, 0)
    sl.tasks.register("absent-blobs", lambda: (x, y), kind="multiclass", package="no_such", install="pip install it")
    try:
        tasks = ["absent-blobs", make_task(double=False)]
        found = compare(tasks, ["focal"], out=tmp_path)
        assert "absent-blobs: task 'absent-blobs' needs the package no_such, which is absent" in str(found)
        assert found.score("absent-blobs", "focal").reasons[0].endswith("run: pip install it")
        assert found.ranks.tasks == ("blobs",)
        assert "missing (task 'absent-blobs' needs" in listing(found.plan, tmp_path)
    finally:
        sl.tasks.unregister("absent-blobs")
    sl.tasks.register("absent-blobs", lambda: (x, y), kind="multiclass")
    try:
        again = compare(tasks, ["focal"], out=tmp_path)
        assert again.score("absent-blobs", "focal").complete
        assert again.ranks.tasks == ("absent-blobs", "blobs")
    finally:
        sl.tasks.unregister("absent-blobs")


def test_a_mistake_in_a_tasks_options_is_no_missing_cell() -> None:
    with pytest.raises(TaskError, match="unknown option of model 'mlp': 'hiden'; did you mean 'hidden'"):
        compare({"name": "wine", "hiden": [3]})
    with pytest.raises(TaskError, match="unknown task 'wien'; did you mean 'wine'"):
        compare("wien")


def test_a_mistake_is_told_apart_from_absent_data_also_in_a_directory_of_the_users(tmp_path: Path) -> None:
    formats.write_idx(tmp_path)
    with pytest.raises(TaskError, match="unknown model 'mpl'"):
        compare({"name": "idx", "root": str(tmp_path), "model": "mpl"})
    found = compare({"name": "idx", "root": str(tmp_path / "moved")})
    assert found.ranks.tasks == ()
    assert "mean ranks on the 0 of 1 tasks" in str(found)
    assert "there is no directory" in found.missing[found.plan.tasks[0].label]


# --- what cannot be gone on with


def test_other_data_are_noticed(tmp_path: Path) -> None:
    x, y = data("multiclass", 100, 0)
    for change in (0.0, 1.0):
        moved = x + change * torch.arange(5)
        moved[0] += change
        sl.tasks.register("moving", lambda moved=moved: (moved, y), kind="multiclass")
        try:
            if change:
                with pytest.raises(EvaluationError, match="are others than those that its finished cells"):
                    compare("moving", ["focal", "poly"], out=tmp_path)
            else:
                compare("moving", ["focal"], out=tmp_path)
        finally:
            sl.tasks.unregister("moving")


@pytest.mark.parametrize("damage", ["{", '{"format": 2}', "[]", ""])
def test_a_damaged_cell_is_told_in_one_line(whole: tuple[Comparison, Path], tmp_path: Path, damage: str) -> None:
    made = plan(make_task(double=False), "focal", training_seeds=2, **TRAINING)
    carry_out(made, tmp_path)
    file = next((tmp_path / "cells").glob("*focal*"))
    content = file.read_text()
    for text in (
        damage,
        content.replace('"values": [', '"values": [-1.0, '),
        content.replace('"failed": ""', '"failed": 3'),
    ):
        file.write_text(text)
        with pytest.raises(RunError, match=r"is damaged .*; remove it, and it is computed anew") as caught:
            carry_out(made, tmp_path)
        assert "\n" not in str(caught.value)
    file.unlink()
    carry_out(made, tmp_path)
    assert json.loads(file.read_text())["values"] == json.loads(content)["values"]


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot (read|write) "):
        compare(methods="focal", out=tmp_path / "file")


def test_two_processes_do_not_compute_in_one_directory(tmp_path: Path) -> None:
    compare(methods="focal", out=tmp_path)
    with Store(tmp_path).alone():
        assert compare(methods="focal", out=tmp_path).pending == 0  # there is nothing to compute
        with pytest.raises(
            RunError, match=r"another process is computing the comparison in .*; wait for it or stop it"
        ):
            compare(methods="poly", out=tmp_path)
    assert compare(methods="poly", out=tmp_path).pending == 0


def test_a_listing_says_what_there_is_to_do(whole: tuple[Comparison, Path]) -> None:
    made, path = whole[0].plan, whole[1]
    assert listing(made, path).endswith("6 cells: 6 finished, 0 to do, with 0 searches of 0 candidates in all")
    text = listing(made, None)
    assert "blobs, evomal, search seed 1: to do" in text
    assert text.endswith("6 cells: 0 finished, 6 to do, with 2 searches of 24 candidates in all")
