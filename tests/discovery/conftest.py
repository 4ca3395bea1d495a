from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from symloss.discovery.result import GenerationEvent
from symloss.discovery.runs import discover
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
