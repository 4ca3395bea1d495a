"""The few-shot study at a tiny size: its cells, its differences to MAML, its figure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from analysis import few_shot, records
from symloss.fewshot import VARIANTS


def test_the_study_runs_and_compares_with_maml_task_by_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "FIGURES", tmp_path)
    monkeypatch.setattr(few_shot, "RATES", (0.01, 0.05))
    monkeypatch.setattr(few_shot, "names", lambda setting: ["maml", "npbml"])
    few_shot.study(["--settings", "sinusoids", "--seeds", "2", "--tasks", "4", "--iterations", "2"])
    record = json.loads((tmp_path / "few_shot.json").read_text())
    assert list(record["cells"]) == few_shot.keys(["sinusoids"])
    row = record["summary"]["sinusoids"]["npbml"]["untuned"]
    own, reference = (
        np.array(record["cells"][f"sinusoids: {key}"]["values"]) for key in ("npbml: untuned", "maml: tuned")
    )
    assert own.shape == (2, 4)
    assert row["mean"][0] == pytest.approx(own.mean())
    assert row["minus MAML"][0] == pytest.approx((own - reference).mean(), rel=1e-9)
    assert row["minus MAML, single seeds"] == pytest.approx((own - reference).mean(1).tolist())
    assert record["cells"]["sinusoids: npbml: tuned"]["rate"] in (0.01, 0.05)
    assert (tmp_path / "few_shot.png").stat().st_size > 10_000


def test_every_variant_has_its_cells() -> None:
    assert {key.split(": ")[1] for key in few_shot.keys(["glyphs, 1-shot"])} == set(VARIANTS)
    assert not any("prototypes" in key for key in few_shot.keys(["sinusoids"]))
