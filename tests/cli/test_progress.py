"""Signs of life: a live view at a terminal, one plain line per generation elsewhere."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

import symloss as sl
from symloss.cli.progress import View, parts, progress
from symloss.discovery.archive import STAGES, Candidate
from symloss.discovery.record import Generation
from symloss.discovery.result import GenerationEvent


def events(front: int = 3) -> Iterator[GenerationEvent]:
    for number in range(2):
        counts = dict(zip(STAGES, (4, 0, 3, 0, 1, 2), strict=True))
        formulas = [sl.parse("abs(log(1.23456789*y*f))" + " + f" * i) for i in range(front)]
        found = [
            Candidate(i, 0, formula, "multiclass", "evaluated", fitness=0.5 / (i + 1))
            for i, formula in enumerate(formulas)
        ]
        yield GenerationEvent(
            Generation(number, found[-1].fitness, 0.6, counts, {"develop": 1.0}),
            5,
            found[-1],
            tuple(found),
            2.5,
            "error rate",
        )


def screen(view: View, width: int = 100, height: int = 30) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with progress() as listener:
        for event in events():
            listener(event)
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "".join(f"{event}\n" for event in events())


def test_before_the_first_generation() -> None:
    lines = screen(View(Console(file=io.StringIO())))
    assert len(lines) == 1
    assert lines[0].startswith("first generation")


def test_view() -> None:
    view = View(Console(file=io.StringIO(), width=100, height=30))
    for event in events():
        view.update(event)
    lines = screen(view)
    assert lines[0].startswith("generation 2/5")
    assert lines[1].split() == ["nodes", "error", "rate", "formula"]
    assert [line.split()[:2] for line in lines[2:4]] == [["5", "0.5"], ["7", "0.25"]]
    assert lines[4].split()[:4] == [">", "9", "0.166667", "abs(log(1.235*y*f))"]
    assert lines[5].split() == ["candidates", "this", "generation", "since", "started"]
    assert [line.rsplit(maxsplit=2) for line in lines[6:]] == [
        ["zero gradient", "4", "8"], ["duplicate", "0", "0"], ["rejected", "3", "6"],
        ["rejected after refinement", "0", "0"], ["diverged", "1", "2"], ["evaluated", "2", "4"],
    ]  # fmt: skip
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize("height", [13, 24, 50])
def test_a_long_front_leaves_room_for_the_rest(height: int) -> None:
    view = View(Console(file=io.StringIO(), width=80, height=height))
    for event in events(front=60):
        view.update(event)
    lines = screen(view, width=80, height=height)
    assert len(lines) <= height
    assert sum(line.startswith(">") for line in lines) == 1
    assert lines[-1].startswith("evaluated")


def test_one_line_for_each_part_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    with parts() as listener:
        for part, line in (("a", "begins"), ("a", "goes on"), ("b", "begins"), ("a", "again")):
            listener(part, line)
    assert capsys.readouterr() == ("", "a: begins\nb: begins\n")


def test_parts_at_a_terminal_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    view = parts()
    view.__enter__()("flatness", "[bold]of a loss")
    assert not view.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert "\x1b[?25h" in stream.getvalue()  # the cursor is shown again
