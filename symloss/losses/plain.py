"""TorchLoss: torch's own losses behind the interface of Loss, so that a comparison is with the real thing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from symloss.expression.expression import Expression
from symloss.losses import stable, targets
from symloss.losses.base import Loss


class TorchLoss(Loss):
    """A loss computed by a function of `torch.nn.functional`.

    Args:
        function: `function(input, target, reduction=..., **parameters)`, for multiclass with `ignore_index=...` and
            `weight=...`; an importable function, so that the loss can be pickled.
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        reduction: `"mean"` (over all entries, as in torch), `"sum"` or `"none"`.
        ignore_index: Class index of the samples to leave out (multiclass).
        parameters: More keywords of the function.
        expression: The formula of the same loss, where there is one.
        weight: Weight of each class **[C]** (multiclass), a keyword of the function.

    Raises:
        LossError: If an option is unknown.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        kind: str,
        reduction: str = "mean",
        ignore_index: int = -100,
        parameters: Mapping[str, float] | None = None,
        expression: Expression | None = None,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__(kind, reduction, ignore_index, weight)
        self._function = function
        self._keywords = dict(parameters or {})
        self._expression = expression

    @property
    def expression(self) -> Expression | None:
        """The formula of the same loss, or None."""
        return self._expression

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102 (documented in Loss)
        target = targets.check(self.kind, input, target, self.weight)
        keywords: dict[str, Any] = dict(self._keywords)
        if self.kind == "multiclass":
            weight = None if self.weight is None else self.weight.to(stable.widen(input))
            keywords |= {"ignore_index": self.ignore_index, "weight": weight}
            if target.shape != input.shape:
                targets.check_range(input, target, self.ignore_index)
        value = self._function(stable.widen(input), target, reduction=self.reduction, **keywords)
        return stable.narrow(value, input)

    def extra_repr(self) -> str:
        """Name, parameters, kind and options."""
        keywords = "".join(f", {name}={value!r}" for name, value in self._keywords.items())
        return f"{self.name or self._function.__name__}{keywords}, {super().extra_repr()}"


def binary_label_smoothing(input: Tensor, target: Tensor, reduction: str, smoothing: float) -> Tensor:
    """Binary cross-entropy with the target y(1 − ξ) + ξ/2: the label smoothing of two classes.

    Args:
        input: Logits, any shape.
        target: Targets 0 to 1, same shape.
        reduction: `"mean"`, `"sum"` or `"none"`.
        smoothing: ξ.

    Returns:
        Loss [], or of the input's shape for `"none"`.

    Source: Szegedy et al., *Rethinking the Inception Architecture for Computer Vision*, arXiv 1512.00567.
    """
    return F.binary_cross_entropy_with_logits(input, target * (1 - smoothing) + 0.5 * smoothing, reduction=reduction)
