"""An expression on the slice y = 0 or y = 1: what vanishes or is constant there is never computed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symloss.expression.expression import Expression
from symloss.expression.primitives import Primitive


@dataclass(frozen=True)
class Edge:
    """An argument slot: the child times `factor` times the weight of edge `index` (-1: no weight)."""

    child: Node
    index: int = -1
    factor: float = 1.0


@dataclass(frozen=True)
class Node:
    """A node of a specialised tree: a primitive with its argument slots, or the leaf `"f"`, `"y"` or `"1"`."""

    name: str
    arguments: tuple[Edge, ...] = ()
    live: bool = False  # depends on f


_ONE = Node("1")


def specialise(expression: Expression, y: float | None = None, freeze: bool = False) -> Node | None:
    """The tree of ℓ(y, ·) at a fixed target, with everything removed that cannot change ∂ℓ/∂f.

    A product with a factor that is zero for all weights is zero; it is never computed, even where the other factor
    overflows.

    Args:
        expression: ℓ(y, f).
        y: Value of the target on the slice; None keeps y as a variable.
        freeze: Weights are final: constant subtrees become numbers.

    Returns:
        The root, or None if ∂ℓ/∂f is zero on the slice for all weights (with `freeze`: for these).
    """
    root = on_slice(expression, y, freeze).child
    return root if root.live else None


def on_slice(expression: Expression, y: float | None = None, freeze: bool = False) -> Edge:
    """The same tree with its value: a constant is kept where `specialise` drops it."""

    def leaf(name: str) -> Edge:
        if name == "y" and y is not None:
            return Edge(_ONE, factor=float(y))
        return Edge(_ONE, factor=float(name)) if name in ("1", "-1") else Edge(Node(name, live=name == "f"))

    def weigh(edge: Edge, weight: float, index: int) -> Edge:
        if edge.factor == 0 or (freeze and edge.child is _ONE):
            return Edge(edge.child, -1, edge.factor * weight if edge.factor else 0.0)
        return Edge(edge.child, index, edge.factor)

    def branch(primitive: Primitive, arguments: list[Edge]) -> Edge:
        zero = [argument.factor == 0 for argument in arguments]
        if primitive.name in ("mul", "div") and (zero[0] or (zero[1] and primitive.name == "mul")):
            return Edge(_ONE, factor=0.0)
        if all(a.child is _ONE and a.index < 0 for a in arguments):
            with np.errstate(all="ignore"):
                value = float(primitive.numpy(*(np.float64(a.factor) for a in arguments)))
            return Edge(_ONE, factor=value)
        return Edge(Node(primitive.name, tuple(arguments), any(a.child.live for a in arguments)))

    root: Edge = expression.fold(leaf, branch, weigh)
    return root
