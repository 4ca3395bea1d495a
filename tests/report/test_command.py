"""The command that repeats a run."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

import symloss as sl
from symloss.discovery.record import RunConfig
from symloss.discovery.result import load_run
from symloss.discovery.settings import Settings
from symloss.report.command import discover_command
from tests.cli.conftest import Cli, _made, cli, run  # noqa: F401 - fixtures

TASK = {"name": "a", "kind": "multiclass", "outputs": 3, "metric": "error rate", "identity": "0"}
RECIPE = {"name": "wine", "model": "mlp", "seed": 3, "model_options": {"hidden": [8, 4]}}


def config(**changes: object) -> RunConfig:
    settings = Settings(population_size=4, generations=1, nesterov=True, momentum=0.5, initial_depth=(1, 2))
    return replace(
        RunConfig("evomal", settings, {**TASK, "recipe": RECIPE}, (sl.parse("-1.0*y*log(f)"),), ()), **changes
    )


def test_words() -> None:
    assert shlex.split(discover_command(config()) or "") == [
        "symloss", "discover", "wine", "--model", "mlp", "--model-option", "hidden=8,4", "--split-seed", "3",
        "--population", "4", "--generations", "1", "--seed", "0", "--set", "initial_depth=1,2",
        "--set", "momentum=0.5", "--set", "nesterov=true", "--guess=-1.0*y*log(f)",
    ]  # fmt: skip


@pytest.mark.parametrize("task", [TASK, {**TASK, "recipe": {"name": "wine"}}, {**TASK, "recipe": "wine"}])
def test_none(task: dict[str, object]) -> None:
    assert discover_command(config(task=task)) is None


def test_it_repeats_the_run(cli: Cli, run: object) -> None:  # noqa: F811
    command = discover_command(load_run(str(run)).config)
    assert command is not None
    assert cli(*shlex.split(command)[1:], "--out", "again").status == 0
    again, first = load_run("again"), load_run(str(run))
    assert again.config == first.config
    assert [(c.expression, c.fitness) for c in again.candidates] == [
        (c.expression, c.fitness) for c in first.candidates
    ]
