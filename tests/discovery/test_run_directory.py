"""A run directory keeps what it was given, whatever happens to the disk."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symloss.discovery.evolution import state_from_json
from symloss.discovery.record import write_toml
from symloss.discovery.result import load_run
from symloss.discovery.run_directory import FILES, RunDirectory
from symloss.errors import RunError
from symloss.losses.storage import load
from tests.discovery.directories import CONFIG, TREE, checkpoint, one_line, rows
from tests.disks import full_disk

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
