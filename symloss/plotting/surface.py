"""A loss of targets and predictions that depends on more than the residual: value and derivative as surfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from symloss.losses.network import LossFunction

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_REACH = 3.0
_POINTS = 241
_LEVELS = 9
_SHOWN = (0.02, 0.98)  # quantiles between which the levels lie: what is beyond may be a pole
_SAME = 1e-9  # of the largest slope


def of_residual(expression: LossFunction) -> bool:
    """Whether ∂ℓ/∂f is the same at every target for one residual f − y, as far as float64 can tell."""
    y, r = torch.meshgrid(_line(9), _line(64), indexing="ij")
    _, slopes = _at(expression, y, y + r + 0.0137)  # not at 0, where losses have kinks
    slopes = slopes[:, slopes.isfinite().all(0)]
    return not slopes.numel() or bool((slopes - slopes[:1]).abs().max() <= _SAME * slopes.abs().max())


def draw(value: Axes, slope: Axes, expression: LossFunction, raw: bool) -> None:
    """Contours of ℓ(y, f) and of ∂ℓ/∂f over targets and predictions from −3 to 3; dotted: f = y.

    Args:
        value: Panel of the loss, above the lowest value that it has at each target unless `raw`.
        slope: Panel of the derivative; its level zero is drawn thick.
        expression: ℓ(y, f).
        raw: Draw the values as they are.
    """
    y, f = torch.meshgrid(_line(_POINTS), _line(_POINTS), indexing="ij")
    values, slopes = _at(expression, y, f)
    if not raw:
        finite = values.masked_fill(~values.isfinite(), torch.inf)
        values = values - finite.min(1, keepdim=True).values
    _contours(value, y, f, values, "viridis")
    _contours(slope, y, f, slopes, "RdBu_r", diverging=True)
    value.set_title("loss ℓ(y, f)" if raw else "loss above its lowest at y")
    slope.set_title("derivative ∂ℓ/∂f")
    slope.set_xlabel("target y")
    for axes in (value, slope):
        axes.plot([-_REACH, _REACH], [-_REACH, _REACH], ":", color="black", linewidth=1, label="f = y")
        axes.set_ylabel("prediction f")
        axes.grid(visible=False)


def _contours(axes: Axes, y: Tensor, f: Tensor, z: Tensor, colours: str, diverging: bool = False) -> None:
    finite = z[z.isfinite()]
    if not len(finite):
        return
    low, high = np.quantile(finite.numpy(), _SHOWN).tolist()
    low, high = (-max(-low, high), max(-low, high)) if diverging else (low, high)
    if high <= low:
        low, high = low - 1.0, low + 1.0
    levels = np.linspace(low, high, _LEVELS)
    shown = np.ma.masked_invalid(z.numpy())
    axes.contourf(y.numpy(), f.numpy(), shown, levels, cmap=colours, extend="both")
    inner = levels[2:-1:2]  # the middle one among them: zero, where diverging
    widths = [1.4 if diverging and abs(level) < 1e-12 * high else 0.5 for level in inner]
    if ((shown.min() < inner) & (inner < shown.max())).any():
        lines = axes.contour(y.numpy(), f.numpy(), shown, inner, colors="black", linewidths=widths)
        lines.clabel(fmt="%.2g", fontsize=8)


def _at(expression: LossFunction, y: Tensor, f: Tensor) -> tuple[Tensor, Tensor]:
    """Value and slope."""
    leaf = f.clone().requires_grad_()
    value = expression.evaluate(y, leaf, xp=torch)
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), slope


def _line(count: int) -> Tensor:
    return torch.linspace(-_REACH, _REACH, count, dtype=torch.float64)
