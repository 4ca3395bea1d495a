"""Figures of few-shot learners show the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from symloss.fewshot import MLP, NPBML, VARIANTS, Curve, Scores, Sinusoids, loss_shape, step_sizes
from symloss.plotting import fewshot_curves, fewshot_loss, fewshot_scores, fewshot_steps


def scores(seed: int, metric: str = "accuracy") -> Scores:
    return Scores(np.random.default_rng(seed).uniform(0.4, 0.9, 50), metric, 5)


def test_scores_are_points_with_their_intervals() -> None:
    found = {"maml": scores(0), "npbml": scores(1)}
    figure = fewshot_scores(found, {"data": "glyphs"})
    (axes,) = figure.axes
    points = [float(np.asarray(line.get_xdata())[0]) for line in axes.get_lines() if line.get_marker() == "o"]
    assert points == pytest.approx([100 * s.mean for s in found.values()])
    bars = [segment[:, 0] for c in axes.collections for segment in c.get_segments()]  # type: ignore[attr-defined]
    for own, s in zip(bars, found.values(), strict=True):
        assert own == pytest.approx([100 * bound for bound in s.interval])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["maml", "npbml"]
    assert axes.get_xlabel() == "test accuracy (%)"
    assert axes.get_xlim()[0] > 30
    assert figure.record["tasks"] == 50  # type: ignore[attr-defined]
    figure.canvas.draw()


def test_curves_mark_the_trained_number_of_steps() -> None:
    values = np.random.default_rng(0).uniform(0.1, 2.0, (8, 20))
    curve = Curve(values, "mean squared error", 3)
    (axes,) = fewshot_curves({"a": curve}).axes
    line, trained = axes.get_lines()
    np.testing.assert_allclose(np.asarray(line.get_ydata()), values.mean(1))
    assert list(np.asarray(trained.get_xdata())) == [3, 3]
    assert axes.get_ylabel() == "mean squared error"
    assert axes.get_yscale() == "log"


def test_a_learned_loss_beside_its_base_and_its_samples() -> None:
    learner = NPBML(MLP((4, 4)), shots=5, kind="regression", inner_steps=2)
    tasks = Sinusoids(5).tasks(range(3))
    shape = loss_shape(learner, tasks)
    left, right = fewshot_loss(shape).axes
    lines = {str(line.get_label()): line for line in left.get_lines()}
    for label, values in {
        "L_base": shape.base, "learned: L_base + L^S": shape.learned, "learned, without its FiLM": shape.plain,
    }.items():  # fmt: skip
        np.testing.assert_array_equal(np.asarray(lines[label].get_ydata()), values)
    np.testing.assert_array_equal(np.asarray(lines["samples of task 2"].get_xdata()), shape.samples[1][0])
    assert [t.get_text() for t in right.get_yticklabels()] == ["layer 0", "layer 1"]
    without = NPBML(MLP((4,)), shots=5, kind="regression", film=False)
    assert len(fewshot_loss(loss_shape(without, tasks)).axes) == 1


def test_step_sizes_are_distributions() -> None:
    learner = NPBML(MLP((4, 4)), shots=5, kind="regression", learn_rates=True, lr=0.02, **{"optimiser": False})
    learner.build((1,))
    found = step_sizes(learner)
    (axes,) = fewshot_steps(found, 0.02).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == list(found)
    middles = [float(np.asarray(line.get_xdata())[0]) for line in axes.get_lines() if line.get_marker() == "o"]
    assert middles == pytest.approx([0.02] * len(found))


def test_every_variant_has_a_name() -> None:
    fewshot_scores({name: scores(i) for i, name in enumerate(VARIANTS)}).canvas.draw()
