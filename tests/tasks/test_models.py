from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from symloss.errors import TaskError
from symloss.tasks import ACTIVATIONS, MODELS, ModelFactory, lenet5, linear, mlp, seeded


def kinds(model):
    return [type(layer).__name__ for layer in model]


def test_perceptrons_are_plain_stacks():
    assert kinds(linear((4,), 3)) == ["Linear"]
    assert kinds(linear((1, 2, 2), 3)) == ["Flatten", "Linear"]
    model = mlp((1, 8, 8), 10)
    assert kinds(model) == ["Flatten", "Linear", "ReLU", "Linear"]
    assert [tuple(p.shape) for p in model.parameters()] == [(64, 64), (64,), (10, 64), (10,)]
    model = mlp((5,), 1, hidden=[7, 3], activation="tanh")
    assert kinds(model) == ["Linear", "Tanh", "Linear", "Tanh", "Linear"]
    assert kinds(mlp((5,), 1, hidden=2)) == ["Linear", "ReLU", "Linear"]


def test_lenet5_has_the_original_sizes():
    for size in (28, 32):
        model = lenet5((1, size, size), 10)
        assert [tuple(p.shape) for p in model.parameters() if p.ndim > 1] == [
            (6, 1, 5, 5), (16, 6, 5, 5), (120, 400), (84, 120), (10, 84),
        ]  # fmt: skip
        assert sum(p.numel() for p in model.parameters()) == 61706
    assert isinstance(model, nn.Sequential)


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 13, 40), (1, 31, 28), (2, 33, 35)])
def test_lenet5_takes_images_of_any_size_from_12(shape):
    model = lenet5(shape, 7, channels=(2, 3), hidden=(5,), activation="tanh")
    assert model(torch.zeros(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("shape", [(64,), (1, 8, 8), (28, 28), (1, 1, 28, 28)])
def test_lenet5_says_what_it_needs(shape):
    with pytest.raises(TaskError, match=r"lenet5 takes images .* use model='mlp'"):
        lenet5(shape, 10)


@pytest.mark.parametrize("name", MODELS)
def test_factories_pickle_and_run_under_vmap(name):
    shape = (1, 14, 14)
    factory = ModelFactory(name, shape, 3)
    assert pickle.loads(pickle.dumps(factory)) == factory
    models, x = [factory() for _ in range(3)], torch.randn(4, *shape)
    parameters, buffers = torch.func.stack_module_state(models)
    many = torch.vmap(lambda p, b: torch.func.functional_call(models[0], (p, b), (x,)))(parameters, buffers)
    assert torch.allclose(many, torch.stack([model(x) for model in models]), atol=1e-5)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    layer = mlp((2,), 1, activation=name)[1]
    assert torch.equal(layer(torch.tensor([0.5])), ACTIVATIONS[name]()(torch.tensor([0.5])))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mpl", {}, "unknown model 'mpl'; did you mean 'mlp'"),
        ("mlp", {"hiden": 3}, "unknown option of model 'mlp': 'hiden'; did you mean 'hidden'"),
        ("linear", {"hidden": 3}, "unknown option of model 'linear': 'hidden'; known: none"),
        ("mlp", {"shape": 3}, "unknown option"),
        ("mlp", {"hidden": 0}, "hidden holds positive whole numbers; received 0"),
        ("mlp", {"hidden": (3, 2.5)}, "hidden holds positive whole numbers"),
        ("mlp", {"hidden": "64"}, "hidden holds positive whole numbers; received '64'"),
        ("mlp", {"activation": "rellu"}, "unknown activation 'rellu'; did you mean 'relu'"),
        ("lenet5", {"channels": (6,)}, "channels holds 2 positive whole numbers"),
    ],
)
def test_unknown_names_and_sizes(name, options, message):
    with pytest.raises(TaskError, match=message):
        ModelFactory(name, (1, 28, 28), 10, options)()


def test_seeded_restores_the_generator_after_an_error_too():
    state = torch.get_rng_state()

    def draw():
        with seeded(5):
            return torch.rand(3)

    def fail():
        with seeded(5):
            torch.rand(3)
            raise KeyError

    first = draw()
    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draw(), first)
