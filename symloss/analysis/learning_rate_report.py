"""What is known of a loss as a change of the learning rate: the report and its forms."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from symloss.analysis.ratio import ratio
from symloss.errors import EvaluationError
from symloss.evaluation import Estimate, Evaluation
from symloss.evaluation.entries import NOUNS, TUNED
from symloss.evaluation.statistics import compared, estimate, paired
from symloss.expression.showing import aligned, data_frame, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ALL, NONE, NO_GAIN, UNDECIDED = "all step size", "no step size", "no gain", "undecided"
_PARTS = {
    (1, 0): "step size, perhaps shape", (0, 1): "shape, perhaps step size", (1, 1): "step size and shape",
    (1, -1): "step size, against its shape", (-1, 1): "shape, against its step size", (0, 0): UNDECIDED,
}  # fmt: skip
VERDICTS = (ALL, NONE, *_PARTS.values(), NO_GAIN)
_SMALL = 0.2  # share of the gain that is called none of it, if all of its interval is below


@dataclass(frozen=True)
class Measured:
    """Test metric of every seed under six trainings, paired by seed; a diverged one counts as the worst outcome.

    Args:
        untuned: m₀₀, the task loss at the untuned rate.
        boosted: m₀₁, the task loss times ρ: with the first step of the loss.
        matched: m₁₀, the loss over ρ: with the first step of the task loss.
        loss: m₁₁, the loss at the untuned rate.
        tuned: The task loss, its rate tuned.
        tuned_loss: The loss, its rate tuned.
    """

    untuned: tuple[float, ...]
    boosted: tuple[float, ...]
    matched: tuple[float, ...]
    loss: tuple[float, ...]
    tuned: tuple[float, ...]
    tuned_loss: tuple[float, ...]


@dataclass(frozen=True)
class LearningRateReport:
    """What `learning_rate` found. Gains are differences of the test metric, paired by seed: above zero is better.

    Args:
        loss: Name or formula.
        evaluation: The tuned comparison beside it, with its protocol.
        measured: Every number behind the gains.
        diverged: Which of them stand for a training that diverged.
        steps: Steps at which the effective rate was looked at.
        ratios: ‖∇M‖ / ‖∇L_task‖ **[seeds][steps]**, along the training with the loss M; NaN where it has none.
    """

    loss: str
    evaluation: Evaluation = field(repr=False)
    measured: Measured = field(repr=False)
    diverged: Measured = field(repr=False)
    steps: tuple[int, ...] = field(repr=False)
    ratios: tuple[tuple[float, ...], ...] = field(repr=False)

    @property
    def gain(self) -> Estimate:
        """Of the loss over the untuned task loss, both at one learning rate: step size + shape."""
        return paired(self.measured.untuned, self.measured.loss)

    @property
    def step_size(self) -> Estimate:
        """The part of the gain that is step size."""
        return estimate(self._step_sizes)

    @property
    def shape(self) -> Estimate:
        """The part of the gain that is not."""
        return estimate([(a - c + b - d) / 2 for a, b, c, d in self._cells])

    @property
    def share(self) -> Estimate:
        """Step size over gain; without bounds where the gain is not distinguishable from zero."""
        return ratio(self._step_sizes, [a - d for a, _, _, d in self._cells])

    @property
    def interaction(self) -> Estimate:
        """By how much the step size gains more for the loss than for the task loss; half of it is in either part."""
        return estimate([(c - d) - (a - b) for a, b, c, d in self._cells])

    @property
    def tuning_gain(self) -> Estimate:
        """What the task loss alone gains by tuning its rate."""
        return paired(self.measured.untuned, self.measured.tuned)

    @property
    def tuned_gain(self) -> Estimate:
        """Of the loss over the task loss, both tuned: what no choice of the rate explains."""
        return paired(self.measured.tuned, self.measured.tuned_loss)

    @property
    def effective_rate(self) -> tuple[Estimate, ...]:
        """Geometric mean over seeds of ‖∇M‖ / ‖∇L_task‖ at each of `steps`: by what M multiplies the learning rate."""
        return tuple(_geometric([row[place] for row in self.ratios]) for place in range(len(self.steps)))

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`: which parts of the gain are distinguishable from zero.

        `"all step size"` and `"no step size"` say of the other part that it is not distinguishable from zero, and with
        95 % confidence below a fifth of the gain.
        """
        gain, step, shape = (_sign(e) for e in (self.gain, self.step_size, self.shape))
        if gain is None or step is None or shape is None:
            return UNDECIDED
        if gain <= 0:
            return NO_GAIN
        if (step, shape) == (1, 0) and self.share.low > 1 - _SMALL:
            return ALL
        return NONE if (step, shape) == (0, 1) and self.share.high < _SMALL else _PARTS[step, shape]

    @cached_property
    def statement(self) -> str:
        """The finding in a sentence or two."""
        metric, kind = self.evaluation.metric_name, f"untuned {self._noun}"
        gain, share = self.gain, self.share
        text = (
            f"{self.loss}: {self.verdict}. At learning rate {self.evaluation.protocol.learning_rate:.3g} its {metric}"
        )
        if self.verdict == NO_GAIN:
            how = "higher than" if _sign(gain) else "not distinguishable from"
            return f"{text} is {how} that of {kind} (gain {self._interval(gain)})."
        lower = "lower" if gain.mean >= 0 else "higher"
        text += f" is {self._number(abs(gain.mean))} {lower} than that of {kind}"
        if not share.bounded:
            return f"{text}; one seed decides nothing." if not gain.bounded else f"{text}."
        rest = f"{100 - 100 * share.mean:.0f} %".replace("-", "−")
        return f"{text}; step size explains {_percent(share)} of that, shape {rest}."

    def __str__(self) -> str:
        m, tail = self.measured, f"{self.evaluation.metric_name} [95 %]"
        ce = self._noun
        trained = {
            f"{ce}": m.untuned, f"{ce}, with the first step of the loss": m.boosted,
            f"the loss, with the first step of {ce}": m.matched, "the loss": m.loss,
            f"tuned {ce}": m.tuned, "the loss, tuned": m.tuned_loss,
        }  # fmt: skip
        gains = {
            f"gain over untuned {ce}": self.gain, "  step size": self.step_size, "  shape": self.shape,
            "  (interaction, half in each)": self.interaction,
            f"gain of {ce} by tuning alone": self.tuning_gain,
            "gain of the loss, both tuned": self.tuned_gain,
        }  # fmt: skip
        rows = [(name, self._interval(estimate(values))) for name, values in trained.items()]
        steps = [(f"step {step}", rate.text()) for step, rate in zip(self.steps, self.effective_rate, strict=True)]
        blocks = [
            [self.statement, self._heading()],
            aligned([("trained with", tail), *rows]),
            aligned([("gain (lower metric)", "[95 %]"), *((n, self._interval(e, True)) for n, e in gains.items())]),
            aligned([("effective rate", f"‖∇loss‖ / ‖∇{ce}‖ along the training with the loss"), *steps]),
            list(self._notes()),
        ]
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def to_dataframe(self, over_training: bool = False) -> pd.DataFrame:
        """One line per seed with the metric of each training; or (`over_training`) per seed and step the ratio.

        Raises:
            EvaluationError: If pandas is not installed.
        """
        seeds = self.evaluation.protocol.reported_seeds
        if over_training:
            ratios = (
                {"seed": seed, "step": step, "ratio": value}
                for seed, row in zip(seeds, self.ratios, strict=True)
                for step, value in zip(self.steps, row, strict=True)
            )
            return data_frame(ratios, EvaluationError)
        columns = {"seed": seeds, "initial_ratio": [row[0] for row in self.ratios], **asdict(self.measured)}
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        return data_frame(rows, EvaluationError)

    def figure(self) -> Figure:
        """Gains with intervals, and the effective rate over training; see `symloss.plotting.learning_rate`."""
        return drawn("learning_rate", self)

    @property
    def _cells(self) -> list[tuple[float, float, float, float]]:
        m = self.measured
        return list(zip(m.untuned, m.boosted, m.matched, m.loss, strict=True))

    @property
    def _step_sizes(self) -> list[float]:
        return [(a - b + c - d) / 2 for a, b, c, d in self._cells]

    @property
    def _noun(self) -> str:
        return NOUNS[self.evaluation.kind]

    def _heading(self) -> str:
        e, p = self.evaluation, self.evaluation.protocol
        return (
            f"{e.metric_name} on the {e.test_samples} test samples of {e.task}: {p.seeds} "
            f"seed{'s' * (p.seeds > 1)}, {p.steps} steps of batch {p.batch_size}"
        )

    def _notes(self) -> Iterator[str]:
        count = sum(map(sum, asdict(self.diverged).values()))
        if count:
            yield f"{count} of {6 * len(self.ratios)} trainings diverged; each counts as the worst outcome"
        tuned = self.evaluation.rows[0], next(row for row in self.evaluation.rows if row.role == TUNED)
        if any(row.at_edge for row in tuned):
            yield "a tuned rate is at an end of those tried: a better one may lie beyond (`rates`)"
        if len(self.ratios) > 1:
            yield "intervals: Student's t over training seeds, paired by seed; of the share, Fieller's"

    def _number(self, value: float, signed: bool = False) -> str:
        digits = "#.4g" if self.evaluation.kind == "regression" else ".4f"
        return f"{value:{'+' if signed and value else ''}{digits}}"

    def _interval(self, value: Estimate, signed: bool = False) -> str:
        return value.text(lambda number: self._number(number, signed))


def _sign(value: Estimate) -> int | None:
    """1 or -1 if the interval is above or below zero, 0 if it holds zero, None if there is none."""
    return {"worse": 1, "better": -1, "not distinguishable": 0}.get(compared(value))


def _geometric(values: Sequence[float]) -> Estimate:
    """Geometric mean of those that are positive numbers, its interval that of the logarithms."""
    logs = [math.log(v) for v in values if v > 0]
    if not logs:
        return Estimate(math.nan, math.nan, math.nan)
    found = estimate(logs)
    return Estimate(*(math.exp(v) for v in (found.mean, found.low, found.high)))


def _percent(value: Estimate) -> str:
    return f"{100 * value.mean:.0f} % [{100 * value.low:.0f}, {100 * value.high:.0f}]".replace("-", "−")
