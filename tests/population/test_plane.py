"""Compiled planes of dense networks against float64 formulas, and independent of how points are grouped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from symloss.population.networks import DenseNetwork
from symloss.population.plane import DensePlane, plane_cross_entropy

ACTIVATIONS = {nn.ReLU: torch.relu, nn.Tanh: torch.tanh, nn.Sigmoid: torch.sigmoid, nn.Identity: lambda z: z}
UNITS, MIDDLE, CLASSES = 7, 5, 3


def drawn(samples: int, directions: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, list[Tensor]]:
    """First outputs [1 + K, H, N], and the parameters of two layers more."""
    generator = torch.Generator().manual_seed(samples)
    shapes = [(UNITS, samples), (MIDDLE, UNITS), (MIDDLE,), (CLASSES, MIDDLE)]
    first, *rest = (torch.randn(1 + directions, *s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes)
    return first, rest


def network(activation: type[nn.Module]) -> DenseNetwork:
    layers = nn.Linear(4, UNITS), nn.Linear(UNITS, MIDDLE), nn.Linear(MIDDLE, CLASSES, bias=False)
    model = nn.Sequential(layers[0], activation(), layers[1], activation(), layers[2])
    found = DenseNetwork.recognise(model)
    assert found is not None
    return found


def points(count: int, directions: int) -> Tensor:
    return torch.rand(count, directions, generator=torch.Generator().manual_seed(count), dtype=torch.float64) * 2 - 1


def formula(activation: type[nn.Module], first: Tensor, rest: list[Tensor], c: Tensor) -> Tensor:
    """The logits [P, C, N], written out in float64."""
    share = torch.cat([torch.ones(len(c), 1, dtype=torch.float64), c], 1)
    z, w, b, v = (torch.tensordot(share, t.double(), 1) for t in (first, *rest))
    phi = ACTIVATIONS[activation]
    return v @ phi(w @ phi(z) + b.unsqueeze(2))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("samples", [1, 127, 128, 129, 300])
def test_of_the_formula(activation: type[nn.Module], directions: int, samples: int) -> None:
    first, rest = drawn(samples, directions)
    plane, c = DensePlane(network(activation), first, rest), points(6, directions)
    labels = torch.arange(samples) % CLASSES
    expected = formula(activation, first, rest, c)
    assert plane.classes == CLASSES
    torch.testing.assert_close(plane.outputs(c).double(), expected, rtol=1e-5, atol=2e-5)
    losses = torch.stack([F.cross_entropy(logits.t(), labels, reduction="sum") for logits in expected])
    torch.testing.assert_close(plane.cross_entropy(c, labels), losses, rtol=1e-5, atol=1e-5)


def test_in_double_precision() -> None:
    first, rest = drawn(130, 2, torch.float64)
    plane, c, labels = DensePlane(network(nn.Tanh), first, rest), points(5, 2), torch.arange(130) % CLASSES
    expected = formula(nn.Tanh, first, rest, c)
    torch.testing.assert_close(plane.outputs(c), expected, rtol=1e-12, atol=1e-12)
    losses = torch.stack([F.cross_entropy(logits.t(), labels, reduction="sum") for logits in expected])
    torch.testing.assert_close(plane.cross_entropy(c, labels), losses, rtol=1e-12, atol=0)


@pytest.mark.parametrize("directions", [1, 2])
def test_a_point_does_not_depend_on_the_others(directions: int) -> None:
    """Bit for bit: whichever of the four that are combined together it is, and whichever come with it."""
    first, rest = drawn(200, directions)
    plane, c, labels = DensePlane(network(nn.ReLU), first, rest), points(9, directions), torch.arange(200) % CLASSES
    logits, losses = plane.outputs(c), plane.cross_entropy(c, labels)
    for size in (1, 2, 3, 4, 5):
        parts = torch.split(c, size)
        assert torch.equal(torch.cat([plane.outputs(part) for part in parts]), logits)
        assert torch.equal(torch.cat([plane.cross_entropy(part, labels) for part in parts]), losses)


def test_cross_entropy_is_that_of_the_logits() -> None:
    first, rest = drawn(200, 2)
    plane, c = DensePlane(network(nn.ReLU), first, rest), points(5, 2)
    labels = torch.stack([torch.arange(200) % CLASSES] * 2, 1)[:, 0]  # not contiguous
    torch.testing.assert_close(
        plane.cross_entropy(c, labels) / 200, plane_cross_entropy(plane.outputs(c), labels), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_in_its_sample(bad: float) -> None:
    first, rest = drawn(150, 2)
    first[0, :, 140] = bad
    plane, c, labels = DensePlane(network(nn.ReLU), first, rest), points(3, 2), torch.zeros(150, dtype=torch.int64)
    finite = plane.outputs(c).isfinite().all(1)
    assert not finite[:, 140].any()
    assert finite[:, np.arange(150) != 140].all()
    assert not plane.cross_entropy(c, labels).isfinite().any()
