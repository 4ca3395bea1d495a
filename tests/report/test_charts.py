"""Charts: numbers come to where they belong."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from symloss.report.charts import HEIGHT, WIDTH, Axis, Chart, Series, span, text, wide

X = Axis("x", 0.0, 10.0)
Y = Axis("y", 0.0, 1.0)


def points(chart: Chart, wanted: str) -> list[tuple[float, float]]:
    root = ElementTree.fromstring(chart.svg("c"))
    path = next(e.get("d", "") for e in root.iter() if e.get("class") == wanted)
    return [(float(x), float(y)) for x, y in re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", path)]


def test_a_line_goes_through_its_points() -> None:
    chart = Chart("t", X, Y, (Series("a", [0, 5, 10], [0, 0.5, 1]),))
    left, top, width, height = chart.numbers()["box"]
    assert points(chart, "line s0") == [
        (left, top + height), (left + width / 2, top + height / 2), (left + width, top),
    ]  # fmt: skip
    assert left + width < WIDTH
    assert top + height < HEIGHT


def test_a_line_has_a_gap_where_there_is_no_number() -> None:
    chart = Chart("t", X, Y, (Series("a", [0, 1, 2, 3], [0.1, math.nan, math.inf, 0.4]),))
    assert len(points(chart, "line s0")) == 2
    assert chart.svg("c").count("L") == 0
    assert chart.numbers()["series"] == [["a", 0, [0.1, None, None, 0.4]]]


def test_a_pole_is_cut_off() -> None:
    (_, (_, y)) = points(Chart("t", X, Y, (Series("a", [0, 1], [0, 1e300]),)), "line s0")
    assert abs(y) < 10 * HEIGHT


def test_logarithmic_axes() -> None:
    axis = Axis("x", 0.01, 100.0, log=True)
    assert axis.share(1.0) == pytest.approx(0.5)
    assert math.isnan(axis.share(0.0))
    assert {name for _, name in axis.ticks()} >= {"0.01", "1", "100"}


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.booleans())
def test_ticks_lie_on_the_axis_and_are_few(low: float, size: float, whole: bool) -> None:
    axis = Axis("x", low, low + size, whole=whole)
    ticks = [value for value, _ in axis.ticks()]
    assert len(ticks) <= 12
    assert all(-1e-6 <= axis.share(value) <= 1 + 1e-6 for value in ticks)
    if whole:
        assert all(value == round(value) for value in ticks)


def test_bars_stand_on_each_other() -> None:
    svg = Chart("t", X, Axis("y", 0, 4), (Series("a", [1], [1], "bars"), Series("b", [1], [2], "bars", 1))).svg("c")
    a, b = (re.search(rf'bars b{k}" d="M\S+ (\S+?)h\S+?V([\d.]+)h', svg) for k in (0, 1))
    assert a is not None
    assert b is not None
    assert float(a[1]) == pytest.approx(float(b[2]), abs=0.11)
    assert (float(b[2]) - float(b[1])) == pytest.approx(2 * (float(a[2]) - float(a[1])), abs=0.3)


def test_intervals_and_their_absence() -> None:
    series = Series("", [1.0, 2.0], [0.0, 1.0], "interval", low=[0.5, math.nan], high=[1.5, math.nan])
    svg = Chart("t", X, Axis("", 1.5, -0.5, names=("a", "b")), (series,), (0.0,)).svg("c")
    assert svg.count('class="line s0"') == 1
    assert svg.count("points big") == 2
    assert ">a</text>" in svg


def test_names_are_escaped() -> None:
    bad = '<img src=x onerror="1">'
    svg = Chart(bad, Axis(bad, 0, 1), Axis(bad, 0, 1, names=(bad,)), (Series(bad, [0], [0]),)).svg('"><x>')
    root = ElementTree.fromstring(svg)
    assert not {"img", "x"} & {element.tag for element in root.iter()}
    assert root.get("data-chart") == '"><x>'


def test_spans() -> None:
    assert span([]) == (0.0, 1.0)
    assert span([math.inf], log=True) == (0.1, 1.0)
    low, high = span([1.0, 3.0, math.inf])
    assert low < 1 < 3 < high
    assert wide([0.1, 5.0])
    assert not wide([0.0, 5.0])
    assert text(-1e-7) == "−1e−7"
