"""The plain peer of the search benchmark does what the engine does, so that comparing with it is fair."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks import plain
from symloss.discovery.settings import Settings
from symloss.expression.expression import Expression
from symloss.tasks import load_task

CROSS_ENTROPY = Expression(("mul", "mul", "y", "-1", "log", "f"))
RISING = Expression(("mul", "y", "log", "f"))  # its minimum is at the worst predictions
FLAT = Expression(("mul", "y", "sign", "f"))  # no gradient in f
HUGE = Expression(("square", "square", "square", "f"), (1e30, 1.0, 1.0))  # overflows float32
NAN = Expression(("sub", *HUGE.nodes, "add", "y", *HUGE.nodes), (1.0, *HUGE.weights, 1.0, 1.0, 1.0, *HUGE.weights))

TINY = {"refinement_steps": 5, "fitness_steps": 5, "rejection_steps": 20}


@pytest.fixture(scope="module")
def task():
    return load_task("digits", model="mlp", seed=0)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def test_tree_loss_is_torch_cross_entropy():
    outputs, target = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    for trainable in (False, True):
        loss = plain.TreeLoss(CROSS_ENTROPY, trainable)
        torch.testing.assert_close(loss(outputs, target), F.cross_entropy(outputs, target))


def test_double_backward_is_the_central_difference():
    expression = Expression(
        ("add", "square", "sub", "y", "f", "div", "tanh", "f", "y"), (0.9, 1.1, 1.2, 0.8, 0.7, 1.3, 0.6, 1.4)
    )
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    train, valid = ((torch.randn(8, 3).double(), torch.arange(8) % 3) for _ in range(2))
    task = SimpleNamespace(task_loss=F.cross_entropy)

    def unrolled(weights):
        loss = plain.TreeLoss(expression, trainable=True)
        loss.weights = nn.Parameter(weights)
        return loss, plain.unrolled_loss(task, loss, model, train, valid, rate=0.5)

    start = torch.tensor(expression.weights).double()
    loss, outer = unrolled(start.clone())
    outer.backward(inputs=list(loss.parameters()))
    h = 1e-5
    for edge, step in enumerate(h * torch.eye(len(start)).double()):
        difference = (unrolled(start + step)[1] - unrolled(start - step)[1]).item() / (2 * h)
        assert loss.weights.grad[edge].item() == pytest.approx(difference, rel=1e-6, abs=1e-10)
    assert loss.weights.grad.abs().max() > 1e-4


def test_refinement_lowers_the_unrolled_loss(task):
    settings = Settings(refinement_steps=40, refinement_rate=0.05, learning_rate=0.5)
    refined = plain.refine(task, settings, CROSS_ENTROPY)
    train, valid = ((split.x[:128], split.y[:128]) for split in (task.train, task.valid))
    models = [task.make_model() for _ in range(5)]

    def mean(expression):
        losses = [plain.unrolled_loss(task, plain.TreeLoss(expression), m, train, valid, 0.5) for m in models]
        return torch.stack(losses).mean()

    assert refined.nodes == CROSS_ENTROPY.nodes
    assert mean(refined) < mean(CROSS_ENTROPY)


def test_refinement_leaves_weights_without_a_gradient(task):
    assert plain.refine(task, Settings(refinement_steps=2), FLAT) == FLAT


def test_refinement_that_diverges_is_none(task):
    assert plain.refine(task, Settings(refinement_steps=2), NAN) is None


@pytest.mark.parametrize(
    ("expression", "passes"), [(CROSS_ENTROPY, True), (RISING, False), (FLAT, False), (HUGE, False), (NAN, False)]
)
def test_rejection(task, expression, passes):
    assert plain.passes_rejection(task, Settings(), expression) is passes


def test_fitness(task):
    settings = Settings(fitness_steps=60, learning_rate=0.5, seed=3)
    trained = plain.fitness(task, settings, CROSS_ENTROPY)
    assert trained == plain.fitness(task, settings, CROSS_ENTROPY)  # common random numbers
    assert trained < 0.25
    assert plain.fitness(task, settings, FLAT) > 0.6
    assert plain.fitness(task, settings, HUGE) == math.inf
    assert plain.fitness(task, settings, NAN) == math.inf


def test_run(task):
    before = torch.random.get_rng_state()
    result, again = (plain.run(task, population_size=4, generations=2, seed=1, **TINY) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    timeless = ("best_fitness", "candidates", "evaluated", "rejected", "front")
    assert [result[key] for key in timeless] == [again[key] for key in timeless]
    assert result["candidates"] == 8
    assert 4 <= result["evaluated"] <= 8
    assert 0 <= result["rejected"] <= result["evaluated"]
    assert 0 < sum(result["seconds"].values()) <= result["seconds_cpu"]
    assert result["best_fitness"] == min((fitness for _, fitness, _ in result["front"]), default=math.inf)


def test_cache_holds_rejected_trees_and_ignores_weights(task, monkeypatch):
    search = plain.Search(task, Settings(**TINY))
    rejected = search.evaluate(RISING)
    assert rejected.fitness == math.inf
    monkeypatch.setattr(plain, "refine", None)  # a second evaluation would fail
    assert search.evaluate(RISING.with_weights((0.9, 1.1, 1.2))) is rejected


def test_front_is_what_no_smaller_tree_beats(task):
    search = plain.Search(task, Settings())
    trees = [FLAT, RISING, CROSS_ENTROPY, NAN]
    search.cache = {
        str(index): plain.Individual(tree, fitness)
        for index, (tree, fitness) in enumerate(zip(trees, (0.5, 0.4, 0.4, math.inf), strict=True))
    }
    assert [one.expression for one in search.front()] == [RISING]
    search.cache["4"] = plain.Individual(NAN, 0.1)
    assert [one.fitness for one in search.front()] == [0.4, 0.1]
