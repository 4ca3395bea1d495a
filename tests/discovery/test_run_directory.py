from __future__ import annotations

import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import RandomState

from symloss.discovery.archive import Candidate
from symloss.discovery.evolution import Individual, state_from_json, state_to_json
from symloss.discovery.record import Checkpoint, Generation, RunConfig, write_toml
from symloss.discovery.result import load_run
from symloss.discovery.run_directory import FILES, FORMAT, RunDirectory
from symloss.discovery.settings import Settings
from symloss.errors import RunError
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.losses.storage import load
from tests.disks import full_disk

CONFIG = RunConfig(
    method="evomal",
    settings=Settings(population_size=7, target_fitness=0.1 + 0.2, learning_rate=1e-7),
    task={"name": "a \"quoted\"\n\\ name\x7f", "kind": "regression", "outputs": 1, "metric": "mean squared error",
          "identity": "0123", "recipe": {"name": "diabetes", "model_options": {"hidden": [3, 4]}}},
    guesses=(parse("square(1.5*y - f)"), parse("abs(y - 0.1*f)")),
    primitives=("add", "sub"),
)  # fmt: skip
TREE = Expression(("square", "sub", "y", "f"), (0.1 + 0.2, 1 / 3, 1e-300))
HISTORY = [{"number": n, "best": None, "median": None, "counts": {"evaluated": 2 - n}, "seconds": {}} for n in range(2)]


def rows(count: int) -> list[Candidate]:
    return [
        Candidate(i, i // 2, TREE, "regression", "evaluated", fitness=1 / (i + 1), fingerprint="x")
        for i in range(count)
    ]


def checkpoint(count: int = 3) -> Checkpoint:
    rng = RandomState(3)
    rng.normal(size=3)
    history = (
        Generation(0, 0.5, math.inf, {"evaluated": 2, "rejected": 0}, {"screen": 0.1}),
        Generation(1, 1 / 3, math.inf, {"evaluated": count - 2}, {}),
    )
    members = (Individual(TREE, 1 / 3), Individual(TREE, 1.0))
    return Checkpoint(count, members, state_to_json(rng), history, 1.5, 1e-7)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    made = RunDirectory.create(tmp_path / "run", CONFIG)
    made.append(rows(3))
    made.write_front(rows(3)[:1], rows(3)[0], {"task": "planted"})
    made.write_checkpoint(checkpoint())
    made.log("a line\nand\x0banother")
    yield made
    made.close()


def one_line(caught: pytest.ExceptionInfo[RunError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


keys = st.one_of(st.text(max_size=8), st.sampled_from(["a", "a-b", "a.b", "", "é", '"', "x y"]))
plain = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=12))
values = st.one_of(plain, st.lists(plain, max_size=3))
records = st.recursive(
    st.dictionaries(keys, values, max_size=4), lambda inner: st.dictionaries(keys, st.one_of(values, inner), max_size=4)
)


@given(records)
def test_toml_reads_back_as_it_was(record: dict[str, Any]) -> None:
    assert tomllib.loads(write_toml(record)) == record


def test_text_that_utf8_cannot_hold_does_no_harm() -> None:
    assert tomllib.loads(write_toml({"name": "a\ud800b"})) == {"name": "a?b"}


def test_everything_reads_back_bit_for_bit(run: RunDirectory) -> None:
    again = RunDirectory.open(run.path)
    assert again.config() == CONFIG
    assert again.checkpoint() == checkpoint()
    assert again.candidates("regression") == rows(3)
    state = again.checkpoint()
    assert state is not None
    assert state_from_json(state.random).normal() == state_from_json(checkpoint().random).normal()
    assert sorted(p.name for p in run.path.iterdir()) == sorted(FILES)


def test_best_json_is_a_loss_file_and_front_csv_marks_the_pick(run: RunDirectory) -> None:
    loss = load(run.path / "best.json")
    assert loss.expression == TREE
    assert loss.kind == "regression"
    assert json.loads((run.path / "best.json").read_text())["notes"] == {"task": "planted"}
    header, row = (run.path / "front.csv").read_text().splitlines()
    assert header == "id,generation,complexity,fitness,pick,expression"
    assert row.startswith("0,0,4,1.0,yes,")


def test_a_log_line_is_one_line(run: RunDirectory) -> None:
    assert (run.path / "log.txt").read_text().splitlines()[-1].endswith("  a line and another")


def test_a_torn_last_line_is_left_out_and_truncated_away(run: RunDirectory) -> None:
    path = run.path / "candidates.jsonl"
    whole = path.read_bytes()
    for torn in (b"{", b'{"id": 3, "fitness": 0.', whole[:50], whole.splitlines()[0]):
        path.write_bytes(whole + torn)
        assert run.candidates("regression") == rows(3)
        run.truncate(3)
        assert path.read_bytes() == whole
    run.truncate(1)
    assert run.candidates("regression") == rows(1)
    run.append(rows(3)[1:])
    assert path.read_bytes() == whole
    run.truncate(0)
    assert path.read_bytes() == b""


# --- directories that cannot be used ---------------------------------------------------------------------------------


def test_create_makes_parents_and_takes_an_empty_directory(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "a" / "b", CONFIG).close()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.toml.tmp").write_text("left by a kill")
    RunDirectory.create(tmp_path / "empty", CONFIG).close()
    assert RunDirectory.open(tmp_path / "empty").config() == CONFIG


def test_an_existing_run_is_kept_unless_overwritten(run: RunDirectory) -> None:
    run.close()
    (run.path / "notes.md").write_text("mine")
    with pytest.raises(RunError, match="holds a run already; resume it, overwrite it") as caught:
        RunDirectory.create(run.path, CONFIG)
    one_line(caught)
    assert run.candidates("regression") == rows(3)
    again = RunDirectory.create(run.path, replace(CONFIG, guesses=()), overwrite=True)
    assert again.candidates("regression") == []
    assert again.checkpoint() is None
    assert again.config().guesses == ()
    assert (run.path / "notes.md").read_text() == "mine"
    again.close()


@pytest.mark.parametrize("name", ["thesis.tex", "config.toml"])
def test_files_that_no_run_wrote_are_never_touched(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("title = 'mine'\n")
    with pytest.raises(RunError, match="files that are not a run's") as caught:
        RunDirectory.create(tmp_path, CONFIG, overwrite=True)
    one_line(caught)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_file_or_a_place_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run", Path("/proc/symloss/run")):
        with pytest.raises(RunError) as caught:
            RunDirectory.create(path, CONFIG)
        assert str(path) in one_line(caught)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: None, "is not a directory"),
        (lambda path: path.write_text("x"), "is not a directory"),
        (lambda path: path.mkdir(), "is empty"),
        (lambda path: (path.mkdir(), (path / "best.json").write_text("{}")), "has no config.toml"),
    ],
)
def test_what_is_no_run_cannot_be_opened(tmp_path: Path, prepare: Callable[[Path], None], message: str) -> None:
    prepare(tmp_path / "run")
    with pytest.raises(RunError, match=message) as caught:
        RunDirectory.open(tmp_path / "run")
    one_line(caught)


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


def test_a_second_writer_is_refused_a_reader_is_not(run: RunDirectory) -> None:
    assert RunDirectory.open(run.path).candidates("regression") == rows(3)
    for attempt in (
        lambda: RunDirectory.open(run.path, writing=True),
        lambda: RunDirectory.create(run.path, CONFIG, overwrite=True),
    ):
        with pytest.raises(RunError, match="another process is writing") as caught:
            attempt()
        one_line(caught)
    assert run.candidates("regression") == rows(3)
    run.close()
    RunDirectory.open(run.path, writing=True).close()


# --- disks that fail --------------------------------------------------------------------------------------------------


def test_a_full_disk_is_one_line_and_loses_nothing(run: RunDirectory) -> None:
    before = {name: (run.path / name).read_bytes() for name in FILES}
    later = replace(checkpoint(), seconds=99.0)
    for write in (
        lambda: run.append(rows(3)),
        lambda: run.write_front(rows(3), rows(3)[0], {"task": "x" * 500}),
        lambda: run.write_checkpoint(later),
        lambda: run.write_config(CONFIG),
        lambda: run.log("x" * 5000),
    ):
        with full_disk(120), pytest.raises(RunError, match=r"cannot use .* what was written before is kept") as caught:
            write()
        one_line(caught)
        assert {p.name for p in run.path.iterdir()} == set(FILES), "no temporary file stays behind"
        run.truncate(3)
        assert {name: (run.path / name).read_bytes() for name in FILES if name != "log.txt"} == {
            name: content for name, content in before.items() if name != "log.txt"
        }
    run.write_checkpoint(later)
    assert run.checkpoint() == later


def test_a_full_disk_is_told_once(run: RunDirectory) -> None:
    with full_disk(120):
        with pytest.raises(RunError, match="cannot use"):
            run.log("x" * 5000)
        run.close()
    RunDirectory.open(run.path, writing=True).close()


def test_a_directory_that_vanishes_is_one_line(run: RunDirectory) -> None:
    for name in FILES:
        (run.path / name).unlink()
    run.path.rmdir()
    for write in (lambda: run.append(rows(1)), lambda: run.write_checkpoint(checkpoint()), lambda: run.truncate(0)):
        with pytest.raises(RunError, match="cannot use") as caught:
            write()
        one_line(caught)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_what_is_no_file_is_named(run: RunDirectory, name: str, make: Callable[[Path], None]) -> None:
    run.close()
    (run.path / name).unlink()
    make(run.path / name)

    def use() -> None:
        again = RunDirectory.open(run.path, writing=True)
        with closing(again):
            again.contents()
            again.write_front([], rows(1)[0], {})
        if name in ("front.csv", "best.json"):  # a link or pipe there is replaced, or written through
            raise RunError(name)

    with pytest.raises(RunError, match=re.escape(name)) as caught:
        use()
    one_line(caught)
    for overwrite in (False, True):
        with suppress(RunError):
            RunDirectory.create(run.path, CONFIG, overwrite).close()


@pytest.mark.parametrize("path", [3, None, b"run", "a\0b", ["run"]])
def test_what_is_no_path_is_one_line(path: Any) -> None:
    for use in (RunDirectory.open, load_run, lambda path: RunDirectory.create(path, CONFIG)):
        with pytest.raises(RunError, match="given by its path; received") as caught:
            use(path)
        one_line(caught)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser writes everywhere")
def test_a_read_only_directory_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RunError, match="Permission denied"):
            RunDirectory.create(tmp_path / "run", CONFIG)
    finally:
        tmp_path.chmod(0o700)


def test_the_new_content_is_on_disk_before_it_takes_the_old_ones_place(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1])
    run.write_checkpoint(checkpoint())
    assert calls == ["fsync", "replace", "fsync"]
    calls.clear()
    run.append(rows(1))
    assert calls == ["fsync"]
