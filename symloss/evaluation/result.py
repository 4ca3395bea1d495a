"""Evaluation: what came out, as a table, a verdict in plain English on each loss, and every number behind them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from symloss.errors import EvaluationError, SymlossError
from symloss.evaluation.entries import LOSS, NOUNS, TUNED, UNTUNED
from symloss.evaluation.protocol import Protocol
from symloss.evaluation.statistics import Estimate, compared, estimate, paired
from symloss.expression.latex_text import escape
from symloss.expression.showing import aligned, data_frame, plain

if TYPE_CHECKING:
    import pandas as pd

EDGE_MARK = "*"


@dataclass(frozen=True)
class Row:
    """What one loss did.

    Args:
        name: Its name.
        role: `"loss"`, `"tuned reference"` or `"untuned reference"` (the task loss).
        formula: Text of its formula, or of its module.
        learning_rate: The rate it was measured with.
        tuned: Whether that was chosen on validation data.
        at_edge: Whether it was chosen at an end of the grid: a better one may lie beyond.
        values: Test metric of each seed; inf where training diverged.
        counted: The same with what a diverged seed counts.
        score: Mean of `counted` and its interval.
        difference: Paired difference to the tuned task loss; below zero is better.
        verdict: `"better"`, `"not distinguishable"`, `"worse"` or `"undecided"`, against the tuned task loss.
        to_untuned: Paired difference to the untuned task loss.
        untuned_verdict: The verdict against the untuned task loss.
        tuning: Validation metric **[tuning seeds][rates]**; empty if it was not tuned.
        seconds: Computing time, tuning included.
    """

    name: str
    role: str
    formula: str
    learning_rate: float
    tuned: bool
    at_edge: bool
    values: tuple[float, ...]
    counted: tuple[float, ...]
    score: Estimate
    difference: Estimate
    verdict: str
    to_untuned: Estimate
    untuned_verdict: str
    tuning: tuple[tuple[float, ...], ...]
    seconds: float = field(compare=False)

    @property
    def diverged(self) -> int:
        """Number of seeds whose training diverged."""
        return sum(not math.isfinite(value) for value in self.values)


@dataclass(frozen=True)
class Evaluation:
    """The answer of `evaluate`; `print` shows the table and the verdicts. `evaluation["name"]` is a row.

    Args:
        task: Name of the task.
        kind: Its kind.
        metric_name: What was measured on the test data; lower is better.
        test_samples: Number of test samples.
        protocol: How every loss was treated: seeds, steps, rates.
        rows: One per loss, in the order asked for, then the references that were added.
        seconds: Wall time.
    """

    task: str
    kind: str
    metric_name: str
    test_samples: int
    protocol: Protocol
    rows: tuple[Row, ...]
    seconds: float = field(compare=False)

    def __getitem__(self, name: str) -> Row:
        for row in self.rows:
            if row.name == name:
                return row
        raise EvaluationError(f"there is no row {name!r:.80}; rows: {', '.join(row.name for row in self.rows)}")

    @property
    def verdicts(self) -> dict[str, str]:
        """One sentence in plain English on each loss that is no reference."""
        return {row.name: self._sentence(row) for row in self.rows if row.role == LOSS}

    def __str__(self) -> str:
        """The table, the verdicts, and notes on what the numbers mean."""
        verdicts = [f"{name}: {sentence}" for name, sentence in self.verdicts.items()]
        blocks = ([self.heading], self._table(), verdicts, list(self.notes))
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def latex(self) -> str:
        """The table as a LaTeX tabular, with the intervals; names are escaped."""
        lines = []
        for row in self.rows:
            difference = "reference" if row.role == TUNED else f"${self.interval(row.difference, signed=True)}$"
            rate = f"{row.learning_rate:.3g}{'$^*$' if row.at_edge else ''}"
            cells = (escape(row.name), rate, f"${self.interval(row.score)}$", difference, str(row.diverged))
            lines.append(" & ".join(cells) + r" \\")
        head = rf"loss & rate & {escape(self.metric_name)} & difference & diverged \\"
        return "\n".join([r"\begin{tabular}{lrllr}", r"\hline", head, r"\hline", *lines, r"\hline", r"\end{tabular}"])

    def to_dataframe(self, per_seed: bool = False) -> pd.DataFrame:
        """The rows as a table, or (`per_seed`) one line for each loss and seed.

        Raises:
            EvaluationError: If pandas is not installed.
        """
        if per_seed:
            seeds = self.protocol.reported_seeds
            lines = (
                {"name": row.name, "seed": seed, self.metric_name: value, "diverged": not math.isfinite(value)}
                for row in self.rows
                for seed, value in zip(seeds, row.values, strict=True)
            )
            return data_frame(lines, EvaluationError)
        rows = (
            {
                "name": row.name, "role": row.role, "learning_rate": row.learning_rate, "at_edge": row.at_edge,
                "mean": row.score.mean, "low": row.score.low, "high": row.score.high, "verdict": row.verdict,
                "difference": row.difference.mean, "difference_low": row.difference.low,
                "difference_high": row.difference.high, "untuned_verdict": row.untuned_verdict,
                "diverged": row.diverged, "seconds": row.seconds, "formula": row.formula,
            }
            for row in self.rows
        )  # fmt: skip
        return data_frame(rows, EvaluationError)

    def to_json(self) -> dict[str, Any]:
        """Every number as plain values, ready for `json.dumps`; what is infinite or NaN is null."""
        protocol = {
            **asdict(self.protocol), "rates": self.protocol.grid, "reported_seeds": self.protocol.reported_seeds,
            "rate_seeds": self.protocol.rate_seeds,
        }  # fmt: skip
        rows = [{**asdict(row), "diverged": row.diverged} for row in self.rows]
        values = {
            "task": self.task, "kind": self.kind, "metric": self.metric_name, "test_samples": self.test_samples,
            "protocol": protocol, "rows": rows, "verdicts": self.verdicts, "seconds": self.seconds,
        }  # fmt: skip
        found: dict[str, Any] = plain(values)
        return found

    @classmethod
    def from_json(cls, values: Any) -> Evaluation:
        """The evaluation of `to_json`'s form; means, intervals and verdicts are computed anew from each seed's metric.

        Raises:
            EvaluationError: If the values are not of that form.
        """
        try:
            return _read(values)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, SymlossError) as error:
            said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise EvaluationError(
                f"these are not the values of an evaluation ({said:.200}); make them anew with evaluate"
            ) from None

    @property
    def heading(self) -> str:
        """What was measured and how, in one sentence."""
        p = self.protocol
        chosen = f"{len(p.grid)} learning rates tried on {_count(p.tuning_seeds, 'other seed')} and validation data"
        return (
            f"{self.metric_name} on the {self.test_samples} test samples of {self.task}: {_count(p.seeds, 'seed')}, "
            f"{p.steps} steps of batch {p.batch_size}; {chosen}"
        )

    def _table(self) -> list[str]:
        head = ("loss", "rate", f"{self.metric_name} [95 %]", f"minus {self._tuned}", "diverged", "seconds")
        cells = [head]
        for row in self.rows:
            difference = "reference" if row.role == TUNED else self.interval(row.difference, signed=True)
            rate = f"{row.learning_rate:.3g}{EDGE_MARK if row.at_edge else ' '}"
            counts = (str(row.diverged) if row.diverged else "-", f"{row.seconds:.1f}")
            cells.append((row.name, rate, self.interval(row.score), difference, *counts))
        return aligned(cells, "<><<>>")

    def _sentence(self, row: Row) -> str:
        d, metric = row.difference, self.metric_name
        lower = "lower" if d.mean < 0 else "higher"
        if row.verdict == "undecided":
            text = f"one seed decides nothing against {self._tuned} ({metric} {lower} by {self._number(abs(d.mean))})"
        elif d.low == d.high == 0:
            text = f"not distinguishable from {self._tuned}: the same {metric} in every seed"
        else:
            low, high = (d.low, d.high) if d.mean >= 0 else (-d.high, -d.low)
            interval = f"95 % interval {self._number(low)} to {self._number(high)}"
            link = "from" if row.verdict == "not distinguishable" else "than"
            text = f"{row.verdict} {link} {self._tuned}: {metric} {lower} by {self._number(abs(d.mean))}, {interval}"
        text += self._against_untuned(row)
        if row.diverged:
            text += f"; training diverged in {row.diverged} of {_count(len(row.values), 'seed')}"
        if row.at_edge or self._reference.at_edge:
            whose = "its" if row.at_edge else f"{self._tuned}'s"
            text += f"; {whose} learning rate is at an end of those tried, so this is not the last word"
        return text + "."

    def _against_untuned(self, row: Row) -> str:
        if row.untuned_verdict == "undecided" or self._reference.learning_rate == self.protocol.learning_rate:
            return ""
        untuned = f"{self._untuned} (rate {self.protocol.learning_rate:.3g})"
        if row.untuned_verdict != "better":
            link = "from" if row.untuned_verdict == "not distinguishable" else "than"
            return f"; {row.untuned_verdict} {link} {untuned}"
        if row.verdict != "better" and self._reference.untuned_verdict == "better":
            return f"; better than {untuned}, but so is {NOUNS[self.kind]} once its rate is tuned"
        return f"; better than {untuned}"

    @property
    def notes(self) -> tuple[str, ...]:
        """What the numbers mean, a sentence each."""
        return tuple(self._notes())

    def _notes(self) -> Iterable[str]:
        p, several = self.protocol, sum(row.role == LOSS for row in self.rows) > 1
        if any(row.at_edge for row in self.rows):
            ends = f"{p.grid[0]:.3g} to {p.grid[-1]:.3g}"
            yield f"{EDGE_MARK} chosen at an end of the rates tried, {ends}: a better one may lie beyond (`rates`)"
        if not p.tune_lr:
            yield f"only {self._tuned} was tuned; the losses ran at rate {p.learning_rate:.3g}"
        if any(row.diverged for row in self.rows):
            worst = next(c for row in self.rows for v, c in zip(row.values, row.counted, strict=True) if v == math.inf)
            yield f"a diverged seed counts as the worst outcome, {self.metric_name} {self._number(worst)}"
        if p.seeds == 1:
            yield "one seed gives no interval: ask for two or more"
        else:
            yield (
                "intervals: Student's t over training seeds (initial weights and batches), on one split of the data; "
                "differences are paired by seed" + ("; each is for one comparison by itself" if several else "")
            )

    @property
    def _reference(self) -> Row:
        return next(row for row in self.rows if row.role == TUNED)

    @property
    def _tuned(self) -> str:
        return f"tuned {NOUNS[self.kind]}"

    @property
    def _untuned(self) -> str:
        return f"untuned {NOUNS[self.kind]}"

    def _number(self, value: float, signed: bool = False) -> str:
        digits = "#.4g" if self.kind == "regression" else ".4f"
        return f"{value:{'+' if signed and value else ''}{digits}}"

    def interval(self, value: Estimate, signed: bool = False) -> str:
        """A mean with its interval as text, as the table has it."""
        return value.text(lambda number: self._number(number, signed))


def _read(record: dict[str, Any]) -> Evaluation:
    protocol = {entry.name: record["protocol"][entry.name] for entry in fields(Protocol)}
    usual = Protocol(**{**protocol, "rates": None})
    made = usual if list(usual.grid) == protocol["rates"] else Protocol(**protocol)
    read = [_of_seeds(row, made) for row in record["rows"]]
    roles = {row["role"]: counted for row, counted in read}
    tuned, untuned = roles[TUNED], roles[UNTUNED]
    rows = []
    for row, counted in read:
        difference, to_untuned = paired(counted, tuned), paired(counted, untuned)
        rate, tried = _number(row["learning_rate"]), [[_number(v, math.inf) for v in line] for line in row["tuning"]]
        if row["role"] not in (LOSS, TUNED, UNTUNED) or any(len(line) != len(made.grid) for line in tried):
            raise ValueError(f"the row {row['name']!r:.60} has a role or rates that there are not")
        rows.append(
            Row(
                name=_text(row["name"]), role=row["role"], formula=_text(row["formula"]), learning_rate=rate,
                tuned=bool(row["tuned"]), at_edge=bool(row["tuned"]) and rate in (made.grid[0], made.grid[-1]),
                values=tuple(_number(v, math.inf) for v in row["values"]), counted=counted, score=estimate(counted),
                difference=difference, verdict=compared(difference), to_untuned=to_untuned,
                untuned_verdict=compared(to_untuned), tuning=tuple(map(tuple, tried)), seconds=_number(row["seconds"]),
            )
        )  # fmt: skip
    if record["kind"] not in NOUNS:
        raise ValueError(f"there is no kind {record['kind']!r:.40}")
    words = (_text(record["task"]), record["kind"], _text(record["metric"]), int(record["test_samples"]))
    return Evaluation(*words, made, tuple(rows), _number(record["seconds"]))


def _of_seeds(row: dict[str, Any], protocol: Protocol) -> tuple[dict[str, Any], tuple[float, ...]]:
    """A row and what each of its seeds counts."""
    counted = tuple(map(_number, row["counted"]))
    if not len(counted) == len(row["values"]) == protocol.seeds:
        raise ValueError(f"the row {row['name']!r:.60} has not {_count(protocol.seeds, 'seed')}")
    return row, counted


def _number(value: Any, otherwise: float | None = None) -> float:
    """A finite number; `otherwise` for null."""
    if value is None and otherwise is not None:
        return otherwise
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} is not a finite number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is not text")
    return value


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
