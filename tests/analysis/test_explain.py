"""One page on a loss: each sentence against a loss of which the answer is known."""

from __future__ import annotations

import json
from typing import Any

import pytest

import symloss as sl
from symloss.analysis import Explanation, explain, learning_rate
from symloss.analysis.explain import PARTS
from symloss.errors import EvaluationError, LossError, TaskError
from tests.evaluation.helpers import make_task

QUICK: dict[str, Any] = {
    "seeds": 3, "tuning_seeds": 1, "steps": 30, "batch_size": 20, "learning_rate": 0.02, "rates": (0.02, 0.2, 2.0),
}  # fmt: skip
IDENTITY, RATE, SMOOTHS, FLAT = (
    "What it is",
    "Step size or shape?",
    "Does it smooth labels?",
    "How flat are its minima?",
)


def asked(loss: Any, kind: str = "multiclass", **options: Any) -> Explanation:
    return explain(loss, make_task(kind), **{**QUICK, **options})


def test_scaled_cross_entropy() -> None:
    """All of its gain is step size, it is cross-entropy, with the minima of cross-entropy at ten times the rate."""
    found = asked("-10.0*y*log(f)", rates=(0.02, 0.2))
    told = found.sentences
    assert told[IDENTITY].startswith("It is cross-entropy, up to a factor")
    assert "all of that is merely a larger step" in told[RATE]
    assert told[RATE].endswith("not distinguishable from cross-entropy.")
    assert told[SMOOTHS].startswith("No: ")
    assert found.learning_rate.measured.tuned_loss == pytest.approx(found.learning_rate.measured.tuned, rel=1e-9)
    ratio = found.flatness.ratio(found.loss)
    assert found.flatness.rows[0].learning_rate * 10 == pytest.approx(found.flatness.reference.learning_rate)
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((1.0, 1.0, 1.0), rel=1e-5)


def test_the_task_loss_itself() -> None:
    found = asked("cross-entropy")
    assert found.sentences[RATE].startswith("It is cross-entropy itself")
    assert found.sentences[FLAT].startswith("It is cross-entropy itself")
    assert [row.role for row in found.flatness.rows] == ["tuned reference"]
    str(found)
    found.figure()


def test_label_smoothing() -> None:
    found = asked("label-smoothing")
    assert found.sentences[SMOOTHS] == (
        "Yes: it is label smoothing, which teaches the model to stop at 93.3 % certainty."  # 1 − ξ + ξ/C
    )
    assert "formula     none" in str(found)
    assert found.form is None


def test_absolute_cross_entropy_and_its_simplified_formula() -> None:
    found = asked("abs(log(1.25*y*f)) + 0*f")
    assert found.sentences[IDENTITY].startswith(("It is absolute-cross-entropy", "It acts nearly as absolute-cross"))
    assert "In part: as label smoothing it stops at 80 % certainty" in found.sentences[SMOOTHS]
    assert found.simplified is not None
    assert found.expression is not None
    assert sl.equivalent(found.simplified, sl.parse("abs(log(1.25*y*f))"))
    assert found.simplified.size < found.expression.size
    assert "simplified  " in str(found)
    assert found.form == "target-only"


def test_regression_says_that_there_are_no_labels() -> None:
    found = asked("abs(y - f)", "regression")
    assert found.smoothing is None
    assert found.sentences[SMOOTHS].startswith("A regression has no classes")
    assert found.sentences[IDENTITY].startswith("It is mae") or "absolute" in found.sentences[IDENTITY]
    assert "normalised" not in str(found)


def test_binary() -> None:
    assert asked("-y*log(f) - (1 - y)*log(1 - f)", "binary").sentences[IDENTITY].startswith("It is cross-entropy")


def test_it_is_what_the_parts_say() -> None:
    """The same numbers as the analyses by themselves, at the rates that the tuning chose."""
    lines: list[tuple[str, str]] = []
    found = explain("focal", make_task(), progress=lambda part, line: lines.append((part, line)), **QUICK)
    assert found.learning_rate.measured == learning_rate("focal", make_task(), **QUICK).measured
    rows = found.learning_rate.evaluation.rows
    assert found.flatness.rows[0].learning_rate == rows[0].learning_rate
    assert tuple(dict.fromkeys(part for part, _ in lines)) == PARTS
    assert not any(part == "flatness" and line.startswith("tuning") for part, line in lines)
    numbers = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert numbers["learning_rate"]["measured"]["loss"] == list(found.learning_rate.measured.loss)
    for sentence in found.sentences.values():
        assert sentence in " ".join(str(found).split())


def test_one_seed_decides_nothing() -> None:
    told = asked("focal", seeds=1).sentences
    assert "one seed decides nothing" in told[RATE]
    assert told[FLAT].startswith("Undecided")


@pytest.mark.parametrize(
    ("loss", "options", "error", "said"),
    [
        ("focall", {}, LossError, "did you mean 'focal'"),
        ("huber", {}, LossError, "is for regression"),
        ("focal", {"steps": 0}, EvaluationError, "steps is a whole number"),
    ],
)
def test_errors(loss: str, options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        asked(loss, **options)


def test_one_loss_on_a_task() -> None:
    with pytest.raises(LossError, match="one loss is explained at a time; received list"):
        explain(["focal", "cross-entropy"], make_task(), **QUICK)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="must be a Task"):
        explain("focal", "wine", **QUICK)  # type: ignore[arg-type]


def test_without_test_data() -> None:
    with pytest.raises(TaskError, match="no test data"):
        explain("focal", make_task(test=False), **QUICK)
