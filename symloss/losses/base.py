"""Loss: what every loss of symloss has in common."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from symloss.expression.expression import Expression
from symloss.losses import stable, targets


class Loss(nn.Module):
    """A loss called like torch's own: `loss(input, target)`.

    Args:
        kind: What the outputs of the model mean: `"multiclass"`, `"binary"` or `"regression"`.
        reduction: `"mean"`, `"sum"` or `"none"`.
        ignore_index: Class index of the samples to leave out (multiclass).
        weight: Weight of each class **[C]** (multiclass), a buffer; a sample has the weight of its class, and the mean
            is Σ w l / Σ w. For probabilities y it has Σ_c w_c y_c, and the mean is Σ w l / B, as in torch.

    Attributes:
        name: Name in the catalogue, or None.
        inplace: Whether the backward pass may write the gradient over the logits, where the loss knows how to.

    Raises:
        LossError: If an option is not one of these.
    """

    name: str | None = None
    inplace = False

    weight: Tensor | None

    def __init__(
        self, kind: str, reduction: str = "mean", ignore_index: int = -100, weight: Tensor | None = None
    ) -> None:
        super().__init__()
        targets.check_options(kind, reduction, ignore_index, weight)
        self.register_buffer("weight", weight)
        self.kind = kind
        self.reduction = reduction
        self.ignore_index = ignore_index

    @property
    def expression(self) -> Expression | None:
        """The formula ℓ(y, f) with its current weights; None where the loss cannot be written so."""
        return None

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of a batch.

        Args:
            input: Outputs of the model. Multiclass: logits [B, C, ...] or [C]; binary: logits of any shape;
                regression: values [B, ...].
            target: Multiclass: class indices [B, ...] or [] of any integer dtype, or probabilities (one-hot or soft)
                of the input's shape; otherwise of the input's shape, any real dtype.

        Returns:
            Loss [], or one per sample for the reduction `"none"`, in the input's dtype (float32 under autocast).

        Raises:
            LossError: If the target does not fit the input.
        """
        raise NotImplementedError

    def over_entries(self, input: Tensor, target: Tensor, entries: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The loss of a batch from ℓ at every (sample, output): summed over outputs, then reduced.

        Args:
            input: Outputs of the model.
            target: As `targets.check` returns it.
            entries: From outputs and targets of one shape, in the precision of the computation, to ℓ in that shape, or
                in one that broadcasts to it.

        Returns:
            Loss [], or one per sample, in the input's dtype.
        """
        outputs, sample_weights = stable.widen(input), None
        indices = target.shape != input.shape
        if indices:
            sample_weights = targets.sample_weights(input, target, self.ignore_index, self.weight)
            left_out = (target == self.ignore_index).unsqueeze(stable.class_dimension(input))
            target = targets.one_hot(input, target)
            outputs = outputs.masked_fill(left_out, 0.0)  # so that NaN logits of ignored samples do no harm
        values = self._sum_over_outputs(entries(outputs, target).expand(outputs.shape))
        if self.weight is not None and not indices:
            values = values * self._sum_over_outputs(target * targets.over_classes(self.weight, target))
        return stable.narrow(targets.reduce(values, sample_weights, self.reduction), input)

    def _sum_over_outputs(self, values: Tensor) -> Tensor:
        if self.kind == "multiclass":
            return values.sum(stable.class_dimension(values))
        if self.kind == "regression" and values.ndim > 1:
            return values.flatten(1).sum(1)
        return values

    def total_weight(self, input: Tensor, target: Tensor) -> Tensor:
        """What the reduction `"mean"` divides by: the number of samples that count, or the sum of their weights.

        Args:
            input: Any tensor of the dtype and device that are wanted.
            target: Class indices, int64, any shape.

        Returns:
            Tensor [].
        """
        kept = target != self.ignore_index
        return kept.sum().to(input) if self.weight is None else self.weight.to(input)[target[kept]].sum()

    def extra_repr(self) -> str:
        """Name, kind and options."""
        options = "" if self.ignore_index == -100 else f", ignore_index={self.ignore_index}"
        options += "" if self.weight is None else ", weight=..."
        return f"kind={self.kind!r}, reduction={self.reduction!r}{options}"
