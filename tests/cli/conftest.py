"""The command line in this process: `cli(words)` gives status and output; `run` is a small real run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from symloss.cli.main import main

SMALL = ["--population", "6", "--set", "refinement_steps=3", "--set", "fitness_steps=20", "--set", "rejection_steps=30"]


class Answer(NamedTuple):
    status: int
    out: str
    err: str


Cli = Callable[..., Answer]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the command line in an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYMLOSS_DEBUG", raising=False)

    def run(*words: str) -> Answer:
        capsys.readouterr()
        status = main(words)
        return Answer(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "run"
    assert main(["discover", "wine", "--generations", "2", "--seed", "1", "--out", str(path), *SMALL]) == 0
    return path


@pytest.fixture
def run(_made: Path, tmp_path: Path) -> Path:
    """A run of two small generations on wine, as a copy of its own."""
    return Path(shutil.copytree(_made, tmp_path / "run"))
