"""Drawing: the tree of an expression, laid out in layers, as a matplotlib figure."""

from __future__ import annotations

import math
import sys
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

from symloss.errors import ExpressionError
from symloss.expression.expression import Expression
from symloss.expression.latex import to_latex
from symloss.expression.primitives import TERMINALS

if TYPE_CHECKING:
    import networkx as nx
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_DRAWN = 1000
"""Most nodes that a figure can show."""

# Lengths are in inches, which are also the units of the axes.
_LAYER, _HEIGHT, _GAP, _MARGIN, _CHARACTER = 0.72, 0.34, 0.16, 0.3, 0.088
_LEGEND, _LINE, _MIN_WIDTH, _MAX_TITLE, _MAX_LINES = 0.4, 0.24, 4.0, 8.0, 12
_FONT, _TITLE_FONT, _WEIGHT_FONT = 10.0, 11.0, 8.0
_MAX_TYPESET = 100  # nodes of a formula that could fit on a line
_ALONG = 0.57  # where on its edge a weight stands: nearer to the child, where siblings are further apart

_INK, _EDGE = "#222222", "#888888"
_KINDS = {  # colours of Okabe and Ito, which the colour-blind tell apart; shapes differ as well
    "operation": ("#FFFFFF", "#0072B2", "round,pad=0,rounding_size=0.05"),
    "target y": ("#E69F00", "#8F6300", "circle,pad=0"),
    "prediction f": ("#56B4E9", "#1F6F9F", "circle,pad=0"),
    "constant": ("#D9D9D9", "#6B6B6B", "square,pad=0"),
}
_SYMBOLS = {"add": "+", "sub": "\N{MINUS SIGN}", "mul": "\N{MULTIPLICATION SIGN}", "-1": "\N{MINUS SIGN}1"}


def draw(expression: Expression, title: bool = True) -> Figure:
    """The tree of an expression: operations and leaves by colour and shape, weights other than 1 beside their edges.

    Args:
        expression: The expression.
        title: Whether to write the formula above.

    Returns:
        A matplotlib figure, sized to the tree.

    Raises:
        ExpressionError: If there are more than 1000 nodes.
    """
    from symloss.expression.figure import ShownFigure

    if expression.size > MAX_DRAWN:
        raise ExpressionError(f"at most {MAX_DRAWN} nodes can be drawn; received {expression.size}: simplify it first")

    tree = graph(expression)
    xs = [x for _, x in tree.nodes(data="x")]
    right = max(xs) + max(width for _, width in tree.nodes(data="width")) / 2 + _MARGIN
    heading = _title(expression, max(right, _MAX_TITLE) - 2 * _MARGIN) if title else _Title([], 0.0, 0.0)
    width = max(right, _MIN_WIDTH, heading.width + 2 * _MARGIN)
    shift = (width - right) / 2
    depth = expression.depth
    height = _MARGIN + _HEIGHT + depth * _LAYER + _LEGEND + _MARGIN + heading.height

    figure = ShownFigure(figsize=(width, height), facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    top = height - _MARGIN / 2
    for row, line in enumerate(heading.lines):
        axes.text(width / 2, top - row * _LINE, line, ha="center", va="top", fontsize=_TITLE_FONT, color=_INK)
    top -= heading.height
    positions = {
        n: (x + shift, top - _MARGIN / 2 - _HEIGHT / 2 - tree.nodes[n]["depth"] * _LAYER) for n, x in enumerate(xs)
    }
    _draw_edges(axes, tree, positions)
    _draw_nodes(axes, tree, positions)
    _draw_legend(axes, tree)
    return figure


def graph(expression: Expression) -> nx.DiGraph:
    """The tree with its layout.

    Returns:
        A directed graph from parents to children. Nodes are numbered in preorder, with `name`, `label`, `kind`,
        `depth`, `width` and `x` (inches); edges have their `weight`.
    """
    import networkx as nx

    tree = nx.DiGraph()
    widths = []
    for index, (name, parent, depth) in enumerate(
        zip(expression.nodes, expression.parents, expression.depths, strict=True)
    ):
        label = _SYMBOLS.get(name, name)
        kind = {"y": "target y", "f": "prediction f"}.get(name, "constant" if name in TERMINALS else "operation")
        width = max(_HEIGHT, _CHARACTER * len(label) + 0.18)
        tree.add_node(index, name=name, label=label, kind=kind, depth=depth, width=width)
        space = width
        if index:
            weight = expression.weights[index - 1]
            tree.add_edge(parent, index, weight=weight)
            room = 0.75 * _CHARACTER * len(_weight_text(weight))
            only_child = parent == index - 1 and expression.parents.count(parent) == 1
            space = max(width, room if only_child else room / _ALONG)
        widths.append(space)
    for index, x in enumerate(_layout(expression.parents, widths)):
        tree.nodes[index]["x"] = x
    return tree


def _layout(parents: tuple[int, ...], widths: list[float]) -> list[float]:
    """Horizontal positions of a tidy tree: parents centred over children, subtrees as close as their outlines allow."""
    count = len(parents)
    children: list[list[int]] = [[] for _ in range(count)]
    for index, parent in enumerate(parents[1:], start=1):
        children[parent].append(index)
    offsets = [0.0] * count  # from the parent
    outlines: list[list[tuple[float, float]]] = [[] for _ in range(count)]  # per layer below: left and right end
    for index in reversed(range(count)):
        own = (-widths[index] / 2, widths[index] / 2)
        below: list[tuple[float, float]] = []
        places: list[float] = []
        for child in children[index]:
            outline = outlines[child]
            place = max((a[1] - b[0] + _GAP for a, b in zip(below, outline, strict=False)), default=0.0)
            moved = [(left + place, right + place) for left, right in outline]
            shared = [(a[0], b[1]) for a, b in zip(below, moved, strict=False)]
            below = shared + (below if len(below) > len(moved) else moved)[len(shared) :]
            places.append(place)
        centre = (places[0] + places[-1]) / 2 if places else 0.0
        for child, place in zip(children[index], places, strict=True):
            offsets[child] = place - centre
            outlines[child] = []
        outlines[index] = [own, *((left - centre, right - centre) for left, right in below)]
    positions = [0.0] * count
    positions[0] = _MARGIN - min(left for left, _ in outlines[0])
    for index in range(1, count):
        positions[index] = positions[parents[index]] + offsets[index]
    return positions


def _weight_text(weight: float) -> str:
    text = "" if weight == 1.0 else f"{weight:.4g}"
    return text.replace("e+0", "e").replace("e-0", "e-").replace("-", "\N{MINUS SIGN}")


class _Title(NamedTuple):
    lines: list[str]
    width: float
    height: float


def _title(expression: Expression, width: float) -> _Title:
    """The formula, typeset if it fits on a line, else as text on several."""
    formula = f"$\\ell(y, f) = {to_latex(expression)}$"
    needed, height = _typeset_size(formula) if expression.size <= _MAX_TYPESET else (math.inf, 0.0)
    if needed <= width:
        return _Title([formula], needed, height + _LINE / 3)
    largest = sys.float_info.max  # rounds to infinity
    rounded = [min(max(float(f"{weight:.4g}"), -largest), largest) for weight in expression.weights]
    lines = textwrap.wrap(str(expression.with_weights(rounded)), int(width / _CHARACTER), break_long_words=True)
    if len(lines) > _MAX_LINES:
        lines[_MAX_LINES - 1 :] = ["…"]
    return _Title(lines, _CHARACTER * max(map(len, lines)), _LINE * len(lines))


def _typeset_size(formula: str) -> tuple[float, float]:
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser

    try:
        parsed = MathTextParser("path").parse(formula, dpi=72, prop=FontProperties(size=_TITLE_FONT))
    except (ValueError, RecursionError):  # matplotlib knows only a part of LaTeX, and a primitive's may lie outside
        return math.inf, 0.0
    return float(parsed.width) / 72, float(parsed.height + parsed.depth) / 72


def _draw_edges(axes: Axes, tree: nx.DiGraph, positions: dict[int, tuple[float, float]]) -> None:
    for parent, child, weight in tree.edges(data="weight"):
        (x0, y0), (x1, y1) = positions[parent], positions[child]
        axes.plot([x0, x1], [y0, y1], color=_EDGE, linewidth=1.2, zorder=1, solid_capstyle="round")
        if text := _weight_text(weight):
            axes.text(
                x0 + _ALONG * (x1 - x0), y0 + _ALONG * (y1 - y0), text, fontsize=_WEIGHT_FONT, color=_INK,
                ha="center", va="center", zorder=2, bbox={"boxstyle": "square,pad=0.12", "fc": "white", "ec": "none"},
            )  # fmt: skip


def _draw_nodes(axes: Axes, tree: nx.DiGraph, positions: dict[int, tuple[float, float]]) -> None:
    for index, node in tree.nodes(data=True):
        x, y = positions[index]
        _shape(axes, node["kind"], x, y, node["width"])
        axes.text(x, y, node["label"], fontsize=_FONT, color=_INK, ha="center", va="center_baseline", zorder=4)


def _shape(axes: Axes, kind: str, x: float, y: float, width: float, height: float = _HEIGHT) -> None:
    from matplotlib.patches import FancyBboxPatch

    fill, line, style = _KINDS[kind]
    corner = (x - width / 2, y - height / 2)
    axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, fc=fill, ec=line, linewidth=1.3, zorder=3))


def _draw_legend(axes: Axes, tree: nx.DiGraph) -> None:
    """One line at the bottom: the kinds that occur."""
    present = {kind for _, kind in tree.nodes(data="kind")}
    kinds = [kind for kind in _KINDS if kind in present]
    spaces: list[Any] = [0.34 + 0.066 * len(kind) for kind in kinds]
    x = (axes.get_xlim()[1] - sum(spaces)) / 2
    for kind, space in zip(kinds, spaces, strict=True):
        _shape(axes, kind, x + 0.08, _MARGIN, 0.14, 0.14)
        axes.text(x + 0.22, _MARGIN, kind, fontsize=_WEIGHT_FONT, color=_INK, ha="left", va="center_baseline")
        x += space
