"""The studies: each is explained, its record goes on where it was, and what is told of it follows from its cells."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from analysis import adaptive_loss, flatness, records, step_size

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "analysis" / "README.md").read_text(encoding="utf-8")


def test_every_study_is_explained_with_its_command_and_its_figure() -> None:
    commands = set(re.findall(r"`python -m (analysis\.[a-z_]+)`", TEXT))
    studies = {f"analysis.{path.stem}" for path in (ROOT / "analysis").glob("*.py") if "def main()" in path.read_text()}
    assert commands == studies
    assert all(importlib.util.find_spec(name) for name in commands)
    for figure in re.findall(r"\]\((\.\./figures/\w+\.png)\)", TEXT):
        assert (ROOT / "analysis" / figure).exists()
        assert (ROOT / "analysis" / figure).with_suffix(".json").exists()
    headings = {
        re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings


@pytest.mark.parametrize("study", [step_size, flatness, adaptive_loss], ids=lambda study: study.__name__)
def test_a_summary_follows_from_the_cells(study: Any) -> None:
    path = records.FIGURES / f"{study.__name__.split('.')[1]}.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert _flat(study.summary(record)) == pytest.approx(_flat(record["summary"]), rel=1e-9)


def test_finished_cells_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "FIGURES", tmp_path)
    seen: list[str] = []

    def cell(key: str) -> dict[str, Any]:
        seen.append(key)
        if key == "c":
            raise KeyboardInterrupt
        return {"value": 1 / 3, "name": key}

    def count(record: records.Record) -> int:
        return len(record["cells"])

    with pytest.raises(KeyboardInterrupt):
        records.computed("study", {"steps": (1, 2)}, "abc", cell, count)
    record = records.computed("study", {"steps": (1, 2)}, "abd", cell, count)
    assert seen == ["a", "b", "c", "d"]
    assert record["cells"]["a"] == {"value": 0.333333, "name": "a"}
    assert json.loads((tmp_path / "study.json").read_text()) == json.loads(json.dumps(record))
    assert record["summary"] == 3
    records.computed("study", {"steps": (1, 3)}, "a", cell, count)
    assert seen == ["a", "b", "c", "d", "a"]


def test_cells_are_the_same_from_processes_and_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "FIGURES", tmp_path)
    first = records.computed("study", {}, ["a"], len, lambda record: 0)
    assert set(records.computed("study", {}, ["bb", "ccc"], len, lambda record: 0, others=True)["cells"]) == {
        "a", "bb", "ccc",
    }  # fmt: skip
    assert records.finished("study", {}) == first["cells"] | {"bb": 2, "ccc": 3}
    assert not records.finished("study", {"steps": 1})
    again = records.computed("other", {}, ["a", "bb", "ccc"], len, lambda record: 0, jobs=2)
    assert again["cells"] == {"a": 1, "bb": 2, "ccc": 3}


def test_what_failed_counts_as_the_constant_and_steps_are_counted_to_the_tuned_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seeds of the digits; the task loss is best at 0.3, where it ends at 0.2 and 0.4."""
    cells = {}
    for rate in adaptive_loss.rates("digits"):
        for seed in (0, 1):
            end = 0.2 + 0.2 * seed if rate == 0.3 else 0.9
            parts = {name: _part(0.5, end) for name in adaptive_loss.METHODS}
            parts["frozen loss"] = _part(None, None)
            parts["adaptive loss"] = _part(0.1, 0.29 if seed else 0.31)
            cells[adaptive_loss.key_of("digits", rate, seed)] = parts
    own = adaptive_loss.Results({"cells": cells, "settings": {"constants": {"digits": 1.0}}}, "digits")
    assert (own.tuned, own.seeds) == (0.3, [0, 1])
    assert own.values("frozen loss", 0.1, "test") == own.values("frozen loss", 0.1, "valid") == [1.0, 1.0]
    assert own.reached("adaptive loss", 3.0) == [None, 500]
    assert own.reached("frozen loss", 3.0) == [None, None]
    record: dict[str, Any] = {"cells": cells, "settings": {"constants": dict.fromkeys(adaptive_loss.TASKS, 1.0)}}
    record["summary"] = adaptive_loss.summary(record)
    assert list(record["summary"]) == ["digits"]
    monkeypatch.setattr(records, "FIGURES", tmp_path)
    adaptive_loss.draw(record)
    assert (tmp_path / "adaptive_loss.png").read_bytes().startswith(b"\x89PNG")
    assert own.against("adaptive loss", 0.01, "test") == {
        "test": [0.1, 0.1, 0.1], "minus tuned": [-0.4, -0.4, -0.4], "verdict": "better",
    }  # fmt: skip


def _part(test: float | None, end: float | None) -> dict[str, Any]:
    return {"test": test, "half": test, "valid": [0.9] * 25 + [end], "looks": []}


def test_a_small_picture_keeps_what_it_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    from symloss.plotting import figure as style

    monkeypatch.setattr(records, "FIGURES", tmp_path)
    figure, _ = style.new("A title", {"steps": 500}, (2.0, 2.0))
    assert isinstance(figure, Figure)
    records.save(figure, "picture")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (300, 300)
        assert picture.text == {"Software": picture.text["Software"], "Title": "A title", "Description": "steps: 500"}  # type: ignore[attr-defined]


def _flat(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [x for part in value.values() for x in _flat(part)]
    if isinstance(value, list):
        return [x for part in value for x in _flat(part)]
    return [float(value)] if isinstance(value, int | float) else []
