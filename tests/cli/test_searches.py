"""Commands that search: start, interrupt, go on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import symloss as sl
from symloss.cli.arguments import read_settings
from symloss.discovery.methods import METHODS
from symloss.discovery.result import GenerationEvent, SearchResult
from symloss.discovery.settings import Settings
from tests.cli.conftest import SMALL, Cli
from tests.tasks.sources.formats import write_images


class TestDiscover:
    def test_finds_and_keeps(self, cli: Cli, tmp_path: Path) -> None:
        status, out, err = cli("discover", "wine", "--generations", "2", "--seed", "1", "--out", "my run", *SMALL)
        assert status == 0
        assert [line.split("  ")[0] for line in err.splitlines()] == ["generation 1/2", "generation 2/2"]
        result = sl.load_run(tmp_path / "my run")
        assert out.startswith(str(result))
        assert "symloss show 'my run'" in out
        assert result.best.loss.expression == sl.load(tmp_path / "my run" / "best.json").expression

    @pytest.mark.parametrize("method", [name for name in METHODS if name != "evomal"])
    def test_baselines_are_runs_like_others(self, cli: Cli, tmp_path: Path, method: str) -> None:
        assert method in cli("discover", "--help").out
        words = ("--method", method, "--generations", "1", "--seed", "1", "--out", "b", *SMALL)
        status, out, _ = cli("discover", "wine", *words)
        assert status == 0
        assert out.startswith(f"{method} on wine: 1 generations")
        assert cli("resume", "b", "--generations", "2").status == 0
        status, out, _ = cli("show", "b")
        assert out.startswith(str(sl.load_run(tmp_path / "b")))
        assert (status, f"{method} on wine: 2 generations" in out) == (0, True)
        assert cli("plot", "b", "--out", "p.png").status == 0
        assert cli("evaluate", "b", "--seeds", "2", "--steps", "5", "--no-tune").status == 0
        assert cli("smoothing", "b").status == 0

    def test_a_network_is_shown_for_what_it_is(self, cli: Cli) -> None:
        words = ("--method", "ml3", "--generations", "1", "--population", "2", "--out", "b", *SMALL[2:])
        assert cli("discover", "wine", *words).status == 0
        shown = cli("show", "b").out
        assert "pick in full: network 2-50-50-1 (relu, softplus) after 3 meta-steps\nits weights are in best" in shown
        out = cli("show", "b/best.json").out
        assert out.startswith(
            "formula: none; it is a network 2-50-50-1 (relu, softplus)\nkind: multiclass\nsize: 2650 w"
        )
        for command in ("simplify b", "latex b", "draw b --out t.png"):
            assert cli(*command.split()) == (2, "", "error: b has no formula ℓ(y, f); choose a loss that has one\n")

    def test_directories_are_numbered(self, cli: Cli, tmp_path: Path) -> None:
        for _ in range(2):
            assert cli("discover", "wine", "--generations", "1", "--seed", "1", *SMALL).status == 0
        assert sorted(entry.name for entry in (tmp_path / "runs").iterdir()) == ["wine", "wine-2"]

    def test_every_option_reaches_the_search(self, cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: dict[str, Any] = {}

        def record(task: sl.Task, **options: Any) -> SearchResult:
            seen.update(options, task=task)
            return sl.load_run(run)

        monkeypatch.setattr("symloss.discovery.runs.discover", record)
        words = (
            "discover wine --model mlp --model-option hidden=7,5 --model-option activation=tanh --split-seed 3 --out o "
            "--method gp-lfl --overwrite --jobs 2 --time-limit 9.5 --target-fitness -0.25 --device cpu "
            "--population 8 --generations 3 "
            "--seed 4 --guess -y*log(f) --guess square(y-f) --inherit-weights --chunk-size 5 --no-refine "
            "--inner-steps 2 --learning-rate 0.3 --momentum 0.9 --scale-free --set nesterov=true "
            "--set initial-depth=1,3 --set rejection_steps=none --set time_limit=7"
        )
        assert cli(*words.split()).status == 0
        task = seen.pop("task")
        assert callable(seen.pop("progress"))
        assert [str(guess) for guess in map(sl.parse, seen.pop("guesses"))] == ["-1.0*y*log(f)", "square(y - f)"]
        assert (seen.pop("out"), seen.pop("overwrite"), seen.pop("n_jobs")) == (Path("o"), True, 2)
        assert seen.pop("method") == "gp-lfl"
        changed = Settings(
            population_size=8, generations=3, seed=4, inherit_weights=True, chunk_size=5, refine=False, inner_steps=2,
            learning_rate=0.3, momentum=0.9, nesterov=True, scale_free=True, initial_depth=(1, 3), target_fitness=-0.25,
            time_limit=7.0,
        )  # fmt: skip
        assert Settings(**seen) == changed
        assert task.identity() == sl.load_task("wine", "mlp", 3, hidden=(7, 5), activation="tanh").identity()

    def test_every_option_of_a_task_reaches_it(
        self, cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        seen: list[sl.Task] = []
        monkeypatch.setattr("symloss.discovery.runs.discover", lambda task, **o: seen.append(task) or sl.load_run(run))
        words = (
            "--split-seed 2 --train-samples 60 --valid-samples 20 --imbalance 2 --label-noise 0.25 --clean-validation "
            "--model linear"
        )
        assert cli("discover", "wine", *words.split()).status == 0
        expected = sl.load_task(
            "wine", "linear", 2, train_samples=60, valid_samples=20, imbalance=2.0, label_noise=0.25,
            clean_validation=True,
        )  # fmt: skip
        write_images(tmp_path / "pictures")
        assert cli("discover", "images", "--data", "pictures", "--image-size", "9", "--augment", "flip").status == 0
        other = sl.load_task("images", root=tmp_path / "pictures", image_size=9, augment="flip")
        (tmp_path / "t.csv").write_text("".join(f"{i % 7},{i % 2},{i % 5}\n" for i in range(200)))
        assert cli("discover", "t.csv", "--target", "2", "--kind", "regression").status == 0
        third = sl.load_task(tmp_path / "t.csv", target="2", kind="regression")
        assert [task.identity() for task in seen] == [task.identity() for task in (expected, other, third)]
        assert [task.recipe for task in seen] == [task.recipe for task in (expected, other, third)]

    def test_a_run_on_a_file_is_resumed_and_evaluated_from_anywhere(
        self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "houses.csv").write_text(
            "a,b,y\n" + "".join(f"{i % 7},{i % 5},{(i * i) % 11}.5\n" for i in range(90))
        )
        words = "discover houses.csv --train-samples 30 --generations 1 --seed 1 --model linear"
        assert cli(*words.split(), *SMALL).status == 0
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        directory = str(tmp_path / "runs" / "houses")
        assert cli("resume", directory, "--generations", "2").status == 0
        assert "houses" in cli("evaluate", directory, "--seeds", "2", "--steps", "3").out
        (tmp_path / "houses.csv").write_text((tmp_path / "houses.csv").read_text() + "1,1,1.5\n")
        answer = cli("resume", directory, "--generations", "3")
        assert answer.status == 2
        assert "the task is not that of" in answer.err
        (tmp_path / "houses.csv").unlink()
        answer = cli("evaluate", directory)
        assert answer.status == 2
        assert "there is no file" in answer.err

    def test_defaults_are_those_of_the_library(self, cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: dict[str, Any] = {}

        def record(
            task: sl.Task, method: str, out: Path, guesses: Any, n_jobs: int, overwrite: bool, progress: Any,
            **options: Any,
        ) -> SearchResult:  # fmt: skip
            seen.update(options)
            assert (method, tuple(guesses), n_jobs, overwrite) == ("evomal", (), 1, False)
            return sl.load_run(run)

        monkeypatch.setattr("symloss.discovery.runs.discover", record)
        assert cli("discover", "wine").status == 0
        assert Settings(**seen) == Settings()

    @pytest.mark.parametrize("name", Settings.__dataclass_fields__)
    def test_set_takes_every_setting(self, name: str) -> None:
        default = getattr(Settings(), name)
        text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default).lower()
        assert read_settings([f"{name}={text}"]) == {name: default}


class TestInterruption:
    """Ctrl-C keeps what was found, says how to go on, and leaves with 130."""

    @staticmethod
    @contextmanager
    def stop_at_once() -> Iterator[Callable[[GenerationEvent], None]]:
        def listener(event: GenerationEvent) -> None:
            raise KeyboardInterrupt

        yield listener

    def test_in_a_search(self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        words = ("discover", "wine", "--generations", "3", "--seed", "1", *SMALL, "--out")
        with monkeypatch.context() as patched:
            patched.setattr("symloss.cli.progress.progress", self.stop_at_once)
            status, out, err = cli(*words, "cut")
        assert (status, err) == (130, "")
        assert "(interrupted)" in out
        assert "next: symloss resume cut" in out
        assert len(sl.load_run("cut").history) == 1
        assert cli("resume", "cut").status == 0
        assert cli(*words, "whole").status == 0
        logs = [(tmp_path / run / "front.csv").read_text() for run in ("cut", "whole")]
        assert logs[0] == logs[1]

    def test_before_anything_was_found(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("symloss.discovery.stages.passes_rejection", stop)
        status, out, _ = cli("discover", "wine", "--out", "r")
        assert status == 130
        assert "no candidate was evaluated" in out
        assert out.endswith("next: symloss resume r\n")

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_with_a_real_signal_at_a_terminal(self, tmp_path: Path, number: signal.Signals) -> None:
        pty = pytest.importorskip("pty")
        mine, theirs = pty.openpty()
        words = (
            "discover digits --generations 1000 --out r --population 8 --set fitness_steps=50 --set refinement_steps=10"
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "symloss.cli.main", *words.split()], cwd=tmp_path, stdout=subprocess.PIPE,
            stderr=theirs, text=True, env={**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        os.close(theirs)
        shown: list[bytes] = []

        def collect() -> None:
            while True:
                try:
                    shown.append(os.read(mine, 65536))
                except OSError:  # the other side is closed
                    return

        reader = threading.Thread(target=collect)
        reader.start()
        deadline = time.monotonic() + 60
        while not re.search(rb"generation \d+/1000", b"".join(shown)) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(number)
        out, _ = process.communicate(timeout=60)
        reader.join(10)
        os.close(mine)
        assert process.returncode == 130
        assert "next: symloss resume r" in out
        assert b"Traceback" not in b"".join(shown)
        assert len(sl.load_run(tmp_path / "r").history) >= 1


class TestResume:
    def test_goes_on_for_longer(self, cli: Cli, run: Path) -> None:
        status, out, err = cli("resume", str(run), "--generations", "3")
        assert status == 0
        assert [line.split("  ")[0] for line in err.splitlines()] == ["generation 3/3"]
        assert out.startswith(str(sl.load_run(run)))
        assert len(sl.load_run(run).history) == 3

    def test_finished(self, cli: Cli, run: Path) -> None:
        status, out, err = cli("resume", str(run))
        assert (status, err) == (0, "")
        assert "(all generations done)" in out

    def test_time_limit(self, cli: Cli, run: Path) -> None:
        status, out, _ = cli("resume", str(run), "--generations", "9", "--time-limit", "0")
        assert status == 0
        assert "(time limit reached)" in out
        assert f"next: symloss resume {run}" in out
