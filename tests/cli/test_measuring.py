"""Commands that train under a loss and measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import symloss as sl
from symloss.evaluation import fit
from tests.cli.conftest import Cli


class TestEvaluate:
    OPTIONS = ("--seeds", "2", "--steps", "5", "--model-option", "hidden=4")

    def test_prints_the_table(self, cli: Cli, tmp_path: Path) -> None:
        status, out, err = cli("evaluate", "focal", "-y*log(f)", "--task", "wine", "--out", "e.json", *self.OPTIONS)
        assert (status, err) == (0, "")
        assert "2 seeds, 5 steps" in out
        assert "tuned cross-entropy" in out
        names = [row["name"] for row in json.loads((tmp_path / "e.json").read_text())["rows"]]
        assert names[0] == "focal"
        assert "untuned cross-entropy" in names

    def test_task_of_the_run(self, cli: Cli, run: Path) -> None:
        status, out, _ = cli("evaluate", str(run), *self.OPTIONS)
        assert status == 0
        assert "test samples of wine" in out

    def test_transfer_to_another_task_and_model(self, cli: Cli, run: Path, tmp_path: Path) -> None:
        words = ("--task", "digits", "--model", "linear", "--seeds", "2", "--steps", "5", "--out", "e.json")
        status, out, err = cli("evaluate", str(run), *words)
        assert (status, err) == (0, "")
        assert "test samples of digits" in out
        line = f"{run}: found by evomal on wine (mlp), trained with here on digits (linear): a transfer"
        assert out.splitlines().count(line) == 1
        written = json.loads((tmp_path / "e.json").read_text())
        assert written["transfers"] == [line]
        assert written["rows"][0]["formula"] == str(sl.load(run / "best.json").expression)
        assert (
            "found by evomal on wine (mlp), trained with here on wine (mlp, split seed 1)"
            in cli("evaluate", str(run), "--task", "wine", "--split-seed", "1", *self.OPTIONS[:4]).out
        )
        assert "a transfer" not in cli("evaluate", str(run), *self.OPTIONS[:4]).out

    def test_tuning_is_optional(self, cli: Cli) -> None:
        assert (
            "only tuned cross-entropy was tuned"
            in cli("evaluate", "focal", "--task", "wine", "--no-tune", *self.OPTIONS).out
        )


class TestExplain:
    WORDS = ("--seeds", "2", "--steps", "5")

    def test_one_page_a_picture_and_numbers(self, cli: Cli, tmp_path: Path) -> None:
        words = ("abs(log(1.2*y*f))", "--task", "wine", "--model", "linear", "--plot", "e.png", "--out", "e.json")
        status, out, err = cli("explain", *words, *self.WORDS)
        assert status == 0
        parts = ["formula", "learning rate", "label smoothing", "flatness"]
        assert [line.split(":")[0] for line in err.splitlines()] == parts
        numbers = json.loads((tmp_path / "e.json").read_text())
        for sentence in numbers["sentences"].values():
            assert sentence in " ".join(out.split())
        assert numbers["formula"]["nearest"]["name"] == "absolute-cross-entropy, phi1 1.2"
        assert numbers["label_smoothing"]["attractors"] == [pytest.approx(1 / 1.2)]
        assert out.endswith("\nwrote e.png\nwrote e.json\n")
        assert out.count("\n") < 60
        assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")

    def test_task_of_the_run(self, cli: Cli, run: Path) -> None:
        status, out, _ = cli("explain", str(run), *self.WORDS)
        assert status == 0
        assert " on wine: 2 seeds, 5 steps" in " ".join(out.split())

    def test_interrupted(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        def stop(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("symloss.analysis.sharpness_comparison.check", stop)
        status, out, err = cli("explain", "focal", "--task", "wine", *self.WORDS)
        assert (status, out) == (130, "")
        assert err.splitlines()[-1] == "flatness: minima over 2 seeds"


class TestCompare:
    CONFIG = """
seeds = 1
training_seeds = 2
steps = 10
rates = [0.1, 1.0]
tuning_seeds = 1
[budget]
population_size = 4
generations = 1
refinement_steps = 2
fitness_steps = 10
rejection_steps = 20
[[tasks]]
name = "wine"
[[methods]]
name = "evomal"
label = "EvoMAL"
[[methods]]
name = "focal"
"""
    WORDS = ("compare", "--config", "c.toml", "--out", "kept")

    def test_compares_and_keeps(self, cli: Cli, tmp_path: Path) -> None:
        Path("c.toml").write_text(self.CONFIG)
        listed = cli(*self.WORDS, "--dry-run")
        assert (listed.status, listed.err) == (0, "")
        assert listed.out.splitlines()[3] == "wine, EvoMAL, search seed 0: to do"
        assert listed.out.endswith("0 finished, 4 to do, with 1 searches of 4 candidates in all\n")
        assert not Path("kept").exists()
        status, out, err = cli(*self.WORDS, "--plot", "c.png")
        assert status == 0
        assert out.startswith("wine: error rate on 36 test samples after 10 steps of batch 128\nmethod")
        assert "kept in kept: comparison.csv, comparison.json, comparison.tex, costs.csv" in out
        assert [line.split(": ")[0] for line in err.splitlines()] == [f"cell {i}/4" for i in range(1, 5)]
        assert Path("c.png").read_bytes().startswith(b"\x89PNG")
        again = cli(*self.WORDS)
        assert (again.status, again.err) == (0, "")
        assert out.startswith(again.out)

    def test_interrupted(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        Path("c.toml").write_text(self.CONFIG)

        def stop(*arguments: Any, **options: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("symloss.comparison.work.discover", stop)
            status, out, _ = cli(*self.WORDS)
        assert status == 130
        assert "1 of 4 cells are not computed yet" in out
        assert cli(*self.WORDS).status == 0


class TestLandscape:
    WORDS = ("landscape", "abs(log(1.2*y*f))", "--task", "wine", "--steps", "20", "--grid", "5")

    def test_compares_on_one_scale(self, cli: Cli, tmp_path: Path) -> None:
        status, out, err = cli(*self.WORDS, "--against", "focal", "--plot", "l.png", "--out", "l.npz", "--seeds", "2")
        assert status == 0
        assert [line.split(", learning rate ")[0] for line in err.splitlines()] == [
            "trained with abs(log(1.2*y*f))",
            "trained with focal",
        ]
        found = sl.analysis.load_landscape("l.npz")
        assert out == f"{found}\nwrote l.png\n"
        assert found.models == ["abs(log(1.2*y*f))", "focal"]
        assert found.metrics == ["cross-entropy", "error rate"]
        task = sl.load_task("wine", seed=0)
        assert found.settings["samples"] == len(task.train)
        rate = float(err.splitlines()[1].rpartition(" ")[2])
        rates = [10 ** (k / 2) for k in range(-10, 3)]
        exact = min(rates, key=lambda r: abs(r - rate))
        model = fit(task, "focal", seed=0, steps=20, learning_rate=exact)
        x, y = task.train.x, task.train.y
        assert found.centre[1] == pytest.approx(
            [task.task_loss(model(x), y).item(), task.metric(model(x), y)], rel=1e-4
        )
        assert (tmp_path / "l.png").stat().st_size > 10_000

    def test_of_a_run_along_a_line(self, cli: Cli, run: Path) -> None:
        words = (
            "landscape",
            str(run),
            "--task",
            "wine",
            "--steps",
            "5",
            "--grid",
            "3",
            "--line",
            "--learning-rate",
            "0.1",
        )
        status, out, err = cli(*words)
        assert status == 0
        assert "landscape of 3 points" in out
        assert err.splitlines()[1] == "trained with cross-entropy, learning rate 0.1"

    @pytest.mark.slow
    def test_of_regression(self, cli: Cli) -> None:
        words = "landscape huber --task diabetes --steps 20 --grid 3 --style surface --plot s.png --part test"
        status, out, _ = cli(*words.split())
        assert status == 0
        assert "mean squared error" in out
