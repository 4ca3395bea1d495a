"""Every network against the module itself under autograd, one copy at a time."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from symloss.population.functional import FunctionalNetwork
from symloss.population.networks import DenseNetwork, network_for, trainable
from symloss.population.separate import SeparateNetwork
from symloss.tasks.models import seeded
from tests.population.problems import MODELS, Model

COUNT, BATCH, OUTPUTS = 3, 7, 2


def build(name: str, seed: int = 0) -> nn.Module:
    with seeded(seed):
        return Model(name, OUTPUTS)().double()


def setting(
    name: str,
) -> tuple[DenseNetwork | FunctionalNetwork | SeparateNetwork, Tensor, list[nn.Module], list[Tensor]]:
    x = torch.randn(BATCH, 6, dtype=torch.float64)
    copies = [build(name, seed) for seed in range(COUNT)]
    stacked = [torch.stack(ps) for ps in zip(*(trainable(m) for m in copies), strict=True)]
    return network_for(lambda: build(name), x), x, copies, stacked


@pytest.mark.parametrize(
    ("name", "kind", "together"),
    [("linear", DenseNetwork, True), ("dense", DenseNetwork, True), ("tanh", DenseNetwork, True),
     ("deep", DenseNetwork, True), ("convolution", FunctionalNetwork, False), ("dropout", FunctionalNetwork, True),
     ("normalised", SeparateNetwork, False)],
)  # fmt: skip
def test_the_fastest_network_is_chosen(name: str, kind: type, together: bool) -> None:
    network = setting(name)[0]
    assert type(network) is kind
    assert getattr(network, "together", together) == together


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("together", [False, True])
def test_forward_and_backward(name: str, together: bool) -> None:
    network, x, copies, stacked = setting(name)
    if isinstance(network, FunctionalNetwork):
        network.together = together
    cotangent = torch.randn(COUNT, OUTPUTS, BATCH, dtype=torch.float64)
    logits, saved = network.forward(stacked, x)
    gradients = network.backward(stacked, saved, cotangent)
    assert logits.shape == (COUNT, OUTPUTS, BATCH)
    for p, model in enumerate(copies):
        output = model(x)
        expected = torch.autograd.grad(output, list(model.parameters()), cotangent[p].t())
        assert torch.allclose(logits[p].t(), output, atol=1e-12)
        assert all(torch.allclose(g[p], e, atol=1e-12) for g, e in zip(gradients, expected, strict=True))


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_at_shared_parameters(name: str) -> None:
    network, x, copies, _ = setting(name)
    model, parameters = copies[0], trainable(copies[0])
    cotangent = torch.randn(COUNT, OUTPUTS, BATCH, dtype=torch.float64)
    tangents = [torch.randn(COUNT, *p.shape, dtype=torch.float64) for p in parameters]
    logits, saved = network.forward_shared(parameters, x)
    gradients = network.backward_shared(parameters, saved, cotangent)
    products = network.jvp_shared(parameters, saved, tangents)
    names = [n for n, _ in model.named_parameters()]
    buffers = dict(model.named_buffers())

    def run(*values: Tensor) -> Tensor:
        state = dict(zip(names, values, strict=True)) | {k: v.clone() for k, v in buffers.items()}
        return torch.func.functional_call(model, state, (x,))

    assert torch.allclose(logits[0].t(), run(*parameters), atol=1e-12)
    for p in range(COUNT):
        pulled = torch.func.vjp(run, *parameters)[1](cotangent[p].t())
        assert all(torch.allclose(g[p], e, atol=1e-12) for g, e in zip(gradients, pulled, strict=True))
        pushed = torch.func.jvp(run, tuple(parameters), tuple(t[p] for t in tangents))[1]
        assert torch.allclose(products[p].t(), pushed, atol=1e-12)


@pytest.mark.parametrize("name", [*MODELS, "dropout"])
def test_evaluation_mode_and_an_untouched_module(name: str) -> None:
    network, x, copies, stacked = setting(name)
    logits = network.evaluate(stacked, x)
    for p, model in enumerate(copies):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        assert torch.allclose(logits[p].t(), model.eval()(x), atol=1e-12)
        assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    if isinstance(network, FunctionalNetwork):
        assert network.model.training
        assert all(p.grad is None for p in network.model.parameters())


def test_batch_statistics_belong_to_each_copy() -> None:
    network, x, copies, stacked = setting("normalised")
    network.begin(COUNT)
    for _ in range(3):
        network.forward(stacked, x)
    for model in copies:
        for _ in range(3):
            model(x)
    logits = network.evaluate(stacked, x)
    assert all(torch.allclose(logits[p].t(), m.eval()(x), atol=1e-12) for p, m in enumerate(copies))
    network.begin(COUNT)
    assert not torch.allclose(network.evaluate(stacked, x), logits)


def test_dropout_masks_are_common_to_all_copies() -> None:
    network, x, copies, _ = setting("dropout")
    same = [p.expand(COUNT, *p.shape) for p in trainable(copies[0])]
    logits, _ = network.forward(same, x)
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(network.forward(same, x)[0], logits)


def test_one_line_says_why_a_model_is_slow(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="symloss"):
        network_for(lambda: build("normalised"), torch.randn(4, 6, dtype=torch.float64))
    assert len(caplog.records) == 1
    assert "one copy at a time" in caplog.text


def test_frozen_and_tied_parameters() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 6), nn.Linear(6, 6)
            self.last.weight = self.first.weight
            self.first.bias.requires_grad_(False)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.first(x)))

    def tied() -> nn.Module:
        with seeded(0):
            return Tied().double()

    model, x = tied(), torch.randn(4, 6, dtype=torch.float64)
    network = network_for(tied, x)
    parameters = trainable(model)
    assert [p.shape for p in parameters] == [(6, 6), (6,)]
    logits, saved = network.forward([p.unsqueeze(0) for p in parameters], x)
    expected = torch.autograd.grad(model(x).sum(), [model.first.weight, model.last.bias])
    gradients = network.backward([p.unsqueeze(0) for p in parameters], saved, torch.ones_like(logits))
    assert all(torch.allclose(g[0], e) for g, e in zip(gradients, expected, strict=True))


def test_a_hook_or_an_unknown_layer_is_not_recognised() -> None:
    model = nn.Sequential(nn.Linear(6, 2))
    assert DenseNetwork.recognise(model) is not None
    model[0].register_forward_hook(lambda module, args, output: output * 2)
    assert DenseNetwork.recognise(model) is None
    assert DenseNetwork.recognise(nn.Sequential(nn.Linear(6, 2), nn.Dropout())) is None
    assert DenseNetwork.recognise(nn.Sequential(nn.ReLU(), nn.Linear(6, 2))) is None


def test_masks_are_common_one_at_a_time_too() -> None:
    def model() -> nn.Module:
        with seeded(0):
            layers = [nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, OUTPUTS)]
            return nn.Sequential(*layers).double()

    x = torch.randn(BATCH, 6, dtype=torch.float64)
    network = network_for(model, x)
    same = [p.expand(COUNT, *p.shape) for p in trainable(model())]
    first, _ = network.forward(same, x)
    assert torch.equal(first[0], first[1])
    assert not torch.equal(network.forward(same, x)[0], first)


def test_derivatives_go_through_the_masks_of_the_forward_pass() -> None:
    network, x, copies, _ = setting("dropout")
    assert isinstance(network, FunctionalNetwork)
    parameters = trainable(copies[0])
    tangents = [torch.randn(COUNT, *p.shape, dtype=torch.float64) for p in parameters]
    _, saved = network.forward_shared(parameters, x)
    torch.rand(17)
    before = torch.random.get_rng_state()
    products = network.jvp_shared(parameters, saved, tangents)
    assert torch.equal(torch.random.get_rng_state(), before)
    transposed = SeparateNetwork(lambda: build("dropout")).jvp_shared(parameters, saved, tangents)
    assert torch.allclose(products, transposed, atol=1e-12)
