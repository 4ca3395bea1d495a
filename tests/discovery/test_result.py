from __future__ import annotations

import re
import sys
from typing import Any

import pytest

from symloss.discovery.result import GenerationEvent
from symloss.discovery.runs import discover
from symloss.errors import SearchError
from symloss.expression.parsing import parse
from tests.discovery.fakes import make_task
from tests.discovery.runs import SMALL, Whole


def test_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    discover(make_task(), **SMALL)
    assert capsys.readouterr() == ("", "")
    discover(make_task(), progress=True, **SMALL)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split("  ")[0] for line in err.splitlines()] == [f"generation {i}/5" for i in range(1, 6)]
    assert "best 0." in err.splitlines()[-1]
    events: list[GenerationEvent] = []
    result = discover(make_task(), progress=events.append, callbacks=[events.append], **SMALL)
    assert capsys.readouterr() == ("", "")
    assert len(events) == 10
    assert events[-1].best == result.best
    assert list(events[-1].front) == result.front
    assert [e.generation for e in events[::2]] == list(result.history)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    discover(make_task(), **SMALL)
    assert len(capsys.readouterr().err.splitlines()) == 5
    discover(make_task(), progress=False, **SMALL)
    assert capsys.readouterr() == ("", "")


def test_the_result_prints_itself_with_the_pick_marked(whole: Whole) -> None:
    result, _, _ = whole
    lines = str(result).splitlines()
    assert lines[0].startswith("evomal on planted: 5 generations, ")
    assert lines[0].endswith("(all generations done)")
    table = lines[3 : 3 + len(result.front)]
    assert "mean squared error" in lines[2]
    assert [int(line[1:].split()[0]) for line in table] == [c.complexity for c in result.front]
    assert [line[0] for line in table] == [" "] * (len(table) - 1) + [">"]
    assert "> pick: lowest mean squared error on validation data; of equals the fewest nodes" in str(result)
    for stage, count in result.counts.items():
        assert (f"{count} {stage}" in lines[-1]) == bool(count)


def test_the_pick_may_trade_fitness_for_simplicity(whole: Whole) -> None:
    result, _, _ = whole
    assert len(result.front) > 1
    assert result.pick() == result.best == result.front[-1]
    assert result.pick(tolerance=1e9) == result.front[0]
    second = result.front[-2]
    assert result.pick(second.fitness / result.best.fitness - 1 + 1e-9) == second


def test_the_result_as_a_table(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    result, _, _ = whole
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SearchError, match="needs pandas, which is absent; run: pip install pandas"):
        result.to_dataframe()
    monkeypatch.undo()
    pytest.importorskip("pandas")
    table = result.to_dataframe()
    assert len(table) == len(result.candidates)
    assert table[table.pick].id.tolist() == [result.best.id]
    assert sorted(table[table.front].complexity) == [c.complexity for c in result.front]
    assert parse(table.expression[result.best.id]) == result.best.expression


def test_the_front_in_latex(whole: Whole) -> None:
    text = whole[0].latex()
    assert text.count("\\\\\n") == len(whole[0].front) + 1
    assert rf"\textbf{{{whole[0].best.complexity}}}" in text
    assert text.count(r"\textbf") == 2
    assert text.startswith(r"\begin{tabular}{rrl}")
    assert whole[0].latex("longtable", 17).startswith(r"\begin{longtable}{rrl}")


@pytest.mark.parametrize(
    "options", [{"environment": "foo"}, {"environment": None}, {"digits": 0}, {"digits": 18}, {"digits": 2.5}]
)
def test_tables_that_there_are_not(whole: Whole, options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(SearchError, match=re.escape(f"received {name}={value!r}")) as caught:
        whole[0].latex(**options)
    assert "\n" not in str(caught.value)
