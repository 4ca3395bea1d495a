"""`symloss adapt`: a small run, kept, drawn, stopped and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import symloss as sl
from symloss.online import run
from symloss.online.training import Training
from tests.cli.conftest import Cli

WORDS = ("adapt", "wine", "--offline-steps", "3", "--steps", "8", "--batch-size", "32", "--out", "kept")


def test_trains_keeps_and_draws(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "KEPT_EVERY", 2)
    status, out, err = cli(*WORDS, "--plot", "a.png", "--numbers", "a.json")
    assert status == 0
    assert "adalfl: the loss adapts while the model trains; 3 offline meta-steps, 8 steps of sgd" in out
    assert "kept in kept" in out
    assert err.splitlines()[0] == "offline meta-step 2/3"
    assert err.splitlines()[-1].startswith("step 8/8: task loss ")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.gif").read_bytes().startswith(b"GIF89a")
    assert len(json.loads((tmp_path / "a.json").read_text())["records"]) == 8
    assert sl.load(tmp_path / "kept" / "best.json").kind == "multiclass"
    again = cli(*WORDS)
    assert again.status == 0
    assert again.err == ""


def test_interrupted_and_gone_on_with(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import signal

    advance = Training.advance

    def interrupted(training: Any) -> None:
        advance(training)
        if training.online == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    whole = cli(*WORDS[:-1], "other").out
    monkeypatch.setattr(Training, "advance", interrupted)
    status, out, _ = cli(*WORDS)
    assert status == 130
    assert "ended: interrupted after 3 offline and 5 online steps" in out
    monkeypatch.setattr(Training, "advance", advance)
    status, out, _ = cli(*WORDS)
    assert status == 0
    assert out.splitlines()[:12] == whole.splitlines()[:12]


def test_every_option_reaches_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    class ReachedError(sl.errors.SearchError):
        pass

    def note(task: Any, loss: Any, **options: Any) -> None:
        seen.update(options, loss=loss)
        raise ReachedError("seen")

    monkeypatch.setattr("symloss.online.adapt", note)
    words = (
        "adapt wine --loss y*f --method frozen --offline-steps 1 --steps 2 --learning-rate 3 "
        "--offline-learning-rate 11 --offline-horizon 12 --meta-learning-rate 4 "
        "--batch-size 5 --optimiser adam --momentum 0.6 --nesterov --weight-decay 7 --clip 8 --schedule cosine "
        "--inner-steps 9 --residual --no-tune --seed 10 --out kept"
    )
    assert cli(*words.split()).err == "error: seen\n"
    assert {name: value for name, value in seen.items() if name != "progress"} == {
        "loss": "y*f", "method": "frozen", "offline_steps": 1, "steps": 2, "lr": 3.0, "offline_lr": 11.0,
        "offline_horizon": 12,
        "meta_lr": 4.0, "batch_size": 5,
        "optimiser": "adam", "momentum": 0.6, "nesterov": True, "weight_decay": 7.0, "clip": 8.0,
        "schedule": "cosine", "inner_steps": 9, "residual": True, "tune_lr": False, "seed": 10, "out": Path("kept"),
    }  # fmt: skip
