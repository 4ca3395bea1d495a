"""What the tests of a search compare: all of a result, all of a directory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from symloss.discovery.result import SearchResult
from tests.discovery.fakes import STAGES

SMALL: dict[str, Any] = {"population_size": 12, "generations": 5, "seed": 1, "chunk_size": 3, "stages": STAGES}


Whole = tuple[SearchResult, Path, list[Path]]
"""A run, its directory, and copies of that after each generation."""


def essence(result: SearchResult) -> dict[str, Any]:
    """All of a result that must be the same bit for bit: everything but times and the place on disk."""
    return {
        "candidates": [replace(c, seconds=0.0) for c in result.candidates],
        "history": [replace(g, seconds={}) for g in result.history],
        "front": [replace(c, seconds=0.0) for c in result.front],
        "stopped": result.stopped,
        "learning_rate": result.learning_rate,
    }


def files(directory: Path) -> dict[str, Any]:
    """The content of a run directory, without times."""

    def timeless(text: str) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(text)
        values.pop("seconds")
        for entry in values.get("history", ()):
            entry.pop("seconds")
        return values

    read = {name: (directory / name).read_text() for name in ("config.toml", "front.csv", "best.json")}
    rows = [timeless(line) for line in (directory / "candidates.jsonl").read_text().splitlines()]
    return {**read, "rows": rows, "checkpoint": timeless((directory / "checkpoint.json").read_text())}
