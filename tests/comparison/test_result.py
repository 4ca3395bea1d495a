from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from symloss.comparison import Comparison
from symloss.comparison.plan import Plan
from symloss.comparison.statistics import holm
from symloss.comparison.table import save
from tests.comparison.synthetic import make_comparison, make_plan

PLAN = make_plan(tasks=7, searches=3, seeds=8)


@pytest.fixture(scope="module")
def found() -> Comparison:
    return make_comparison(PLAN)


def test_of_a_task_the_pairs_are_searches(found: Comparison) -> None:
    method, tuned = PLAN.methods[0], PLAN.methods[-2]
    for choice in PLAN.tasks:
        d = (found.values(choice.label, method) - found.values(choice.label, tuned)).mean(1)
        assert len(d) == 8
        assert found.score(choice.label, method.label).p == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)


def test_without_searches_the_pairs_are_training_seeds(found: Comparison) -> None:
    focal, tuned = PLAN.methods[-3], PLAN.methods[-2]
    d = (found.values("task 0", focal) - found.values("task 0", tuned))[0]
    assert found.score("task 0", "focal").p == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)


def test_holm_counts_all_tasks_and_methods(found: Comparison) -> None:
    tests = [s for s in found.scores if not math.isnan(s.p)]
    assert len(tests) == 7 * 4  # three searches and focal; the references are not tested
    assert [s.corrected for s in tests] == holm([s.p for s in tests])


def test_over_tasks_the_pairs_are_tasks(found: Comparison) -> None:
    for row in found.overall[:4]:
        a, b = (
            [found.score(choice.label, label).mean.mean for choice in PLAN.tasks]  # type: ignore[union-attr]
            for label in (row.method, "task loss, tuned")
        )
        relative = np.subtract(a, b) / np.add(a, b)
        assert row.p == pytest.approx(stats.wilcoxon(relative, method="exact").pvalue)
        assert (row.tasks, row.lower, row.higher) == (7, (relative < 0).sum(), (relative > 0).sum())
    assert [row.corrected for row in found.overall[:4]] == holm([row.p for row in found.overall[:4]])
    assert math.isnan(found.overall[-1].p)


def test_ranks_leave_out_the_untuned_task_loss(found: Comparison) -> None:
    names = [m.label for m in PLAN.methods[:-1]]
    assert list(found.ranks.mean) == names
    for place, task in enumerate(found.ranks.tasks):
        means = [found.score(task, name).mean.mean for name in names]  # type: ignore[union-attr]
        assert [found.ranks.each[name][place] for name in names] == list(stats.rankdata(means))


def test_verdicts_follow_the_corrected_p() -> None:
    plan = make_plan(tasks=1, searches=1, handcrafted=False, seeds=12)
    for effect, word in ((0.0, "not distinguishable"), (2.0, "worse"), (-2.0, "better")):
        made = make_comparison(plan, effect=0.0)
        outcomes = {
            c: replace(o, values=tuple(v * math.exp(effect) for v in o.values)) if c.seed is not None else o
            for c, o in made.outcomes.items()
        }
        score = Comparison(plan, outcomes).scores[0]
        assert score.verdict == word
    assert Comparison(plan, outcomes).scores[1].verdict == ""


def test_a_method_that_is_the_task_loss_is_no_different(found: Comparison) -> None:
    plan = PLAN
    tuned = {c.task: found.outcomes[c] for c in plan.cells if c.method == plan.methods[-2]}
    outcomes = {c: tuned[c.task] if c.method.label == "focal" else o for c, o in found.outcomes.items()}
    same = Comparison(plan, outcomes)
    for choice in plan.tasks:
        score = same.score(choice.label, "focal")
        assert score.difference is not None
        assert (score.difference.mean, score.difference.low, score.difference.high, score.p) == (0, 0, 0, 1)
        rank = same.ranks.each
        place = same.ranks.tasks.index(choice.label)
        assert rank["focal"][place] == rank["task loss, tuned"][place]


def _missing(found: Comparison, plan: Plan, task: str, method: str) -> Comparison:
    outcomes = dict(found.outcomes)
    cell = next(c for c in plan.cells if (c.task, c.method.label) == (task, method))
    outcomes[cell] = replace(outcomes[cell], failed="every candidate was rejected", values=())
    return Comparison(plan, outcomes)


def test_a_missing_search_takes_the_task_out_of_ranks_and_tests(found: Comparison) -> None:
    less = _missing(found, PLAN, "task 3", "EvoMAL")
    score = less.score("task 3", "EvoMAL")
    assert (score.finished, score.wanted, score.verdict) == (7, 8, "")
    assert score.mean is not None
    assert math.isnan(score.p)
    assert "task 3" not in less.ranks.tasks
    assert len(less.ranks.tasks) == 6
    assert [row.tasks for row in less.overall] == [6, 7, 7, 7, 7, 7]
    assert "7 of 8" in str(less)
    assert "mean ranks on the 6 of 7 tasks where nothing is missing" in str(less)


def test_a_diverged_training_counts_as_the_worst(found: Comparison) -> None:
    outcomes = dict(found.outcomes)
    for task in ("task 0", "task 2"):  # classification, regression
        cell = next(c for c in PLAN.cells if (c.task, c.method.label) == (task, "GP-LFL"))
        outcomes[cell] = replace(outcomes[cell], values=(math.inf, *outcomes[cell].values[1:]))
    fallen = Comparison(PLAN, outcomes)
    assert fallen.values("task 0", PLAN.methods[2])[0, 0] == 1.0
    everything = [v for c, o in outcomes.items() if c.task == "task 2" for v in o.values if math.isfinite(v)]
    assert fallen.values("task 2", PLAN.methods[2])[0, 0] == max(1.1, *everything)
    assert fallen.score("task 0", "GP-LFL").diverged == 1
    assert "2 trainings diverged; each counts as the worst outcome of its task" in str(fallen)


def test_rates_at_an_end_of_those_tried_are_said(found: Comparison) -> None:
    cell = PLAN.cells[0]
    outcome = replace(found.outcomes[cell], rate=PLAN.protocol.grid[0])
    assert "1 learning rates were chosen at an end" in str(Comparison(PLAN, {**found.outcomes, cell: outcome}))


def test_files(found: Comparison, tmp_path: Path) -> None:
    directory = tmp_path / "new"
    save(found, directory)
    rows = list(csv.DictReader(io.StringIO((directory / "comparison.csv").read_text())))
    assert [(row["task"], row["method"]) for row in rows] == [(s.task, s.method) for s in found.scores]
    for row, score in zip(rows, found.scores, strict=True):
        assert score.mean is not None
        assert (float(row["mean"]), float(row["low"])) == (score.mean.mean, score.mean.low)
        assert row["p"] == ("" if math.isnan(score.p) else str(score.p))
        assert row["mean rank over tasks"] == str(found.ranks.mean.get(score.method, ""))
    values = json.loads((directory / "comparison.json").read_text())
    assert values["ranks"]["mean"] == dict(found.ranks.mean)
    assert values["scores"][0]["cells"][0]["values"] == list(found.outcomes[PLAN.cells[21]].values)
    assert values["protocol"]["seeds"] == 4
    assert "seconds" not in (directory / "comparison.json").read_text()
    costs = list(csv.DictReader(io.StringIO((directory / "costs.csv").read_text())))
    assert len(costs) == len(PLAN.cells)
    assert costs[-1]["search processor seconds"] == "30.0"


def test_latex_is_a_booktabs_table_of_escaped_text() -> None:
    plan = make_plan(tasks=2, searches=1, seeds=2)
    method = replace(plan.methods[0], label="50% a_b & {c}")
    made = make_comparison(replace(plan, methods=(method, *plan.methods[1:])))
    first, second = made.latex().split("\n\n")
    assert r"task 0 & 50\% a\_b \& \{c\} & $" in first
    for part, columns in ((first, 6), (second, 5)):
        lines = part.splitlines()
        assert lines[0].startswith(r"\begin{tabular}{l")
        assert [lines[1], lines[-2], lines[-1]] == [r"\toprule", r"\bottomrule", r"\end{tabular}"]
        body = [line for line in lines if line.endswith(r"\\")]
        assert all(line.count("&") - line.count(r"\&") == columns - 1 for line in body)
    assert first.count(r"\midrule") == 2


def test_tables_name_the_task_loss_where_it_is_one(found: Comparison) -> None:
    text = str(found)
    assert "tuned mean squared error  " in text
    assert "task loss: cross-entropy for classification, mean squared error for regression" in text
    alone = str(make_comparison(make_plan(tasks=1)))
    assert "tuned cross-entropy" in alone.split("over tasks")[1]
    assert "task loss:" not in alone
