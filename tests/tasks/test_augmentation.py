"""Random changes of training images: what they do, and that they touch nothing that is measured."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import symloss as sl
from symloss.errors import TaskError
from symloss.evaluation import fit
from symloss.population.training import Sgd, Workspace, train, validation_metric
from symloss.tasks import Augmentation, ModelFactory, Task, load_task


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_flips_mirror_about_half_of_the_images():
    x = torch.arange(400.0 * 3 * 4 * 5).reshape(400, 3, 4, 5)
    changed = Augmentation(crop=False)(x, generator())
    mirrored = (changed == x.flip(3)).flatten(1).all(1)
    assert torch.equal(changed[~mirrored], x[~mirrored])
    assert 150 < mirrored.sum() < 250


def test_crops_are_windows_of_the_padded_image():
    x = torch.rand(200, 2, 16, 24)
    changed = Augmentation(flip=False)(x, generator())
    padded = nn.functional.pad(x, (3, 3, 2, 2), mode="reflect")
    seen = set()
    for before, after in zip(padded, changed, strict=True):
        places = [(i, j) for i in range(5) for j in range(7) if torch.equal(before[:, i : i + 16, j : j + 24], after)]
        assert len(places) == 1
        seen |= set(places)
    assert len(seen) == 35


def test_an_image_of_one_value_stays_so():
    x = torch.full((5, 1, 8, 8), 3.0)
    assert torch.equal(Augmentation()(x, generator()), x)


def tiny(augment=None, model="lenet5", **changes):
    x = torch.rand(40, 1, 12, 12, generator=generator())
    y = torch.arange(40) % 2
    parts = [(x[:20], y[:20]), (x[20:30], y[20:30]), (x[30:], y[30:])]
    return Task(ModelFactory(model, (1, 12, 12), 2), *parts, augment=augment, **changes)


def test_only_training_batches_change_and_in_the_same_way_each_time():
    plain, augmented = Workspace(tiny(), 8), Workspace(tiny(Augmentation()), 8)
    one, other = augmented.batches(20, 2, 0)
    x, y = augmented.pick(augmented.train, one)
    assert not torch.equal(x, plain.pick(plain.train, one)[0])
    assert torch.equal(y, plain.pick(plain.train, one)[1])
    fresh = Workspace(tiny(Augmentation()), 8)
    assert torch.equal(x, fresh.pick(fresh.train, one)[0])
    assert torch.equal(augmented.pick(augmented.valid, one % 10)[0], plain.pick(plain.valid, one % 10)[0])
    state = torch.get_rng_state()
    assert torch.equal(augmented.pick(augmented.train, one)[0], x)
    assert torch.equal(torch.get_rng_state(), state)
    twice = augmented.inputs(augmented.train, one.flip(0)).flip(0)
    assert not torch.equal(twice, x)  # another order is another batch, so that epochs differ
    assert not torch.equal(augmented.pick(augmented.train, other)[0], x)


@pytest.mark.parametrize("model", ["lenet5", "mlp"])
def test_training_sees_the_changes_and_measuring_does_not(model):
    plain, augmented = Workspace(tiny(model=model), 8), Workspace(tiny(Augmentation(), model), 8)
    runs = [train(w, w.task_gradient, 2, 5, Sgd(0.1)) for w in (plain, augmented, augmented)]
    assert not torch.equal(runs[0][0], runs[1][0])
    assert all(map(torch.equal, runs[1], runs[2]))
    assert torch.equal(runs[1][0][0], runs[1][0][1])  # common random numbers: two equal losses, two equal models
    assert validation_metric(plain, runs[0]) == validation_metric(augmented, runs[0])


def test_a_perceptron_trains_as_a_plain_loop_on_the_changed_batches():
    """The compiled loops of dense networks take data as they are, and so must step aside."""
    task = tiny(Augmentation(), "mlp")
    workspace = Workspace(task, 8)
    (found,) = (p[0] for p in train(workspace, workspace.task_gradient, 1, 3, Sgd(0.1))[:1])
    model = task.new_model(0)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for index in workspace.batches(20, 3, 0):
        optimiser.zero_grad()
        task.task_loss(model(workspace.inputs(workspace.train, index)), task.train.y[index]).backward()
        optimiser.step()
    assert torch.allclose(found, next(model.parameters()), atol=1e-6)


def test_a_fitted_model_is_the_one_that_was_evaluated():
    task = tiny(Augmentation())
    workspace = Workspace(task, 8)
    (weights,) = (p[0] for p in train(workspace, workspace.task_gradient, 1, 4, Sgd(0.1))[:1])
    model = fit(task, "cross-entropy", steps=4, batch_size=8, learning_rate=0.1)
    assert torch.allclose(weights, next(model.parameters()), atol=1e-6)


@pytest.mark.slow
def test_a_search_with_augmentation_is_the_same_for_any_number_of_workers():
    task = load_task("digits", hidden=4, augment="crop", train_samples=60, valid_samples=30)
    short = {"refinement_steps": 2, "rejection_steps": 5, "fitness_steps": 5, "batch_size": 8, "chunk_size": 2}
    results = [sl.discover(task, population_size=4, generations=1, n_jobs=jobs, **short) for jobs in (1, 2)]
    first, second = ([(str(c.expression), c.fitness) for c in result.candidates] for result in results)
    assert first == second
    assert task.recipe["options"]["augment"] == "crop"


def test_tasks_with_other_changes_are_other_tasks():
    changes = [None, Augmentation(), Augmentation(crop=False), Augmentation(flip=False), add_noise]
    assert len({tiny(change).identity() for change in changes}) == 5


def add_noise(x, generator):
    return x + 0.1 * torch.randn(x.shape, generator=generator)


def test_own_changes():
    workspace = Workspace(tiny(add_noise), 8)
    index = torch.arange(8)
    difference = workspace.inputs(workspace.train, index) - workspace.train.x[:8]
    assert 0.05 < difference.std() < 0.15


def _global(x, generator):
    return x + torch.rand(())


def _fail(x, generator):
    raise ValueError("no\nway")


@pytest.mark.parametrize(
    ("augment", "message"),
    [
        (_fail, r"augment failed on inputs of shape \[3, 1, 12, 12\]: ValueError: no way"),
        (
            lambda x, g: x[:, :, 1:],
            r"must return inputs like those it gets, .* received torch.float32 \[3, 1, 11, 12\]",
        ),
        (lambda x, g: x.double(), "received torch.float64"),
        (lambda x, g: None, "received NoneType"),
        (_global, "two results for one state of its generator"),
    ],
)
def test_changes_that_cannot_be_used(augment, message):
    with pytest.raises(TaskError, match=message):
        tiny(augment)


@pytest.mark.parametrize("ways", ["rotate", "crop,rotate", "", 3, None, ["crop"]])
def test_unknown_ways(ways):
    with pytest.raises(TaskError, match="augment is True, 'crop', 'flip' or 'crop,flip'; received"):
        load_task("digits", augment=ways)


def test_only_images_are_changed():
    with pytest.raises(TaskError, match=r"augment is for images; inputs of task 'wine' have shape \[13\]"):
        load_task("wine", augment=True)
    assert load_task("digits", augment=True).augment == Augmentation()
    assert load_task("digits", augment="flip").augment == Augmentation(crop=False)
