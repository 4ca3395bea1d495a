"""The losses of a population through compiled loops: on the CPU, with the built-in primitives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from symloss.expression.expression import Expression
from symloss.expression.primitives import TERMINALS
from symloss.expression.slices import Node, specialise
from symloss.loops.cache import prepare
from symloss.loops.operations import OPERATIONS, WIDTH
from symloss.population import kernels
from symloss.population.predictions import Kind

_LEAVES = {"1": kernels.ONE, "y": kernels.TARGET, "f": kernels.PREDICTION}
_CODES = {name: code for code, name in enumerate(OPERATIONS)}
Program = tuple[Any, Any, Any, Any]


def compilable(expressions: Sequence[Expression], device: torch.device | str, dtype: torch.dtype) -> bool:
    """Whether the compiled loops can take these expressions."""
    known = _CODES.keys() | set(TERMINALS)
    return runs_on(torch.device(device), dtype) and all(known.issuperset(e.nodes) for e in expressions)


def runs_on(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether there are compiled loops for this device and precision."""
    return device.type == "cpu" and dtype in (torch.float32, torch.float64)


def program(expressions: Sequence[Expression], y: float | None, freeze: bool, dtype: Any) -> Program:
    """The trees of the expressions on one slice of y as arrays for `kernels`, without those that do not depend on f."""
    nodes: list[tuple[int, int, int, int, int]] = []
    factors: list[tuple[float, float]] = []
    starts, trees, offset = [0], [], 0
    for expression in expressions:
        root = specialise(expression, y, freeze)
        if root is not None:
            _append(root, offset, nodes, factors)
            starts.append(len(nodes))
        trees.append(-1 if root is None else len(starts) - 2)
        offset += expression.size - 1
    with np.errstate(over="ignore"):  # a folded constant may be infinite in float32: so is the loss
        numbers = np.array(factors, dtype).reshape(-1, 2)
    return np.array(starts, np.int64), np.array(nodes, np.int64).reshape(-1, 5), numbers, np.array(trees, np.int64)


def _nothing(like: Program) -> Program:
    """A program without trees for as many expressions."""
    return like[0][:1], like[1][:0], like[2][:0], np.full_like(like[3], -1)


def scratch_for(programs: Sequence[Program]) -> Any:
    """Working memory for the largest tree."""
    largest = max((int(np.diff(p[0]).max(initial=0)) for p in programs), default=0)
    return np.empty((kernels.FIRST + largest, 4 * WIDTH), programs[0][2].dtype)


class CompiledObjective:
    """The losses of a population; arguments and methods as in `objective.TorchObjective`."""

    def __init__(
        self,
        expressions: Sequence[Expression],
        kind: Kind,
        *,
        indices: bool,
        freeze: bool,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        prepare("symloss.population.preparation", kernels.logits_gradient, str(dtype).removeprefix("torch."))
        self.count, self.kind, self.indices = len(expressions), kernels.KINDS[kind], indices
        self.weights = torch.tensor([w for e in expressions for w in e.weights], dtype=dtype)
        floats = self.weights.numpy().dtype
        slices: tuple[float | None, ...] = (0.0, 1.0) if indices else (None,)
        programs = [program(expressions, y, freeze, floats) for y in slices]
        self.programs = (programs[0], programs[1] if indices else _nothing(programs[0]))
        self.scratch = scratch_for(self.programs)
        self._none = np.empty(0, np.int64)

    def logits_gradient(self, f: Tensor, target: Tensor, weights: Tensor | None = None) -> Tensor:
        """Gradient of each mean loss at the logits, [P, C, B]."""
        result = f.new_empty(self.count, f.shape[1], f.shape[2])
        chosen = (self.weights if weights is None else weights).numpy()
        rows = _rows(f)
        y, indices = self.targets(rows, target)
        self._last = (self.kind, self.programs, chosen, self.scratch, rows, y, indices, f.shape[2])
        kernels.logits_gradient(*self._last, _rows(result))
        return result

    def targets(self, rows: Any, target: Tensor) -> tuple[Any, Any]:
        """A target as the loops take it: y as a row [C B] (with class indices any row), and the indices or nothing."""
        return (rows[0], target.numpy()) if self.indices else (target.reshape(-1).numpy(), self._none)

    def weight_gradient(self, tangent: Tensor) -> Tensor:
        """∂/∂φ of Σ (gradient at the logits) · tangent at the last call of `logits_gradient`, [edges]."""
        result = torch.zeros_like(self.weights)
        kernels.weight_gradient(*self._last, _rows(tangent), result.numpy())
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
        weights = [offset + edge.index if edge.index >= 0 else -1 for edge in node.arguments]
        numbers = [edge.factor for edge in node.arguments]
        if len(rows) == 1:  # the second slot is never looked at
            rows, weights, numbers = [*rows, kernels.ONE], [*weights, -1], [*numbers, 0.0]
        nodes.append((_CODES[node.name], rows[0], rows[1], weights[0], weights[1]))
        factors.append((numbers[0], numbers[1]))
        return kernels.FIRST + len(nodes) - 1 - first

    if root.arguments:
        place(root)
    else:  # ℓ = f
        nodes.append((_CODES["add"], _LEAVES[root.name], kernels.ONE, -1, -1))
        factors.append((1.0, 0.0))
