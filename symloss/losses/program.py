"""A loss as a short program in which no logarithm of a softmax is ever taken.

A logarithm of (constant × powers of y, f and 1 − f) becomes log|constant · y^a| + b log f + c log(1 − f), with log f
and log(1 − f) taken from the logits: exact, and with its gradient, however small f is, where log(max(f, 1e-7)) is flat.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.expression.primitives import EPSILON
from symloss.expression.slices import Edge, Node, on_slice
from symloss.losses import stable

ONE, F, Q, LOG_F, LOG_Q, SPREAD, Y = range(7)
"""Leaves: 1, f, 1 − f, their logarithms, the spread of `rows`, and the target. Step i is row `FIRST` + i."""
FIRST = 7
OUTSIDE = "outside"
"""1 where |a| ≥ `EPSILON`, else 0: beside the primitives, the one operation of a program."""

LOWEST_LOG = -1e30
_LEAVES = {"1": ONE, "f": F, "y": Y}


def leaves(kind: str, outputs: Tensor, y: Tensor) -> Callable[[int], Tensor]:
    """The leaves of a program at every (sample, output).

    Args:
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        outputs: Outputs of a model: [C] or [B, C, ...] for multiclass, any shape otherwise.
        y: Target, of the same shape.

    Returns:
        The function that `Program.evaluate` wants. Logarithms are at least -1e30, so that zero times them is zero.
    """
    dim = stable.class_dimension(outputs)

    def leaf(row: int) -> Tensor:
        if row in (ONE, Y):
            return y if row == Y else outputs.new_ones(())
        if row == F:
            return stable.predictions(kind, outputs)
        if row == Q:
            return 1 - stable.softmax(outputs, dim) if kind == "multiclass" else stable.sigmoid(-outputs)
        if kind == "multiclass" and row == LOG_F:
            return torch.log_softmax(outputs, dim).clamp(min=LOWEST_LOG)
        margins = stable.margins(outputs, dim) if kind == "multiclass" else outputs
        return logsigmoid(margins if row == LOG_F else -margins).clamp(min=LOWEST_LOG)

    return leaf


@dataclass(frozen=True)
class Term:
    """An argument: a row times a number times the weights of some edges."""

    row: int
    number: float = 1.0
    edges: tuple[int, ...] = ()

    def times(self, number: float, edges: tuple[int, ...] = ()) -> Term:
        """The same, multiplied."""
        return replace(self, number=self.number * number, edges=(*self.edges, *edges))


@dataclass(frozen=True)
class Program:
    """Steps (operation, arguments), the term that is the result, and its derivative in the spread."""

    steps: tuple[tuple[str, tuple[Term, ...]], ...]
    result: Term
    spread: float = 0.0

    def evaluate(self, leaf: Callable[[int], Tensor], weights: Sequence[Any] = ()) -> Tensor:
        """The loss from `leaf(row)` and the weights of the edges; differentiable in both."""
        rows: dict[int, Tensor] = {}

        def value(term: Term) -> Tensor:
            if term.row not in rows:
                rows[term.row] = leaf(term.row)
            row = rows[term.row]
            for edge in term.edges:
                row = row * weights[edge]
            return row if term.number == 1 else row * term.number

        for i, (name, terms) in enumerate(self.steps):
            arguments = [value(term) for term in terms]
            if name == OUTSIDE:
                rows[FIRST + i] = (arguments[0].abs() >= EPSILON).to(arguments[0])
            else:
                rows[FIRST + i] = primitives.get(name).torch(*arguments)
        return value(self.result)

    def plus(self, *terms: Term) -> Program:
        """The sum of the result and leaves."""
        steps, result = self.steps, self.result
        for term in terms:
            if term.number:  # nothing multiplied by zero: 0 · ∞ would be NaN
                steps = (*steps, ("add", (result, term)))
                result = Term(FIRST + len(steps) - 1)
        return replace(self, steps=steps, result=result)

    @functools.cached_property
    def arrays(self) -> tuple[Any, Any, int, float, float] | None:
        """What `rows.forward` takes; None if there is a weight to be trained, or an operation that it does not know."""
        from symloss.loops.operations import OPERATIONS

        codes, factors = np.zeros((len(self.steps), 3), np.int64), np.zeros((len(self.steps), 2))
        for i, (name, terms) in enumerate(self.steps):
            if name not in OPERATIONS or any(term.edges for term in terms):
                return None
            codes[i, 0] = OPERATIONS.index(name)
            for j, term in enumerate(terms):
                codes[i, 1 + j], factors[i, j] = term.row, term.number
        return codes, factors, self.result.row, self.result.number, self.spread


def compile_expression(
    expression: Expression, y: float | None = None, *, fixed: bool = True, probability: bool = True
) -> Program:
    """The program of ℓ(y, f).

    Args:
        expression: ℓ.
        y: The target, if the program is for this one alone.
        fixed: Whether the weights of the expression are final; else they stay as edges of the terms.
        probability: Whether f is a probability, whose logarithm can be had from the logits.
    """
    writer = _Writer(expression.weights if fixed else None, probability)
    result = writer.place(on_slice(expression, y, freeze=fixed))
    return Program(tuple(writer.steps), result)


@dataclass(frozen=True)
class _Monomial:
    """number · weights · yᵃ fᵇ (1 − f)ᶜ; up to its sign unless `signed`."""

    number: float = 1.0
    edges: tuple[int, ...] = ()
    y: int = 0
    f: int = 0
    q: int = 0
    signed: bool = True

    def times(self, other: _Monomial) -> _Monomial:
        edges, signed = (*self.edges, *other.edges), self.signed and other.signed
        powers = self.y + other.y, self.f + other.f, self.q + other.q
        return _Monomial(self.number * other.number, edges, *powers, signed)


class _Writer:
    def __init__(self, weights: Sequence[float] | None, probability: bool) -> None:
        self.steps: list[tuple[str, tuple[Term, ...]]] = []
        self._weights, self._probability = weights, probability
        self._monomials: dict[int, _Monomial | None] = {}

    def place(self, edge: Edge) -> Term:
        """Write the steps of an argument; the term that it is."""
        node, factor = edge.child, self._factor(edge)
        if not node.arguments:
            return Term(_LEAVES[node.name]).times(*factor)
        whole = self._monomial(node)
        if whole is not None and whole.signed and (whole.y, whole.f, whole.q) == (0, 0, 1):
            return Term(Q, whole.number, whole.edges).times(*factor)
        inside = self._product(node.arguments[0]) if node.name == "log" else None
        if inside is not None and (inside.f or inside.q):
            return self._logarithm(inside).times(*factor)
        return self._step(node.name, *map(self.place, node.arguments)).times(*factor)

    def _factor(self, edge: Edge) -> tuple[float, tuple[int, ...]]:
        if edge.index < 0 or self._weights is None:
            return edge.factor, (edge.index,) * (edge.index >= 0)
        return edge.factor * self._weights[edge.index], ()

    def _step(self, name: str, *terms: Term) -> Term:
        self.steps.append((name, terms))
        return Term(FIRST + len(self.steps) - 1)

    def _logarithm(self, inside: _Monomial) -> Term:
        """log(max(|k|, ε)) + [|k| ≥ ε] (b log f + c log(1 − f)) with k = number · weights · yᵃ."""
        logs = [Term(row, power) for row, power in ((LOG_F, inside.f), (LOG_Q, inside.q)) if power]
        total = logs[0] if len(logs) == 1 else self._step("add", *logs)
        k = abs(inside.number)
        if not inside.edges and not inside.y:
            if k < EPSILON:
                return Term(ONE, math.log(EPSILON))
            return total if k == 1 else self._step("add", Term(ONE, math.log(k)), total)
        factor = Term(Y if inside.y else ONE)
        for _ in range(inside.y - 1):
            factor = self._step("mul", factor, Term(Y))
        factor = factor.times(inside.number, inside.edges)
        known = self._step("mul", self._step(OUTSIDE, factor), total)
        return self._step("add", self._step("log", factor), known)

    def _product(self, edge: Edge) -> _Monomial | None:
        """The value of an argument as a monomial, if it is one."""
        inner = self._monomial(edge.child)
        return None if inner is None else inner.times(_Monomial(*self._factor(edge)))

    def _monomial(self, node: Node) -> _Monomial | None:
        if not self._probability:
            return None
        if id(node) not in self._monomials:  # the tree holds its nodes: an id stays what it is
            self._monomials[id(node)] = self._find_monomial(node)
        return self._monomials[id(node)]

    def _find_monomial(self, node: Node) -> _Monomial | None:
        if not node.arguments:
            return {"1": _Monomial(), "f": _Monomial(f=1), "y": _Monomial(y=1)}[node.name]
        parts = [self._product(argument) for argument in node.arguments]
        if any(part is None for part in parts):
            return None
        if node.name in ("sub", "add"):
            return self._complement(node.name, *parts)
        if node.name in ("mul", "square"):
            return parts[0].times(parts[-1])  # type: ignore[union-attr, arg-type]
        return replace(parts[0], signed=False) if node.name == "abs" else None  # type: ignore[type-var]

    def _complement(self, name: str, first: _Monomial | None, second: _Monomial | None) -> _Monomial | None:
        """c − c f as c (1 − f), where the weights are final and the two are the same float."""
        assert first is not None
        assert second is not None
        if name == "sub":
            second = replace(second, number=-second.number)
        constant, linear = (first, second) if second.f else (second, first)
        plain = constant.signed and linear.signed and not (constant.edges or linear.edges)
        if plain and (constant.y, constant.f, constant.q, linear.y, linear.f, linear.q) == (0, 0, 0, 0, 1, 0):
            return _Monomial(constant.number, q=1) if constant.number == -linear.number else None
        return None
