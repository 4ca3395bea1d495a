"""What is known about a loss as label smoothing: the report and its forms."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from scipy.special import expit

from symloss.analysis import wording
from symloss.analysis.algebra import Derivation
from symloss.analysis.fit import Fit
from symloss.analysis.rests import Slice
from symloss.analysis.wording import number, probability
from symloss.expression.expression import Expression
from symloss.expression.showing import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VERDICTS = ("exact", "approximate", "same optimum", "none")


@dataclass(frozen=True)
class SmoothingReport:
    """What `label_smoothing` found: p is the target's probability, g = ∂L/∂z of its logit, all wrong classes alike.

    Args:
        loss: Name or formula.
        kind: `"multiclass"` or `"binary"`.
        classes: C.
        verdict: `"exact"` (∇L = s ∇LSR_ξ for all logits, see `proof`), `"approximate"` (one optimum, and ∇L/s nearer to
            ∇LSR_ξ than a tenth of ξ(C − 1)/C, the change that smoothing makes), `"same optimum"` (one optimum,
            pulled up below it and pushed down above it as by LSR_ξ, with other gradients) or `"none"`.
        smoothing: The equivalent ξ = (1 − p*) C/(C − 1), or None.
        proof: Of an exact verdict: `"algebra"`, or `"measurement"` (no formula; equal to 10⁻⁹ wherever it was tried).
        fit: s·LSR_ξ (ξ = 0 without an equivalent one) fitted to the gradient; None where no s > 0 fits.
        target_only: Whether the other outputs have no part in the loss: ∂ℓ/∂f = 0 at y = 0 for every f (for a loss
            without a formula: its gradient is a multiple of that of cross-entropy). Always so for a binary loss.
        family: `"smoothing"` (there is an equivalent ξ), or else by w = −g/(1 − p), the weight given to cross-entropy:
            `"cross-entropy-like"` (positive, within a factor of 4), `"focal-like"` (positive, falling below 1/50 of its
            largest value as p → 1); `"squared"` (the gradient of squared error), `"hinge-like"` (p is pulled up, then
            left alone), or `"unconventional"`.
        null_gradient: g at the null epoch, p = 1/C.
        limit_gradient: g in the limit p → 1.
        derivation: The same in symbols, for a formula of which SymPy has the form, or None.
        slices: The slice that was followed; of a binary loss for the labels 1 and 0.
        formula: The loss, where it is known by no name but its formula.
    """

    loss: str
    kind: str
    classes: int
    verdict: str
    smoothing: float | None
    proof: str | None
    fit: Fit | None
    target_only: bool
    family: str
    null_gradient: float
    limit_gradient: float
    derivation: Derivation | None
    slices: tuple[Slice, ...] = field(repr=False)
    formula: Expression | None = field(default=None, repr=False)

    @property
    def attractors(self) -> tuple[float, ...]:
        """Every p* in (1/C, 1) where g turns from pulling p up to pushing it down; of either label if binary."""
        return tuple(sorted({round(float(expit(m)), 14) for part in self.slices for m in part.attractors}))

    @property
    def repellers(self) -> tuple[float, ...]:
        """Every p where g turns the other way."""
        return tuple(sorted({round(float(expit(m)), 14) for part in self.slices for m in part.repellers}))

    @property
    def plateaus(self) -> tuple[tuple[float, float], ...]:
        """Intervals of p on which g is zero."""
        return tuple(sorted({(float(expit(a)), float(expit(b))) for part in self.slices for a, b in part.plateaus}))

    @property
    def scale(self) -> float | None:
        """s of the best fit, or None."""
        return None if self.fit is None else self.fit.scale

    @property
    def gap_max(self) -> float | None:
        """Largest |∂L/∂zᵢ/s − ∂LSR_ξ/∂zᵢ| over classes and p, wrong classes alike or not; None without a fit."""
        return None if self.fit is None else self.fit.gap_max

    @property
    def gap_rms(self) -> float | None:
        """Root mean square, over the same points, of the largest over classes."""
        return None if self.fit is None else self.fit.gap_rms

    @property
    def gap_at(self) -> float | None:
        """p where the gap is largest."""
        return None if self.fit is None else self.fit.gap_at

    @property
    def gap_on_slice(self) -> float | None:
        """Largest gap where the wrong classes are alike."""
        return None if self.fit is None else self.fit.gap_on_slice

    @cached_property
    def statement(self) -> str:
        """The finding in one sentence."""
        return wording.statement(self)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What else follows, a sentence each."""
        return tuple(wording.notes(self))

    def __str__(self) -> str:
        gap = "none"
        if self.fit is not None:
            gap = f"{number(self.gap_max)} at p = {probability(self.gap_at)}, rms {number(self.gap_rms)}, "
            gap += f"wrong classes alike {number(self.gap_on_slice)}"
        rows = {
            "verdict": self.verdict + (f", by {self.proof}" if self.proof else ""),
            "smoothing ξ": number(self.smoothing),
            "attractors p*": ", ".join(map(probability, self.attractors)) or "none",
            "scale s": number(self.scale),
            "gap": gap,
            "target-only": "yes" if self.target_only else "no",
            "family": self.family,
            "g at p = 1/C": number(self.null_gradient),
            "g as p → 1": number(self.limit_gradient),
        }
        lines = [self.statement, *(f"  {name:<13}  {text}" for name, text in rows.items()), *self.notes]
        if self.derivation is not None:
            g = "g = p (1 − p) d1(p) for label 1" if self.kind == "binary" else "g = p (1 − p) (d1(p) − d0(q))"
            lines += [f"In symbols, d1 = ∂ℓ/∂f at y = 1, d0 = ∂ℓ/∂f at y = 0, {g}:"]
            lines += [f"  {line}" for line in str(self.derivation).splitlines()]
        return "\n".join(lines)

    def latex(self) -> str:
        """The verdict, and the derivation if there is one, as one line of LaTeX without delimiters."""
        if self.smoothing is None or self.scale is None:
            verdict = r"\nexists\, \xi:\; \mathcal{L} \sim \mathrm{LSR}_\xi"
        else:
            relation = {"exact": "=", "approximate": r"\approx"}.get(self.verdict, r"\neq")
            verdict = (
                rf"p^* = {1 - self.smoothing * (self.classes - 1) / self.classes:.6g},\quad \xi = {self.smoothing:.6g},"
                rf"\quad \nabla\mathcal{{L}} {relation} {self.scale:.6g}\,\nabla\mathrm{{LSR}}_\xi"
            )
        return verdict if self.derivation is None else rf"{verdict},\quad {self.derivation.latex()}"

    def figure(self) -> Figure:
        """Loss and logit gradient beside cross-entropy and the equivalent LSR; see `symloss.plotting.smoothing`."""
        return drawn("smoothing", self)
