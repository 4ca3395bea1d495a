"""Layers over many tasks do for each what torch's layers do for one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from symloss.fewshot import layers
from symloss.fewshot.loss import Network, prototypes, relations, summary


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("inputs", [1, 3, 6])
@pytest.mark.parametrize("kernel", [1, 3])
def test_convolution(inputs: int, kernel: int) -> None:
    x, w = randn(5, 2, inputs, 7, 6), randn(2, 4, inputs, kernel, kernel, seed=1)
    found = layers.convolve(x, w)
    shared = layers.convolve(x, w[0])
    for t in range(2):
        assert torch.allclose(found[:, t], F.conv2d(x[:, t], w[t], padding=kernel // 2))
        assert torch.allclose(shared[:, t], F.conv2d(x[:, t], w[0], padding=kernel // 2))


@pytest.mark.parametrize("inputs", [1, 6])
def test_pooling(inputs: int) -> None:
    y = layers.convolve(randn(5, 2, inputs, 7, 6), randn(2, 4, inputs, 3, 3, seed=1))
    for images in (y, y.contiguous()):
        assert torch.equal(layers.pool(images).flatten(0, 1), F.max_pool2d(y.flatten(0, 1), 2))


@pytest.mark.parametrize("inputs", [2, 6])  # moments from the patches, and from the outputs
@pytest.mark.parametrize("shared", [False, True])
def test_normalisation(inputs: int, shared: bool) -> None:
    x, weight, w, b = randn(5, 2, inputs, 4, 4), randn(2, 3, inputs, 3, 3, seed=3), randn(3, seed=1), randn(3, seed=2)
    weight = weight[0] if shared else weight
    y = layers.convolve(x, weight)
    scale, shift = layers.normalisation(layers.moments(y, x, weight), w, b)
    found = y * scale[..., None, None] + shift[..., None, None]
    for t in range(2):
        assert torch.allclose(found[:, t], F.batch_norm(y[:, t], None, None, w, b, training=True))


def test_linear() -> None:
    x, w, b = randn(2, 5, 3), randn(2, 4, 3, seed=1), randn(2, 4, seed=2)
    for t in range(2):
        assert torch.allclose(layers.linear(x, w, b)[t], F.linear(x[t], w[t], b[t]))
        assert torch.allclose(layers.linear(x, w[0], b[0])[t], F.linear(x[t], w[0], b[0]))


def test_film_and_its_identity() -> None:
    x, a = randn(5, 3), randn(5, 4, seed=1)
    gamma, beta = layers.modulation(x, torch.zeros(8, 3).double(), torch.zeros(8).double())
    assert torch.equal(gamma * a + beta, a)
    w, b = randn(8, 3, seed=2), randn(8, seed=3)
    gamma, beta = layers.modulation(x, w, b)
    assert torch.allclose(gamma, 1 + x @ w[:4].T + b[:4])
    assert torch.allclose(beta, x @ w[4:].T + b[4:])


def test_a_loss_network_is_zero_at_the_start_and_film_can_be_left_out() -> None:
    network, x = Network(3, film=True).double(), randn(4, 5, 3)
    assert torch.equal(network(x), torch.zeros(4, 5).double())
    with torch.no_grad():
        for place, p in enumerate(network.last.parameters()):
            p += randn(*p.shape, seed=place)
    assert torch.equal(network(x), network(x, film=False))
    with torch.no_grad():
        for place, p in enumerate(network.psi.parameters()):
            p += randn(*p.shape, seed=place)
    assert not torch.allclose(network(x), network(x, film=False))


def test_prototypes_and_relations() -> None:
    target = F.one_hot(torch.tensor([[0, 1, 0, 1]]), 2).double()
    support = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [2.0, 0.0], [4.0, 2.0]]]).double()
    assert prototypes(support, target).tolist() == [[[1.0, 0.0], [4.0, 1.0]]]
    queries = torch.tensor([[[1.0, 0.0]]]).double()
    wanted = torch.tensor([0.0, -(9 + 1) / 2]).double().softmax(0)
    assert torch.allclose(relations(support, queries, target, "multiclass")[0, 0], wanted)
    weights = torch.tensor([-1.0, -9.0, -1.0, -13.0]).double().div(2).softmax(0)
    values = torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]).double()
    assert torch.allclose(relations(support, queries, values, "regression")[0, 0], weights @ values[0])


def test_summary_and_its_finite_slope_where_all_entries_are_equal() -> None:
    tensor = torch.tensor([[1.0, -3.0], [2.0, 2.0], [0.0, 0.0]]).double().requires_grad_()
    found = summary(tensor)
    wanted = torch.tensor([[-1, 2, 2, 5**0.5], [2, 0, 2, 2], [0, 0, 0, 0]]).double()
    assert torch.allclose(found, wanted, atol=2e-3)
    (slope,) = torch.autograd.grad(found.sum(), tensor, create_graph=True)
    assert torch.isfinite(slope).all()
    assert torch.isfinite(torch.autograd.grad(slope.square().sum(), tensor)[0]).all()
