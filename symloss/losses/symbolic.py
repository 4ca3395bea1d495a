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
from symloss.losses import stable, target_only, targets
from symloss.losses.base import Loss
from symloss.losses.forms import Compiled, Form
from symloss.losses.program import leaves


class SymbolicLoss(Loss):
    """The loss of a formula ℓ(y, f): taken at every (sample, output), summed over outputs, averaged over the batch.

    L = 1/B Σ_b Σ_c ℓ(y_bc, f_bc), with f the softmax of the logits over the classes (multiclass), the sigmoid of the
    logits (binary; every entry is a sample, as in `BCEWithLogitsLoss`), or the outputs themselves (regression;
    all dimensions after the first are outputs). Everything is computed in float32, or float64 for float64 inputs.

    No logarithm of a softmax is ever taken: log(c f) is log|c| + log f with log f from the logits, and the same for any
    product of powers of f and 1 − f, while |c| ≥ 1e-7. It is log(max(|c f|, 1e-7)), the protected logarithm, wherever
    that is not flat, and keeps its gradient where that is.

    Args:
        expression: An Expression, or its text.
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        reduction: `"mean"`, `"sum"`, or `"none"` for one loss per sample: [B, ...] for multiclass, the input's shape
            for binary, [B] for regression.
        ignore_index: Class index of the samples to leave out (multiclass); the mean is over those kept.
        trainable: Whether the weights of the expression are a parameter; otherwise they are a buffer.
        inplace: Whether the backward pass may write the gradient over the logits, in the forms `"target-only"` and
            `"margin"`; see `MarginLoss`.
        weight: Weight of each class [C], as in `Loss` (multiclass); not to be confused with the formula's `weights`.

    Attributes:
        weights: Weight of each edge in preorder [size - 1], float64; they are what is trained, saved and moved.

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
        inplace: bool = False,
        weight: Tensor | None = None,
    ) -> None:
        super().__init__(kind, reduction, ignore_index, weight)
        if isinstance(expression, str):
            expression = parse(expression)
        if not isinstance(expression, Expression):
            raise LossError(f"a loss is made from an Expression or its text; received {type(expression).__name__}")
        if "f" not in expression.variables:
            raise LossError(f"a loss must contain the prediction f; received {str(expression)[:80]!r}")
        self._tree = expression  # its structure; the weights that count are `self.weights`
        self.trainable = trainable
        self.inplace = bool(inplace)
        weights = torch.tensor(expression.weights, dtype=torch.float64)
        if trainable:
            self.weights = nn.Parameter(weights)
        else:
            self.register_buffer("weights", weights)
        self._general = Compiled(expression, kind, fixed=False)
        self._fixed: tuple[tuple[float, ...], Compiled] | None = None

    @property
    def expression(self) -> Expression:
        """The formula with its current weights.

        Raises:
            ExpressionError: If a weight has become infinite or NaN.
        """
        return self._tree.with_weights(self.weights.detach().tolist())

    @property
    def form(self) -> Form:
        """How the loss is computed for class indices; other targets are always taken at every (sample, output).

        `"target-only"`: ℓ(0, ·) is proved constant, so the loss is a function of the target's log-probability.
        `"margin"`: ℓ(0, ·) is proved affine, so it is a function of the target's margin. `"dense"`: at every (sample,
        output). A proof holds for all weights, or for the current ones if they are not trained.
        """
        return self._compiled().form

    def _compiled(self) -> Compiled:
        """What is computed: for the current weights, or for any where they are trained or cannot be looked at."""
        weights = self.weights
        if self.trainable or weights.device.type != "cpu" or target_only.wrapped(weights):
            return self._general
        numbers = tuple(weights.tolist())
        if self._fixed is None or self._fixed[0] != numbers:
            if not all(map(math.isfinite, numbers)):
                return self._general
            self._fixed = numbers, Compiled(self._tree.with_weights(numbers), self.kind)
        return self._fixed[1]

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102 (documented in Loss)
        target = targets.check(self.kind, input, target, self.weight)
        indices, compiled = target.shape != input.shape, self._compiled()
        if indices and compiled.target is not None:
            function, weights = compiled.of_target(input.shape[stable.class_dimension(input)], self.weights)
            value = target_only.target_loss(
                input, target, function, weights,
                weight=self.weight, reduction=self.reduction, ignore_index=self.ignore_index, inplace=self.inplace,
            )  # fmt: skip
            return stable.narrow(value, input)
        return self.over_entries(
            input, target, lambda z, y: compiled.entries.evaluate(leaves(self.kind, z, y), self.weights.to(z).unbind())
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_fixed": None}

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
