"""Many expressions at once: value, derivative in f, and derivative of that in the weights, without autograd.

All nodes of all trees are scheduled together: nodes of one operation whose arguments are ready form a group, and a
group is one gather, one multiplication by edge weights and a few tensor calls. Each node carries the dual number
(v, ∂v/∂f).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.expression.primitives import Primitive
from symloss.expression.slices import Edge, Node, specialise

_ONE, _TARGET, _FIRST_PREDICTION = 0, 1, 2  # rows of the buffer: 1, y, then the predictions, then the groups


@dataclass
class _Group:
    """Nodes of one operation, computed together."""

    primitive: Primitive
    rows: slice  # where the results go
    children: Tensor  # [arity * k] rows of the arguments: all first ones, then all second ones
    slots: slice  # [arity * k] positions in the vector of slot weights


class Forest:
    r"""The expressions of a population on one slice of y, evaluated together by tensor operations.

    Args:
        expressions: P expressions.
        y: Value of the target on this slice; None: y is a tensor given at evaluation.
        freeze: Weights are final (constant subtrees are folded, and `weight_gradient` is not available).
        shared: All expressions see one and the same prediction.
        dtype: Of the computation.
        device: Of the computation.
    """

    def __init__(
        self,
        expressions: Sequence[Expression],
        y: float | None = None,
        *,
        freeze: bool = False,
        shared: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        self.count = len(expressions)
        self.freeze, self.shared, self.dtype, self.device = freeze, shared, dtype, torch.device(device)
        roots = [specialise(e, y, freeze) for e in expressions]
        self._live = [p for p, root in enumerate(roots) if root is not None]
        self.live = torch.tensor(self._live, dtype=torch.long, device=self.device)
        offsets = [0]
        for e in expressions:
            offsets.append(offsets[-1] + e.size - 1)
        self.edges = offsets[-1]
        self.weights = torch.tensor([w for e in expressions for w in e.weights], dtype=dtype, device=self.device)
        self._schedule([(roots[p], p, offsets[p]) for p in self._live])
        self._buffer: Tensor | None = None
        self._adjoint: Tensor | None = None
        self._tape: list[tuple[Tensor, Tensor, tuple[Any, ...]]] = []
        self._slot_weights = self._gather_weights(self.weights) if freeze else None

    # -- schedule -----------------------------------------------------------------------------------------------------

    def _schedule(self, trees: list[tuple[Any, int, int]]) -> None:
        rows: dict[int, int] = {}  # id(node) -> row, filled in as groups are formed
        pending: list[tuple[Node, int, int]] = []  # node, tree, offset of the tree's weights
        predictions = 1 if self.shared else len(trees)
        trees_of: dict[int, int] = {}
        roots: list[Node] = []
        keep: list[Node] = []  # nodes of equal value are shared objects between trees: give each place its own
        for number, (root, _, offset) in enumerate(trees):
            root = _copy(root)
            roots.append(root)
            keep.append(root)
            stack = [root]
            while stack:
                node = stack.pop()
                trees_of[id(node)] = number
                if node.arguments:
                    pending.append((node, number, offset))
                    stack.extend(edge.child for edge in node.arguments)
                else:
                    prediction = _FIRST_PREDICTION + (0 if self.shared else number)
                    rows[id(node)] = {"1": _ONE, "y": _TARGET, "f": prediction}[node.name]
        self._groups: list[_Group] = []
        edge_index: list[int] = []
        factors: list[float] = []
        row = self._first = _FIRST_PREDICTION + predictions
        while pending:
            ready = [item for item in pending if all(id(e.child) in rows for e in item[0].arguments)]
            name = _choose(Counter(n.name for n, _, _ in ready), Counter(n.name for n, _, _ in pending))
            chosen = [item for item in ready if item[0].name == name]
            primitive = primitives.get(name)
            children: list[int] = []
            start = len(factors)
            for position in range(primitive.arity):
                for node, _, offset in chosen:
                    edge: Edge = node.arguments[position]
                    children.append(rows[id(edge.child)])
                    edge_index.append(self.edges if edge.index < 0 else offset + edge.index)
                    factors.append(edge.factor)
            for position, (node, _, _) in enumerate(chosen):
                rows[id(node)] = row + position
            self._groups.append(
                _Group(
                    primitive,
                    slice(row, row + len(chosen)),
                    torch.tensor(children, device=self.device),
                    slice(start, len(factors)),
                )
            )
            row += len(chosen)
            done = {id(item[0]) for item in chosen}
            pending = [item for item in pending if id(item[0]) not in done]
        self._rows = row
        self._roots = torch.tensor([rows[id(root)] for root in roots], dtype=torch.long, device=self.device)
        self._edge_index = torch.tensor(edge_index, dtype=torch.long, device=self.device)
        self._factors = torch.tensor(factors, dtype=self.dtype, device=self.device)

    def _gather_weights(self, weights: Tensor) -> Tensor:
        """[slots, 1, 1]: factor times weight of every argument slot."""
        padded = torch.cat([weights, weights.new_ones(1)])
        return (padded.index_select(0, self._edge_index) * self._factors).view(-1, 1, 1)

    def _prepare(self, shape: tuple[int, int]) -> Tensor:
        if self._buffer is None or tuple(self._buffer.shape[2:]) != shape:
            buffer = torch.zeros(2, self._rows, *shape, dtype=self.dtype, device=self.device)
            buffer[0, _ONE] = 1
            buffer[1, _FIRST_PREDICTION : self._first] = 1
            self._buffer, self._adjoint = buffer, None
        return self._buffer

    # -- evaluation ---------------------------------------------------------------------------------------------------

    def slope(self, f: Tensor, y: Tensor | None = None, weights: Tensor | None = None) -> Tensor:
        """∂ℓ/∂f of every expression.

        Args:
            f: Predictions, [P, C, B], or [1, C, B] if shared.
            y: Target, [C, B], unless it is fixed on this slice.
            weights: All weights in the order of the expressions, [edges]; the expressions' own by default.

        Returns:
            [P, C, B].
        """
        shape = (f.shape[1], f.shape[2])
        result = torch.zeros(self.count, *shape, dtype=self.dtype, device=self.device)
        if not self._live:
            return result
        buffer = self._prepare(shape)
        if y is not None:
            buffer[0, _TARGET] = y
        every = self.shared or len(self._live) == self.count
        buffer[0, _FIRST_PREDICTION : self._first] = f if every else f.index_select(0, self.live)
        slot_weights = self._slot_weights
        if weights is not None or slot_weights is None:
            slot_weights = self._gather_weights(self.weights if weights is None else weights)
        self._tape.clear()
        for group in self._groups:
            raw = buffer.index_select(1, group.children)
            weight = slot_weights[group.slots]
            weighted = raw * weight
            count = group.rows.stop - group.rows.start
            values, slopes = torch.split(weighted[0], count), torch.split(weighted[1], count)
            gradient = group.primitive.gradient(torch, *values)
            buffer[0, group.rows] = group.primitive.torch(*values)
            _chain(gradient, slopes, buffer[1, group.rows])
            if not self.freeze:
                self._tape.append((raw, weighted, gradient))
        self._used_weights = slot_weights
        return result.index_copy_(0, self.live, buffer[1].index_select(0, self._roots))

    def weight_gradient(self, tangent: Tensor) -> Tensor:
        """∂/∂φ of Σ (∂ℓ_φ/∂f) · tangent at the last call of `slope`.

        Args:
            tangent: [P, C, B].

        Returns:
            [edges]: each entry belongs to its own expression.
        """
        total = torch.zeros(self.edges + 1, dtype=self.dtype, device=self.device)
        if not self._live:
            return total[:-1]
        assert self._buffer is not None
        if self._adjoint is None:
            self._adjoint = torch.zeros_like(self._buffer)
        adjoint = self._adjoint.zero_()
        adjoint[1].index_copy_(0, self._roots, tangent.index_select(0, self.live))
        slot_gradients = torch.zeros_like(self._factors)
        for group, (raw, weighted, gradient) in zip(reversed(self._groups), reversed(self._tape), strict=True):
            count = group.rows.stop - group.rows.start
            backward = _reverse(
                group.primitive, weighted[0].split(count), weighted[1].split(count), gradient,
                adjoint[0, group.rows], adjoint[1, group.rows],
            )  # fmt: skip
            slot_gradients[group.slots] = (backward * raw).sum((0, 2, 3))
            adjoint.index_copy_(1, group.children, backward.mul_(self._used_weights[group.slots]))
        return total.index_add_(0, self._edge_index, slot_gradients * self._factors)[:-1]


def _copy(node: Node) -> Node:
    """The same tree with every node an object of its own."""
    return Node(node.name, tuple(Edge(_copy(e.child), e.index, e.factor) for e in node.arguments), node.live)


def _choose(ready: Counter[str], pending: Counter[str]) -> str:
    """The operation of which the largest share is ready: few groups, hence few tensor calls."""
    return max(ready, key=lambda name: (ready[name] / pending[name], ready[name], name))


def _times(partial: Any, value: Tensor) -> Tensor | None:
    """partial · value, where partial may be a number; None for zero."""
    if isinstance(partial, Tensor):
        return partial * value
    return None if partial == 0 else value if partial == 1 else value * partial


def _sum(*terms: Tensor | None) -> Tensor | None:
    present = [term for term in terms if term is not None]
    if not present:
        return None
    return present[0] if len(present) == 1 else present[0] + present[1]


def _chain(gradient: tuple[Any, ...], slopes: Sequence[Tensor], out: Tensor) -> None:
    """out = Σ gradientᵢ · slopesᵢ."""
    result = _sum(*(_times(g, s) for g, s in zip(gradient, slopes, strict=True)))
    if result is None:
        out.zero_()
    else:
        out.copy_(result)


def _reverse(
    primitive: Primitive,
    values: Sequence[Tensor],
    slopes: Sequence[Tensor],
    gradient: tuple[Any, ...],
    value_bar: Tensor,
    slope_bar: Tensor,
) -> Tensor:
    """Adjoints of (value, slope) of every argument, [2, arity * k, C, B]."""
    hessian = primitive.hessian(torch, *values)
    pairs = ((0,),) if primitive.arity == 1 else ((0, 1), (1, 2))  # positions of the Hessian's rows
    count = value_bar.shape[0]
    result = value_bar.new_zeros(2, primitive.arity * count, *value_bar.shape[1:])
    for index, positions in enumerate(pairs):
        block = slice(index * count, (index + 1) * count)
        curvature = _sum(*(_times(hessian[p], slopes[j]) for j, p in enumerate(positions)))
        through_slope = None if curvature is None else curvature * slope_bar
        value = _sum(_times(gradient[index], value_bar), through_slope)
        slope = _times(gradient[index], slope_bar)
        if value is not None:
            result[0, block] = value
        if slope is not None:
            result[1, block] = slope
    return result
