"""Which form a loss allows, by proofs about its slice y = 0, and the programs that compute it."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from torch import Tensor

from symloss.expression.equivalence import equivalent
from symloss.expression.expression import Expression
from symloss.expression.slices import Edge, Node, specialise
from symloss.losses import stable
from symloss.losses.program import LOG_F, LOG_Q, ONE, F, Program, Q, Term, Y, compile_expression

Form = Literal["dense", "target-only", "margin"]
PROOF_SECONDS = 3.0
"""Most seconds for a proof by algebra."""

_GRID = np.concatenate([np.logspace(-6, -2, 5), np.linspace(0.02, 0.98, 25), 1 - np.logspace(-2, -6, 5)])


class Compiled:
    """A formula made ready.

    Args:
        expression: ℓ(y, f).
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        fixed: Whether the weights are final.

    Attributes:
        form: See `form`; `"dense"` unless the kind is multiclass.
        entries: The program of ℓ(y, f).
        target: That of ℓ(1, f), unless the form is dense.
    """

    def __init__(self, expression: Expression, kind: str, fixed: bool = True) -> None:
        self.form: Form = form(expression, fixed) if kind == "multiclass" else "dense"
        self.entries = compile_expression(expression, fixed=fixed, probability=kind != "regression")
        self.target = None if self.form == "dense" else compile_expression(expression, 1.0, fixed=fixed)
        self._line = line(on_zero(expression)) if fixed and self.target is not None else None
        self._of_target: dict[int, Program] = {}

    def of_target(self, classes: int, weights: Tensor) -> tuple[Program, tuple[Tensor, ...]]:
        """ℓ(1, p) + Σ_{j≠t} ℓ(0, f_j) as a program of the margin, and the weights of its edges, two of them new."""
        assert self.target is not None
        weights = stable.widen(weights)
        if self._line is not None:
            if classes not in self._of_target:
                others = Term(Q, self._line[1]), Term(ONE, (classes - 1) * self._line[0])
                self._of_target[classes] = self.target.plus(*others)
            return self._of_target[classes], ()
        edges, count = weights.unbind(), len(weights)

        def at_zero(f: float) -> Tensor:
            values: dict[int, Any] = {ONE: 1.0, F: f, Q: 1.0 - f, LOG_F: np.log(f), LOG_Q: np.log(1.0 - f), Y: 0.0}
            return self.entries.evaluate(lambda row: weights.new_full((), values[row]), edges)

        slope = 2.0 * (at_zero(0.75) - at_zero(0.25))
        intercept = at_zero(0.25) - 0.25 * slope
        program = self.target.plus(Term(Q, 1.0, (count,)), Term(ONE, 1.0, (count + 1,)))
        return program, (*edges, slope, (classes - 1) * intercept)


def form(expression: Expression, fixed: bool = True) -> Form:
    """The cheapest form of Σ_c ℓ(y_c, f_c) for one-hot targets.

    * `"target-only"`: ℓ(0, ·) is constant, so only the target entry counts.
    * `"margin"`: ℓ(0, ·) is affine, so the other entries count through their sum 1 − p; it is a function of the margin
      log(p / (1 − p)) of the target. (If Σ ℓ(0, f_j) over three or more entries depends on Σ f_j alone, then ℓ(0, ·) is
      affine: Cauchy's equation.) Every target-only loss is one as well.
    * `"dense"`: neither is proved.

    The structure decides wherever it can, for all weights; else SymPy, where numbers make it likely. A proof is used
    only if values on a grid confirm it.

    Args:
        expression: ℓ(y, f).
        fixed: Whether the weights are final; if not, only a proof for all weights counts.
    """
    at_zero = on_zero(expression)
    likely = _likely(at_zero)
    if likely == "dense":
        return "dense"
    root = specialise(expression, 0.0)
    if root is None:
        return likely if likely == "target-only" else "dense"
    if _affine(root):  # for all weights; whether its slope is zero, the weights say
        return "target-only" if fixed and line(at_zero)[1] == 0 else "margin"
    return likely if fixed and _proved(at_zero, likely) else "dense"


def on_zero(expression: Expression) -> Expression:
    """ℓ(0, f) as an expression in f."""
    nodes = tuple("1" if name == "y" else name for name in expression.nodes)
    weights = [0.0 if name == "y" else w for name, w in zip(expression.nodes[1:], expression.weights, strict=True)]
    return Expression(nodes, tuple(weights))


def line(at_zero: Expression) -> tuple[float, float]:
    """Intercept and slope of ℓ(0, f) where it is affine."""
    with np.errstate(all="ignore"):
        low, high = (float(at_zero.evaluate(np.float64(0.0), np.float64(f))) for f in (0.25, 0.75))
    slope = 2.0 * (high - low)
    return low - 0.25 * slope, slope


def _likely(at_zero: Expression) -> Form:
    """What the values on a grid allow; points where a value is not finite say nothing."""
    with np.errstate(all="ignore"):
        values = np.asarray(at_zero.evaluate(np.zeros_like(_GRID), _GRID), np.float64)
        finite = np.isfinite(values)
        f, values = _GRID[finite], values[finite]
        if len(f) < 5:
            return "dense"
        rounding = 1e-9 * (1e-3 + np.abs(values).max())
        slope = (values[-1] - values[0]) / (f[-1] - f[0])
        if np.abs(values - values[0]).max() <= rounding:
            return "target-only"
        apart = np.abs(values[0] + slope * (f - f[0]) - values).max()
    return "margin" if apart <= rounding else "dense"


def _affine(node: Node) -> bool:
    """Whether a node is an affine function of f in (0, 1) for all weights."""
    if not node.live or not node.arguments:
        return True
    live = [_live(edge) for edge in node.arguments]
    if node.name in ("add", "sub"):
        return all(_affine(edge.child) for edge in node.arguments)
    if node.name in ("mul", "div", "truediv") and sum(live) == 1 and (live[0] or node.name == "mul"):
        return _affine(node.arguments[live.index(True)].child)
    return node.name == "abs" and _proportional(node.arguments[0])


def _live(edge: Edge) -> bool:
    return edge.child.live and edge.factor != 0


def _proportional(edge: Edge) -> bool:
    """Whether an argument is a constant times f."""
    node = edge.child
    if node.name == "f":
        return True
    parts = [argument for argument in node.arguments if argument.factor != 0]
    if node.name in ("add", "sub"):
        return all(_proportional(part) for part in parts)
    if node.name == "mul" and len(parts) == 2:
        first, second = parts
        return _live(first) != _live(second) and _proportional(first if _live(first) else second)
    return node.name == "abs" and bool(parts) and _proportional(parts[0])


def _proved(at_zero: Expression, likely: Form) -> bool:
    intercept, slope = line(at_zero)
    if not math.isfinite(intercept + slope):  # a pole where the line is taken
        return False
    if likely == "target-only":
        constant = Expression(("add", "1", "1"), (intercept, 0.0))
        return equivalent(at_zero, constant, "multiclass", PROOF_SECONDS).verdict == "proved"
    straight = Expression(("add", "1", "f"), (intercept, slope))
    return equivalent(at_zero, straight, "multiclass", PROOF_SECONDS).verdict == "proved"
