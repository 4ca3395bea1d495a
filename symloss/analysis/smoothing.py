"""Whether a loss acts as label smoothing: its logit gradient, followed from the null epoch to certainty."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from scipy.special import expit

from symloss.analysis import algebra
from symloss.analysis import fit as fitting
from symloss.analysis.gradients import FormulaSide, MeasuredSide, Side
from symloss.analysis.report import SmoothingReport
from symloss.analysis.rests import Slice, scan
from symloss.errors import LossError
from symloss.expression.expression import Expression
from symloss.losses.base import Loss
from symloss.losses.resolve import loss as resolve

CLOSE = 0.1
"""Largest gap of an approximation, in units of ξ(C − 1)/C, by which LSR_ξ and cross-entropy differ."""
MOST_CLASSES = 1_000_000

AnyLoss = str | os.PathLike[str] | Expression | Callable[..., Any]


def label_smoothing(
    loss: AnyLoss, classes: int = 10, kind: str | None = None, seconds: float = 10.0
) -> SmoothingReport:
    """Whether a loss acts as label smoothing, s·LSR_ξ, and with which ξ.

    Where each wrong class has the probability (1 − p)/(C − 1), the logit gradient of the target under LSR_ξ is
    g = p − A with A = 1 − ξ(C − 1)/C, so LSR_ξ rests at p* = A. A loss that comes to rest at p* from everywhere has the
    optimum of ξ = (1 − p*) C/(C − 1). Everything is computed in float64, for p from 1/C to 1 − 10⁻¹². Gaps, and what
    happens above the optimum, count where every probability is at least 10⁻⁷: below that protected logarithms are flat.
    g is followed over a grid of margins, with the kinks of a formula located in between; a smooth dent that is narrower
    than the grid is not seen.

    Args:
        loss: A loss, its name, formula, file or run directory; or any function of logits **[N, C]** and class indices
            **[N]** (binary: logits and labels **[N]**), which is then measured by automatic differentiation.
        classes: C, 2 to 1 000 000; a binary loss has 2 whatever is given.
        kind: `"multiclass"` or `"binary"`. Default: that of the loss, `"multiclass"` if it has none.
        seconds: Most seconds for proof and for derivation, 0 for neither; without proof a formula is not `"exact"`.

    Returns:
        The report.

    Raises:
        LossError: If the loss cannot be used, or is no function of the class probabilities that treats classes alike.
        ParseError: If a text is neither a name nor a formula.

    Source: Raymond et al., *Learning Symbolic Model-Agnostic Loss Functions via Meta-Learning*, arXiv 2209.08907.
    """
    kind = kind or str(getattr(loss, "kind", "multiclass"))
    if kind not in ("multiclass", "binary"):
        raise LossError(
            f"label smoothing is for kind 'multiclass' or 'binary'; received {kind!r}: choose one of the two"
        )
    if isinstance(classes, bool) or not isinstance(classes, int) or not 2 <= classes <= MOST_CLASSES:
        raise LossError(f"classes is a whole number from 2 to {MOST_CLASSES}; received {classes!r}")
    classes = 2 if kind == "binary" else classes
    labels = (1, 0) if kind == "binary" else (None,)
    function, expression = _read(loss, kind)
    sides: list[Side] = [
        MeasuredSide(function, classes, label) if expression is None else FormulaSide(expression, classes, label)
        for label in labels
    ]
    slices = tuple(map(scan, sides))
    smoothing = equivalent(slices, classes)
    if smoothing is not None and expression is not None:
        turns = (_turns(function, classes, label, part) for label, part in zip(labels, slices, strict=True))
        smoothing = smoothing if all(turns) else None
    fit = fitting.fit(sides, smoothing or 0.0)
    proof = None
    share = (smoothing or 0.0) * (classes - 1) / classes
    if smoothing is not None and fit is not None and fit.gap_max <= min(fitting.EXACT, 1e-4 * share):
        proof = _proof(expression, classes, labels, seconds)
    rests = [float(expit(margin)) for margin in slices[0].attractors]
    derivation = algebra.derive(expression, classes, labels[0], rests, seconds) if expression is not None else None
    limit = fitting.limit(sides[0])
    if derivation is not None and derivation.limit is not None:
        limit = float(derivation.limit)
    named = getattr(function, "name", None)
    name = named or expression or getattr(function, "__name__", type(function).__name__)
    return SmoothingReport(
        loss=str(name), kind=kind, classes=classes, verdict=_verdict(smoothing, fit, proof, classes),
        smoothing=smoothing, proof=proof, fit=fit, target_only=all(side.target_only() for side in sides),
        family="smoothing" if smoothing is not None else fitting.family(sides, slices, fit),
        null_gradient=float(slices[0].gradient[0]), limit_gradient=limit, derivation=derivation, slices=slices,
        formula=None if named else expression,
    )  # fmt: skip


def _proof(
    expression: Expression | None, classes: int, labels: Sequence[int | None], seconds: float
) -> Literal["algebra", "measurement"] | None:
    """What shows that the gradient, which agrees wherever it was tried, is that of label smoothing."""
    if expression is None:
        return "measurement"
    return "algebra" if all(algebra.proved(expression, classes, label, seconds) for label in labels) else None


def _verdict(smoothing: float | None, fit: fitting.Fit | None, proof: str | None, classes: int) -> str:
    """One of `VERDICTS`; see `SmoothingReport`."""
    if smoothing is None:
        return "none"
    if proof is not None:
        return "exact"
    close = fit is not None and fit.gap_max <= CLOSE * smoothing * (classes - 1) / classes
    return "approximate" if close else "same optimum"


def _read(loss: AnyLoss, kind: str) -> tuple[Any, Expression | None]:
    """The loss as a function, and its formula if it has one."""
    if callable(loss) and not isinstance(loss, Loss):
        return loss, None
    module = resolve(loss, kind)
    if getattr(module, "weight", None) is not None:
        raise LossError("with class weights every class has a smoothing of its own; give the loss without weight")
    return module, getattr(module, "expression", None)


def equivalent(slices: Sequence[Slice], classes: int) -> float | None:
    """ξ of the one point at which p comes to rest from everywhere, for every label; None if there is none."""
    if not all(_one_regime(part, classes) for part in slices):
        return None
    found = [float(expit(-part.attractors[0])) * classes / (classes - 1) for part in slices]
    return found[0] if all(math.isclose(xi, found[0], rel_tol=1e-6) for xi in found) else None


def _turns(function: Callable[..., Any], classes: int, label: int | None, part: Slice) -> bool:
    """Whether the module, whose logarithms are exact, rests where its formula, whose logarithms are protected, does."""
    margin = torch.tensor([part.attractors[0] - 1e-3, part.attractors[0] + 1e-3], dtype=torch.float64)
    z, target = margin * (1 if label else -1), torch.full((2,), float(label or 0)).double()
    if label is None:
        z = torch.cat([(margin + math.log(classes - 1)).unsqueeze(1), margin.new_zeros(2, classes - 1)], 1)
        target = target.long()
    z.requires_grad_()
    (slope,) = torch.autograd.grad(function(z, target).sum(), z)
    low, high = (slope[:, 0] if label is None else slope * (1 if label else -1)).tolist()
    return bool(low < 0 < high)


def _one_regime(part: Slice, classes: int) -> bool:
    """Whether p is pulled up everywhere below one point, and pushed down above it while probabilities are 10⁻⁷."""
    last = fitting.last_margin(classes)
    if len(part.attractors) != 1 or not (abs(part.signs) <= 1).all():
        return False
    rest = part.attractors[0]
    turns = [*part.repellers, *(low for low, _ in part.plateaus)]
    return all(turn >= max(last, rest) for turn in turns)
