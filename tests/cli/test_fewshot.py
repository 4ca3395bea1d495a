"""`symloss fewshot`: train, evaluate side by side, prepare glyphs; mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from symloss.cli import fewshot
from symloss.errors import SearchError
from tests.cli.conftest import Cli
from tests.fewshot.test_images import write_omniglot

TRAIN = (
    "fewshot", "train", "sinusoids", "--encoder", "mlp", "--shots", "5", "--inner-steps", "1", "--iterations", "3",
    "--meta-batch", "2", "--out",
)  # fmt: skip


def test_trains_and_compares(cli: Cli, tmp_path: Path) -> None:
    for variant in ("maml", "npbml"):
        status, out, err = cli(*TRAIN, variant, "--variant", variant)
        assert status == 0
        assert "test: mean squared error " in out
        assert f"next: symloss fewshot evaluate {variant}" in out
        assert err.splitlines()[-1].startswith("meta-iteration 3/3, loss ")
    again = cli(*TRAIN, "npbml", "--variant", "npbml")
    assert (again.status, again.err) == (0, "")
    status, out, _ = cli(
        "fewshot", "evaluate", "maml", "npbml", "--tasks", "6", "--plot", "a.png", "--numbers", "a.json"
    )  # fmt: skip
    assert status == 0
    head, first, second = out.splitlines()[:3]
    assert head.split()[:3] == ["run", "mean", "squared"]
    assert first.startswith("maml")
    assert "optimiser=False" in first
    assert second.startswith("npbml")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads((tmp_path / "a.json").read_text())
    assert len(numbers["npbml"]["values"]) == 6


def test_images_of_the_user(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_omniglot(tmp_path / "data")
    status, out, err = cli(
        "fewshot", "train", "omniglot", "--data", "data", "--width", "4", "--ways", "2", "--queries", "2",
        "--iterations", "1", "--pretrain", "2", "--out", "kept",
    )  # fmt: skip
    assert status == 0
    assert err.startswith("pre-training 2/2: loss of 9 classes")
    assert "test: accuracy " in out
    status, out, _ = cli(
        "fewshot", "evaluate", "kept", "--on", "omniglot", "--data", "data", "--queries", "2", "--tasks", "3"
    )
    assert status == 0
    assert out.startswith("run   accuracy, 3 tasks")


def test_every_option_reaches_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    class Learner:
        def __init__(self, encoder: str, ways: int, shots: int, **options: Any) -> None:
            seen.update(options, encoder=encoder, ways=ways, shots=shots)
            raise SearchError("seen")

    monkeypatch.setattr("symloss.fewshot.NPBML", Learner)
    words = (
        "fewshot train glyphs --variant maml --encoder resnet12 --width 3 --ways 4 --shots 2 --inner-steps 6 "
        "--learning-rate 0.5 --first-order --base-loss focal --fixed-width --adapted-blocks 1 --seed 7 --device cpu "
        "--out kept"
    )
    assert cli(*words.split()).err == "error: seen\n"
    assert seen == {
        "encoder": "resnet12", "ways": 4, "shots": 2, "kind": "multiclass", "optimiser": False, "loss": False,
        "film": False, "width": 3, "inner_steps": 6, "lr": 0.5, "first_order": True, "base_loss": "focal",
        "fixed_width": True, "adapted_blocks": 1, "seed": 7, "device": "cpu",
    }  # fmt: skip


def test_help(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert " fewshot " in cli("--help").out
    for name, example in fewshot.EXAMPLES.items():
        status, out, err = cli("fewshot", name, "--help")
        assert (status, err) == (0, "")
        assert f"Example: {example}" in out


MISTAKES = {
    "fewshot train glyph --out a": "unknown few-shot data 'glyph'; did you mean 'glyphs'?",
    "fewshot train omniglot --out a": "omniglot is read from a directory of yours; give it with --data DIR",
    "fewshot train glyphs --data nowhere --out a": "there is no directory 'nowhere' of fonts; install them: sudo",
    "fewshot train sinusoids --variant mamml --out a": "unknown variant 'mamml'; did you mean 'maml'",
    "fewshot train sinusoids --encoder conv4 --out a": "this encoder takes images [C, H, W]",
    "fewshot train sinusoids --encoder mlp --pretrain 5 --out a": "unknown data to pre-train on 'sinusoids'",
    "fewshot train sinusoids --encoder mlp --iterations 0 --out a": "iterations is a whole number of at least 1",
    "fewshot evaluate nowhere": "there is no learner 'nowhere'",
    "fewshot glyphs --data nowhere": "there is no directory 'nowhere' of fonts",
    "fewshot": "missing command",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_told_in_one_line(cli: Cli, words: str) -> None:
    status, _, err = cli(*words.split())
    assert status == 2
    assert MISTAKES[words] in err
    assert err.count("\n") == 1
