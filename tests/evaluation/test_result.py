from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from symloss.errors import EvaluationError
from symloss.evaluation import Evaluation, Protocol, Row
from symloss.evaluation.statistics import compared, estimate, paired

TUNED = (0.10, 0.12, 0.11)
UNTUNED = (0.30, 0.32, 0.31)


def make_row(
    name: str, values: tuple[float, ...], role: str = "loss", *, tuned: bool = True, edge: bool = False
) -> Row:
    counted = tuple(v if math.isfinite(v) else 1.0 for v in values)
    difference, to_untuned = (paired(counted, other[: len(values)]) for other in (TUNED, UNTUNED))
    return Row(
        name, role, "-y*log(f)", 0.1 if tuned else 0.01, tuned, edge, values, counted, estimate(counted),
        difference, compared(difference), to_untuned, compared(to_untuned), ((0.2,) * 13,) if tuned else (), 1.5,
    )  # fmt: skip


def make_evaluation(*rows: Row, kind: str = "multiclass", protocol: Protocol | None = None) -> Evaluation:
    metric = "mean squared error" if kind == "regression" else "error rate"
    count = protocol.seeds if protocol else 3
    references = (
        make_row("cross-entropy", TUNED[:count], "tuned reference"),
        make_row("untuned cross-entropy", UNTUNED[:count], "untuned reference", tuned=False),
    )
    return Evaluation("digits", kind, metric, 359, protocol or Protocol(seeds=3), (*rows, *references), 9.0)


BETTER = make_row("better", (0.05, 0.07, 0.061))
SAME = make_row("same", (0.101, 0.119, 0.11))
WORSE = make_row("worse", (0.50, 0.52, 0.51))
FALLEN = make_row("fallen", (0.10, math.inf, 0.11))


def test_it_prints_a_table_and_a_sentence_on_each_loss() -> None:
    text = str(make_evaluation(BETTER, SAME, WORSE, FALLEN))
    heading, table, verdicts, notes = text.split("\n\n")
    assert heading == (
        "error rate on the 359 test samples of digits: 3 seeds, 2000 steps of batch 128; "
        "13 learning rates tried on 3 other seeds and validation data"
    )
    lines = table.splitlines()
    assert len(lines) == 7
    starts = [line.index(f" {value} [") for line, value in zip(lines[1:], ["0.0603", "0.1100", "0.5100"], strict=False)]
    assert len(set(starts)) == 1  # the columns are aligned
    assert lines[5].split()[:2] == ["cross-entropy", "0.1"]
    assert "reference" in lines[5]
    assert verdicts.splitlines()[0] == (
        "better: better than tuned cross-entropy: error rate lower by 0.0497, 95 % interval 0.0482 to 0.0511; "
        "better than untuned cross-entropy (rate 0.01)."
    )
    assert "same: not distinguishable from tuned cross-entropy" in verdicts
    assert "but so is cross-entropy once its rate is tuned." in verdicts.splitlines()[1]
    assert "worse: worse than tuned cross-entropy: error rate higher by 0.4000" in verdicts
    assert "worse than untuned cross-entropy" in verdicts.splitlines()[2]
    assert "training diverged in 1 of 3 seeds" in verdicts.splitlines()[3]
    assert "a diverged seed counts as the worst outcome, error rate 1.0000" in notes
    assert "each is for one comparison by itself" in notes
    assert max(map(len, lines)) <= 110


def test_an_interval_below_zero_reads_from_small_to_large() -> None:
    sentence = make_evaluation(BETTER).verdicts["better"]
    low, high = sentence.split("interval ")[1].split(";")[0].split(" to ")
    assert 0 < float(low) < float(high)


def test_a_rate_at_an_end_of_the_grid_is_marked_and_said() -> None:
    text = str(make_evaluation(replace(SAME, at_edge=True)))
    assert "0.1*" in text
    assert "its learning rate is at an end of those tried" in text
    assert "* chosen at an end of the rates tried, 1e-05 to 10" in text
    assert "*" not in str(make_evaluation(SAME))
    reference = make_evaluation(SAME)
    rows = [replace(row, at_edge=row.role == "tuned reference") for row in reference.rows]
    assert "tuned cross-entropy's learning rate is at an end" in replace(reference, rows=tuple(rows)).verdicts["same"]


def test_one_seed_decides_nothing() -> None:
    found = make_evaluation(make_row("a", (0.05,)), protocol=Protocol(seeds=1))
    assert found["a"].verdict == "undecided"
    assert found.verdicts["a"] == "one seed decides nothing against tuned cross-entropy (error rate lower by 0.0500)."
    assert "one seed gives no interval" in str(found)
    assert "nan" not in str(found)
    assert found.to_json()["rows"][0]["score"] == {"mean": 0.05, "low": None, "high": None}


def test_equal_results_are_said_to_be_equal() -> None:
    assert "the same error rate in every seed" in make_evaluation(make_row("a", TUNED)).verdicts["a"]


def test_untuned_losses_are_said_to_be_untuned() -> None:
    text = str(make_evaluation(SAME, protocol=Protocol(seeds=3, tune_lr=False)))
    assert "only tuned cross-entropy was tuned; the losses ran at rate 0.01" in text


def test_regression_speaks_of_the_squared_error() -> None:
    sentence = make_evaluation(WORSE, kind="regression").verdicts["worse"]
    assert sentence.startswith("worse than tuned mean squared error: mean squared error higher by 0.4000")


def test_rows_are_found_by_name() -> None:
    found = make_evaluation(BETTER)
    assert found["better"] is BETTER
    with pytest.raises(EvaluationError, match="rows: better, cross-entropy"):
        found["best"]
    with pytest.raises(FrozenInstanceError):
        found.task = "other"  # type: ignore[misc]


def test_latex_escapes_names() -> None:
    lines = make_evaluation(replace(FALLEN, name="50% a_b & {c}^2", at_edge=True)).latex().splitlines()
    assert lines[0] == r"\begin{tabular}{lrllr}"
    assert lines[4] == (
        r"50\% a\_b \& \{c\}\textasciicircum{}2 & 0.1$^*$ & $0.4033 [-0.8804, 1.6870]$ & "
        r"$+0.2933 [-0.9688, +1.5554]$ & 1 \\"
    )
    assert lines[-1] == r"\end{tabular}"
    assert all(line.count("&") - line.count(r"\&") == 4 for line in lines if line.endswith(r"\\"))


def test_json_holds_every_number() -> None:
    found = make_evaluation(FALLEN)
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    row = values["rows"][0]
    assert row["values"] == [0.10, None, 0.11]
    assert row["counted"] == [0.10, 1.0, 0.11]
    assert row["diverged"] == 1
    assert row["difference"]["low"] == FALLEN.difference.low
    assert values["protocol"]["rates"] == list(found.protocol.grid)
    assert values["protocol"]["reported_seeds"] == list(found.protocol.reported_seeds)
    assert values["verdicts"] == found.verdicts


def test_dataframes() -> None:
    pytest.importorskip("pandas")
    found = make_evaluation(FALLEN, BETTER)
    table = found.to_dataframe()
    assert list(table["name"]) == ["fallen", "better", "cross-entropy", "untuned cross-entropy"]
    assert table["difference"][1] == BETTER.difference.mean
    assert list(table["diverged"]) == [1, 0, 0, 0]
    seeds = found.to_dataframe(per_seed=True)
    assert len(seeds) == 12
    assert list(seeds["seed"][:3]) == list(found.protocol.reported_seeds)
    assert seeds["error rate"][3] == 0.05
    assert seeds["diverged"].sum() == 1


def test_without_pandas_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EvaluationError, match="pip install pandas"):
        make_evaluation(BETTER).to_dataframe()


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
@pytest.mark.parametrize("protocol", [Protocol(seeds=3), Protocol(seeds=3, tune_lr=False, learning_rate=0.3)])
def test_json_and_back(kind: str, protocol: Protocol) -> None:
    found = make_evaluation(BETTER, SAME, WORSE, FALLEN, kind=kind, protocol=protocol)
    assert Evaluation.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_json_and_back_with_one_seed() -> None:
    protocol = Protocol(seeds=1, rates=[0.01 * k for k in range(1, 14)])
    found = make_evaluation(make_row("one", (0.05,)), protocol=protocol)
    again = Evaluation.from_json(json.loads(json.dumps(found.to_json())))
    assert str(again) == str(found)


def test_what_follows_from_the_seeds_is_not_believed() -> None:
    record = make_evaluation(WORSE).to_json()
    record["rows"][0] |= {"verdict": "better", "score": {"mean": 0.0, "low": 0.0, "high": 0.0}, "at_edge": True}
    record["verdicts"] = {"worse": "best of all"}
    assert Evaluation.from_json(record) == make_evaluation(WORSE)


@pytest.mark.parametrize(
    "damage",
    [
        lambda r: r.pop("protocol"), lambda r: r["rows"].clear(), lambda r: r["rows"][0].pop("values"),
        lambda r: r["rows"][0]["counted"].append(1.0), lambda r: r["rows"][0].update(counted=[None] * 3),
        lambda r: r["rows"][0].update(name=7), lambda r: r.update(kind="ternary"), lambda r: r.update(rows=None),
        lambda r: r["protocol"].update(seeds="3"), lambda r: r["rows"][0].update(tuning=[[1.0]]),
        lambda r: r["rows"][0].update(role="king"), lambda r: r["rows"][1].update(role="loss"),
    ],
)  # fmt: skip
def test_damaged_json(damage: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads(json.dumps(make_evaluation(BETTER).to_json()))
    damage(record)
    with pytest.raises(EvaluationError, match="not the values of an evaluation"):
        Evaluation.from_json(record)
    with pytest.raises(EvaluationError):
        Evaluation.from_json([])
