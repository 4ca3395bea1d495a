"""Tasks: disjoint parts, the same whenever they are asked for, and one clear line for what cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import symloss as sl
from symloss.errors import TaskError
from symloss.fewshot import ClassSet, Distortion, Episodes, Sinusoids


def numbered(classes: int = 6, each: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Samples whose input is their own number, in shuffled order."""
    n = classes * each
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return order[:, None].float(), order // each


@given(st.integers(2, 6), st.integers(1, 3), st.integers(1, 2), st.integers(0, 2**31 - 1))
def test_samples_of_a_task_are_different_and_rightly_labelled(ways: int, shots: int, queries: int, seed: int) -> None:
    tasks = Episodes(numbered(), ways, shots, queries, seed).tasks([3, 4])
    assert len(tasks) == 2
    for t in range(2):
        x = torch.cat([tasks.support_x[t], tasks.query_x[t]])[:, 0]
        y = torch.cat([tasks.support_y[t], tasks.query_y[t]])
        assert len(x.unique()) == ways * (shots + queries)
        true = x.long() // 5
        assert len(true.unique()) == ways
        for c in range(ways):
            assert len(true[y == c].unique()) == 1
    assert tasks.support_y[0].bincount().tolist() == [shots] * ways
    assert tasks.query_y[0].bincount().tolist() == [queries] * ways


def test_a_task_depends_on_its_number_alone() -> None:
    episodes = Episodes(numbered(), 3, 1, 2, seed=1)
    together, alone = episodes.tasks(range(4)), episodes.tasks([2])
    assert torch.equal(together.query_x[2:3], alone.query_x)
    assert not torch.equal(alone.query_x, episodes.tasks([2], "train").query_x)
    assert not torch.equal(alone.query_x, Episodes(numbered(), 3, 1, 2, seed=2).tasks([2]).query_x)


def test_classes_are_drawn_evenly() -> None:
    tasks = Episodes(numbered(), 2, 1, 1, seed=0).tasks(range(600))
    counts = (tasks.support_x.long() // 5).flatten().bincount(minlength=6)
    expected = 600 * 2 / 6
    assert (counts - expected).abs().max() < 5 * (expected * (1 - 2 / 6)) ** 0.5


def test_bytes_are_scaled_then_standardised() -> None:
    x = torch.arange(12 * 2, dtype=torch.uint8).reshape(12, 2, 1, 1)
    data = ClassSet(x, torch.arange(12) % 3, mean=torch.tensor([0.5, 0.25]), deviation=torch.tensor([2.0, 4.0]))
    tasks = Episodes(data, 3, 1, 3).tasks([0])
    back = torch.cat([tasks.support_x, tasks.query_x], 1)[0] * torch.tensor([2.0, 4.0]).view(2, 1, 1)
    back = (back + torch.tensor([0.5, 0.25]).view(2, 1, 1)) * 255
    rows = sorted(back.flatten(1).round().tolist())
    assert rows == x.flatten(1).tolist()


def test_sinusoids() -> None:
    tasks = Sinusoids(shots=400, queries=7, seed=0).tasks(range(3))
    assert tasks.support_x.shape == (3, 400, 1)
    assert tasks.query_y.shape == (3, 7, 1)
    assert tasks.support_x.abs().max() <= 5
    for x, y in zip(tasks.support_x[..., 0].double(), tasks.support_y[..., 0].double(), strict=True):
        design = torch.stack([x.sin(), x.cos()], 1)  # A sin(x - b) is a combination of both
        found = torch.linalg.lstsq(design, y).solution
        assert torch.allclose(design @ found, y, atol=1e-5)
        assert 0.1 <= found.norm() <= 5
        assert found[1] <= 1e-6  # -A sin b


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "ways": ({"ways": 1}, "ways is a whole number of at least 2; received 1"),
    "many ways": ({"ways": 7}, "7 ways need as many classes; samples has 6: use fewer ways"),
    "shots": ({"shots": 0}, "shots is a whole number of at least 1; received 0"),
    "queries": ({"queries": 2.5}, "queries is a whole number of at least 1; received 2.5"),
    "seed": ({"seed": -1}, "seed is a whole number of at least 0; received -1"),
    "few samples": (
        {"shots": 2, "queries": 4},
        "shots + queries are 2 + 4 = 6 samples of a class; class 0 of samples has 5: use fewer queries, or leave such "
        "classes out",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_told_in_one_line(name: str) -> None:
    options, message = BAD[name]
    with pytest.raises(TaskError) as caught:
        Episodes(numbered(), **{"ways": 3, "shots": 1, "queries": 2, **options})
    assert str(caught.value) == message


def test_unusable_data() -> None:
    with pytest.raises(TaskError, match="6 inputs but 5 labels"):
        Episodes((torch.zeros(6, 1), torch.zeros(5)))
    with pytest.raises(TaskError, match=r"class indices \[N\]"):
        Episodes(ClassSet(torch.zeros(4, 1), torch.zeros(4)), 2)
    with pytest.raises(TaskError, match="a stream of tasks is one of train, valid, test; received 'eval'"):
        Sinusoids().tasks([0], "eval")


class TestDistortion:
    def test_identity(self) -> None:
        x = torch.rand(3, 2, 8, 9)
        same = Distortion(0, 1, 0, 0)(x, np.random.default_rng(0))
        assert torch.allclose(same, x, atol=1e-5)

    def test_area_of_a_disc_follows_the_scale(self) -> None:
        axis = torch.linspace(-1, 1, 65, dtype=torch.float64)
        disc = ((axis[:, None] ** 2 + axis[None] ** 2) < 0.25).double().expand(200, 1, 65, 65)
        random = np.random.default_rng(0)
        area = Distortion(30, 1.25, 0, 0)(disc, random).sum((1, 2, 3)) / disc[0].sum()
        assert area.min() >= 1.25**-2 - 0.02
        assert area.max() <= 1.25**2 + 0.02
        assert area.max() - area.min() > 0.6

    def test_noise_is_of_its_size_and_the_same_again(self) -> None:
        x = torch.zeros(4, 1, 50, 50)
        one, two = (Distortion(noise=0.3)(x, np.random.default_rng(7)) for _ in range(2))
        assert torch.equal(one, two)
        assert abs(one.std() - 0.3) < 0.01

    def test_mistakes(self) -> None:
        with pytest.raises(TaskError, match=r"a number from 1 on; received 0\.5"):
            Distortion(scale=0.5)
        with pytest.raises(TaskError, match=r"takes images \[B, C, H, W\]; received \[3, 4\]"):
            Distortion()(torch.zeros(3, 4), np.random.default_rng(0))


def test_the_room_is_part_of_the_face() -> None:
    assert sl.fewshot.Episodes is Episodes
