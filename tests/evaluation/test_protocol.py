from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from symloss.errors import EvaluationError, SearchError
from symloss.evaluation.protocol import Protocol


def test_grid_is_half_decades_over_six_decades_around_the_untuned_rate() -> None:
    grid = Protocol(learning_rate=0.02).grid
    assert len(grid) == 13
    assert grid[6] == 0.02
    assert np.diff(np.log10(grid)) == pytest.approx(0.5)
    assert grid[-1] / grid[0] == pytest.approx(1e6)


def test_rates_are_sorted_and_each_tried_once() -> None:
    assert Protocol(rates=[1, 0.1, 1.0]).grid == (0.1, 1.0)


def test_tuning_seeds_are_none_of_those_reported_nor_those_of_a_search() -> None:
    protocol = Protocol(seeds=200, tuning_seeds=200)
    reported, tuning = set(protocol.reported_seeds), set(protocol.rate_seeds)
    assert len(reported) == len(tuning) == 200
    assert not reported & tuning
    assert min(reported | tuning) > 10_000


def test_more_seeds_go_on_from_the_same_ones_and_another_seed_gives_others() -> None:
    assert Protocol(seeds=3).reported_seeds == Protocol(seeds=10).reported_seeds[:3]
    assert not set(Protocol(seed=0).reported_seeds) & set(Protocol(seed=1).reported_seeds)


@pytest.mark.parametrize(
    "options",
    [
        {"seeds": 0}, {"seeds": 2.5}, {"seeds": True}, {"steps": -1}, {"steps": "many"}, {"batch_size": 0},
        {"tuning_seeds": 0}, {"seed": -1}, {"seed": 0.5}, {"learning_rate": 0.0}, {"learning_rate": math.nan},
        {"learning_rate": "fast"}, {"rates": []}, {"rates": [0.1, -1.0]}, {"rates": [0.1, math.inf]}, {"rates": "fast"},
        {"rates": [True]}, {"rates": None, "learning_rate": 1e300},
    ],
)  # fmt: skip
def test_bad_options_get_one_line_that_names_them(options: dict[str, Any]) -> None:
    with pytest.raises(EvaluationError) as caught:
        Protocol(**options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(list(options)[-1])
    assert "received" in str(caught.value)


@pytest.mark.parametrize("options", [{"momentum": 1.5}, {"weight_decay": -1.0}, {"nesterov": True}])
def test_bad_options_of_sgd(options: dict[str, Any]) -> None:
    with pytest.raises(SearchError, match=next(iter(options))):
        Protocol(**options)
