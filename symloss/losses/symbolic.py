"""SymbolicLoss: a torch module compiled from an Expression."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from symloss.errors import LossError
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.losses import stable, targets
from symloss.losses.base import Loss


class SymbolicLoss(Loss):
    """The loss of a formula ℓ(y, f): taken at every (sample, output), summed over outputs, averaged over the batch.

    L = 1/B Σ_b Σ_c ℓ(y_bc, f_bc), with f the softmax of the logits over the classes (multiclass), the sigmoid of the
    logits (binary; every entry is a sample, as in `BCEWithLogitsLoss`), or the outputs themselves (regression;
    all dimensions after the first are outputs). Everything is computed in float32, or float64 for float64 inputs.

    Args:
        expression: An Expression, or its text.
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        reduction: `"mean"`, `"sum"`, or `"none"` for one loss per sample: [B, ...] for multiclass, the input's shape
            for binary, [B] for regression.
        ignore_index: Class index of the samples to leave out (multiclass); the mean is over those kept.
        trainable: Whether the weights of the expression are a parameter; otherwise they are a buffer.

    Attributes:
        weights: Weight of each edge in preorder [size - 1], float64; they are what is trained, saved and moved.
        form: How the loss is evaluated: `"dense"`, at every (sample, output).

    Raises:
        ParseError: If a text is not an expression.
        LossError: If the expression lacks f (nothing could be learnt from it), or an option is unknown.

    Source: Raymond et al., *Learning Symbolic Model-Agnostic Loss Functions via Meta-Learning*, arXiv 2209.08907.
    """

    weights: Tensor

    def __init__(
        self,
        expression: Expression | str,
        kind: str = "multiclass",
        reduction: str = "mean",
        ignore_index: int = -100,
        trainable: bool = False,
    ) -> None:
        super().__init__(kind, reduction, ignore_index)
        if isinstance(expression, str):
            expression = parse(expression)
        if not isinstance(expression, Expression):
            raise LossError(f"a loss is made from an Expression or its text; received {type(expression).__name__}")
        if "f" not in expression.variables:
            raise LossError(f"a loss must contain the prediction f; received {str(expression)[:80]!r}")
        self._tree = expression  # its structure; the weights that count are `self.weights`
        self.trainable = trainable
        weights = torch.tensor(expression.weights, dtype=torch.float64)
        if trainable:
            self.weights = nn.Parameter(weights)
        else:
            self.register_buffer("weights", weights)
        self.form = "dense"  # right for every expression; the place to pick a cheaper form where one is proved

    @property
    def expression(self) -> Expression:
        """The formula with its current weights.

        Raises:
            ExpressionError: If a weight has become infinite or NaN.
        """
        return self._tree.with_weights(self.weights.detach().tolist())

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102 (documented in Loss)
        target = targets.check(self.kind, input, target)
        outputs, sample_weights = stable.widen(input), None
        if target.shape != input.shape:
            sample_weights = targets.sample_weights(input, target, self.ignore_index)
            target = targets.one_hot(input, target)
            left_out = (sample_weights == 0).unsqueeze(stable.class_dimension(input))
            outputs = outputs.masked_fill(left_out, 0.0)  # so that NaN logits of ignored samples do no harm
        values = self._dense(outputs, target)
        return stable.narrow(targets.reduce(values, sample_weights, self.reduction), input)

    def _dense(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Loss of every sample from the full grid of (sample, output) entries."""
        values = self._entries(y, stable.predictions(self.kind, outputs))
        if self.kind == "multiclass":
            return values.sum(stable.class_dimension(outputs))
        if self.kind == "regression" and values.ndim > 1:
            return values.flatten(1).sum(1)
        return values

    def _entries(self, y: Tensor, f: Tensor) -> Tensor:
        """ℓ(y, f), elementwise, with the current weights."""
        weights = self.weights.to(f).unbind()
        one = f.new_ones(())
        leaves = {"y": y, "f": f, "1": one, "-1": -one}
        return self._tree.fold(
            leaves.__getitem__,
            lambda primitive, arguments: primitive.torch(*arguments),
            lambda value, _, edge: value * weights[edge],
        )

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Beside the weights go the names of the nodes, in torch's metadata: keys and tensors stay as they are."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        metadata = getattr(destination, "_metadata", {}).get(prefix[:-1])
        if metadata is not None:
            metadata["nodes"] = " ".join(self._tree.nodes)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Mapping[str, Any], *rest: Any
    ) -> None:
        nodes, own = local_metadata.get("nodes"), " ".join(self._tree.nodes)
        if nodes not in (None, own):  # None: from elsewhere, or copied without its metadata
            raise LossError(f"the state is that of another formula: its nodes are {nodes!r:.200}, here {own!r:.200}")
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *rest)

    def save(self, path: str | os.PathLike[str], notes: Mapping[str, Any] | None = None) -> None:
        """Write the loss to a JSON file; see `symloss.losses.save`."""
        from symloss.losses import storage

        storage.save(self, path, notes)

    def source(self) -> str:
        """The loss as the text of a Python file that needs torch alone; see `symloss.losses.export.source`."""
        from symloss.losses import export

        return export.source(self)

    def extra_repr(self) -> str:
        """Formula, kind and options."""
        finite = all(map(math.isfinite, self.weights.detach().tolist()))
        formula = str(self.expression) if finite else f"{self._tree} (its weights are no longer finite)"
        return f"{formula}, {super().extra_repr()}, trainable={self.trainable}, form={self.form!r}"
