"""Every network against the module itself under autograd, one copy at a time."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor, nn

from symloss.population.networks import DenseNetwork, FunctionalNetwork, network_for, trainable
from tests.population.problems import MODELS, Model

COUNT, BATCH, OUTPUTS = 3, 7, 2


def build(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return Model(name, OUTPUTS)().double()


def setting(name: str) -> tuple[DenseNetwork | FunctionalNetwork, Tensor, list[nn.Module], list[Tensor]]:
    x = torch.randn(BATCH, 6, dtype=torch.float64)
    copies = [build(name, seed) for seed in range(COUNT)]
    stacked = [torch.stack(ps) for ps in zip(*(trainable(m) for m in copies), strict=True)]
    return network_for(build(name), x), x, copies, stacked


@pytest.mark.parametrize(
    ("name", "kind", "ways"),
    [("linear", DenseNetwork, None), ("dense", DenseNetwork, None), ("tanh", DenseNetwork, None),
     ("deep", DenseNetwork, None), ("convolution", FunctionalNetwork, (True, False)),
     ("dropout", FunctionalNetwork, (True, True)),
     ("normalised", FunctionalNetwork, (False, False))],
)  # fmt: skip
def test_the_fastest_network_is_chosen(name: str, kind: type, ways: tuple[bool, bool] | None) -> None:
    network = setting(name)[0]
    assert type(network) is kind
    if isinstance(network, FunctionalNetwork):
        assert (network.vmap, network.together) == ways


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("together", [False, True])
def test_forward_and_backward(name: str, together: bool) -> None:
    network, x, copies, stacked = setting(name)
    if isinstance(network, FunctionalNetwork):
        network.together = together and network.vmap
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
        assert network._model.training
        assert all(p.grad is None for p in network._model.parameters())


def test_batch_statistics_belong_to_each_copy() -> None:
    network, x, copies, stacked = setting("normalised")
    assert isinstance(network, FunctionalNetwork)
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
        network_for(build("normalised"), torch.randn(4, 6, dtype=torch.float64))
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

    model, x = Tied().double(), torch.randn(4, 6, dtype=torch.float64)
    network = network_for(model, x)
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
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, OUTPUTS)).double()
    x = torch.randn(BATCH, 6, dtype=torch.float64)
    network = network_for(model, x)
    same = [p.expand(COUNT, *p.shape) for p in trainable(model)]
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
    assert torch.allclose(products, network._transposed_jvp(saved[0], saved[1], tangents), atol=1e-12)
