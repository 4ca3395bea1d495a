"""Commands that show a loss: as text, formulas, pictures and label smoothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import symloss as sl
from tests.cli.conftest import Cli


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
