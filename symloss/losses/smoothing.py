"""Label smoothing, its sparse form, and the absolute cross-entropy, which evolution finds in its place."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from symloss.errors import LossError
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.losses import stable, targets
from symloss.losses.base import Loss
from symloss.losses.program import FIRST, LOG_F, LOG_Q, ONE, SPREAD, Program, Term
from symloss.losses.target_only import of_margin, target_loss


class MarginLoss(Loss):
    """A multiclass loss h(m) of the margin of the target, computed by the fused kernel of `target_only`.

    Class indices are the usual target. For probabilities y of the input's shape (one-hot or soft) it is the mean over
    labels drawn from them, Σ y_c h(m_c), each with its weight; m_c is the margin of class c. That takes plain
    operations, and `ignore_index` is for class indices. All of it as in `torch.nn.CrossEntropyLoss`.

    Args:
        weight: Weight of each class **[C]**, a buffer; a sample has the weight of its class.
        reduction: `"mean"` (Σ w h / Σ w for class indices, Σ / B for probabilities), `"sum"` or `"none"`.
        ignore_index: Class index of the samples to leave out.
        inplace: Whether the backward pass may write the gradient over the logits, which are then spent; they must not
            be a leaf or a view of one, and there are no second derivatives. By default no tensor is ever changed.

    Raises:
        LossError: If an option is not one of these.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
        inplace: bool = False,
    ) -> None:
        super().__init__("multiclass", reduction, ignore_index, weight)
        self.inplace = bool(inplace)

    def function(self, classes: int) -> Program:
        """The loss as a function of the margin, for so many classes."""
        raise NotImplementedError

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102 (documented in Loss)
        target = targets.check(self.kind, input, target, self.weight)
        classes = input.shape[stable.class_dimension(input)]
        if target.shape == input.shape:
            return stable.narrow(self._soft(stable.widen(input), target, classes), input)
        return stable.narrow(self._indices(input, target, classes), input)

    def _indices(self, input: Tensor, target: Tensor, classes: int) -> Tensor:
        return target_loss(
            input,
            target,
            self.function(classes),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            inplace=self.inplace,
        )

    def _soft(self, z: Tensor, y: Tensor, classes: int) -> Tensor:
        """The mean over labels drawn from y."""
        dim = stable.class_dimension(z)
        values = of_margin(self.function(classes), stable.margins(z, dim)) * y
        values = values.masked_fill(y == 0, 0.0)  # an infinite loss of a label that never occurs
        if self.weight is not None:
            values = values * targets.over_classes(self.weight, z)
        return targets.reduce(values.sum(dim), None, self.reduction)

    def extra_repr(self) -> str:
        """Parameters and options."""
        parts = [*self._numbers(), super().extra_repr()]
        return ", ".join(parts + ["inplace=True"] * self.inplace)

    def _numbers(self) -> list[str]:
        raise NotImplementedError


class _Smoothing(MarginLoss):
    def __init__(
        self,
        smoothing: float = 0.1,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
        inplace: bool = False,
    ) -> None:
        super().__init__(weight, reduction, ignore_index, inplace)
        self.smoothing = _number("smoothing", smoothing, 0.0, 1.0)
        self._last: tuple[int, Program] | None = None

    def function(self, classes: int) -> Program:
        if self._last is None or self._last[0] != classes:
            self._last = classes, self._function(classes, self.smoothing * (classes - 1) / classes)
        return self._last[1]

    @staticmethod
    def _function(classes: int, others: float) -> Program:
        """A softplus(−m) + B softplus(m) and the rest; `others` is B."""
        raise NotImplementedError

    def _numbers(self) -> list[str]:
        return [f"smoothing={self.smoothing!r}"]


class LabelSmoothing(_Smoothing):
    """Cross-entropy with a smoothed target: L = −Σ_c (y_c (1 − ξ) + ξ/C) log f_c.

    Convention: PyTorch's, the share ξ is spread over **all** C classes, so that the target keeps A = 1 − ξ + ξ/C and
    the others have B = ξ (C − 1)/C together. (In the other convention in use, 1 − ε at the target and ε/(C − 1) at
    every other class, it is ξ = ε C/(C − 1).) It equals `torch.nn.CrossEntropyLoss(label_smoothing=ξ)`, also with
    class weights, where every class of the smoothed target counts with its own; those are left to torch.

    Computed as A softplus(−m) + B softplus(m) + B u with the margin m = z_t − n, n = logsumexp_{j≠t} z_j, and
    u = n − mean_{j≠t} z_j. Gradient: p − A at the target, f_j − ξ/C elsewhere.

    Args:
        smoothing: ξ, 0 to 1.
        weight: Weight of each class **[C]**, a buffer.
        reduction: `"mean"`, `"sum"` or `"none"`.
        ignore_index: Class index of the samples to leave out.
        inplace: Whether the gradient may be written over the logits; see `MarginLoss`.

    Raises:
        LossError: If an option is out of range.

    Source: Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, arXiv 1512.00567.
    """

    @staticmethod
    def _function(classes: int, others: float) -> Program:
        return Program((), Term(LOG_F, others - 1.0), others).plus(Term(LOG_Q, -others), Term(SPREAD, others))

    def _indices(self, input: Tensor, target: Tensor, classes: int) -> Tensor:
        if self.weight is None:
            return super()._indices(input, target, classes)
        targets.check_range(input, target, self.ignore_index)
        return self._soft(stable.widen(input), target, classes)

    def _soft(self, z: Tensor, y: Tensor, classes: int) -> Tensor:
        weight = None if self.weight is None else self.weight.to(z)
        ignored = -100 if y.shape == z.shape else self.ignore_index
        return F.cross_entropy(
            z, y, weight, ignore_index=ignored, reduction=self.reduction, label_smoothing=self.smoothing
        )


class SparseLabelSmoothing(_Smoothing):
    """Label smoothing with the other classes at their mean: L = −A log p − B log((1 − p)/(C − 1)).

    Convention: A = 1 − ξ + ξ/C and B = ξ (C − 1)/C, PyTorch's: ξ is spread over **all** C classes. (In the other
    convention in use, 1 − ε at the target and ε/(C − 1) at every other class, it is ξ = ε C/(C − 1).) Here p is the
    probability of the target, which is all that the loss looks at.

    Computed in the margin form, A softplus(−m) + B softplus(m) + B log(C − 1) with m = z_t − logsumexp_{j≠t} z_j, which
    is finite and exact for any margin and offset, in every dtype. Gradient: p − A at the target, f_j (A − p)/(1 − p)
    elsewhere. Label smoothing is greater by B · KL(uniform ‖ softmax of the others); the two are equal where the other
    logits are equal, and for C = 2; for ξ = 0 both are cross-entropy.

    Args:
        smoothing: ξ, 0 to 1.
        weight: Weight of each class **[C]**, a buffer; a sample has the weight of its class.
        reduction: `"mean"`, `"sum"` or `"none"`.
        ignore_index: Class index of the samples to leave out.
        inplace: Whether the gradient may be written over the logits; see `MarginLoss`.

    Raises:
        LossError: If an option is out of range.

    Source: Raymond, *Meta-Learning Loss Functions for Deep Neural Networks*, arXiv 2406.09713.
    """

    @staticmethod
    def _function(classes: int, others: float) -> Program:
        constant = others * math.log(max(1, classes - 1))
        return Program((), Term(LOG_F, others - 1.0)).plus(Term(LOG_Q, -others), Term(ONE, constant))


class AbsoluteCrossEntropy(MarginLoss):
    """The absolute cross-entropy: L = φ₀ Σ_c y_c |log(φ₁ f_c)|.

    It is φ₀ times cross-entropy up to the confidence 1/φ₁, and exactly −φ₀ times it beyond, but for a constant. Its
    optimum p* = 1/φ₁ is that of label smoothing with φ₁ = 1/A, A = 1 − ξ + ξ/C (convention: ξ is spread over **all** C
    classes), though its gradients are not. φ₁ ≤ 1 does not regularise; φ₀ is a learning rate.

    The form found by evolution, φ₀ Σ |log(φ₁ y f)|, has the same gradients for one-hot targets; its other entries add
    the constant φ₀ |log 0|, which is left out here.

    Args:
        phi0: φ₀ > 0.
        phi1: φ₁ > 0.
        weight: Weight of each class **[C]**, a buffer; a sample has the weight of its class.
        reduction: `"mean"`, `"sum"` or `"none"`.
        ignore_index: Class index of the samples to leave out.
        inplace: Whether the gradient may be written over the logits; see `MarginLoss`.

    Raises:
        LossError: If an option is out of range.

    Source: Raymond, *Meta-Learning Loss Functions for Deep Neural Networks*, arXiv 2406.09713.
    """

    def __init__(
        self,
        phi0: float = 1.0,
        phi1: float = 1.1,
        weight: Tensor | None = None,
        reduction: str = "mean",
        ignore_index: int = -100,
        inplace: bool = False,
    ) -> None:
        super().__init__(weight, reduction, ignore_index, inplace)
        self.phi0 = _number("phi0", phi0, 1e-6, 1e6)
        self.phi1 = _number("phi1", phi1, 1e-6, 1e6)
        steps = (("add", (Term(ONE, math.log(self.phi1)), Term(LOG_F))), ("abs", (Term(FIRST),)))
        self._function = Program(steps, Term(FIRST + 1, self.phi0))

    @property
    def expression(self) -> Expression:
        """φ₀ y |log(φ₁ f)|."""
        return parse(f"{self.phi0!r}*y*abs(log({self.phi1!r}*f))")

    def function(self, classes: int) -> Program:  # noqa: D102 (documented in MarginLoss)
        return self._function

    def _numbers(self) -> list[str]:
        return [f"phi0={self.phi0!r}", f"phi1={self.phi1!r}"]


def _number(name: str, value: float, low: float, high: float) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high:
        raise LossError(f"{name} must lie between {low:g} and {high:g}; received {value!r:.80}")
    return float(value)
