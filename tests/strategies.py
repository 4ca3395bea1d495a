"""Random expressions for every room's tests."""

from __future__ import annotations

from typing import Literal

from hypothesis import strategies as st

from symloss.expression import primitives as table
from symloss.expression.expression import Expression
from symloss.expression.primitives import TERMINALS

ones = st.just(1.0)
"""Every weight is 1."""

ordinary_weights = st.one_of(
    ones,
    st.sampled_from([-1.0, 0.5, -0.5, 2.0, -2.0, 1.3, 3.0]),
    st.floats(0.1, 4.0).map(lambda w: round(w, 3)),
    st.floats(0.1, 4.0).map(lambda w: -round(w, 3)),
)
"""What a loss may have: of either sign, neither huge nor tiny."""

any_weights = st.one_of(
    ones,
    st.sampled_from([0.0, -0.0, 1e-300, 5e-324, 1e22, 1e308, 0.1, -1.0, 1 / 3, 1e16, -1e-5, 0.30000000000000004]),
    st.floats(allow_nan=False, allow_infinity=False),
)
"""Every finite float."""


@st.composite
def expressions(
    draw: st.DrawFn,
    max_depth: int = 5,
    primitives: Literal["search", "all"] = "search",
    weights: st.SearchStrategy[float] = ordinary_weights,
    max_size: int = 40,
) -> Expression:
    """Expressions of at most `max_depth` and `max_size` over the primitives that the search draws, or over all."""
    rows = table.search_set() if primitives == "search" else tuple(table.primitives())
    arity = dict.fromkeys(TERMINALS, 0) | {row.name: row.arity for row in rows}
    nodes: list[str] = []
    open_depths = [0]  # depths of the nodes still to draw, in preorder
    while open_depths:
        depth = open_depths.pop()
        grow = depth < max_depth and len(nodes) + len(open_depths) + 3 <= max_size
        name = draw(st.sampled_from(list(arity) if grow else TERMINALS))
        nodes.append(name)
        open_depths += [depth + 1] * arity[name]
    return Expression(tuple(nodes), tuple(draw(st.lists(weights, min_size=len(nodes) - 1, max_size=len(nodes) - 1))))
