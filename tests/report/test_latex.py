"""Documents: they compile, hold what they must, and obey nothing that stands in a run."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import symloss as sl
from symloss.discovery.archive import Candidate
from symloss.discovery.result import SearchResult
from symloss.errors import LossError, OutputError, SearchError
from symloss.report.latex import document, place_of
from tests.report.conftest import compile_latex

HOSTILE = (
    r"\input{/etc/passwd}\write18{touch pwned}\immediate\openout3=pwned ^^5cinput{x} $x_1$ % & # ~ {}{{ }} -- ,, '' `` "
    r"<< >> |\ \end{document} \csname x\endcsname \makeatletter é λ "
)
WILD = HOSTILE + "日本\udcff\x00\n\n\\par" + "a" * 200
LONG = " + ".join(f"{k}.123456789*abs(log({k}.3*y*f))*square(y - 0.98765*f)" for k in range(1, 10))


def overfull(log: str) -> list[str]:
    return re.findall(r"Overfull .*", log)


def test_a_run(result: SearchResult, tmp_path: Path) -> None:
    result = replace(result, versions={"symloss": "0.1.0", "torch": "2.0"})
    files = result.document(tmp_path / "paper", seconds=0.0)
    assert [file.name for file in files] == [
        "loss.tex", "loss-curves.pdf", "loss-front.pdf", "loss-history.pdf", "loss-tree.pdf",
    ]  # fmt: skip
    assert all(file.read_bytes().startswith(b"%PDF") for file in files[1:])
    text = files[0].read_text("ascii")
    assert text.count(r"\includegraphics") == 4
    assert rf"\textbf{{{result.best.complexity}}} & \textbf{{0.04}}" in text
    for part in (
        "tuned in the same way",
        "seed 0, population 6",
        r"version of \texttt{torch}",
        r"\tag*{\footnotesize as found}",
    ):
        assert part in text
    assert overfull(compile_latex(files[0])) == []
    assert document(result, seconds=0.0).latex("loss") == text


def test_hostile_text(result: SearchResult, tmp_path: Path) -> None:
    """In every place that a run's files fill with text."""
    task = {
        **result.config.task,
        "name": HOSTILE + "b" * 200,
        "metric": r"$\frac{ \write18{x} ^^5c %",
        "identity": WILD,
    }
    task["recipe"] = {"name": HOSTILE, "model": HOSTILE, "seed": 0, "model_options": {WILD: WILD}}
    settings = replace(result.settings, device=WILD)
    config = replace(result.config, task=task, settings=settings)
    hostile = replace(result, config=config, stopped=WILD, versions={WILD: WILD})
    (source, *_) = hostile.document(tmp_path, seconds=0.0)
    log = compile_latex(source)
    assert overfull(log) == []
    assert not (tmp_path / "pwned").exists()
    assert "(/etc" not in log  # no file of another place was opened


def test_long_formulas(result: SearchResult, tmp_path: Path) -> None:
    """They go over lines and pages, and stand out nowhere."""
    longest = Candidate(9, 2, sl.parse(f"tanh({LONG})/sqrt({LONG}) + {LONG}"), "multiclass", "evaluated", fitness=0.001)
    longer = replace(result, candidates=(*result.candidates, longest))
    (source, *_) = document(longer, seconds=0.0).write(tmp_path / "long.tex")
    assert overfull(compile_latex(source)) == []


@pytest.mark.parametrize("loss", ["huber", sl.parse("square(y - f)*y + 0.123456*f"), "square(y - f) + abs(f)*y"])
def test_a_loss(loss: Any, tmp_path: Path) -> None:
    files = document(loss, "regression", seconds=0.0).write(tmp_path / "50% a_b.tex")
    assert [file.name for file in files] == ["50% a_b.tex", "50-a-b-curves.pdf", "50-a-b-tree.pdf"]
    assert ("Ann. Math. Stat" in files[0].read_text()) == (loss == "huber")


def test_a_module_with_a_name_of_its_own() -> None:
    loss = sl.SymbolicLoss("abs(log(1.2*y*f))")
    loss.name = r"\input{x}"  # type: ignore[assignment]
    assert r"\input{x}" not in document(loss, seconds=0.0).latex("a")


def test_what_has_no_document(result: SearchResult) -> None:
    empty = replace(result, candidates=(), history=())
    with pytest.raises(SearchError, match="no candidate was evaluated"):
        document(empty)
    with pytest.raises(LossError, match="has no formula"):
        document("label-smoothing")
    with pytest.raises(LossError, match="has no formula"):
        document(torch.nn.MSELoss(), "regression")
    with pytest.raises(LossError, match="the run is of kind 'multiclass'"):
        document(result, "regression")


def test_a_run_cut_off_in_its_first_generation(result: SearchResult) -> None:
    assert "history" not in document(replace(result, history=()), seconds=0.0).pictures


def test_a_tree_too_large_to_be_drawn_is_left_out() -> None:
    text = "f"
    for k in range(9):
        text = f"({text} + {text}*{k + 2}.5)"
    assert list(document(f"{text}*y", seconds=0.0).pictures) == ["curves"]


def test_files_are_not_replaced_unasked(tmp_path: Path) -> None:
    found = document("y*f", seconds=0.0)
    found.write(tmp_path / "a.tex")
    (tmp_path / "a.tex").unlink()
    with pytest.raises(OutputError, match=r"a-curves.pdf' exists"):
        found.write(tmp_path / "a.tex")
    assert not (tmp_path / "a.tex").exists()
    found.write(tmp_path / "a.tex", overwrite=True)
    (tmp_path / "b-tree.pdf").mkdir()
    with pytest.raises(OutputError, match=r"b-tree.pdf' exists"):
        found.write(tmp_path / "b.tex", overwrite=True)


@pytest.mark.parametrize("place", ["nowhere/a.tex", "nowhere/deep", "file", "/proc/symloss", "a\x00.tex"])
def test_places_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError) as caught:
        document("y*f", seconds=0.0).write(tmp_path / place)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("place", ["nowhere/a.tex", "nowhere/deep", "file", "/proc/symloss", "there", "there/loss.tex"])
def test_a_wrong_place_is_told_before_any_work(
    result: SearchResult, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from symloss.cli.main import main

    (tmp_path / "file").write_text("mine")
    document("y*f", seconds=0.0).write(tmp_path / "there")
    worked: list[object] = []
    monkeypatch.setattr("symloss.report.latex.document", lambda *arguments: worked.append(arguments))
    with pytest.raises(OutputError):
        result.document(tmp_path / place)
    assert main(["latex", "y*f", "--document", "--out", str(tmp_path / place)]) == 2
    assert worked == []


def test_looking_at_a_place_leaves_nothing_there(tmp_path: Path) -> None:
    assert place_of(tmp_path / "new") == tmp_path / "new" / "loss.tex"
    assert place_of(tmp_path / "a.tex") == tmp_path / "a.tex"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(LossError, match="has no formula"):
        document("label-smoothing").write(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_the_same_run_gives_the_same_files(result: SearchResult, tmp_path: Path) -> None:
    first, second = (document(result, seconds=0.0).write(tmp_path / name) for name in "ab")
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
