"""How sharp the minima are that several losses lead to: the comparison and its forms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from symloss.analysis.ratio import ratio
from symloss.analysis.sharpness import Sharpness
from symloss.errors import EvaluationError
from symloss.evaluation import Estimate, Protocol
from symloss.evaluation.entries import NOUNS, TUNED
from symloss.evaluation.statistics import compared, estimate, paired
from symloss.expression.showing import aligned, data_frame, drawn, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

QUANTITIES = ("largest eigenvalue", "trace", "SAM", "adaptive SAM")
"""What is compared; the first one decides the verdict."""
_VERDICTS = {"better": "flatter", "worse": "sharper"}


def quantities(found: Sharpness) -> dict[str, float]:
    """The numbers of `QUANTITIES`, and the metric itself."""
    values = float(found.eigenvalues[0]), found.trace, found.sam, found.adaptive_sam, found.value
    return dict(zip((*QUANTITIES, "metric"), values, strict=True))


@dataclass(frozen=True)
class SharpnessRow:
    """The minima of one loss.

    Args:
        name: Its name.
        role: `"loss"` or `"tuned reference"` (the task loss).
        learning_rate: The rate that its models were trained with.
        at_edge: Whether that is at an end of those tried.
        sharpness: Of the model of each seed; None where training diverged.
    """

    name: str
    role: str
    learning_rate: float
    at_edge: bool
    sharpness: tuple[Sharpness | None, ...] = field(repr=False, compare=False)

    def values(self, quantity: str, normalised: bool = False) -> tuple[float, ...]:
        """A quantity of each seed's model; NaN where training diverged."""
        found = (s.normalised if s is not None and normalised else s for s in self.sharpness)
        return tuple(math.nan if s is None else quantities(s)[quantity] for s in found)


@dataclass(frozen=True)
class SharpnessComparison:
    """What `compare_sharpness` measured; `print` shows a table, and a sentence on each loss.

    Everything is measured under the task loss. Differences are paired by seed: below zero is flatter than the minima of
    the task loss. A seed whose training diverged has no minimum and is left out.

    Args:
        task: Name of the task.
        kind: Its kind.
        part: The part of the data on which sharpness was measured.
        samples: How many samples it has.
        protocol: How every loss was treated.
        normalised: Whether everything is known for normalised logits too.
        rows: One per loss, in the order asked for; the tuned task loss among them.
    """

    task: str
    kind: str
    part: str
    samples: int
    protocol: Protocol
    normalised: bool
    rows: tuple[SharpnessRow, ...]

    def __getitem__(self, name: str) -> SharpnessRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise EvaluationError(f"there is no row {name!r:.80}; rows: {', '.join(row.name for row in self.rows)}")

    @property
    def reference(self) -> SharpnessRow:
        """The row of the tuned task loss."""
        return next(row for row in self.rows if row.role == TUNED)

    def estimate(self, name: str, quantity: str = QUANTITIES[0], normalised: bool = False) -> Estimate:
        """Mean over seeds and its 95 % interval; NaN if all diverged."""
        return _over_seeds([v for v in self[name].values(quantity, normalised) if not math.isnan(v)])

    def difference(self, name: str, quantity: str = QUANTITIES[0], normalised: bool = False) -> Estimate:
        """Paired difference to the tuned task loss, with its interval."""
        pairs = self._pairs(name, quantity, normalised)
        return paired(*zip(*pairs, strict=True)) if pairs else _over_seeds([])

    def ratio(self, name: str, quantity: str = QUANTITIES[0], normalised: bool = False) -> Estimate:
        """Mean over that of the tuned task loss, with Fieller's interval."""
        pairs = self._pairs(name, quantity, normalised)
        return ratio(*zip(*pairs, strict=True)) if pairs else _over_seeds([])

    def verdict(self, name: str, quantity: str = QUANTITIES[0], normalised: bool = False) -> str:
        """`"flatter"`, `"sharper"`, `"not distinguishable"` or `"undecided"` (no interval), by the difference."""
        found = compared(self.difference(name, quantity, normalised))
        return _VERDICTS.get(found, found)

    @property
    def verdicts(self) -> dict[str, str]:
        """One sentence on each loss that is not the reference."""
        return {row.name: self._sentence(row.name) for row in self.rows if row is not self.reference}

    def __str__(self) -> str:
        verdicts = [f"{name}: {sentence}" for name, sentence in self.verdicts.items()]
        blocks = [[self._heading()], self._table(), verdicts, list(self._notes())]
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def to_dataframe(self) -> pd.DataFrame:
        """One line for each loss, quantity and seed, with its value, NaN where training diverged.

        Raises:
            EvaluationError: If pandas is not installed.
        """
        rows = (
            {
                "name": row.name, "learning_rate": row.learning_rate, "logits": logits, "quantity": quantity,
                "seed": seed, "value": value,
            }
            for row in self.rows
            for logits, normalised in self._views.items()
            for quantity in ("metric", *QUANTITIES)
            for seed, value in zip(
                self.protocol.reported_seeds, row.values(quantity, normalised), strict=True
            )
        )  # fmt: skip
        return data_frame(rows, EvaluationError)

    def to_json(self) -> dict[str, Any]:
        """Means, intervals and the value of every seed, as plain values ready for `json.dumps`; NaN is null."""
        values: dict[str, Any] = plain({
            row.name: {"role": row.role, "learning_rate": row.learning_rate} | {
                logits: {
                    quantity: {
                        "values": row.values(quantity, normalised),
                        **{
                            key: [found.mean, found.low, found.high]
                            for key, found in (
                                ("mean", self.estimate(row.name, quantity, normalised)),
                                ("difference", self.difference(row.name, quantity, normalised)),
                            )
                        },
                        "verdict": self.verdict(row.name, quantity, normalised),
                    }
                    for quantity in QUANTITIES
                }
                for logits, normalised in self._views.items()
            }
            for row in self.rows
        })  # fmt: skip
        return values

    def figure(self) -> Figure:
        """Ratios to the task loss, with intervals; see `symloss.plotting.sharpness`."""
        return drawn("sharpness", self)

    @property
    def _views(self) -> Mapping[str, bool]:
        """The model as it is, and with normalised logits if that is known."""
        return {"as it is": False, "normalised logits": True} if self.normalised else {"as it is": False}

    def _pairs(self, name: str, quantity: str, normalised: bool) -> list[tuple[float, float]]:
        both = zip(*(row.values(quantity, normalised) for row in (self[name], self.reference)), strict=True)
        return [pair for pair in both if not any(map(math.isnan, pair))]

    def _heading(self) -> str:
        p, data = self.protocol, {"train": "training", "valid": "validation", "test": "test"}[self.part]
        seeds = f"{p.seeds} seed{'s' * (p.seeds > 1)}, {p.steps} steps of batch {p.batch_size}"
        return (
            f"sharpness of {NOUNS[self.kind]} on the {self.samples} {data} samples of {self.task}, in the models "
            f"that each loss leads to: {seeds}"
        )

    def _table(self) -> list[str]:
        difference = f"minus {self.reference.name}"
        titles = [t for view in self._views for t in (f"{view} [95 %]", difference)]
        rows = [("loss", "rate", "", *titles)]
        for row in self.rows:
            head = (row.name, f"{row.learning_rate:.3g}{'*' * row.at_edge}")
            for quantity in ("metric", *QUANTITIES):
                cells = [cell for view in self._views.values() for cell in self._cells(row, quantity, view)]
                rows.append((*head, NOUNS[self.kind] if quantity == "metric" else quantity, *cells))
                head = ("", "")
        return aligned(rows)

    def _cells(self, row: SharpnessRow, quantity: str, normalised: bool) -> tuple[str, str]:
        mean = self.estimate(row.name, quantity, normalised).text("{:.3g}".format)
        if row is self.reference:
            return mean, "reference"
        return mean, self.difference(row.name, quantity, normalised).text(_signed)

    def _sentence(self, name: str) -> str:
        verdict, reference = self.verdict(name), self.reference.name
        if verdict == "undecided":
            return f"undecided against {reference}: it takes two seeds or more whose training does not diverge."
        link = "from" if verdict == "not distinguishable" else "than"
        text = f"{verdict} {link} {reference} (largest eigenvalue × {self._times(name, False)})"
        if self.normalised:
            told = self.verdict(name, normalised=True)
            text += f"; with logits brought to one scale {told} (× {self._times(name, True)})"
        return f"{text}."

    def _times(self, name: str, normalised: bool) -> str:
        return self.ratio(name, normalised=normalised).text("{:.3g}".format)

    def _notes(self) -> Iterator[str]:
        lost = {row.name: sum(s is None for s in row.sharpness) for row in self.rows}
        if any(lost.values()):
            told = ", ".join(f"{name} {count}" for name, count in lost.items() if count)
            yield f"training diverged and the seed is left out: {told} of {self.protocol.seeds}"
        if any(row.at_edge for row in self.rows):
            yield "* chosen at an end of the rates tried: a better one may lie beyond (`rates`)"
        if not self.normalised:
            yield "outputs are predictions, not logits: there is nothing to normalise"
        if self.protocol.seeds > 1:
            yield "intervals: Student's t over training seeds, differences paired by seed; of ratios, Fieller's"


def _over_seeds(values: list[float]) -> Estimate:
    return estimate(values) if values else Estimate(math.nan, math.nan, math.nan)


def _signed(value: float) -> str:
    return f"{value:{'+' if value else ''}.3g}"
