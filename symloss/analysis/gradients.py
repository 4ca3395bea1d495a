"""Logit gradients of a loss in float64: from its formula, or measured from any module or function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from symloss.errors import LossError
from symloss.expression.expression import Expression
from symloss.expression.primitives import Primitive

Array = np.ndarray[Any, np.dtype[np.float64]]

_ROUNDING = 1e-13  # of a derivative, relative to the sum of the magnitudes that went into it
_ROUNDING = 1e-12  # of logits, relative
_ROWS = 1_000_000  # numbers that are handed to a measured loss at once


class Side(Protocol):
    """A loss of C classes as seen from one label."""

    classes: int

    def target(self, margin: Array) -> tuple[Array, Array]:
        """g = ∂L/∂z of the target **[N]** at the margins log p/(1 − p) **[N]**, wrong classes alike, and its rounding.

        A binary loss is one of two classes whose logits are ±z/2: g is the derivative in the direction of the label.
        """

    def full(self, f: Array) -> Array:
        """∇_z L **[N, C]** at the probabilities f **[N, C]**, the target first."""

    def breaks(self, margin: Array) -> Array:
        """Margins between those given at which the formula has a kink, as far as it is known."""

    def target_only(self) -> bool:
        """Whether the probabilities of the wrong classes have no part in the gradient but through p."""


class _Dual(NamedTuple):
    """A value, its derivative in f, and the sum of the magnitudes that went into the derivative."""

    value: Any
    slope: Any
    scale: Any


_KINKS: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(("abs", "sign", "log", "sqrt", "pow"), lambda a, *_: a),
    "truediv": lambda a, b: b,
    **dict.fromkeys(("min", "max"), lambda a, b: a - b),
}
"""What is zero where a primitive has a kink, or is held constant around."""


def differentiate(expression: Expression, y: float, f: Array, kinks: list[Any] | None = None) -> _Dual:
    """ℓ(y, f) and ∂ℓ/∂f by forward differentiation; where `kinks` is given, what is zero at a kink is added to it."""
    one = np.float64(1.0)
    leaves = {"y": _Dual(y * one, 0.0, 0.0), "f": _Dual(f, np.ones_like(f), np.ones_like(f))}
    leaves |= {"1": _Dual(one, 0.0, 0.0), "-1": _Dual(-one, 0.0, 0.0)}

    def branch(primitive: Primitive, arguments: list[_Dual]) -> _Dual:
        values = [argument.value for argument in arguments]
        live = [np.ndim(argument.slope) > 0 for argument in arguments]
        if not any(live):
            return _Dual(primitive.numpy(*values), 0.0, 0.0)
        if kinks is not None and primitive.name in _KINKS:
            kinks.append(np.broadcast_to(_KINKS[primitive.name](*values), f.shape))
        slope, scale = np.zeros_like(f), np.zeros_like(f)
        for argument, part, on in zip(arguments, primitive.gradient(np, *values), live, strict=True):
            if on:
                slope = slope + np.where(argument.slope == 0, 0.0, part * argument.slope)
                scale = scale + np.where(argument.scale == 0, 0.0, np.abs(part) * argument.scale)
        return _Dual(primitive.numpy(*values), slope, scale)

    def weigh(dual: _Dual, weight: float, _: int) -> _Dual:
        return _Dual(dual.value * weight, dual.slope * weight, dual.scale * abs(weight))

    with np.errstate(all="ignore"):
        dual = expression.fold(leaves.__getitem__, branch, weigh)
    return _Dual(*(np.broadcast_to(np.asarray(entry, dtype=np.float64), f.shape) for entry in dual))


class FormulaSide:
    """The gradients that follow from a formula: ∂L/∂zᵢ = fᵢ (dᵢ − Σⱼ fⱼ dⱼ), with dᵢ = ∂ℓ/∂f at (yᵢ, fᵢ).

    Where each wrong class has q = (1 − p)/(C − 1) this is g = p (1 − p) (d₁(p) − d₀(q)), at no cost that grows with C.

    Args:
        expression: ℓ(y, f).
        classes: C.
        label: For a binary loss, the label 0 or 1; None for a multiclass loss.
    """

    def __init__(self, expression: Expression, classes: int, label: int | None = None) -> None:
        self.expression, self.classes, self.label = expression, classes, label

    def _parts(self, p: Array, q: Array, kinks: list[Any] | None = None) -> list[tuple[float, _Dual]]:
        """The derivatives whose sum, with these signs, is g / (p (1 − p)); `q` is 1 − p for a binary loss."""
        if self.label is not None:
            return [
                (1.0 if self.label else -1.0, differentiate(self.expression, self.label, p if self.label else q, kinks))
            ]
        return [
            (1.0, differentiate(self.expression, 1.0, p, kinks)),
            (-1.0, differentiate(self.expression, 0.0, q, kinks)),
        ]

    def target(self, margin: Array) -> tuple[Array, Array]:
        """See `Side`."""
        p, rest = expit(margin), expit(-margin)
        parts = self._parts(p, rest / (self.classes - 1))
        with np.errstate(all="ignore"):
            slope = p * rest * sum(sign * dual.slope for sign, dual in parts)
            return slope, _ROUNDING * p * rest * sum(dual.scale for _, dual in parts)

    def full(self, f: Array) -> Array:
        """See `Side`."""
        if self.label is not None:
            g = f[:, 0] * f[:, 1] * sum(sign * dual.slope for sign, dual in self._parts(f[:, 0], f[:, 1]))
            return np.stack([g, -g], 1)
        d = differentiate(self.expression, 0.0, f).slope.copy()
        d[:, 0] = differentiate(self.expression, 1.0, f[:, 0]).slope
        with np.errstate(all="ignore"):
            gradient: Array = f * (d - (f * d).sum(1, keepdims=True))
        return gradient

    def breaks(self, margin: Array) -> Array:
        """See `Side`."""

        def switches(m: Array) -> Array:
            found: list[Any] = []
            self._parts(expit(m), expit(-m) / (self.classes - 1), found)
            return np.stack(found) if found else np.zeros((0, len(m)))

        with np.errstate(all="ignore"):
            node, cell = np.nonzero(np.diff(np.sign(switches(margin)), axis=1))
            low, high = margin[cell], margin[cell + 1]
            below = np.sign(switches(low)[node, range(len(node))]) if len(node) else low
            for _ in range(50 if len(node) else 0):
                middle = (low + high) / 2
                same = np.sign(switches(middle)[node, range(len(node))]) == below
                low, high = np.where(same, middle, low), np.where(same, high, middle)
        return np.unique(np.concatenate([low, high]))

    def target_only(self) -> bool:
        """See `Side`; here, that ∂ℓ/∂f = 0 at y = 0 for every f."""
        if self.label is not None:
            return True
        dual = differentiate(
            self.expression, 0.0, np.concatenate([np.logspace(-12, -2, 200), np.linspace(0.01, 1, 800)])
        )
        return bool((np.abs(dual.slope) <= _ROUNDING * dual.scale).all())


class MeasuredSide:
    """The gradients of any function `loss(logits, target)`, by automatic differentiation.

    Everything is measured twice, the second time with the classes permuted and a constant added to the logits. A
    function of the class probabilities gives the same; what differs is rounding.

    Args:
        function: Called with logits **[N, C]** and class indices **[N]**; binary: logits and labels **[N]**.
        classes: C.
        label: For a binary loss, the label 0 or 1; None for a multiclass loss.

    Raises:
        LossError: If it cannot be called so, or is not such a function.
    """

    def __init__(self, function: Callable[..., Any], classes: int, label: int | None = None) -> None:
        self.function, self.classes, self.label = function, classes, label
        self.order = torch.randperm(classes, generator=torch.Generator().manual_seed(0))
        self.size, self.mean = np.inf, False  # of its gradients; over the batch: both known after a first look
        few = torch.linspace(-np.log(classes - 1), 8.0, 12, dtype=torch.float64)
        together, alone = self._slice(few)[0], torch.cat([self._slice(margin)[0] for margin in torch.split(few, 1)])
        self.size = _largest(alone)
        apart = {k: _largest(k * together - alone) for k in (1, len(few))}
        if min(apart.values()) > 1e-5 * self.size:
            raise LossError(
                f"{_name(function)} mixes the samples of a batch; give a loss that is a mean or sum over them"
            )
        self.mean = apart[1] > apart[len(few)]
        if label is None:
            self._compare_labels(few, alone)

    def _compare_labels(self, margin: Tensor, expected: Tensor) -> None:
        """A mean over weighted classes shows them only where labels differ."""
        target = torch.arange(len(margin)) % min(self.classes, 3)
        z = torch.zeros(len(margin), self.classes, dtype=torch.float64)
        z[range(len(z)), target] = margin + np.log(self.classes - 1)
        if _largest(self._gradient(z, target)[range(len(z)), target] - expected) > 1e-5 * self.size:
            self._refuse()

    def _refuse(self) -> None:
        raise LossError(
            f"{_name(self.function)} treats classes differently, or changes with a constant added to all logits; "
            "give a loss of the class probabilities, without class weights"
        )

    def target(self, margin: Array) -> tuple[Array, Array]:
        """See `Side`."""
        rows = max(1, _ROWS // self.classes)
        parts = [self._slice(torch.from_numpy(margin[i : i + rows])) for i in range(0, len(margin), rows)]
        g, rounding = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        return g, rounding

    def _slice(self, margin: Tensor) -> tuple[Tensor, Tensor]:
        z = torch.zeros(len(margin), self.classes, dtype=torch.float64)
        z[:, 0] = margin + np.log(self.classes - 1)
        gradient, rounding = self._twice(z)
        return gradient[:, 0], rounding[:, 0]

    def full(self, f: Array) -> Array:
        """See `Side`."""
        z = torch.from_numpy(f).log()
        gradient: Array = self._twice(z - z.mean(1, keepdim=True))[0].numpy()
        return gradient

    def _twice(self, z: Tensor) -> tuple[Tensor, Tensor]:
        if self.label is not None:
            sign = 2.0 * self.label - 1
            first = self._gradient(sign * (z[:, 0] - z[:, 1]), torch.full((len(z),), float(self.label)).double()) * sign
            gradient = torch.stack([first, -first], 1)
            return gradient, torch.full_like(gradient, 1e-15 * self.size)
        gradient = self._gradient(z, torch.zeros(len(z), dtype=torch.int64))
        place = int((self.order == 0).nonzero())
        moved = self._gradient(z[:, self.order] + 0.7, torch.full((len(z),), place))
        again = torch.empty_like(moved).index_copy_(1, self.order, moved)
        difference = (gradient - again).abs()
        bound = 1e-5 * max(self.size, _largest(gradient))
        if _largest(difference) > bound and _largest((difference - self._jump(z)).clamp_min(0.0)) > bound:
            self._refuse()
        return gradient, 4 * difference + 1e-15 * self.size

    def _jump(self, z: Tensor) -> Tensor:
        """By how much the gradient changes within rounding of z: at a kink, both sides of it are the same point."""
        target = torch.zeros(len(z), dtype=torch.int64)
        step = _ROUNDING * (z + torch.eye(1, self.classes, dtype=torch.float64))
        return (self._gradient(z + step, target) - self._gradient(z - step, target)).abs()

    def _gradient(self, z: Tensor, target: Tensor) -> Tensor:
        """∇_z of the loss of each sample, also where the loss is their mean."""
        try:
            leaf = z.clone().requires_grad_()
            value = self.function(leaf, target)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        except Exception as error:
            shapes = f"logits {list(z.shape)} and a target {list(target.shape)} in float64"
            raise LossError(
                f"{_name(self.function)} cannot be measured on {shapes}: {' '.join(str(error).split())[:200]}"
            ) from None
        return gradient * len(z) if self.mean else gradient

    def breaks(self, margin: Array) -> Array:
        """See `Side`; not known here."""
        return margin[:0]

    def target_only(self) -> bool:
        """See `Side`; here, that the gradient is a multiple of cross-entropy's; three classes stand in for two."""
        if self.label is not None:
            return True
        if self.classes == 2:
            try:
                return MeasuredSide(self.function, 3).target_only()
            except LossError:  # it knows two classes only
                return True
        f = unequal(self.classes)
        gradient = self.full(f)
        fitting = gradient[:, :1] * f / (f[:, :1] - 1)
        return bool((np.abs(gradient - fitting)[:, 1:] <= 1e-12 * np.abs(gradient).max()).all())


def unequal(classes: int, least: float = 2e-7) -> Array:
    """Probabilities **[N, C]** with p from 1/C towards 1 in the first column and unequal wrong classes, seeded.

    No probability is below `least`; N is 200, fewer for more than 10 000 classes, and may be 0 beyond a million.
    """
    rows = int(np.clip(2_000_000 // classes, 8, 200))
    generator = np.random.default_rng(0)
    p = np.linspace(1 / classes, 1, rows, endpoint=False)
    spread = np.exp(
        generator.normal(size=(rows, classes - 1)) * np.linspace(0.2, 3.0, rows)[generator.permutation(rows), None]
    )
    f = np.concatenate([p[:, None], (1 - p)[:, None] * spread / spread.sum(1, keepdims=True)], 1)
    kept: Array = f[f.min(1) >= least]
    return kept


def _largest(x: Tensor) -> float:
    return float(x.abs().nan_to_num(0.0, 0.0, 0.0).max()) if x.numel() else 0.0


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", None) or type(function).__name__)
