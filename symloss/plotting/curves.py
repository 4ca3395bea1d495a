"""Curves of a loss: its value and its derivative in the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from symloss.errors import LossError
from symloss.expression.expression import Expression
from symloss.losses.network import EntryNetwork, LossFunction
from symloss.losses.resolve import loss as resolve
from symloss.plotting import surface

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor, nn

_POINTS = 1201
_REFERENCES = {"multiclass": "cross-entropy", "binary": "cross-entropy", "regression": "squared-error"}
_CENTRE = (0.05, 0.95)  # where curves are scaled and panels are fitted to them: many losses have a pole at 0 or 1
_SHOWN = (0.01, 0.99)  # quantiles that a panel must hold: what is beyond may be the pole of a kink
_RESIDUAL = 3.0
_LABEL = 44  # characters of a formula that a legend can hold


@dataclass(frozen=True)
class Curve:
    """Values and slopes **[targets, points]** of one loss."""

    label: str
    values: Tensor
    slopes: Tensor

    def scaled(self, factor: float) -> Curve:
        """The same times a factor, which its label tells."""
        label = self.label if f"{factor:.3g}" == "1" else f"{self.label} × {factor:.3g}"
        return Curve(label, self.values * factor, self.slopes * factor)


@dataclass(frozen=True)
class Curves:
    """What `loss_curves` draws, as numbers.

    Args:
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        expression: Formula of the loss, or its network.
        targets: Targets y.
        x: Predictions f, for regression residuals f − y **[points]**, float64.
        centre: Where scales are taken and panels are fitted to the curves **[points]**, bool.
        curves: The loss, then its references, scaled unless `raw`.
        raw: Whether values are as they are, or start from their lowest.
    """

    kind: str
    expression: LossFunction
    targets: tuple[float, ...]
    x: Tensor
    centre: Tensor
    curves: tuple[Curve, ...]
    raw: bool

    def values(self, target: int) -> list[Tensor]:
        """The values of each curve at one of the targets, each **[points]**."""
        return [_values(curve, target, self.raw) for curve in self.curves]

    def slopes(self, target: int) -> list[Tensor]:
        """The derivatives ∂ℓ/∂f of each curve at one of the targets, each **[points]**."""
        return [curve.slopes[target] for curve in self.curves]


def loss_curves(
    loss: Expression | nn.Module | str,
    references: Sequence[Expression | nn.Module | str] | str | None = None,
    kind: str | None = None,
    raw: bool = False,
) -> Figure:
    """A loss and its derivative in the prediction, beside those of known losses.

    Classification: ℓ(1, f), ℓ(0, f) and ∂ℓ/∂f against the predicted probability f. Regression: ℓ(0, f) and its
    slope against the residual f − y; and, where the loss depends on more than the residual, both as surfaces over y
    and f. What does not change the training is taken out: each curve starts from its lowest value, and each reference
    is scaled to the mean slope of the loss (the factor is in the legend).

    Args:
        loss: A loss with a formula, or a loss network; or its name, formula, `.json` file or run directory.
        references: Losses to draw beside it, one text being one loss. Default: cross-entropy, for regression the
            squared error.
        kind: `"multiclass"`, `"binary"` or `"regression"`. Default: that of the loss, `"multiclass"` for a formula.
        raw: Draw all values as they are.

    Returns:
        The figure.

    Raises:
        LossError: If a loss cannot be used, or is neither a formula nor a network.
    """
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    drawn = sample(loss, references, kind, raw)
    kind, expression, targets, x, centre = drawn.kind, drawn.expression, drawn.targets, drawn.x, drawn.centre
    others = drawn.curves[1:]
    record: dict[str, object] = {"kind": kind, "loss": expression}
    record |= {"references": ", ".join(other.label for other in others)} if others else {}
    beside = kind == "regression" and not surface.of_residual(expression)
    size = (3.6, 4.6) if kind == "regression" and not beside else (6.0, 4.4)
    shared = {"sharex": "col", "sharey": "none" if beside else "row"}
    figure, panels = style.new("Loss and derivative", record, size, 2, len(targets) + beside, **shared)
    with rc_context(style.STYLE):
        for column, target in enumerate(targets):
            _draw(panels[0][column], x, drawn.values(column), drawn.curves, centre)
            _draw(panels[1][column], x, drawn.slopes(column), drawn.curves, centre)
            if kind != "regression" or beside:
                panels[0][column].set_title(f"target y = {target:g}")
            panels[1][column].set_xlabel("residual f − y" if kind == "regression" else "predicted probability f")
        panels[0][0].set_ylabel("loss ℓ(y, f)" if raw else "loss ℓ(y, f)\nabove its lowest value")
        panels[1][0].set_ylabel("derivative ∂ℓ/∂f")
        handles = panels[0][0].get_lines()[: 1 + len(others)]
        if beside:
            surface.draw(panels[0][1], panels[1][1], expression, raw)
            handles += panels[0][1].get_lines()
        figure.legend(handles=handles, loc="outside upper left", ncols=len(targets))
    return figure


def sample(
    loss: Expression | nn.Module | str,
    references: Sequence[Expression | nn.Module | str] | str | None = None,
    kind: str | None = None,
    raw: bool = False,
    targets: tuple[float, ...] | None = None,
) -> Curves:
    """The numbers that `loss_curves` draws, of whose arguments the first four are.

    Args:
        loss: A loss with a formula, or a loss network.
        references: Losses beside it.
        kind: Kind of both.
        raw: Whether to leave values and scales as they are.
        targets: Targets y. Default: 1 and 0, for regression 0.

    Raises:
        LossError: If a loss cannot be used, or is neither a formula nor a network.
    """
    kind = kind or str(getattr(loss, "kind", "multiclass"))
    module = resolve(loss, kind)
    asked = _REFERENCES[kind] if references is None else references
    chosen = [asked] if isinstance(asked, str) else list(asked)
    usual, x = _grid(kind)
    targets = targets or usual
    own = _curve(loss, module, kind, targets, x)
    centre = (x >= _CENTRE[0]) & (x <= _CENTRE[1]) if kind != "regression" else torch.ones_like(x, dtype=torch.bool)
    others = [_curve(reference, resolve(reference, kind), kind, targets, x) for reference in chosen]
    if not raw:
        others = [other.scaled(_factor(own, other, centre)) for other in others]
    return Curves(kind, _formula(module, kind), targets, x, centre, (own, *others), raw)


def limits(rows: Sequence[Tensor], centre: Tensor) -> tuple[float, float]:
    """The heights from and to that a panel shows: zero, and the curves **[points]** where they matter, but no pole."""
    shown = torch.cat([row[centre] for row in rows])
    shown = shown[shown.isfinite()]
    low, high = shown.quantile(shown.new_tensor(_SHOWN)).tolist() if len(shown) else (0.0, 0.0)
    low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.06 * (high - low or 1.0)
    return low - margin, high + margin


def _grid(kind: str) -> tuple[tuple[float, ...], Tensor]:
    """Targets, and the predictions at which they are drawn."""
    if kind == "regression":
        return (0.0,), torch.linspace(-_RESIDUAL, _RESIDUAL, _POINTS, dtype=torch.float64)
    return (1.0, 0.0), torch.linspace(0.0, 1.0, _POINTS + 2, dtype=torch.float64)[1:-1]


def _formula(module: nn.Module, kind: str) -> LossFunction:
    expression = getattr(module, "expression", None) or getattr(module, "network", None)
    if not isinstance(expression, Expression | EntryNetwork):
        name = getattr(module, "name", None) or type(module).__name__
        raise LossError(f"{name} has no formula ℓ(y, f) for {kind} that could be drawn; choose a loss that has one")
    return expression


def _curve(given: Any, module: nn.Module, kind: str, targets: Sequence[float], x: Tensor) -> Curve:
    expression = _formula(module, kind)
    values, slopes = [], []
    for target in targets:
        f = (x + target if kind == "regression" else x.clone()).requires_grad_()
        value = expression.evaluate(torch.full_like(x, target), f, xp=torch)
        (slope,) = torch.autograd.grad(value.sum(), f)
        values.append(value.detach())
        slopes.append(slope)
    return Curve(_label(given, module, expression), torch.stack(values), torch.stack(slopes))


def _label(given: Any, module: nn.Module, expression: LossFunction) -> str:
    name = getattr(module, "name", None)
    if name or isinstance(expression, EntryNetwork):
        return str(name or expression)
    text = str(expression.with_weights([float(f"{w:.3g}") for w in expression.weights]))
    return text if len(text) <= _LABEL else f"loss of {expression.size} nodes"


def _factor(own: Curve, other: Curve, centre: Tensor) -> float:
    """What brings the mean absolute slope of the other to that of the loss: at the first target where both have one."""
    for mine, theirs in zip(own.slopes, other.slopes, strict=True):
        wanted, found = (float(s[centre][s[centre].isfinite()].abs().mean()) for s in (mine, theirs))
        if wanted > 0 and found > 0:
            return wanted / found
    return 1.0


def _values(curve: Curve, column: int, raw: bool) -> Tensor:
    values = curve.values[column]
    finite = values[values.isfinite()]
    return values if raw or not len(finite) else values - finite.min()


def _draw(axes: Axes, x: Tensor, rows: Sequence[Tensor], curves: Sequence[Curve], centre: Tensor) -> None:
    for number, (row, curve) in enumerate(zip(rows, curves, strict=True)):
        dashes = ("-", "--", "-.", ":")[min(number, 3)]
        axes.plot(x.numpy(), row.masked_fill(~row.isfinite(), torch.nan).numpy(), dashes, label=curve.label)
    axes.axhline(0.0, color="black", linewidth=0.6, zorder=0.5)
    low, high = limits(rows, centre)
    bottom, top = axes.get_ylim() if axes.get_autoscaley_on() is False else (low, high)
    axes.set_ylim(min(bottom, low), max(top, high))
