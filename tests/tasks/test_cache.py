"""What is kept on the disk: whole or not at all, and never trusted without its checksum."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from symloss.tasks import cache


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "symloss"


class Maker:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"x": np.arange(50.0), "y": np.array([self.calls])}


def test_arrays_are_made_once_for_each_origin(place):
    make = Maker()
    for _ in range(3):
        arrays = cache.kept("name", ("1.0", 3), make)
        assert set(arrays) == {"x", "y"}
        assert np.array_equal(arrays["x"], np.arange(50.0))
    assert make.calls == 1
    assert cache.kept("name", ("1.1", 3), make)["y"].tolist() == [2]
    assert len(list(place.iterdir())) == 2


@pytest.mark.parametrize("damage", ["cut", "empty", "bytes", "nonsense", "other arrays", "no checksum", "objects"])
def test_damaged_files_are_made_again_with_a_line(place, damage, caplog):
    make = Maker()
    cache.kept("name", 1, make)
    (path,) = place.iterdir()
    whole = path.read_bytes()
    if damage == "other arrays":
        with np.load(path) as file:
            np.savez(path, **{name: file[name] for name in file.files} | {"x": np.ones(50)})
    elif damage == "no checksum":
        np.savez(path, x=np.arange(50.0), y=np.array([1]))
    elif damage == "objects":
        np.savez(path, x=np.array([object()]), sha256=np.array("0"))
    else:
        middle = len(whole) // 3
        contents = {"cut": whole[:-20], "empty": b"", "nonsense": b"nonsense"}
        path.write_bytes(contents.get(damage, whole[:middle] + b"\xff" * 40 + whole[middle + 40 :]))
    with caplog.at_level(logging.WARNING, "symloss"):
        assert cache.kept("name", 1, make)["y"].tolist() == [2]
    assert [record.message for record in caplog.records] == [f"{path} is damaged; it is made again"]
    assert cache.kept("name", 1, make)["y"].tolist() == [2]
    assert list(place.iterdir()) == [path]


def test_nothing_half_written_stays(place, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(KeyboardInterrupt):
        cache.kept("name", 1, Maker())
    assert list(place.iterdir()) == []


def test_where_nothing_can_be_written_arrays_are_made_each_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    make = Maker()
    assert [int(cache.kept("name", 1, make)["y"][0]) for _ in range(2)] == [1, 2]


def test_the_directory_is_that_of_the_system(monkeypatch):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for platform, expected in (("linux", ".cache/symloss"), ("darwin", "Library/Caches/symloss")):
        monkeypatch.setattr(sys, "platform", platform)
        assert cache.directory() == Path.home() / expected
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert cache.directory() == Path("/local/symloss/Cache")
    monkeypatch.setenv("XDG_CACHE_HOME", "/own")
    assert cache.directory() == Path("/own/symloss")
