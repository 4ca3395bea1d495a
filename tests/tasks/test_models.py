from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

import symloss as sl
from symloss.errors import TaskError
from symloss.tasks import ACTIVATIONS, MODELS, ModelFactory, Task, lenet5, linear, mlp, seeded
from symloss.tasks.models import takes_tokens


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


SMALL = {
    "allcnnc": {"channels": (2, 3)}, "resnet18": {"width": 2}, "wideresnet": {"depth": 10, "width": 1},
    "charcnn": {"vocabulary": 9, "filters": 3}, "gru": {"vocabulary": 9, "hidden": 4},
}  # fmt: skip


def small(name, shape=(1, 14, 14), outputs=3):
    """A small model, its factory and a batch of inputs that it takes."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(9, (4, 7), generator=generator)
    if not takes_tokens(name):
        x = torch.randn(4, *shape, generator=generator)
    return ModelFactory(name, tuple(x.shape[1:]), outputs, SMALL.get(name, {})), x


@pytest.mark.parametrize("name", MODELS)
def test_factories_pickle_and_run_under_vmap(name):
    factory, x = small(name)
    assert pickle.loads(pickle.dumps(factory)) == factory
    models = [factory().eval() for _ in range(3)]
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
        ("allcnnc", {"channels": 8}, "channels holds 2 positive whole numbers"),
        ("allcnnc", {"dropout": 1}, "dropout is a rate from 0 up to, but not, 1; received 1"),
        ("allcnnc", {"input_dropout": "no"}, "input_dropout is a rate"),
        ("resnet18", {"width": (1, 2)}, "width holds a positive whole number"),
        ("resnet18", {"width": 0.5}, "width holds a positive whole number"),
        ("wideresnet", {"depth": 17}, "depth of a wideresnet is 10, 16, 22, 28, .* received 17"),
        ("wideresnet", {"depth": 4}, "depth of a wideresnet is 10"),
        ("charcnn", {"vocabulary": 9}, r"charcnn takes texts, .* shape \[1, 28, 28\]"),
        ("gru", {"vocabulary": 9}, r"gru takes texts"),
        ("mlp", {"vocabulary": 9}, "unknown option"),
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


# Against the papers


def parameters(name, shape, outputs, **options):
    return sum(p.numel() for p in ModelFactory(name, shape, outputs, options)().parameters())


@pytest.mark.parametrize(
    ("name", "shape", "outputs", "options", "expected"),
    [
        ("allcnnc", (3, 32, 32), 10, {}, 1_369_738),  # "≈ 1.3 M"
        ("resnet18", (3, 224, 224), 1000, {}, 11_689_512),  # 11.7 M
        ("resnet18", (3, 32, 32), 10, {}, 11_173_962),
        ("wideresnet", (3, 32, 32), 10, {"depth": 40, "width": 1}, 563_930),  # 0.6 M
        ("wideresnet", (3, 32, 32), 10, {"depth": 16, "width": 4}, 2_748_890),  # 2.7 M
        ("wideresnet", (3, 32, 32), 10, {"depth": 28, "width": 10}, 36_479_194),  # 36.5 M
    ],
)
def test_image_models_have_the_parameters_of_their_papers(name, shape, outputs, options, expected):
    assert parameters(name, shape, outputs, **options) == expected


def test_text_models_have_the_parameters_of_their_equations():
    kim = {"vocabulary": 100, "embedding": 300, "filters": 100, "widths": (3, 4, 5)}
    assert parameters("charcnn", (20,), 2, **kim) == 300 * 100 + 100 * (300 * (3 + 4 + 5) + 3) + 300 * 2 + 2
    cell = sum(p.numel() for p in nn.GRU(16, 64).parameters())
    assert parameters("gru", (20,), 5, vocabulary=100) == 100 * 16 + cell + 64 * 5 + 5


def test_residual_networks_have_their_depth():
    """Layers with weights: on the way through for ResNet-18; all convolutions for a wide one, 6 n + 4."""
    resnet, wide = (ModelFactory(name, (3, 32, 32), 10)() for name in ("resnet18", "wideresnet"))
    on_the_way = [m for path, m in resnet.named_modules() if "shortcut" not in path]
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in on_the_way) == 18
    assert sum(isinstance(m, nn.Conv2d) for m in wide.modules()) == 16


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 32, 32), (2, 9, 31)])
@pytest.mark.parametrize("name", ["allcnnc", "resnet18", "wideresnet"])
def test_image_models_take_many_sizes(name, shape):
    factory, x = small(name, shape, 7)
    assert factory()(x).shape == (4, 7)


@pytest.mark.parametrize("name", ["allcnnc", "resnet18", "wideresnet"])
def test_image_models_say_what_they_need(name):
    for shape in ((64,), (1, 7, 20)):
        with pytest.raises(TaskError, match=rf"{name} takes images .* at least 8 × 8 .* use model='mlp'"):
            ModelFactory(name, shape, 3)()


def test_the_gru_is_that_of_torch():
    model = ModelFactory("gru", (6,), 3, {"vocabulary": 9, "hidden": 5})()
    own, theirs = model[0], nn.GRU(16, 5, batch_first=True)
    theirs.load_state_dict({
        "weight_ih_l0": own.input_weight, "weight_hh_l0": own.state_weight,
        "bias_ih_l0": own.input_bias, "bias_hh_l0": own.state_bias,
    })  # fmt: skip
    tokens = torch.randint(1, 9, (8, 6))
    states, _ = theirs(own.embedding(tokens))
    assert torch.allclose(own(tokens), states[:, -1], atol=1e-6)
    padded = torch.cat([tokens[:, :4], torch.zeros(8, 2, dtype=torch.long)], 1)
    assert torch.allclose(own(padded), states[:, 3], atol=1e-6)


def test_a_character_network_does_not_see_where_its_patterns_are():
    model = ModelFactory("charcnn", (12,), 3, {"vocabulary": 9, "widths": (2, 3)})()
    text = torch.randint(1, 9, (5, 4))
    zeros = torch.zeros(5, 4, dtype=torch.long)
    assert torch.allclose(
        model(torch.cat([zeros, text, zeros], 1)), model(torch.cat([zeros[:, :3], text, zeros, zeros[:, :1]], 1))
    )


def test_widths_longer_than_the_text_are_refused():
    with pytest.raises(TaskError, match="at most the 3 tokens of a text"):
        ModelFactory("charcnn", (3,), 2, {"vocabulary": 9})()


# In the engine


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"linear", "mlp"}))
def test_models_are_searched_and_evaluated(name):
    factory, _ = small(name)
    generator = torch.Generator().manual_seed(1)
    parts = []
    for count in (24, 12, 12):
        x = torch.randn(count, *factory.shape, generator=generator)
        if takes_tokens(name):
            x = torch.randint(9, (count, 7), generator=generator)
        parts.append((x, torch.arange(count) % 3))
    task = Task(factory, *parts, tokens=takes_tokens(name))
    short = {"refinement_steps": 1, "rejection_steps": 0, "fitness_steps": 3, "batch_size": 8}
    result = sl.discover(task, population_size=4, generations=1, guesses=["-y*log(f)"], **short)
    assert any(c.stage == "evaluated" and 0 <= c.fitness <= 1 for c in result.candidates)
    found = sl.evaluate(task, {"mine": "abs(log(1.1*y*f))"}, seeds=2, steps=2, tune_lr=False)
    assert "mine" in str(found)
