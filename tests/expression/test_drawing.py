"""Drawing: a readable tree of any size, without global state."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import pytest
from hypothesis import given, settings
from matplotlib.backends.backend_agg import FigureCanvasAgg

from symloss.errors import ExpressionError
from symloss.expression.drawing import draw, graph
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from tests.strategies import any_weights, expressions


@given(expressions(max_depth=6, primitives="all", max_size=60))
def test_the_layout_is_tidy(e: Expression) -> None:
    tree = graph(e)
    assert tree.number_of_nodes() == e.size
    assert [w for *_, w in sorted(tree.edges(data="weight"), key=lambda edge: edge[1])] == list(e.weights)
    layers: dict[int, list[tuple[float, float]]] = {}
    for index, node in tree.nodes(data=True):
        assert node["depth"] == e.depths[index]
        assert node["x"] - node["width"] / 2 > 0
        layers.setdefault(node["depth"], []).append((node["x"], node["width"]))
        children = [tree.nodes[child]["x"] for child in tree.successors(index)]
        if children:
            assert children == sorted(children)
            assert node["x"] == pytest.approx((children[0] + children[-1]) / 2)
    for layer in layers.values():  # nodes keep their order and do not touch
        for (left, left_width), (right, right_width) in pairwise(layer):
            assert right - right_width / 2 - (left + left_width / 2) > 0.1


@settings(max_examples=6)
@given(expressions(max_depth=6, primitives="all", weights=any_weights, max_size=60))
def test_everything_lies_inside_and_weights_do_not_overlap(e: Expression) -> None:
    figure = draw(e)
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    box = figure.bbox
    texts = [t for t in figure.axes[0].texts if t.get_text()]
    extents = [text.get_window_extent(renderer) for text in texts]
    for text, extent in zip(texts, extents, strict=True):
        assert box.x0 <= extent.x0, text
        assert extent.x1 <= box.x1, text
        assert box.y0 <= extent.y0, text
        assert extent.y1 <= box.y1, text
    weights = [x for t, x in zip(texts, extents, strict=True) if t.get_fontsize() == 8.0]
    for index, first in enumerate(weights):
        assert not any(first.overlaps(second) for second in weights[index + 1 :])


def test_what_is_written() -> None:
    figure = draw(parse("abs(log(1.23456*y*f) - -1)"))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts[0] == r"$\ell(y, f) = \left|\log\left|1.235 \, y \, f\right| + 1\right|$"
    assert texts.count("1.235") == 1
    assert "1" not in texts  # weights of exactly 1 are left out
    assert {"abs", "log", "×", "−", "−1", "y", "f"} < set(texts)
    assert {"operation", "target y", "prediction f", "constant"} < set(texts)
    assert not any("ell" in text.get_text() for text in draw(parse("f"), title=False).axes[0].texts)


def test_a_long_formula_is_written_as_text() -> None:
    e = parse("+".join(["tanh(0.123456*y)*log(f)"] * 12))
    lines = [text.get_text() for text in draw(e).axes[0].texts if text.get_fontsize() == 11.0]
    assert len(lines) > 1
    assert "0.1235*y" in " ".join(lines)


def test_size_is_bounded() -> None:
    level: tuple[str, ...] = ("f",)
    while len(level) < 1000:
        level = ("add", *level, *level)
    with pytest.raises(ExpressionError, match="at most 1000 nodes"):
        draw(Expression(level))


def test_pyplot_and_the_rest_are_not_loaded() -> None:
    code = """
import sys
from symloss.expression import parse
assert not {"matplotlib", "networkx", "sympy"} & set(sys.modules), "too much at import"
parse("y*f").draw()
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
