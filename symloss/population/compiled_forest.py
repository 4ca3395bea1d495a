"""The same forest through compiled loops: CPU, and the built-in primitives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from symloss.expression.expression import Expression
from symloss.population import kernels
from symloss.population.slices import Edge, Node, specialise

_LEAVES = {"1": kernels.ONE, "y": kernels.TARGET, "f": kernels.PREDICTION}
_CODES = {name: code for code, name in enumerate(kernels.OPERATIONS)}


class CompiledForest:
    """The expressions of a population on one slice of y; arguments and methods as in `TorchForest`."""

    def __init__(
        self,
        expressions: Sequence[Expression],
        y: float | None = None,
        *,
        freeze: bool = False,
        shared: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.count, self.shared, self.dtype = len(expressions), shared, dtype
        self.weights = torch.tensor([w for e in expressions for w in e.weights], dtype=dtype)
        self.edges = len(self.weights)
        nodes: list[tuple[int, int, int, int, int]] = []
        factors: list[tuple[float, float]] = []
        starts, live, offset = [0], [], 0
        for number, expression in enumerate(expressions):
            root = specialise(expression, y, freeze)
            if root is not None:
                _append(root, offset, nodes, factors)
                starts.append(len(nodes))
                live.append(number)
            offset += expression.size - 1
        self._rows = kernels.FIRST + max((b - a for a, b in zip(starts, starts[1:], strict=False)), default=0)
        self._program = (
            np.array(starts, np.int64),
            np.array(nodes, np.int64).reshape(-1, 5),
            np.array(factors, self.weights.numpy().dtype).reshape(-1, 2),
            np.array(live, np.int64),
        )
        self._scratch = np.empty((self._rows, 4 * kernels.WIDTH), self._program[2].dtype)
        self._no_target = np.empty(0, self._program[2].dtype)
        self._dead = [p for p in range(self.count) if p not in set(live)]

    def slope(self, f: Tensor, y: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """∂ℓ/∂f of every expression, [P, C, B]."""
        result = torch.empty(self.count, f.shape[1], f.shape[2], dtype=self.dtype)
        if self._dead:
            result[self._dead] = 0
        if len(self._program[3]):
            if y is None and len(self._no_target) != f[0].numel():
                self._no_target = np.zeros(f[0].numel(), self._program[2].dtype)
            target = self._no_target if y is None else y.contiguous().view(-1).numpy()
            chosen = (self.weights if weights is None else weights).numpy()
            self._last = (chosen, self._scratch, _rows(f), target)
            kernels.slope(*self._program, *self._last, _rows(result))
        return result

    def weight_gradient(self, tangent: Tensor) -> Tensor:
        """∂/∂φ of Σ (∂ℓ_φ/∂f) · tangent at the last call of `slope`, [edges]."""
        result = torch.zeros(self.edges, dtype=self.dtype)
        if len(self._program[3]):
            kernels.weight_gradient(*self._program, *self._last, _rows(tangent), result.numpy())
        return result


def _rows(values: Tensor) -> Any:
    """[P, C, B] as an array [P, C B]."""
    return values.contiguous().view(values.shape[0], -1).numpy()


def _append(
    root: Node, offset: int, nodes: list[tuple[int, int, int, int, int]], factors: list[tuple[float, float]]
) -> None:
    """Write a tree's nodes after one another, arguments first."""
    first = len(nodes)

    def place(node: Node) -> int:
        if not node.arguments:
            return _LEAVES[node.name]
        rows = [place(edge.child) for edge in node.arguments]
        a, b = node.arguments[0], node.arguments[-1] if len(node.arguments) > 1 else Edge(node, factor=0.0)
        row_b = rows[1] if len(rows) > 1 else kernels.ONE
        index = [offset + e.index if e.index >= 0 else -1 for e in (a, b)]
        nodes.append((_CODES[node.name], rows[0], row_b, index[0], index[1]))
        factors.append((a.factor, b.factor))
        return kernels.FIRST + len(nodes) - 1 - first

    if not root.arguments:  # ℓ = f: the derivative is 1
        nodes.append((_CODES["add"], _LEAVES[root.name], kernels.ONE, -1, -1))
        factors.append((1.0, 0.0))
    else:
        place(root)


def compilable(expressions: Sequence[Expression], device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `CompiledForest` can take these expressions."""
    known = _CODES.keys() | {"y", "f", "1", "-1"}
    return (
        device.type == "cpu"
        and dtype in (torch.float32, torch.float64)
        and all(known.issuperset(e.nodes) for e in expressions)
    )
