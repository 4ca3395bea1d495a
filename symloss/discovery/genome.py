"""Random expressions and their variation: the one adapter over gplearn's programs.

A gplearn program is a tree in preorder: `_Function` objects, and for leaves the Python ints 0 to 3, which gplearn takes
for four features and symloss for the terminals y, f, 1, -1.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import gplearn
from gplearn.functions import make_function
from numpy.random import RandomState

from symloss.errors import SearchError
from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.expression.primitives import TERMINALS, Primitive

WEIGHT_SPREAD = 1e-3
"""Standard deviation of a new weight about 1."""
_DRAWS = 200  # random trees drawn in search of one that is deep enough
_MOST_NODES = 5_000  # of a random tree: half of what an expression may have, so that it can still be grafted

Origin = tuple[int, int] | None  # (which parent, node in it) that a child's node comes from; None: it is new


def _require_supported(version: str) -> None:
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if not found or not (0, 4, 3) <= tuple(int(part or 0) for part in found.groups()) < (0, 5):
        raise SearchError(
            f"symloss needs gplearn >= 0.4.3, < 0.5; found {version}; run: pip install 'gplearn>=0.4.3,<0.5'"
        )


_require_supported(gplearn.__version__)


def random_expression(rng: RandomState, depth: tuple[int, int], method: str = "half and half") -> Expression:
    """A random tree, weights w = 1 + 10⁻³ N(0, 1), functions uniform over the search set, terminals over y, f, 1, -1.

    Args:
        rng: Source of every random number.
        depth: Least and greatest depth; the limit of this tree is drawn uniformly from them.
        method: `"full"` (every leaf at the limit), `"grow"` (leaves at any depth up to it) or `"half and half"`.

    Raises:
        SearchError: If no tree of that depth turns up that is small enough to be an expression.
    """
    return _child(_random_nodes(rng, depth, method), (), (), rng, inherit=False)


def crossover(a: Expression, b: Expression, rng: RandomState, inherit: bool = False) -> Expression:
    """`a` with a random subtree replaced by one of `b`; functions are picked nine times as often as leaves.

    Args:
        a: Receiver.
        b: Donor.
        rng: Source of every random number.
        inherit: An edge keeps its weight where both of its ends survive; otherwise all weights are drawn anew.
    """
    program, removed, left_behind = _program(a).crossover(_encode(b), rng)
    left = set(left_behind)
    graft: list[Origin] = [(1, node) for node in range(b.size) if node not in left]
    kept: list[Origin] = [(0, node) for node in range(a.size)]
    origins = [*kept[: removed[0]], *graft, *kept[removed[-1] + 1 :]]
    return _child(_decode(program), origins, (a, b), rng, inherit)


def subtree_mutation(
    a: Expression, rng: RandomState, depth: tuple[int, int] = (0, 2), inherit: bool = False
) -> Expression:
    """`a` with a random subtree replaced by a new half-and-half tree, whose depth limit is uniform over `depth`.

    gplearn's own subtree mutation grafts only a random piece of a new tree that is at least one deep; here the new tree
    is grafted whole and may be a single terminal. Arguments as in `crossover`.
    """
    start, _ = _program(a).get_subtree(rng)
    return replace_subtree(a, int(start), _random_nodes(rng, depth, "half and half"), rng, inherit)


def hoist_mutation(a: Expression, rng: RandomState, inherit: bool = False) -> Expression:
    """`a` with a random subtree replaced by a random subtree of itself. Arguments as in `crossover`."""
    program, removed = _program(a).hoist_mutation(rng)
    gone = set(removed)
    return _child(_decode(program), [(0, node) for node in range(a.size) if node not in gone], (a,), rng, inherit)


def point_mutation(a: Expression, rng: RandomState, rate: float = 0.05, inherit: bool = False) -> Expression:
    """`a` with each node, at probability `rate`, replaced by another of its arity. Arguments as in `crossover`."""
    program, replaced = _program(a, p_point_replace=rate).point_mutation(rng)
    new = set(replaced)
    return _child(_decode(program), [None if node in new else (0, node) for node in range(a.size)], (a,), rng, inherit)


def replace_subtree(
    a: Expression, start: int, nodes: Sequence[str], rng: RandomState, inherit: bool = False
) -> Expression:
    """`a` with the subtree at node `start` replaced by the new tree `nodes` (preorder). `inherit` as in `crossover`."""
    end = next((i for i in range(start + 1, a.size) if a.depths[i] <= a.depths[start]), a.size)
    kept: list[Origin] = [(0, node) for node in range(a.size)]
    origins = [*kept[:start], *([None] * len(nodes)), *kept[end:]]
    return _child((*a.nodes[:start], *nodes, *a.nodes[end:]), origins, (a,), rng, inherit)


def _child(
    nodes: Sequence[str], origins: Sequence[Origin], parents: Sequence[Expression], rng: RandomState, inherit: bool
) -> Expression:
    """A tree with new weights; with `inherit`, an edge keeps its weight if it joined the same nodes of one parent."""
    weights = rng.normal(1.0, WEIGHT_SPREAD, size=len(nodes) - 1).tolist()
    child = Expression(tuple(nodes), tuple(weights))
    if not inherit:
        return child
    for node in range(1, child.size):
        below, above = origins[node], origins[child.parents[node]]
        if below and above and below[0] == above[0] and parents[below[0]].parents[below[1]] == above[1]:
            weights[node - 1] = parents[below[0]].weights[below[1] - 1]
    return child.with_weights(weights)


def _random_nodes(rng: RandomState, depth: tuple[int, int], method: str) -> tuple[str, ...]:
    """Names of a random tree. gplearn always starts with a function, and its "grow" knows no least depth."""
    low, high = depth
    limit = int(rng.randint(low, high + 1))
    if limit == 0:
        return (TERMINALS[rng.randint(len(TERMINALS))],)
    for _ in range(_DRAWS):
        program = _program(None, rng, init_depth=(limit, limit), init_method=method)
        if program.depth_ >= low and program.length_ <= _MOST_NODES:
            return _decode(program.program)
    raise SearchError(
        f"no random tree of depth {low} to {limit} with at most {_MOST_NODES} nodes in {_DRAWS} draws; "
        "ask for smaller depths"
    )


def _program(
    e: Expression | None,
    rng: RandomState | None = None,
    init_depth: tuple[int, int] = (1, 1),
    init_method: str = "half and half",
    p_point_replace: float = 0.0,
) -> Any:
    """gplearn's program of `e`, or a random one; its fitness, metric and `execute` are never used."""
    from gplearn._program import _Program  # here, because it loads scikit-learn

    functions = [_function(primitive) for primitive in primitives.search_set()]
    arities: dict[int, list[Any]] = {}
    for function in functions:
        arities.setdefault(function.arity, []).append(function)
    return _Program(
        function_set=functions,
        arities=arities,
        init_depth=init_depth,
        init_method=init_method,
        n_features=len(TERMINALS),
        const_range=None,
        metric=None,
        p_point_replace=p_point_replace,
        parsimony_coefficient=0.0,
        random_state=rng,
        program=None if e is None else _encode(e),
    )


@cache
def _function(primitive: Primitive) -> Any:
    """gplearn's form of a primitive, over its NumPy twin."""
    by_arity: dict[int, Callable[..., Any]] = {
        1: lambda a: primitive.numpy(a),
        2: lambda a, b: primitive.numpy(a, b),
    }
    return make_function(function=by_arity[primitive.arity], name=primitive.name, arity=primitive.arity, wrap=False)


def _encode(e: Expression) -> list[Any]:
    return [TERMINALS.index(name) if name in TERMINALS else _function(primitives.get(name)) for name in e.nodes]


def _decode(program: list[Any]) -> tuple[str, ...]:
    return tuple(TERMINALS[node] if isinstance(node, int) else node.name for node in program)
