"""Every snippet of the README runs, in order, in one directory, at a small size."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from symloss.cli.main import main
from tests.sizes import small

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"^```(python|bash|toml)\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)
COMMANDS = (
    "discover",
    "resume",
    "show",
    "evaluate",
    "simplify",
    "latex",
    "draw",
    "plot",
    "smoothing",
    "landscape",
    "explain",
    "report",
    "compare",
    "adapt",
    "tasks",
    "losses",
)


def run_bash(snippet: str) -> None:
    for line in filter(None, map(str.strip, snippet.splitlines())):
        words = shlex.split(line, comments=True)
        if words[0] == "make":  # these take minutes, and install: only their names are tried
            subprocess.run(["make", "--dry-run", "--directory", str(ROOT), *words[1:]], check=True, capture_output=True)
        else:
            assert words[0] == "symloss", f"the README runs {words[0]}: teach this test to do so"
            assert main(words[1:]) == 0, line


def test_snippets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    rows = [f"{i % 7},{i % 5},{i % 7 + 2 * (i % 5)}" for i in range(90)]
    Path("data.csv").write_text("\n".join(["rooms,age,price", *rows]) + "\n")
    for language, snippet in SNIPPETS:
        if language == "bash":
            run_bash(small(snippet))
        elif language == "toml":
            Path("comparison.toml").write_text(small(snippet))
        else:
            exec(compile(small(snippet), "README.md", "exec"), names)
    out, err = capsys.readouterr()
    assert "error:" not in err
    assert out.count("pick: lowest error rate") >= 5
    written = {entry.name for entry in tmp_path.iterdir()}
    assert {"best.json", "best.py", "loss.png", "loss-front.png", "loss-history.png", "tree.svg", "runs"} <= written


def test_the_file_that_needs_torch_alone() -> None:
    """What the README writes to best.py is a loss."""
    import torch

    import symloss as sl

    names: dict[str, Any] = {}
    loss = sl.SymbolicLoss("abs(log(1.2*y*f))")
    exec(compile(loss.source(), "best.py", "exec"), names)
    logits, classes = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    torch.testing.assert_close(names["loss"](logits, classes), loss(logits, classes))


def test_there_is_a_snippet_for_each_command() -> None:
    bash = "".join(snippet for language, snippet in SNIPPETS if language == "bash")
    for command in COMMANDS:
        assert f"symloss {command}" in bash


def test_ten_lines_of_python() -> None:
    first = next(snippet for language, snippet in SNIPPETS if language == "python")
    assert len([line for line in first.splitlines() if line.strip()]) <= 10


def test_numbers_are_made_small() -> None:
    assert small("symloss discover digits --population 25 --generations 20") == (
        "symloss discover digits --population 8 --set refinement_steps=10 --set fitness_steps=50 --generations 2"
    )
    assert small("discover(population_size=25, generations=20, seed=0)") == (
        "discover(population_size=8, refinement_steps=10, fitness_steps=50, generations=2, seed=0)"
    )
    assert small("evaluate(seeds=10, steps=500)") == "evaluate(seeds=2, steps=20)"


def test_links_inside_the_repository() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
    anchors = {
        re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", README)) <= anchors


def test_every_file_of_a_run_is_explained() -> None:
    from symloss.discovery.run_directory import FILES

    for name in FILES:
        assert f"`{name}`" in README
