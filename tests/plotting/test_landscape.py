"""What the figures of landscapes draw are the values, on one scale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import symloss as sl
from symloss.analysis.surface import Landscape
from symloss.errors import EvaluationError


def made(**options: Any) -> Landscape:
    generator = torch.Generator().manual_seed(0)
    models = {name: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)) for name in ("one", "two")}
    data = torch.randn(20, 4, generator=generator), torch.randint(3, (20,), generator=generator)
    return sl.analysis.landscape(models, data, {"loss": F.cross_entropy, "mean": lambda o, y: o.mean()}, **options)


def test_contours_share_their_scale() -> None:
    found = made(grid=(5, 7))
    figure = sl.plotting.landscape(found)
    one, two, bar = figure.axes
    assert [axes.get_title() for axes in (one, two)] == ["one", "two"]
    assert one.get_xlabel() == "random direction 1"
    assert one.get_ylabel() == "random direction 2"
    assert bar.get_ylabel() == "loss"
    filled = [axes.collections[0] for axes in (one, two)]
    np.testing.assert_array_equal(filled[0].levels, filled[1].levels)
    assert filled[0].norm is filled[1].norm
    assert filled[0].levels[0] == found.all[:, 0, 0].min()
    assert figure.record["grid"] == [5, 7]


def test_a_plane_is_not_transposed() -> None:
    """A value that depends on the first coordinate alone changes along x."""
    found = made(grid=(5, 7))
    found.all[:] = found.coordinates[0][:, None]
    axes = sl.plotting.landscape(found).axes[0]
    filled = axes.collections[0]
    for path in filled.get_paths()[1:-2]:
        if len(path.vertices):
            assert np.ptp(path.vertices[:, 0]) < 0.5
            assert np.ptp(path.vertices[:, 1]) == pytest.approx(2.0)


def test_surfaces() -> None:
    figure = sl.plotting.landscape(made(grid=(5, 7)), metric="mean", style="surface")
    one, two, _ = figure.axes
    assert one.get_zlim() == two.get_zlim()
    figure.savefig("/dev/null", format="svg")


def test_lines_with_their_spread() -> None:
    found = made(grid=5, seeds=3)
    (axes,) = sl.plotting.landscape(found).axes
    for m, line in enumerate(axes.get_lines()):
        np.testing.assert_allclose(line.get_ydata(), found.all[m, 0].mean(0))
        band = axes.collections[m].get_paths()[0].vertices[:, 1]
        assert band.max() == pytest.approx((found.mean(m) + found.spread(m)).max())
    sl.plotting.landscape(found).savefig("/dev/null", format="pdf")


def test_a_trajectory_lies_on_its_plane() -> None:
    model, data = nn.Linear(4, 3), (torch.randn(9, 4), torch.randint(3, (9,)))
    states = [{n: p.detach() + torch.randn(p.shape) for n, p in model.named_parameters()} for _ in range(4)]
    found = sl.analysis.landscape(model, data, F.cross_entropy, grid=(5, 5), directions="pca", trajectory=states)
    axes = found.figure().axes[0]
    assert found.path is not None
    np.testing.assert_array_equal(axes.get_lines()[1].get_xydata(), found.path)
    assert "%" in axes.get_xlabel()


@pytest.mark.parametrize("fill", [np.nan, 0.0, np.inf])
def test_values_of_every_kind(fill: float) -> None:
    found = made(grid=(3, 3))
    found.all[0] = fill
    for style in ("contour", "surface"):
        found.figure(style=style).savefig("/dev/null", format="png")


def test_a_plane_of_one_value() -> None:
    found = made(grid=(3, 3))
    found.all[:] = 0.0
    found.figure().savefig("/dev/null", format="png")


def test_wide_ranges_are_drawn_in_the_logarithm() -> None:
    found = made(grid=(3, 3))
    found.all[:, 0] = np.geomspace(1e-3, 10, 9).reshape(3, 3)
    levels = found.figure().axes[0].collections[0].levels
    np.testing.assert_allclose(np.diff(np.log(levels)), np.diff(np.log(levels))[0])


@pytest.mark.parametrize(
    ("options", "said"), [({"metric": "lss"}, "received 'lss'"), ({"style": "3d"}, "contour, surface")]
)
def test_mistakes(options: dict[str, Any], said: str) -> None:
    found = made(grid=(3, 3))
    with pytest.raises(EvaluationError, match=said):
        found.figure(**options)
    found.done[0] = False
    with pytest.raises(EvaluationError, match="not complete"):
        found.figure()


def test_the_axes_are_those_of_the_grid() -> None:
    """Neither the mark of the model, where it lies outside, nor values that are not finite change them."""
    axes = sl.plotting.landscape(made(grid=(3, 5), span=[(1, 2), (3, 5)])).axes[0]
    assert (axes.get_xlim(), axes.get_ylim()) == ((1, 2), (3, 5))
    found = made(grid=(5,))
    found.all[..., 2:] = np.nan
    low, high = sl.plotting.landscape(found).axes[0].get_xlim()
    assert low <= -1
    assert high >= 1


@pytest.mark.parametrize("grid", [(5,), (3, 5)])
def test_no_number_is_no_picture(grid: tuple[int, ...]) -> None:
    found = made(grid=grid)
    found.all[:, 0] = np.inf
    with pytest.raises(EvaluationError, match="no value of loss is finite"):
        sl.plotting.landscape(found)
    assert sl.plotting.landscape(found, "mean").axes
