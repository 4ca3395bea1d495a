"""What all figures have in common."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from symloss import analysis
from symloss.discovery.result import SearchResult
from symloss.expression.parsing import parse
from symloss.losses import names
from symloss.plotting import (
    calibration,
    explanation,
    families,
    front,
    history,
    learning_rate,
    loss_curves,
    sharpness,
    spectral_density,
    training_curves,
)
from tests.plotting import examples

LONG = " + ".join(["abs(log(1.23456789*y*f))*square(y - 0.98765*f)"] * 20)

FIGURES: dict[str, Callable[[SearchResult], Figure]] = {
    "curves": lambda result: loss_curves(result.best.loss),
    "curves of a long formula": lambda result: loss_curves(LONG, ["cross-entropy", "generalised-cross-entropy", "sce"]),
    "curves of a regression": lambda result: loss_curves("log-cosh", kind="regression"),
    "surface of a regression": lambda _: loss_curves("square(y - f)*(0.3 + abs(y)) + f", kind="regression"),
    "history": history,
    "front": front,
    "families": lambda result: families(analysis.families([result, *names("multiclass")])),
    "one family": lambda _: families(analysis.families("absolute-cross-entropy", distance=0.0)),
    "calibration": lambda _: calibration({"a": examples.calibrated(), "b": examples.calibrated()}),
    "training curves": lambda _: training_curves(examples.curves()),
    "sharpness": lambda _: sharpness(examples.compared()),
    "spectral density": lambda _: spectral_density({r.name: r.sharpness[0] for r in examples.compared().rows}),
    "explanation": lambda _: explanation(examples.explained("multiclass")),
    "explanation of a regression": lambda _: explanation(examples.explained("regression")),
    "learning rate": lambda _: learning_rate(examples.learning_rate_report()),
}


@pytest.fixture(params=FIGURES)
def figure(request: pytest.FixtureRequest, result: SearchResult) -> Figure:
    return FIGURES[request.param](result)


def test_a_notebook_shows_it(figure: Figure) -> None:
    for shown in (figure, parse("abs(log(1.2*y*f))").draw()):
        assert Image.open(io.BytesIO(shown._repr_png_())).format == "PNG"


def content(figure: Figure, kind: str) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format=kind)
    return stream.getvalue()


def test_nothing_is_cut_off(figure: Figure) -> None:
    figure.savefig(io.BytesIO())
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 >= -0.01
    assert box.y0 >= -0.01
    assert box.x1 <= width + 0.01
    assert box.y1 <= height + 0.01


def test_every_panel_is_labelled(figure: Figure) -> None:
    bottom = min(axes.get_position().y0 for axes in figure.axes)
    left = min(axes.get_position().x0 for axes in figure.axes)
    for axes in figure.axes:
        assert axes.get_xlabel() or axes.get_position().y0 > bottom
        assert axes.get_ylabel() or axes.get_position().x0 > left
    named = [axes for axes in figure.axes if axes.get_legend_handles_labels()[0]]
    assert named
    assert figure.legends or all(axes.get_legend() for axes in named)


def test_metadata(figure: Figure) -> None:
    with Image.open(io.BytesIO(content(figure, "png"))) as picture:
        title, description = picture.text["Title"], picture.text["Description"]
    assert title == figure.title  # type: ignore[attr-defined]
    for name, value in figure.record.items():  # type: ignore[attr-defined]
        assert f"{name}: {value}" in description
    assert f"<dc:title>{title}</dc:title>" in content(figure, "svg").decode()


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_figure_gives_the_same_file(result: SearchResult, kind: str) -> None:
    assert content(front(result), kind) == content(front(result), kind)


def test_own_metadata_and_paths(result: SearchResult, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    front(result).savefig(path, metadata={"Author": "me"})
    with Image.open(path) as picture:
        assert (picture.text["Author"], picture.text["Title"]) == ("me", "Pareto front")


def test_readable_at_the_width_of_a_column(figure: Figure) -> None:
    """Set 3.4 inches wide, no label is below 4.5 points; the footer, which nobody needs to read, is."""
    shrunk = min(1.0, 3.4 / figure.get_figwidth())
    footer = figure._supxlabel  # type: ignore[attr-defined]
    sizes = [t.get_fontsize() for t in figure.findobj(Text) if t is not footer and t.get_text().strip()]
    assert min(sizes) * shrunk >= 4.5


def test_global_state_is_left_alone(result: SearchResult) -> None:
    before = dict(mpl.rcParams)
    for make in FIGURES.values():
        content(make(result), "png")
    assert dict(mpl.rcParams) == before


def test_pyplot_is_not_loaded() -> None:
    code = (
        "import sys, io, symloss as sl; assert 'matplotlib' not in sys.modules; sl.plotting.loss_curves; "
        "assert 'matplotlib' not in sys.modules; sl.plotting.loss_curves('focal').savefig(io.BytesIO()); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
