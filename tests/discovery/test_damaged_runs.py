"""A run directory that is damaged, edited by hand or of another version is told in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from symloss.discovery.archive import Candidate
from symloss.discovery.run_directory import FORMAT, RunDirectory
from symloss.errors import RunError
from tests.discovery.directories import CONFIG, HISTORY, TREE, checkpoint, one_line, rows


@pytest.mark.parametrize("name", ["config.toml", "checkpoint.json"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: text.rstrip().rsplit("\n", 1)[0] if "\n" in text.rstrip() else text[:-2],
        lambda text: "\x00\x01",
        lambda text: "[" * 100_000,
        lambda text: "[1, 2]",
        lambda text: text.replace("population", "populace"),
        lambda text: text.replace(f"format = {FORMAT}", "").replace(f'"format": {FORMAT},', ""),
    ],
)
def test_a_damaged_record_is_one_line(run: RunDirectory, name: str, spoil: Callable[[str], str]) -> None:
    path = run.path / name
    path.write_text(spoil(path.read_text()))
    with pytest.raises(RunError, match=r"damaged|not written by symloss") as caught:
        run.config() if name == "config.toml" else run.checkpoint()
    assert name in one_line(caught)


@pytest.mark.parametrize(
    "change",
    [
        {"population": [{"nodes": ["sub", "y"], "weights": [1.0], "fitness": 1.0}]},
        {"population": []},
        {"population": "all"},
        {"candidates": -1},
        {"candidates": 1.5},
        {"history": [{}]},
        {"generation": 1},
        {"seconds": None},
        {"learning_rate": "fast"},
        {"stopped": 3},
        {"population": [{"nodes": ["sub", "y", "f"], "weights": [], "fitness": 1.0}]},
        {"population": [{"nodes": ["sub", "y", "f"], "weights": ["1", 1.0], "fitness": 1.0}]},
        {"population": [{"nodes": ["sub", "y", "f"], "weights": [True, 1.0], "fitness": 1.0}]},
        {"population": [{"nodes": "f", "weights": [], "fitness": 1.0}]},
        {"population": [{"nodes": ["f"], "weights": [], "fitness": -1.0}]},
        *({"seconds": value} for value in ("nan", "1.5", True, -1, 10**400)),
        *({"learning_rate": value} for value in ("0.1", True, 0, -1)),
        *({"random": value} for value in ({}, None, {"bit_generator": "MT19937"})),
        *({"versions": value} for value in (None, [], {"torch": 2})),
        *({"history": [{**row, **change} for row in HISTORY]} for change in (
            {"number": 1}, {"best": "0.5"}, {"best": -1}, {"median": True}, {"counts": {"evaluated": -1}},
            {"counts": []}, {"seconds": {"screen": "nan"}}, {"seconds": {"screen": None}}
        )),
    ],
)  # fmt: skip
def test_a_checkpoint_edited_by_hand_is_one_line(run: RunDirectory, change: dict[str, Any]) -> None:
    path = run.path / "checkpoint.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunError, match=r"is damaged|the checkpoint is damaged") as caught:
        run.checkpoint()
    assert str(path) in one_line(caught)


@pytest.mark.parametrize(
    "change",
    [
        *({"fitness": value} for value in (-1, "0.001", True, [], 10**400)),
        *({"scale": value} for value in (0, -1, "1", True, None)),
        *({"seconds": value} for value in ("nan", -1, True, None)),
        *({"id": value} for value in (0, -1, 2, 7, 1.0, "1", True, None)),
        *({"generation": value} for value in (-1, True, "0", None)),
        *({"duplicate_of": value} for value in (0, "0", True)),
        {"stage": "duplicate"},
        *({"stage": "duplicate", "duplicate_of": value} for value in (1, -1, 2.0)),
        *({"stage": value} for value in ("lost", 3, None, [])),
        *({"fingerprint": value} for value in (3, True, {})),
        *({"reason": value} for value in (3, None, {})),
        *({"expression": value} for value in (3, None, "square(y - f)", "", "square(")),
        {"weights": [1.0, 2.0, 3.0]},
        *({"weights": value} for value in ([], [1.0, 2.0], [1.0, 2.0, "3"], [1.0, 2.0, True], "123", None)),
        *({"nodes": value} for value in ([], "yf", ["square", "sub", "y", 3], ["square", "sub", "y", []], None)),
    ],
)
def test_a_candidate_edited_by_hand_is_one_line(run: RunDirectory, change: dict[str, Any]) -> None:
    path = run.path / "candidates.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    lines[1] = json.dumps({**json.loads(lines[1]), **change}) + "\n"
    path.write_text("".join(lines))
    with pytest.raises(RunError) as caught:
        run.contents()
    assert "candidates.jsonl" in one_line(caught)


@pytest.mark.parametrize("text", ['{"scale": 1e400}', '{"scale": -1e400, "scale": NaN}'])
def test_numbers_beyond_a_float_are_no_scale(run: RunDirectory, text: str) -> None:
    path = run.path / "candidates.jsonl"
    path.write_text(path.read_text().replace('"scale": 1.0', text.strip("{}"), 1))
    with pytest.raises(RunError, match=r"line 1, is damaged"):
        run.contents()


def test_an_error_rate_is_at_most_one() -> None:
    row = rows(1)[0].to_json()
    assert Candidate.from_json({**row, "fitness": 7.5}, "regression").fitness == 7.5
    for kind in ("binary", "multiclass"):
        assert Candidate.from_json({**row, "fitness": 1}, kind).fitness == 1
        with pytest.raises(ValueError, match="not a finite number from 0 to 1"):
            Candidate.from_json({**row, "fitness": 1.01}, kind)


def test_a_line_that_is_there_twice_is_one_line(run: RunDirectory) -> None:
    path = run.path / "candidates.jsonl"
    whole = path.read_text()
    for lines in ([0, 1, 1, 2], [0, 1, 2, 0], [0, 0, 1, 2], [0, 2, 1]):
        path.write_text("".join(whole.splitlines(keepends=True)[n] for n in lines))
        with pytest.raises(RunError, match="comes after") as caught:
            run.contents()
        one_line(caught)


@pytest.mark.parametrize(
    "change",
    [
        {"candidates": 2},
        {"candidates": 0},
        {"candidates": 0, "history": [], "generation": 0, "population": []},
        {"population": [{"nodes": ["sub", "y", "f"], "weights": [1, 1], "fitness": 1.0}]},
        {"population": [{"nodes": list(TREE.nodes), "weights": list(TREE.weights), "fitness": 0.25}]},
        {"history": HISTORY},
        {"learning_rate": 0.1},
    ],
)
def test_a_checkpoint_of_other_candidates_is_one_line(run: RunDirectory, change: dict[str, Any]) -> None:
    path = run.path / "checkpoint.json"
    assert run.contents() == (CONFIG, checkpoint(), rows(3))
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RunError, match=r"checkpoint.json and the other files do not fit together \(") as caught:
        run.contents()
    one_line(caught)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('method = "evomal"', 'method = "nope"'),
        ('method = "evomal"', "method = 3"),
        ('method = "evomal"', 'method = ["evomal"]'),
        ('kind = "regression"', 'kind = "multiclass"'),
        ('kind = "regression"', 'kind = "ranking"'),
        ('kind = "regression"', "kind = []"),
        ('metric = "mean squared error"', 'metric = "error rate"'),
        ("outputs = 1", "outputs = 3"),
        ("outputs = 1", "outputs = true"),
        ("outputs = 1", ""),
        ("guesses = [", 'guesses = "f" # ['),
        ("guesses = [", "guesses = [3, "),
        ("primitives = [", 'primitives = "add" # ['),
        ("primitives = [", "primitives = [[], "),
        ("seed = 0", "seed = true"),
        ("seed = 0", "seed = -1"),
        ("crossover = 0.7", "crossover = nan"),
        ("momentum = 0.0", ""),
        ("symloss =", "symloss = 3 #"),
        ("symloss =", "version ="),
    ],
)
def test_a_configuration_edited_by_hand_is_one_line(run: RunDirectory, old: str, new: str) -> None:
    path = run.path / "config.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RunError, match="is damaged") as caught:
        run.config()
    assert str(path) in one_line(caught)


def test_a_run_from_before_a_setting_existed_goes_on_as_it_was(run: RunDirectory) -> None:
    path = run.path / "config.toml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(("redraws", "confirmations"))))
    settings = run.config().settings
    assert (settings.redraws, settings.confirmations) == (0, 0)
    assert replace(settings, redraws=1, confirmations=4) == CONFIG.settings


def test_operations_that_are_not_registered_here_are_named(run: RunDirectory) -> None:
    message = "uses the operation 'mine', which is not registered here: register it first"
    for name, old, new, read in (
        ("config.toml", '"add", ', '"add", "mine", ', run.config),
        ("config.toml", '["square(', '["mine(', run.config),
        ("checkpoint.json", '["square", ', '["mine", ', run.checkpoint),
        ("candidates.jsonl", '["square", ', '["mine", ', lambda: run.candidates("regression")),
    ):
        path = run.path / name
        before = path.read_text()
        assert old in before
        path.write_text(before.replace(old, new))
        with pytest.raises(RunError, match=message) as caught:
            read()
        assert str(path) in one_line(caught)
        assert "damaged" not in one_line(caught)
        path.write_text(before)


def test_infinity_and_nan_are_not_json(run: RunDirectory) -> None:
    path = run.path / "candidates.jsonl"
    path.write_text(path.read_text().replace('"fitness": 0.5', '"fitness": NaN'))
    with pytest.raises(
        RunError, match=r"candidates.jsonl, line 2, is damaged \(NaN is not a number of JSON\)"
    ) as caught:
        run.candidates("regression")
    one_line(caught)


def test_a_newer_version_is_one_line(run: RunDirectory) -> None:
    for name, old, read in (
        ("config.toml", f"format = {FORMAT}", run.config),
        ("checkpoint.json", f'"format": {FORMAT}', run.checkpoint),
    ):
        path = run.path / name
        path.write_text(path.read_text().replace(old, old.replace(str(FORMAT), str(FORMAT + 1))))
        with pytest.raises(RunError, match=r"newer than this version reads .* upgrade symloss") as caught:
            read()
        one_line(caught)


@pytest.mark.parametrize(
    ("version", "message"),
    [("0", "written by an older version"), ("-3", "written by an older version"), ("true", "no format number"),
     ('"1"', "no format number"), ("1.0", "no format number")],
)  # fmt: skip
def test_another_format_is_one_line(run: RunDirectory, version: str, message: str) -> None:
    for name, old, read in (
        ("config.toml", f"format = {FORMAT}", run.config),
        ("checkpoint.json", f'"format": {FORMAT}', run.checkpoint),
    ):
        path = run.path / name
        path.write_text(path.read_text().replace(old, old.replace(str(FORMAT), version), 1))
        with pytest.raises(RunError, match=message) as caught:
            read()
        assert str(path) in one_line(caught)


def test_fewer_candidates_than_the_checkpoint_counts_is_one_line(run: RunDirectory) -> None:
    run.truncate(2)
    with pytest.raises(RunError, match="is truncated: 2 of 3 candidates are left") as caught:
        run.candidates("regression", 3)
    one_line(caught)
