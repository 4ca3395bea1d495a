"""History and front of a search."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from symloss.discovery.archive import STAGES
from symloss.discovery.result import SearchResult
from symloss.errors import SearchError
from symloss.plotting import front, history


def test_history(result: SearchResult) -> None:
    fitness, ended, time = history(result).axes
    best, median = fitness.get_lines()
    assert list(best.get_xdata()) == [1, 2, 3]
    assert list(best.get_ydata()) == [0.5, 0.2, 0.04]
    np.testing.assert_array_equal(median.get_ydata(), [np.nan, 0.6, 0.3])
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in ended.containers}
    assert heights == {stage: [g.counts[stage] for g in result.history] for stage in STAGES}
    tops = [max(bar.get_y() + bar.get_height() for bars in ended.containers for bar in [bars[i]]) for i in range(3)]
    assert tops == [sum(g.counts.values()) for g in result.history]
    assert {bars.get_label(): [bar.get_height() for bar in bars] for bars in time.containers}["develop"] == [1, 2, 3]
    assert fitness.get_yscale() == "log"


def test_front(result: SearchResult) -> None:
    (axes,) = front(result).axes
    evaluated, steps, members, pick = axes.get_lines()
    assert len(evaluated.get_xdata()) == 5
    for line in (steps, members):
        assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == [
            (c.complexity, c.fitness) for c in result.front
        ]
    assert (pick.get_xdata(), pick.get_ydata()) == ([result.best.complexity], [result.best.fitness])
    assert axes.get_ylabel() == "error rate (validation)"


def test_a_fitness_of_zero_has_no_logarithm(result: SearchResult) -> None:
    best = replace(result.best, fitness=0.0)
    result = replace(result, candidates=(*result.candidates, best))
    assert front(result).axes[0].get_yscale() == "linear"


def test_settings_are_on_the_figure(result: SearchResult) -> None:
    for figure in (history(result), front(result)):
        text = figure.get_supxlabel()
        for part in ("task digits, mlp", "seed 0", "population 6", "generations 3 of 3", "learning rate 0.01"):
            assert part in " ".join(text.split())


def test_nothing_to_show(result: SearchResult) -> None:
    empty = replace(result, candidates=(), history=(), stopped="interrupted")
    with pytest.raises(SearchError, match="no generation was done"):
        history(empty)
    with pytest.raises(SearchError, match="no candidate was evaluated"):
        front(empty)


def test_names_are_no_mathematics(result: SearchResult) -> None:
    task = {**result.config.task, "name": r"$\nothing$", "metric": r"$\frac{"}
    odd = replace(result, config=replace(result.config, task=task))
    for figure in (history(odd), front(odd)):
        figure.savefig(io.BytesIO())
