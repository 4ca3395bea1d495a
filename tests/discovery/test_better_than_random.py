"""Evolution earns its keep: more than drawing as many random losses would."""

from __future__ import annotations

import pytest
from scipy.stats import wilcoxon

from symloss.discovery.runs import discover
from symloss.tasks import load_task

SEEDS = range(8)


@pytest.mark.slow
def test_evolution_beats_random_search_at_equal_evaluations() -> None:
    """500 candidates each on digits, paired by seed; one-sided Wilcoxon signed-rank test."""
    task = load_task("digits", model="mlp")
    evolved = [discover(task, population_size=25, generations=20, seed=s).best.fitness for s in SEEDS]
    drawn = [discover(task, population_size=500, generations=1, seed=s).best.fitness for s in SEEDS]
    assert wilcoxon(evolved, drawn, alternative="less").pvalue < 0.05, (evolved, drawn)
