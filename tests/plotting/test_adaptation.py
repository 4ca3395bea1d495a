"""The figure of an adaptive loss: shapes, learning curves and effective rates where they belong."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image
from torch import nn

import symloss as sl
from symloss.errors import LossError
from symloss.online import Adaptation, AdaptSettings, ScaledTaskLoss
from symloss.online.training import Record
from symloss.plotting import adaptation, animation


def made(kind: str = "multiclass", method: str = "adalfl", looks: int = 3) -> Adaptation:
    records = tuple(Record(step, 0.5, 1.0, 1.0, 2.0 / step, 0.9 / step) for step in range(1, 11))
    generator = np.random.default_rng(0)
    targets = 1 if kind == "regression" else 2
    snapshots = tuple((step, generator.normal(size=(targets, 101))) for step in range(looks))
    return Adaptation(
        task="digits: ten classes", recipe=None, kind=kind, metric_name="error rate",
        settings=AdaptSettings(method=method, steps=10),
        model=nn.Identity(), loss=ScaledTaskLoss(kind), learning_rate=0.5, offline=5, online=10, records=records,
        outputs=10, snapshots=snapshots, weights=tuple(np.ones(1) for _ in snapshots),
        metrics={"test": 0.1}, stopped="all steps done",
    )  # fmt: skip


def shapes(axes: list[Axes]) -> list[Axes]:
    return [a for a in axes if a.get_title(loc="left")]


def test_shapes_have_their_lowest_point_at_zero() -> None:
    found = made()
    panels = shapes(list(found.figure().axes))
    assert [a.get_title(loc="left") for a in panels] == ["before training", "after 1 steps", "after 2 steps"]
    for axes, (_, curves) in zip(panels, found.snapshots, strict=True):
        own = [line for line in axes.get_lines() if str(line.get_label()).startswith("target")]
        for line, curve in zip(own, curves, strict=True):
            np.testing.assert_allclose(np.asarray(line.get_ydata()), curve - curve.min())
            np.testing.assert_array_equal(line.get_xdata(), found.curves[1])
    assert len(panels[0].get_lines()) == 2
    assert len(panels[1].get_lines()) == 4  # and the shape before training


def test_learning_curves_and_effective_rates_of_several_runs() -> None:
    left, right = adaptation(made(), [made(method="frozen")]).axes[-2:]
    assert [line.get_label() for line in left.get_lines()] == ["adalfl, rate 0.5", "frozen, rate 0.5"]
    np.testing.assert_allclose(np.asarray(left.get_lines()[0].get_ydata()), 0.9 / np.arange(1, 11))
    np.testing.assert_allclose(np.asarray(right.get_lines()[1].get_ydata()), 1.0 / np.arange(1, 11))
    assert left.get_yscale() == right.get_yscale() == "log"
    assert left.get_ylabel() == "error rate (validation)"


def test_regression_and_losses_without_a_shape() -> None:
    assert len(shapes(list(made("regression").figure().axes))[0].get_lines()) == 1
    assert len(made(looks=0).figure().axes) == 2


def test_pictures_can_be_drawn() -> None:
    torch.manual_seed(0)
    made(looks=8).figure().canvas.draw()


def test_an_animation_has_a_picture_for_each_snapshot() -> None:
    with Image.open(io.BytesIO(animation(made(looks=4)))) as file:
        assert (file.format, getattr(file, "n_frames", 0)) == ("GIF", 4)
        shown = []
        for number in range(4):
            file.seek(number)
            shown.append((file.info["duration"], file.convert("RGB").tobytes()))
    assert [time for time, _ in shown] == [350, 350, 350, 2000]
    assert len({picture for _, picture in shown}) == 4
    with pytest.raises(LossError, match="no shapes to animate"):
        animation(made(looks=0))


def test_where_a_loss_rests_is_drawn() -> None:
    """|log(1.25 y f)| rests at 0.8 at any time."""
    found = sl.adapt("wine", "abs(log(1.25*y*f))", offline_steps=0, steps=2, meta_lr=1e-12, progress=False)
    panel = shapes(list(found.figure().axes))[-1]
    (line,) = [line for line in panel.get_lines() if line.get_label() == "rests here"]
    assert np.asarray(line.get_xdata())[0] == pytest.approx(0.8)
