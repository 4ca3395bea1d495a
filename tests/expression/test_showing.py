"""What results have in common when they are shown."""

from __future__ import annotations

import json
import math
import sys

import pytest

from symloss.errors import LossError, SearchError, SymlossError
from symloss.expression.showing import aligned, data_frame, drawn, plain


def test_columns_are_aligned() -> None:
    rows = [("a", "number", "text"), ("long", "1", "x"), ("", "22", "")]
    assert aligned(rows, "<><") == ["a     number  text", "long       1  x", "          22"]
    assert aligned(rows, "<>") == ["a     number  text", "long       1     x", "          22"]
    assert aligned(rows) == ["a     number  text", "long  1       x", "      22"]


def test_plain_values_are_json() -> None:
    given = {"a": (1, 2.5, math.inf), "b": {"c": [math.nan, None, True, "x"]}}
    assert json.loads(json.dumps(plain(given), allow_nan=False)) == {
        "a": [1, 2.5, None], "b": {"c": [None, None, True, "x"]},
    }  # fmt: skip


@pytest.mark.parametrize("error", [LossError, SearchError])
def test_without_pandas_one_line_says_what_to_install(
    error: type[SymlossError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(error, match="run: pip install pandas"):
        data_frame([], error)


def test_rows_become_a_table() -> None:
    pytest.importorskip("pandas")
    table = data_frame(({"a": k, "b": -k} for k in range(3)), LossError, ["b", "a"])
    assert list(table.columns) == ["b", "a"]
    assert list(table["b"]) == [0, -1, -2]


def test_figures_are_found_by_their_name() -> None:
    figure = drawn("loss_curves", "focal", kind="binary")
    assert figure.record["kind"] == "binary"  # type: ignore[attr-defined]
