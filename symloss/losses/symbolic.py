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
from symloss.expression.slices import specialise
from symloss.losses import forms, stable, targets
from symloss.losses.base import Loss
from symloss.losses.program import Head, Program, compile_slice
from symloss.losses.target_only import target_loss, transformed


class SymbolicLoss(Loss):
    """The loss of a formula ℓ(y, f): taken at every (sample, output), summed over outputs, averaged over the batch.

    L = 1/B Σ_b Σ_c ℓ(y_bc, f_bc), with f the softmax of the logits over the classes (multiclass), the sigmoid of the
    logits (binary; every entry is a sample, as in `BCEWithLogitsLoss`), or the outputs themselves (regression;
    all dimensions after the first are outputs). Everything is computed in float32, or float64 for float64 inputs.

    In the forms `"target-only"` and `"margin"` a logarithm of (constant × powers of f and 1 − f) is exact: log(c f) is
    log|c| + log f, however small f is. In the dense form such a logarithm is protected, log(max(|a|, 1e-7)), and its
    gradient ends where a < 1e-7: values and gradients of the two agree until there.

    Args:
        expression: An Expression, or its text.
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        reduction: `"mean"`, `"sum"`, or `"none"` for one loss per sample: [B, ...] for multiclass, the input's shape
            for binary, [B] for regression.
        ignore_index: Class index of the samples to leave out (multiclass); the mean is over those kept.
        trainable: Whether the weights of the expression are a parameter; otherwise they are a buffer.

    Attributes:
        weights: Weight of each edge in preorder [size - 1], float64; they are what is trained, saved and moved.
        form: How the loss is evaluated for class indices. `"dense"`: at every (sample, output). `"target-only"`: ℓ(0, ·) is
            proved constant, and the loss a function of the target's log-probability. `"margin"`: ℓ(0, ·) is proved
            affine, and the loss a function of the target's margin. Other targets are always evaluated densely. A proof
            holds for all weights, or for those at hand if they are not trained; then it is made anew by
            `load_state_dict`.

    Raises:
        ParseError: If a text is not an expression.
        LossError: If the expression lacks f (nothing could be learnt from it), or an option is unknown.

    Source: Raymond et al., *Learning Symbolic Model-Agnostic Loss Functions via Meta-Learning*, arXiv 2209.08907.
    """

    weights: Tensor
    form: forms.Form
    _program: Program | None
    _last: tuple[Any, Any]

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
        self._settle()

    @property
    def expression(self) -> Expression:
        """The formula with its current weights.

        Raises:
            ExpressionError: If a weight has become infinite or NaN.
        """
        return self._tree.with_weights(self.weights.detach().tolist())

    @property
    def weight_of_classes(self) -> None:
        """Weights of the classes: none."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: D102 (documented in Loss)
        target = targets.check(self.kind, input, target)
        indices = target.shape != input.shape
        if indices and self._program is not None:
            weights = self.weights if self.trainable or transformed(input, target, self.weights) else None
            head = self.head(input.shape[stable.class_dimension(input)], weights)
            value = target_loss(input, target, head, reduction=self.reduction, ignore_index=self.ignore_index)
            return stable.narrow(value, input)
        outputs, sample_weights = stable.widen(input), None
        if indices:
            sample_weights = targets.sample_weights(input, target, self.ignore_index)
            target = targets.one_hot(input, target)
            left_out = (sample_weights == 0).unsqueeze(stable.class_dimension(input))
            outputs = outputs.masked_fill(left_out, 0.0)  # so that NaN logits of ignored samples do no harm
        values = self._dense(outputs, target)
        return stable.narrow(targets.reduce(values, sample_weights, self.reduction), input)

    def _dense(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Loss of every sample from the full grid of (sample, output) entries."""
        f = stable.predictions(self.kind, outputs)
        values = self._entries(y, f, self.weights.to(f))
        if self.kind == "multiclass":
            return values.sum(stable.class_dimension(outputs))
        if self.kind == "regression" and values.ndim > 1:
            return values.flatten(1).sum(1)
        return values

    def _entries(self, y: Tensor, f: Tensor, weights: Tensor) -> Tensor:
        """ℓ(y, f), elementwise."""
        edges = weights.unbind()
        one = f.new_ones(())
        leaves = {"y": y, "f": f, "1": one, "-1": -one}
        return self._tree.fold(
            leaves.__getitem__,
            lambda primitive, arguments: primitive.torch(*arguments),
            lambda value, _, edge: value * edges[edge],
        )

    def head(self, classes: int, weights: Tensor | None = None) -> Head:
        """The loss of a sample given by class index as a function of the margin; not for the dense form.

        Args:
            classes: C.
            weights: Weights of the edges [size - 1] to differentiate in; by default the current ones, as numbers.
        """
        assert self._program is not None
        if weights is None:
            key = classes, self.weights.data_ptr(), self.weights._version
            if self._last[0] != key:
                self._last = key, self._head(classes, self.weights.detach().double().cpu(), fixed=True)
            return self._last[1]
        return self._head(classes, weights, fixed=False)

    def _head(self, classes: int, weights: Tensor, fixed: bool) -> Head:
        assert self._program is not None

        def at(y: float, f: float) -> Tensor:
            return self._entries(weights.new_full((), y), weights.new_full((), f), weights)

        constant = at(0.0, 0.25)
        slope = torch.zeros_like(constant)
        if self.form == "margin":
            slope = 2.0 * (at(0.0, 0.75) - constant)
            constant = constant - 0.25 * slope
        constant = (classes - 1) * constant
        if self._flat:
            constant = constant + at(1.0, 0.5)
        if fixed:
            return Head(self._program, weights.tolist(), slope.item(), constant.item())
        return Head(self._program, weights.unbind(), slope if self.form == "margin" else 0.0, constant)

    def _settle(self) -> None:
        """Choose the form, and compile the slice y = 1."""
        self.form, self._program, self._last = "dense", None, (None, None)
        finite = all(map(math.isfinite, self.weights.detach().tolist()))
        if self.kind != "multiclass" or not finite:
            return
        expression = self.expression
        self.form = forms.form(expression, fixed=not self.trainable)
        if self.form != "dense":
            root = specialise(expression, 1.0)
            self._flat = root is None  # nothing to learn at the target: its value is a constant
            self._program = compile_slice(root, None if self.trainable else expression.weights)

    def _load_from_state_dict(self, *arguments: Any, **keywords: Any) -> None:
        super()._load_from_state_dict(*arguments, **keywords)
        self._settle()

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
