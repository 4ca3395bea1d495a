"""One page on a loss: the parts, each opened by a plain sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from symloss.analysis.learning_rate_report import LearningRateReport
from symloss.analysis.report import SmoothingReport
from symloss.analysis.sharpness_report import QUANTITIES, SharpnessComparison
from symloss.analysis.wording import number, probability
from symloss.discovery.result import readable
from symloss.evaluation import Estimate
from symloss.evaluation.entries import NOUNS, TUNED
from symloss.evaluation.statistics import compared
from symloss.expression.expression import Expression
from symloss.expression.showing import aligned, drawn, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAME, ALIKE = 1e-6, 0.05
"""Distances to a known loss up to which a loss is the same but for a factor, or acts nearly the same."""
_WIDTH = 100
_FORMS = {
    "target-only": "computed from the target's probability alone: cross-entropy with another weight for each sample",
    "margin": "computed from the target's margin over the other classes",
    "dense": "computed from every output",
}


@dataclass(frozen=True)
class Known:
    """The loss of the catalogue that is nearest to a loss.

    Args:
        name: Its name, with parameters.
        distance: Share of the pull that differs: 0 for the same but for a factor, up to 1.
    """

    name: str
    distance: float


@dataclass(frozen=True)
class Explanation:
    """What `explain` found; `print` shows one page.

    Args:
        loss: Name or formula.
        task: Name of the task.
        kind: Its kind.
        classes: C; None for regression.
        expression: The formula, or None.
        simplified: A smaller formula of the same value, or the same one.
        form: `"dense"`, `"target-only"` or `"margin"`: how it is computed; None for a module without a formula.
        known: The nearest known loss, or None if the gradient cannot be compared.
        learning_rate: How much of the gain is step size, and the comparison with both tuned.
        smoothing: What it is as label smoothing; None if that has no meaning, see `no_smoothing`.
        no_smoothing: Why there is none.
        flatness: The minima that it leads to, beside those of the task loss.
    """

    loss: str
    task: str
    kind: str
    classes: int | None
    expression: Expression | None
    simplified: Expression | None
    form: str | None
    known: Known | None
    learning_rate: LearningRateReport = field(repr=False)
    smoothing: SmoothingReport | None = field(repr=False)
    no_smoothing: str
    flatness: SharpnessComparison = field(repr=False)

    @property
    def sentences(self) -> dict[str, str]:
        """The plain sentence that opens each part."""
        return {
            "What it is": self._identity(), "Step size or shape?": self._rate(),
            "Does it smooth labels?": self._smooths(), "How flat are its minima?": self._flat(),
        }  # fmt: skip

    def __str__(self) -> str:
        numbers = self._formula_lines(), self._rate_lines(), self._smoothing_lines(), self._flatness_lines()
        p = self.learning_rate.evaluation.protocol
        heading = (
            f"{self.loss} on {self.task}: {p.seeds} seed{'s' * (p.seeds > 1)}, {p.steps} steps of batch "
            f"{p.batch_size}; brackets are 95 % intervals over seeds"
        )
        blocks = [textwrap.wrap(heading, _WIDTH)]
        for (title, sentence), lines in zip(self.sentences.items(), numbers, strict=True):
            blocks.append([title.upper(), *textwrap.wrap(sentence, _WIDTH), *(f"  {line}" for line in lines)])
        return "\n\n".join("\n".join(block) for block in blocks)

    def to_json(self) -> dict[str, Any]:
        """Sentences and numbers as plain values, ready for `json.dumps`; what is infinite or NaN is null."""
        s, rate = self.smoothing, self.learning_rate
        values: dict[str, Any] = plain({
            "loss": self.loss, "task": self.task, "kind": self.kind, "sentences": self.sentences,
            "formula": {
                "expression": None if self.expression is None else str(self.expression),
                "simplified": None if self.simplified is None else str(self.simplified), "form": self.form,
                "nearest": None if self.known is None else asdict(self.known),
            },
            "learning_rate": {
                "verdict": rate.verdict, **{name: asdict(value) for name, value in self._gains().items()},
                "share": asdict(rate.share), "steps": rate.steps, "measured": asdict(rate.measured),
                "effective_rate": [asdict(value) for value in rate.effective_rate],
                "evaluation": rate.evaluation.to_json(),
            },
            "label_smoothing": {"why_none": self.no_smoothing} if s is None else {
                "verdict": s.verdict, "smoothing": s.smoothing, "attractors": s.attractors, "scale": s.scale,
                "gap_max": s.gap_max, "target_only": s.target_only, "family": s.family,
            },
            "flatness": self.flatness.to_json(),
        })  # fmt: skip
        return values

    def figure(self) -> Figure:
        """The parts side by side; see `symloss.plotting.explanation`."""
        return drawn("explanation", self)

    @property
    def noun(self) -> str:
        """What sentences call the task loss."""
        return NOUNS[self.kind]

    def _identity(self) -> str:
        if self.known is None:
            return "Its gradient is not that of any known loss: it cannot be compared on the grid that they share."
        name, apart = self.known.name, self.known.distance
        if apart <= SAME:
            return f"It is {name}, up to a factor, which is only a learning rate."
        if apart <= ALIKE:
            return f"It acts nearly as {name}: {100 * apart:.2g} % of its pull is elsewhere."
        return (
            f"It is none of the known losses: even from the nearest, {name}, {100 * apart:.0f} % of its pull differs."
        )

    def _rate(self) -> str:
        report, noun = self.learning_rate, self.noun
        rate = f"learning rate {report.evaluation.protocol.learning_rate:.3g}"
        if report.evaluation.rows[0].role == TUNED:
            return f"It is {noun} itself, so there is nothing to gain over it but by tuning the rate."
        told = {"worse": "better than", "better": "worse than", "not distinguishable": "not distinguishable from"}
        verdict = told.get(compared(report.tuned_gain))
        tuned = f"with both rates tuned it is {verdict} {noun}" if verdict else "one seed decides nothing"
        if compared(report.gain) != "worse":
            lost = compared(report.gain) == "better"
            told_gain = f"is worse than {noun}" if lost else f"gains nothing over {noun} that could be told from chance"
            return f"At {rate} it {told_gain}; {tuned}."
        share = report.share.mean
        of = "all" if share > 0.9 else "most" if share > 0.6 else "about half" if share > 0.4 else "a smaller part"
        source = "none of that is a larger step" if share < 0.1 else f"{of} of that is merely a larger step"
        return f"At {rate} it beats {noun}, and {source}; {tuned}."

    def _smooths(self) -> str:
        s = self.smoothing
        if s is None:
            return f"{self.no_smoothing[:1].upper()}{self.no_smoothing[1:]}."
        if s.smoothing is None:
            rests = ", ".join(map(probability, s.attractors))
            return (
                f"No: there is no single certainty at which it stops pulling from everywhere (it rests at p = {rests})."
                if rests
                else "No: nothing in it stops the model from becoming ever more certain at one point, as label "
                "smoothing would."
            )
        rest = f"{100 * s.attractors[0]:.3g} %" if s.attractors else "a point"
        return {
            "exact": f"Yes: it is label smoothing, which teaches the model to stop at {rest} certainty.",
            "approximate": f"Nearly: as label smoothing it teaches the model to stop at {rest} certainty.",
        }.get(s.verdict, f"In part: as label smoothing it stops at {rest} certainty, but it gets there in another way.")

    def _flat(self) -> str:
        found, name = self.flatness, self._row
        if name == found.reference.name:
            return f"It is {self.noun} itself, which is what minima are compared with."
        verdict, reference = found.verdict(name), found.reference.name
        if verdict == "undecided":
            return "Undecided: it takes two seeds or more whose training does not diverge."
        link = "from" if verdict == "not distinguishable" else "than"
        text = f"By the largest curvature its minima are {verdict} {link} those of {reference}"
        other = {"flatter": "sharper", "sharper": "flatter"}.get(verdict)
        if against := [quantity for quantity in QUANTITIES[1:] if found.verdict(name, quantity) == other]:
            text += f" (but {other} by {' and '.join(against)})"
        if not found.normalised:
            return f"{text}."
        fair = found.verdict(name, normalised=True)
        if fair == verdict:
            return f"{text}, also when the size of the logits is taken out."
        return f"{text}; when the size of the logits is taken out, they are {fair}: scale is part of the story."

    @property
    def _row(self) -> str:
        return self.flatness.rows[0].name

    def _formula_lines(self) -> Iterator[str]:
        if self.expression is None or self.simplified is None:
            yield "formula     none; it is computed by a module"
            return
        yield f"formula     {readable(self.expression)}"
        if self.simplified.size < self.expression.size:
            yield f"simplified  {readable(self.simplified)}  ({self.expression.size} → {self.simplified.size} nodes)"
        if self.form is not None:
            yield f"form        {self.form}: {_FORMS[self.form]}"

    def _gains(self) -> dict[str, Estimate]:
        report = self.learning_rate
        return {
            f"gain over untuned {self.noun}": report.gain, "  of it step size": report.step_size,
            "  of it shape": report.shape, f"gain of {self.noun} by tuning alone": report.tuning_gain,
            "gain of the loss, both tuned": report.tuned_gain,
        }  # fmt: skip

    def _rate_lines(self) -> Iterator[str]:
        report = self.learning_rate
        digits = "#.4g" if self.kind == "regression" else ".4f"
        yield f"test {report.evaluation.metric_name}, lower by (above zero the loss is better)"
        yield from aligned([(name, e.text(lambda v: f"{v:+{digits}}")) for name, e in self._gains().items()])
        rows = report.evaluation.rows[0], next(row for row in report.evaluation.rows if row.role == TUNED)
        yield f"tuned learning rates: the loss {rows[0].learning_rate:.3g}, {self.noun} {rows[1].learning_rate:.3g}"
        shown = sorted({0, len(report.steps) // 2, len(report.steps) - 1})
        rates = ", ".join(f"{report.effective_rate[k].text('{:.3g}'.format)} at step {report.steps[k]}" for k in shown)
        yield from textwrap.wrap(
            f"it multiplies the learning rate of {self.noun} by {rates}", _WIDTH - 2, subsequent_indent="  "
        )

    def _smoothing_lines(self) -> Iterator[str]:
        s = self.smoothing
        if s is None:
            return
        if s.smoothing is not None:
            yield f"equivalent smoothing ξ = {number(s.smoothing)}, optimum p* = {probability(s.attractors[0])}"
        if s.gap_max is not None:
            against = "label smoothing" if s.smoothing is not None else "cross-entropy"
            yield f"gradient against {number(s.scale)} × {against}: apart by at most {number(s.gap_max)}"
        yield f"logit gradient of the target: {number(s.null_gradient)} at p = 1/C, {number(s.limit_gradient)} as p → 1"

    def _flatness_lines(self) -> Iterator[str]:
        found, name, write = self.flatness, self._row, "{:.3g}".format
        if name == found.reference.name:
            return
        views = {"as it is": False} | ({"normalised logits": True} if found.normalised else {})
        rows = [("times that of " + found.reference.name, *views)]
        for quantity in QUANTITIES:
            rows.append((quantity, *(found.ratio(name, quantity, view).text(write) for view in views.values())))
        rows.append(("verdict (largest eigenvalue)", *(found.verdict(name, normalised=v) for v in views.values())))
        yield from aligned(rows)
