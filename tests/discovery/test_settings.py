"""Settings: each wrong value gets one line that says what was wrong, what was received, what to do."""

from __future__ import annotations

from typing import Any

import pytest

from symloss.discovery.settings import Settings
from symloss.errors import SearchError


@pytest.mark.parametrize(
    ("name", "value"),
    [("population_size", 0), ("population_size", 2.5), ("population_size", True), ("population_size", "25"),
     ("initial_depth", (2,)), ("initial_depth", (4, 2)), ("initial_depth", 3), ("mutation_depth", (0, 1, 2)),
     ("learning_rate", 0.0), ("learning_rate", float("nan")), ("learning_rate", float("inf")), ("momentum", 1.0),
     ("crossover", -0.1), ("crossover", 0.9), ("seed", -1), ("refine", 1), ("device", 0), ("nesterov", True),
     ("time_limit", -1), ("parsimony_size", 2.1), ("chunk_size", None)],
)  # fmt: skip
def test_a_wrong_value_is_named(name: str, value: Any) -> None:
    with pytest.raises(SearchError, match=name) as caught:
        Settings(**{name: value})
    assert "received" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_division_for_each_confirmation_needs_confirmations() -> None:
    with pytest.raises(SearchError, match=r"resplit divides .* for each confirmation; received confirmations=0"):
        Settings(resplit=True, confirmations=0)


def test_round_trip() -> None:
    settings = Settings(seed=7, initial_depth=(2, 3), time_limit=1.5, scale_free=True)
    assert Settings.from_dict(settings.to_dict()) == settings
    assert Settings.from_dict({}) == Settings()
    with pytest.raises(SearchError, match="unknown setting 'populaton_size'"):
        Settings.from_dict({"populaton_size": 3})
