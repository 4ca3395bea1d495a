"""When over training an adaptive loss smooths labels, and when it flattens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Tensor, nn

from symloss.analysis.gradients import Array
from symloss.analysis.rests import scan
from symloss.analysis.smoothing import equivalent
from symloss.errors import LossError
from symloss.expression.showing import aligned, plain
from symloss.online import Adaptation, ScaledTaskLoss
from symloss.online.shapes import entry

_POINTS = 200
_ROUNDING = 1e-13  # of a derivative in float64, relative
FLATTENED = 0.5
"""A loss that pulls by so much less than before training has flattened."""


@dataclass(frozen=True)
class Look:
    """What the tools say of a loss as it is at one moment.

    Args:
        smoothing: The ξ whose optimum it has (`label_smoothing`); None if there is none, or in regression.
        rests: Every p* between 1/C and 1 where it stops pulling the target's probability up and pushes it down.
        pull: Mean |∂L/∂z| of the target's logit over p from 1/C to 1, wrong classes alike; regression: mean |∂ℓ/∂f|
            for errors up to 3; in either case over that of the task loss. It multiplies the learning rate.
    """

    smoothing: float | None
    rests: tuple[float, ...]
    pull: float


@dataclass(frozen=True)
class AdaptationReport:
    """What became of a loss over training.

    Args:
        kind: Kind of the task.
        steps: Training steps [S] after which it was looked at.
        looks: What was seen after each.
        effective_rates: α ‖∇_θ M‖ / ‖∇_θ L_task‖ in training at (or next to) these steps.
    """

    kind: str
    steps: tuple[int, ...]
    looks: tuple[Look, ...]
    effective_rates: tuple[float, ...]

    @property
    def smooths(self) -> tuple[int, ...]:
        """Steps after which the loss rests before certainty, as label smoothing does."""
        return tuple(step for step, one in zip(self.steps, self.looks, strict=True) if one.rests)

    @property
    def flattens(self) -> int | None:
        """First step after which it pulls less than half as strongly as at first, or None."""
        first = self.looks[0].pull
        late = (step for step, one in zip(self.steps, self.looks, strict=True) if one.pull < FLATTENED * first)
        return next(late, None)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        rows = [
            {"step": step, **asdict(one), "effective_rate": rate}
            for step, one, rate in zip(self.steps, self.looks, self.effective_rates, strict=True)
        ]
        return {"sentences": list(self.sentences()), "looks": plain(rows)}

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        rows = [("step", "rests at p", "smoothing ξ", "pull", "effective rate")]
        for step, one, rate in zip(self.steps, self.looks, self.effective_rates, strict=True):
            rests = ", ".join(f"{p:.4g}" for p in one.rests) or "-"
            xi = "-" if one.smoothing is None else f"{one.smoothing:.4g}"
            rows.append((str(step), rests, xi, f"{one.pull:.4g}", f"{rate:.4g}"))
        keep = (0, 3, 4) if self.kind == "regression" else (0, 1, 2, 3, 4)
        yield from aligned([tuple(row[k] for k in keep) for row in rows], ">" * len(keep))
        yield from self.sentences()

    def sentences(self) -> Iterator[str]:
        """When it smooths labels, unless in regression, and whether it flattens."""
        if self.kind != "regression":
            yield self._smoothing()
        first, last = self.looks[0].pull, self.looks[-1].pull
        when = "never below half" if self.flattens is None else f"below half of its first after step {self.flattens}"
        word = "flattens" if last < first else "steepens"
        yield f"the loss {word}: its pull goes from {first:.3g} to {last:.3g}, {when}"

    def _smoothing(self) -> str:
        if not self.smooths:
            return "the loss smooths labels at no time: it pulls the target's probability up everywhere"
        if self.smooths == self.steps:
            return "the loss smooths labels throughout: it rests before certainty, as label smoothing does"
        steps = ", ".join(map(str, self.smooths))
        return f"the loss smooths labels after steps {steps}: it rests before certainty there"


def adaptation(found: Adaptation) -> AdaptationReport:
    """When over training the loss of an adapted run smooths labels, and when it flattens.

    Args:
        found: Of `symloss.adapt`.

    Returns:
        The report, of at most eight moments; it prints as a table and one or two sentences.

    Raises:
        LossError: If the run kept no shapes, or its loss is no function of the class probabilities.
    """
    if not found.snapshots or not found.records:
        raise LossError("this run has no snapshots of its loss; use a formula or a network, and at least one step")
    looks = tuple(look(found.loss_at(place), found.kind, found.outputs) for place in found.shown)
    steps = tuple(found.snapshots[place][0] for place in found.shown)
    nearest = [min(found.records, key=lambda record: abs(record.step - step)) for step in steps]
    rates = tuple(record.learning_rate * record.effective_rate for record in nearest)
    return AdaptationReport(found.kind, steps, looks, rates)


def look(loss: nn.Module, kind: str, outputs: int) -> Look:
    """What the tools say of one loss.

    Args:
        loss: A formula, a network, the task loss, or the residual form of one of them.
        kind: Kind of the task.
        outputs: C.

    Raises:
        LossError: If it is none of these.
    """
    if kind == "regression":
        f = np.linspace(-3, 3, _POINTS)
        slopes = [np.abs(_slope(one, kind, 0.0, f)).mean() for one in (loss, ScaledTaskLoss(kind))]
        return Look(None, (), float(slopes[0] / slopes[1]))
    classes = 2 if kind == "binary" else outputs
    sides = [EntrySide(loss, classes, label) for label in ((1, 0) if kind == "binary" else (None,))]
    slices = [scan(side) for side in sides]
    rests = sorted({round(float(expit(margin)), 12) for part in slices for margin in part.attractors})
    p = np.linspace(1 / classes, 1, _POINTS, endpoint=False)
    pulls = [np.abs(side.target(logit(p))[0]).mean() / (1 - p).mean() for side in sides]
    return Look(equivalent(slices, classes), tuple(rests), float(np.mean(pulls)))


class EntrySide:
    """The gradients of a loss that is a sum over entries; see `gradients.Side` and, for the formulas, `FormulaSide`.

    Args:
        loss: As in `look`.
        classes: C.
        label: Of a binary loss; None for a multiclass one.
    """

    def __init__(self, loss: nn.Module, classes: int, label: int | None = None) -> None:
        self.loss, self.classes, self.label = loss, classes, label

    def _at(self, y: float, f: Array) -> Array:
        return _slope(self.loss, "multiclass" if self.label is None else "binary", y, f)

    def target(self, margin: Array) -> tuple[Array, Array]:
        """g **[N]** at the margins **[N]**, and its rounding."""
        p, rest = expit(margin), expit(-margin)
        if self.label is None:
            parts = [self._at(1.0, p), -self._at(0.0, rest / (self.classes - 1))]
        else:
            parts = [self._at(1.0, p) if self.label else -self._at(0.0, rest)]
        return p * rest * sum(parts), _ROUNDING * p * rest * sum(map(np.abs, parts))

    def full(self, f: Array) -> Array:
        """∇_z L **[N, C]** at the probabilities **[N, C]**, the target first."""
        if self.label is not None:
            g = f[:, 0] * f[:, 1] * (self._at(1.0, f[:, 0]) if self.label else -self._at(0.0, f[:, 1]))
            return np.stack([g, -g], 1)
        d = np.concatenate([self._at(1.0, f[:, :1]), self._at(0.0, f[:, 1:])], 1)
        gradient: Array = f * (d - (f * d).sum(1, keepdims=True))
        return gradient

    def breaks(self, margin: Array) -> Array:
        """Kinks between these margins; not known here."""
        return margin[:0]

    def target_only(self) -> bool:
        """Whether ∂ℓ/∂f = 0 at y = 0."""
        return self.label is not None or not self._at(0.0, np.linspace(0.001, 0.999, _POINTS)).any()


def _slope(loss: nn.Module, kind: str, y: float, f: Array) -> Array:
    """∂ℓ/∂f."""
    leaf = torch.from_numpy(f).requires_grad_()
    value: Tensor | None = entry(loss, kind, torch.full_like(leaf, y), leaf)
    if value is None:
        raise LossError(f"{type(loss).__name__} is no sum over entries whose shape could be followed")
    if not value.requires_grad:
        return np.zeros_like(f)
    slope: Array = torch.autograd.grad(value.sum(), leaf)[0].numpy()
    return slope
