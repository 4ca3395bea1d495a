from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from symloss.discovery.result import GenerationEvent
from symloss.discovery.run_directory import RunDirectory
from symloss.discovery.runs import discover
from tests.discovery.directories import CONFIG, checkpoint, rows
from tests.discovery.fakes import make_task
from tests.discovery.runs import SMALL, Whole


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """An undisturbed run, its directory, and copies of it after each generation."""
    top = tmp_path_factory.mktemp("whole")
    copies: list[Path] = []

    def copy(event: GenerationEvent) -> None:
        copies.append(top / f"after-{event.generation.number}")
        shutil.copytree(top / "run", copies[-1])

    result = discover(make_task(), out=top / "run", callbacks=[copy], guesses=["square(0.5*y - f)"], **SMALL)
    return result, top / "run", copies


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    """A run directory, open for writing."""
    made = RunDirectory.create(tmp_path / "run", CONFIG)
    made.append(rows(3))
    made.write_front(rows(3)[:1], rows(3)[0], {"task": "planted"})
    made.write_checkpoint(checkpoint())
    made.log("a line\nand\x0banother")
    yield made
    made.close()
