"""Loss: what every loss of symloss has in common."""

from __future__ import annotations

from torch import Tensor, nn

from symloss.expression.expression import Expression
from symloss.losses import targets


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
