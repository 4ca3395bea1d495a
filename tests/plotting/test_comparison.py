"""The figure of a comparison: the numbers of its scores and ranks, where they belong."""

from __future__ import annotations

from dataclasses import replace

import pytest

import symloss as sl
from symloss.comparison import Comparison
from symloss.errors import EvaluationError
from tests.comparison.synthetic import make_comparison, make_plan


def test_every_task_has_a_panel_and_every_method_a_line() -> None:
    plan = make_plan(tasks=6, searches=2)
    found = make_comparison(plan, effect=0.05)
    figure = sl.plotting.comparison(found)
    panels, ranks = figure.axes[:-1], figure.axes[-1]
    shown = [panel for panel in panels if panel.get_title(loc="left")]
    assert [panel.get_title(loc="left") for panel in shown] == [f"task {i}" for i in range(6)]
    assert [text.get_text() for text in shown[0].get_yticklabels()] == ["EvoMAL", "EvoMAL, scale-free", "focal"]
    for panel, factor in ((shown[0], 100), (shown[2], 1)):
        task = panel.get_title(loc="left")
        means = {
            tuple(line.get_ydata()): line.get_xdata()[0] for line in panel.get_lines() if line.get_marker() in "osD"
        }
        reaches = [
            line.get_xdata() for line in panel.get_lines() if len(line.get_xdata()) == 2 and line.get_marker() == "None"
        ]
        for place, label in enumerate(("EvoMAL", "EvoMAL, scale-free", "focal")):
            d = found.score(task, label).difference
            assert d is not None
            assert means[(place,)] == pytest.approx(factor * d.mean)
            assert list(reaches[place]) == pytest.approx([factor * d.low, factor * d.high])
    diamonds = sorted(line.get_xdata()[0] for line in ranks.get_lines())
    assert diamonds == pytest.approx(sorted(found.ranks.mean.values()))
    assert ranks.get_title(loc="left").startswith("ranks on 6 of 6 tasks")


def test_what_is_missing_or_far_away_is_said() -> None:
    plan = make_plan(tasks=2, searches=3)
    found = make_comparison(plan, effect=0.02)
    outcomes = dict(found.outcomes)
    for cell, outcome in found.outcomes.items():
        if (cell.task, cell.method.label) == ("task 0", "GP-LFL"):
            outcomes[cell] = replace(outcome, values=tuple(50 * v for v in outcome.values))
        if (cell.task, cell.method.label) == ("task 1", "EvoMAL"):
            outcomes[cell] = replace(outcome, failed="nothing was found", values=())
    first, second, ranks = Comparison(plan, outcomes).figure().axes
    (far,) = [text.get_text() for text in first.texts]
    difference = Comparison(plan, outcomes).score("task 0", "GP-LFL").difference
    assert difference is not None
    assert float(far) == pytest.approx(100 * difference.mean, rel=0.01)
    assert [text.get_text() for text in second.texts] == ["missing"]
    assert ranks.get_title(loc="left").startswith("ranks on 1 of 2 tasks")


def test_nothing_to_draw() -> None:
    with pytest.raises(EvaluationError, match="nothing to draw"):
        sl.plotting.comparison(Comparison(make_plan(), {}))
