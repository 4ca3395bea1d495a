"""Each command does what its name says."""

from __future__ import annotations

import json
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
from symloss.cli import (
    adapt,
    compare,
    discover,
    draw,
    evaluate,
    explain,
    landscape,
    latex,
    losses,
    plot,
    report,
    resume,
    show,
    simplify,
    smoothing,
    tasks,
)
from symloss.cli.arguments import read_settings
from symloss.cli.main import app
from symloss.discovery.methods import METHODS
from symloss.discovery.result import GenerationEvent, SearchResult
from symloss.discovery.settings import Settings
from symloss.evaluation import fit
from tests.cli.conftest import SMALL, Cli
from tests.tasks.sources.formats import write_images

MODULES = (
    discover, resume, show, evaluate, compare, adapt, explain, simplify, latex, draw, plot, report, smoothing,
    landscape, tasks, losses,
)  # fmt: skip


class TestHelp:
    def test_lists_every_command(self, cli: Cli) -> None:
        status, out, err = cli("--help")
        assert (status, err) == (0, "")
        for module in MODULES:
            assert f" {module.__name__.rpartition('.')[2]} " in out
        assert len(app.registered_commands) == len(MODULES)

    def test_without_words(self, cli: Cli) -> None:
        assert cli() == cli("-h") == cli("--help")

    @pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
    def test_has_an_example(self, cli: Cli, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "200")
        name = module.__name__.rpartition(".")[2]
        status, out, err = cli(name, "--help")
        assert (status, err) == (0, "")
        assert f"Example: {module.EXAMPLE}" in out
        assert module.EXAMPLE.startswith(f"symloss {name}")

    def test_version(self, cli: Cli) -> None:
        from importlib.metadata import version

        assert cli("--version") == (0, version("symloss") + "\n", "")

    def test_starts_light(self) -> None:
        """Help needs none of the heavy packages."""
        heavy = ("torch", "numpy", "numba", "scipy", "sympy", "matplotlib", "sklearn", "networkx", "joblib", "gplearn")
        code = f"import sys, symloss.cli.main as m; m.main(['--help']); print([h for h in {heavy} if h in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


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


class TestShow:
    def test_run(self, cli: Cli, run: Path) -> None:
        status, out, err = cli("show", str(run))
        result = sl.load_run(run)
        assert (status, err) == (0, "")
        assert out.startswith(str(result))
        assert f"pick in full: {result.best.expression}\n" in out
        assert "fitness_steps 20" in out

    def test_file(self, cli: Cli, run: Path) -> None:
        status, out, err = cli("show", str(run / "best.json"))
        best = sl.load_run(run).best
        assert (status, err) == (0, "")
        assert f"formula: {best.expression}\n" in out
        assert f"fitness: {best.fitness}\n" in out

    def test_orders_to_the_terminal_are_not_passed_on(self, cli: Cli, run: Path) -> None:
        """A file from elsewhere can hold any text."""
        config, loss = run / "config.toml", run / "best.json"
        config.write_text(config.read_text().replace('[task]\nname = "wine"', '[task]\nname = "wine\\u001b[2J"'))
        notes = {"task": "a\x1b[2Jb\nc", "fi\x9btness": [1]}
        loss.write_text(json.dumps({**json.loads(loss.read_text()), "notes": notes}))
        assert "evomal on wine?[2J: 2 generations" in cli("show", str(run)).out
        assert cli("show", str(loss)).out.endswith("\ntask: a?[2Jb c\nfi?tness: [1]\n")

    def test_names(self, cli: Cli) -> None:
        assert "kind: regression" in cli("show", "huber").out
        assert "computed by torch" in cli("show", "label-smoothing").out


class TestFormulas:
    def test_simplify(self, cli: Cli) -> None:
        status, out, err = cli("simplify", "0.5*log(y*f) - 1.5*log(y*f) + 0*f")
        assert (status, err) == (0, "")
        assert sl.equivalent(sl.parse(out.strip()), sl.parse("-1.0*log(y*f)"))
        assert sl.parse(out.strip()).size <= 6

    def test_simplify_for_a_kind(self, cli: Cli) -> None:
        """y is 0 or 1, so that y² is y, which elsewhere it is not."""
        assert cli("simplify", "y*y*f", "--kind", "multiclass").out.strip() in ("y*f", "f*y")
        assert sl.parse(cli("simplify", "y*y*f").out.strip()).size > 3

    def test_formulas_without_f(self, cli: Cli) -> None:
        assert cli("simplify", "y + 0*y") == (0, "y\n", "")

    @pytest.mark.parametrize("text", ["-y*log(f)", "-1.5*f", "-(y*f)", "-f", "- y*f", "-.5*f"])
    def test_formulas_that_begin_with_minus(self, cli: Cli, text: str) -> None:
        status, out, err = cli("latex", text)
        assert (status, err) == (0, "")
        assert out.strip() == sl.parse(text).latex()

    def test_latex(self, cli: Cli) -> None:
        assert (
            cli("latex", "abs(log(1.23456*y*f))", "--digits", "3").out
            == "\\left|\\log\\left|1.23 \\, y \\, f\\right|\\right|\n"
        )

    def test_of_runs_files_and_names(self, cli: Cli, run: Path) -> None:
        expression = sl.load_run(run).best.expression
        assert cli("latex", str(run)).out == cli("latex", str(run / "best.json")).out == expression.latex() + "\n"
        assert cli("latex", "huber").out.strip() == sl.losses.get("huber").expression.latex()

    def test_parts_of_a_run(self, cli: Cli, run: Path) -> None:
        result = sl.load_run(run)
        assert cli("latex", str(run), "--front").out == result.latex() + "\n"
        steps = cli("latex", str(run), "--derivation").out
        assert steps.startswith("\\begin{align*}\n")
        assert r"\ell(1, f)" in cli("latex", "abs(log(2*y*f))", "--kind", "multiclass", "--derivation").out

    def test_document(self, cli: Cli, run: Path, tmp_path: Path) -> None:
        status, out, _ = cli("latex", str(run), "--document", "--seconds", "0", "--out", "paper")
        assert status == 0
        files = [Path(line.removeprefix("wrote ")) for line in out.splitlines()]
        assert sorted(files) == sorted(Path("paper").iterdir())
        assert files[0] == Path("paper/loss.tex")
        assert len(files) == 5
        status, out, err = cli("latex", str(run), "--document", "--seconds", "0", "--out", "paper")
        assert (status, out) == (2, "")
        assert "exists" in err
        assert cli("latex", str(run), "--document", "--seconds", "0", "--out", "paper", "--overwrite").status == 0
        assert cli("latex", "focal", "--document", "--seconds", "0").out.startswith(
            "wrote loss.tex\nwrote loss-curves.pdf\n"
        )
        assert cli("latex", str(run / "best.json"), "--document", "--seconds", "0").out.startswith("wrote best.tex\n")


class TestPictures:
    def test_draw(self, cli: Cli, tmp_path: Path) -> None:
        from PIL import Image

        assert cli("draw", "abs(log(1.2*y*f))", "--out", "tree.png") == (0, "wrote tree.png\n", "")
        with Image.open(tmp_path / "tree.png") as picture:
            assert picture.text["Description"] == "abs(log(1.2*y*f))"
            assert min(picture.size) > 200

    @pytest.mark.parametrize(
        ("suffix", "start"),
        [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF"), ("eps", b"%!PS"), ("jpg", b"\xff\xd8")],
    )
    def test_formats(self, cli: Cli, tmp_path: Path, suffix: str, start: bytes) -> None:
        for words in (["draw", "y*f"], ["plot", "focal"]):
            assert cli(*words, "--out", f"a.{suffix}").status == 0
            assert (tmp_path / f"a.{suffix}").read_bytes().startswith(start)
        assert [entry.name for entry in tmp_path.iterdir()] == [f"a.{suffix}"]

    def test_plot_of_a_run(self, cli: Cli, run: Path, tmp_path: Path) -> None:
        status, out, _ = cli("plot", str(run), "--out", "a.svg")
        assert status == 0
        names = ["a-front.svg", "a-history.svg", "a.svg"]
        assert sorted(entry.name for entry in tmp_path.iterdir() if entry.is_file()) == names
        assert sorted(out.split()[1::2]) == names

    def test_plot_options(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[Any] = []
        own = sl.plotting.loss_curves
        monkeypatch.setattr("symloss.plotting.loss_curves", lambda *given: seen.append(given) or own(*given))
        assert cli("plot", "mse", "--kind", "regression", "--reference", "mae", "--raw", "--out", "a.png").status == 0
        assert seen[0][1:] == (["mae"], "regression", True)


class TestSmoothing:
    def test_says_what_the_report_says(self, cli: Cli) -> None:
        status, out, err = cli("smoothing", "abs(log(1.25*y*f))", "--classes", "5")
        assert (status, err) == (0, "")
        numbers, _, symbols = out.partition("In symbols")
        assert str(sl.analysis.label_smoothing("abs(log(1.25*y*f))", 5, seconds=0)) + "\n" == numbers
        assert "g(p) = (1 - p)*sign(log(1.25*p))" in symbols
        assert out.startswith("For 5 classes this loss has the optimum of label smoothing with ξ = 0.25, p* = 0.8")

    def test_latex_and_picture(self, cli: Cli, tmp_path: Path) -> None:
        status, out, _ = cli("smoothing", "label-smoothing", "--latex", "--plot", "smoothing.png")
        assert status == 0
        first, second = out.splitlines()
        assert first == sl.analysis.label_smoothing("label-smoothing").latex()
        assert second == "wrote smoothing.png"
        assert (tmp_path / "smoothing.png").read_bytes().startswith(b"\x89PNG")

    def test_of_a_run_and_of_another_kind(self, cli: Cli) -> None:
        sl.SymbolicLoss("abs(log(1.25*y*f))", "binary").save("best.json")
        for words in (("best.json",), ("label-smoothing", "--kind", "binary")):
            assert cli("smoothing", *words).out.startswith("This binary loss ")


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


class TestLists:
    def test_tasks(self, cli: Cli) -> None:
        status, out, _ = cli("tasks")
        assert status == 0
        listed, *rest = out.split("\n\n")
        assert [line.split()[0] for line in listed.splitlines()[1:]] == sl.tasks.names()
        assert {line.split()[-1] for line in listed.splitlines()[1:]} <= {"ready", "absent", "disk"}
        assert any("--data DIR" in part and "data_batch_1.bin" in part for part in rest)
        assert max(map(len, out.splitlines())) <= 80

    def test_absent_tasks_say_what_brings_them(self, cli: Cli) -> None:
        sl.tasks.register("absent", list, kind="binary", package="no_such_package", install="pip install this")
        try:
            listed, absent, *_ = cli("tasks").out.split("\n\n")
            assert next(line for line in listed.splitlines() if line.startswith("absent")).endswith("absent")
            assert "absent" in absent
            assert "pip install this" in absent
        finally:
            sl.tasks.unregister("absent")

    def test_losses(self, cli: Cli) -> None:
        names = lambda out: tuple(line.split()[0] for line in out.splitlines()[1:])  # noqa: E731
        assert names(cli("losses").out) == sl.losses.names()
        assert names(cli("losses", "--kind", "regression").out) == sl.losses.names("regression")


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
