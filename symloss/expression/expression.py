"""Expression: an immutable tree over the primitives, with one weight per edge."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from symloss.errors import ExpressionError
from symloss.expression import primitives
from symloss.expression.primitives import TERMINALS, Primitive

if TYPE_CHECKING:
    import sympy
    from matplotlib.figure import Figure

    from symloss.expression.derivation import Derivation

T = TypeVar("T")

MAX_SIZE = 10_000
"""Most nodes that an expression may have."""
MAX_DEPTH = 200
"""Greatest depth that an expression may have."""


@dataclass(frozen=True)
class Expression:
    r"""A loss ℓ(y, f) as a tree: v(node) = op(w₁ v(child₁), w₂ v(child₂)).

    Args:
        nodes: Names in preorder: primitives, and the terminals `"y"`, `"f"`, `"1"`, `"-1"`.
        weights: Weight of the edge above each node, in preorder without the root: `size - 1` finite numbers.
            Defaults to ones.

    Raises:
        ExpressionError: If the names do not form one tree, or the weights do not fit it.
    """

    nodes: tuple[str, ...]
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "nodes", tuple(self.nodes))
        count = len(self.nodes)
        weights = tuple(float(w) for w in self.weights) or (1.0,) * max(count - 1, 0)
        object.__setattr__(self, "weights", weights)
        if not 1 <= count <= MAX_SIZE:
            raise ExpressionError(f"an expression has 1 to {MAX_SIZE} nodes; received {count}")
        if len(weights) != count - 1:
            raise ExpressionError(f"{count} nodes need {count - 1} weights, one per edge; received {len(weights)}")
        if not all(map(math.isfinite, weights)):
            raise ExpressionError(
                f"weights must be finite; received {next(w for w in weights if not math.isfinite(w))}"
            )
        if self.depth > MAX_DEPTH:
            raise ExpressionError(f"an expression is at most {MAX_DEPTH} deep; received depth {self.depth}")

    @property
    def size(self) -> int:
        """Number of nodes: the complexity of a loss."""
        return len(self.nodes)

    @cached_property
    def parents(self) -> tuple[int, ...]:
        """Index of each node's parent in preorder; -1 for the root."""
        parents: list[int] = []
        open_slots: list[list[int]] = []  # [node, arguments still missing]
        for index, name in enumerate(self.nodes):
            if index and not open_slots:
                raise ExpressionError(f"the tree is complete before node {index} ({name!r})")
            parents.append(open_slots[-1][0] if open_slots else -1)
            if open_slots:
                open_slots[-1][1] -= 1
                if open_slots[-1][1] == 0:
                    open_slots.pop()
            arity = 0 if name in TERMINALS else primitives.get(name).arity
            if arity:
                open_slots.append([index, arity])
        if open_slots:
            raise ExpressionError(f"node {open_slots[-1][0]} ({self.nodes[open_slots[-1][0]]!r}) lacks arguments")
        return tuple(parents)

    @cached_property
    def depths(self) -> tuple[int, ...]:
        """Depth of each node in preorder; the root has depth 0."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        return tuple(depths)

    @property
    def depth(self) -> int:
        """Edges on the longest path from the root to a leaf."""
        return max(self.depths)

    @property
    def variables(self) -> frozenset[str]:
        """Which of `y` and `f` occur."""
        return frozenset(self.nodes) & {"y", "f"}

    def with_weights(self, weights: Sequence[float]) -> Expression:
        """The same tree with other weights (`size - 1` numbers, in preorder)."""
        return Expression(self.nodes, tuple(float(w) for w in weights))

    def fold(
        self,
        leaf: Callable[[str], T],
        branch: Callable[[Primitive, list[T]], T],
        weigh: Callable[[T, float, int], T],
    ) -> T:
        """Compute from the leaves up: `leaf(name)`, `branch(primitive, arguments)`, `weigh(value, weight, edge)`."""
        stack: list[T] = []
        for index in range(self.size - 1, -1, -1):
            name = self.nodes[index]
            if name in TERMINALS:
                value = leaf(name)
            else:
                primitive = primitives.get(name)
                value = branch(primitive, [stack.pop() for _ in range(primitive.arity)])
            if index:
                value = weigh(value, self.weights[index - 1], index - 1)
            stack.append(value)
        return stack.pop()

    def evaluate(self, y: Any, f: Any, xp: Any = np, weights: Any = None) -> Any:
        """ℓ(y, f), elementwise with broadcasting.

        Args:
            y: Target, an array of any shape (a NumPy array, or a tensor with `xp=torch`).
            f: Prediction, of a shape that broadcasts with `y`.
            xp: `numpy` or `torch`.
            weights: Anything indexable by edge to use in place of the expression's own weights.

        Returns:
            Array of the broadcast shape.
        """
        own = self.weights if weights is None else weights
        one = np.float64(1.0) if xp is np else f.new_ones(())
        leaves = {"y": y, "f": f, "1": one, "-1": -one}
        value = self.fold(
            leaves.__getitem__,
            lambda primitive, arguments: primitive.function(xp, *arguments),
            lambda value, _, edge: value * own[edge],
        )
        return xp.broadcast_to(value, np.broadcast_shapes(np.shape(y), np.shape(f)))

    def __str__(self) -> str:
        return self.fold(lambda name: _Text(name, _ATOM, name in ("1", "-1")), _join, _weigh).text

    def __repr__(self) -> str:
        return f"Expression({str(self)!r})"

    def _repr_latex_(self) -> str:
        """How a notebook shows the formula."""
        return f"$\\displaystyle \\ell(y, f) = {self.latex()}$"

    def sympy(self, protected: bool = True) -> sympy.Expr:
        """The SymPy form in the real symbols `y` and `f`; without protection of `log`, `sqrt` on request."""
        from symloss.expression import sympy_bridge

        return sympy_bridge.to_sympy(self, protected=protected)

    def latex(self, digits: int = 4) -> str:
        """LaTeX source of the formula, without delimiters; weights to so many significant digits."""
        from symloss.expression import sympy_bridge

        return sympy_bridge.to_latex(self, digits=digits)

    def simplify(self, seconds: float = 5.0, kind: str | None = None) -> Expression:
        """A smaller expression of the same value everywhere (for a kind of task: where y and f are), or this one."""
        from symloss.expression import sympy_bridge

        return sympy_bridge.simplify(self, seconds=seconds, kind=kind)

    def derivation(self, kind: str | None = None, digits: int = 4, seconds: float = 5.0) -> Derivation:
        """The way to the simplified form, each step checked, to print or as LaTeX; see `expression.derivation`."""
        from symloss.expression import derivation

        return derivation.derivation(self, kind, digits, seconds)

    def draw(self) -> Figure:
        """The tree as a matplotlib figure."""
        from symloss.expression import drawing

        return drawing.draw(self)


_SUM, _PRODUCT, _ATOM = 0, 1, 2


@dataclass(frozen=True)
class _Text:
    """Text of a subtree, how tightly its outermost operator binds, and whether it is a plain number."""

    text: str
    binding: int
    number: bool = False

    def bracketed(self, binding: int) -> str:
        return self.text if self.binding >= binding else f"({self.text})"


def _weigh(child: _Text, weight: float, edge: int) -> _Text:
    if weight == 1.0:
        return child
    if child.text == "1":
        return _Text(repr(weight), _ATOM, number=True)
    return _Text(f"{weight!r}*{child.bracketed(_ATOM)}", _PRODUCT, number=child.number)


def _join(primitive: Primitive, arguments: list[_Text]) -> _Text:
    if primitive.name in ("add", "sub"):
        left, right = arguments
        symbol = "+" if primitive.name == "add" else "-"
        return _Text(f"{left.text} {symbol} {right.bracketed(_PRODUCT)}", _SUM)
    if primitive.name == "mul" and not any(a.number for a in arguments):
        left, right = arguments
        return _Text(f"{left.bracketed(_PRODUCT)}*{right.bracketed(_ATOM)}", _PRODUCT)
    return _Text(f"{primitive.name}({', '.join(a.text for a in arguments)})", _ATOM)
