from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import torch

from symloss import tasks
from symloss.errors import TaskError
from symloss.tasks import DataSet, Split, Task
from symloss.tasks.models import takes_tokens

LARGE = {
    name: {"train_samples": 3000, "valid_samples": 1000} for name in ("california", "fashion-mnist", "glyphs-62")
} | {name: {"train_samples": 800, "valid_samples": 800} for name in ("languages", "surnames")}
OFFICIAL = ("fashion-mnist",)
RECORDS = {record.name: record for record in tasks.describe()}
MODEL = {True: "charcnn", False: "linear"}


def require(name: str) -> DataSet:
    """The record of a data set that is there; else the test is skipped with the line that brings it."""
    record = RECORDS[name]
    if not record.present:
        pytest.skip(f"{name}: {record.install}")
    return record


@cache
def loaded(name: str, model: str | None = None, seed: int = 0) -> Task:
    require(name)
    return tasks.load_task(name, model, seed, **LARGE.get(name, {}))


def rows(split: Split) -> set[str]:
    return {hashlib.sha256(row.numpy().tobytes()).hexdigest() for row in split.x}


# The contract: whoever registers a data set in symloss gets these for free (those on the user's disk: `test_disk`)


@pytest.fixture(params=[record.name for record in tasks.describe() if record.folder != ""])
def name(request):
    return request.param


def test_the_record_tells_the_truth(name):
    record = require(name)
    task, samples = loaded(name), record.load()
    assert record.samples in (None, len(samples))
    assert (record.shape, record.kind) == (task.shape, task.kind)
    assert record.classes in ((None,) if task.kind == "regression" else (None, task.classes))
    assert record.source
    assert record.install
    assert task.name.partition(",")[0] == name


def check_parts(task):
    train, valid, test = map(rows, (task.train, task.valid, task.test))
    assert train.isdisjoint(valid | test)
    assert valid.isdisjoint(test)
    assert len(train | valid | test) > 0.7 * sum(map(len, (task.train, task.valid, task.test)))


def test_no_input_is_in_two_parts(name):
    check_parts(loaded(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_no_input_of_a_whole_large_set_is_in_two_parts(name):
    require(name)
    check_parts(tasks.load_task(name))


def test_parts_have_their_shares_and_are_stratified(name):
    record, task = require(name), loaded(name)
    samples = record.load()
    indices = tasks.split_indices(
        samples.x.numpy(), samples.y.numpy(), record.kind, 0, test=samples.test, groups=samples.groups
    )
    sizes = np.array([len(part) for part in indices])
    tested = 0.2 if samples.test is None else samples.test.mean()
    expected = np.array([0.8 * (1 - tested), 0.2 * (1 - tested), tested]) if tested != 0.2 else [0.6, 0.2, 0.2]
    assert np.abs(sizes / sizes.sum() - expected).max() < 0.02
    assert sizes.sum() > 0.98 * len(samples)
    for split in (task.valid, task.test):
        if task.kind == "regression":
            assert abs(split.y.mean() - task.train.y.mean()) < 0.25
        else:
            share, expected = (
                s.y.flatten().long().bincount(minlength=task.classes) / len(s) for s in (split, task.train)
            )
            assert (share - expected).abs().max() < 0.03


def test_inputs_and_regression_targets_are_standardised_on_the_training_part(name):
    task = loaded(name)
    if RECORDS[name].tokens:
        assert task.train.x.dtype == torch.int64
        return
    x = task.train.x.double()
    axes = [axis for axis in range(x.ndim) if axis != 1]
    deviation = x.std(axes, correction=0)
    assert x.mean(axes).abs().max() < 1e-5
    assert ((deviation - 1).abs() < 1e-4).logical_or(deviation == 0).all()
    others = torch.cat([task.valid.x, task.test.x]).double()
    assert others.mean(axes).abs().max() > 1e-4  # would be 0 had they been scaled by themselves
    if task.kind == "regression":
        assert abs(task.train.y.double().mean()) < 1e-5
        assert task.metric(torch.zeros_like(task.train.y), task.train.y) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("model", ["linear", "mlp", "charcnn", "gru"])
def test_models_fit_and_untrained_metrics_are_sensible(name, model):
    if takes_tokens(model) != require(name).tokens:
        with pytest.raises(TaskError, match=f"model {model!r} does not fit task {name!r}.* use"):
            tasks.load_task(name, model)
        return
    task = loaded(name, model)
    outputs = task.new_model(0)(task.valid.x)
    assert outputs.shape == (len(task.valid), task.outputs)
    metric, loss = task.metric(outputs, task.valid.y), task.task_loss(outputs, task.valid.y)
    assert 0.1 < metric < 3
    loss.backward()
    assert torch.isfinite(loss)


def test_seeds_give_other_splits_and_the_same_seed_the_same(name):
    task, other = loaded(name), loaded(name, None, 1)
    assert rows(task.train) != rows(other.train)
    if name not in OFFICIAL:
        assert rows(task.test) != rows(other.test)
    assert task.identity() != other.identity()
    assert pickle.loads(pickle.dumps(task)).identity() == task.identity()


def test_training_helps(name):
    task = loaded(name, MODEL[require(name).tokens])
    model = task.new_model(0)
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    before = task.metric(model(task.valid.x), task.valid.y)
    for _ in range(60):
        optimiser.zero_grad()
        task.task_loss(model(task.train.x), task.train.y).backward()
        optimiser.step()
    assert task.metric(model(task.valid.x), task.valid.y) < 0.7 * before


# Single sets


def test_splits_are_the_same_in_every_process():
    code = (
        "from symloss.tasks import load_task; print(load_task('digits').identity(), load_task('diabetes').identity())"
    )
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == [loaded("digits").identity(), loaded("diabetes").identity()]


def test_digits_are_whole_images():
    from sklearn.datasets import load_digits

    task, raw = loaded("digits"), load_digits()
    images = {tuple(image.flatten()): target for image, target in zip(raw.images, raw.target, strict=True)}
    x = torch.cat([task.train.x, task.valid.x, task.test.x])[:, 0].double()
    mean, deviation = x.min(), 16 / (x.max() - x.min())  # pixels run from 0 to 16
    y = torch.cat([task.train.y, task.valid.y, task.test.y])
    for image, target in zip(((x - mean) * deviation).round(), y, strict=True):
        assert images[tuple(image.flatten().tolist())] == target


def test_mnist_goes_with_lenet5_and_flat_data_do_not():
    assert loaded("mnist-5k", "lenet5").parameters == 61706
    with pytest.raises(TaskError, match=r"lenet5 takes images .* inputs of shape \[30\]"):
        tasks.load_task("breast-cancer", "lenet5")
    with pytest.raises(TaskError, match=r"lenet5 takes images .* inputs of shape \[1, 8, 8\]"):
        tasks.load_task("digits", "lenet5")


def test_boston_has_no_race_variable():
    x = require("boston").load().x
    assert x.shape == (506, 12)
    assert not (x == 396.9).any()  # the commonest value of that column
    assert x[0, [0, 5, 10, 11]].tolist() == [0.00632, 6.575, 15.3, 4.98]


def test_model_options_and_own_models():
    task = tasks.load_task("wine", hidden=(5, 4), activation="tanh")
    assert [tuple(p.shape) for p in task.new_model(0).parameters() if p.ndim == 2] == [(5, 13), (4, 5), (3, 4)]
    task = tasks.load_task("wine", lambda: torch.nn.Linear(13, 3))
    assert task.parameters == 42
    with pytest.raises(TaskError, match="options such as hidden belong to models by name"):
        tasks.load_task("wine", lambda: torch.nn.Linear(13, 3), hidden=3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tasks.load_task("digit"), "unknown task 'digit'; did you mean 'digits'.* known: boston"),
        (lambda: tasks.load_task(None), "a task is a name or the path of a file; received None"),
        (lambda: tasks.load_task(b"wine"), "a task is a name or the path of a file; received b'wine'"),
        (lambda: tasks.load_task("mnist", root=5), "root is a directory; received 5"),
        (lambda: tasks.load_task("wine", "mpl"), "unknown model 'mpl'"),
        (lambda: tasks.load_task("wine", hiden=4), "unknown option of model 'mlp': 'hiden'; did you mean 'hidden'"),
        (lambda: tasks.load_task("wine", seed=-1), "seed"),
        (lambda: tasks.unregister("nothing"), "unknown task 'nothing'"),
        (lambda: tasks.register("digits", dict, kind="binary"), "task 'digits' exists already"),
        (lambda: tasks.register("My task", dict, kind="binary"), "received 'My task'"),
        (lambda: tasks.register("mine", dict, kind="bin"), "unknown kind of task 'bin'; did you mean 'binary'"),
        (lambda: tasks.register("mine", None, kind="binary"), "a loader is a function.* received None"),
    ],
)
def test_mistakes_are_named_in_one_line(call, message):
    with pytest.raises(TaskError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


# Own data sets


@pytest.fixture
def register():
    added = []

    def add(loader, **facts):
        tasks.register("mine", loader, **{"kind": "multiclass"} | facts)
        added.append("mine")

    yield add
    for name in added:
        tasks.unregister(name)


def _table(n=60):
    x = np.random.default_rng(0).normal(size=(n, 5))
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


def test_own_data_sets_are_split_and_scaled(register):
    register(_table)
    task = tasks.load_task("mine")
    assert tasks.names() == sorted(tasks.names())
    assert "mine" in tasks.names()
    test_parts = [len(s) for s in (task.train, task.valid, task.test)]
    assert sum(test_parts) == 60
    assert task.train.x.mean(0).abs().max() < 1e-6


def test_scaling_never_sees_validation_or_test_data(register):
    x, y = _table()
    register(lambda: (x, y))
    before = tasks.load_task("mine")
    parts = tasks.split_indices(x, y, "multiclass", 0)
    x[np.concatenate(parts[1:])] *= 1000
    after = tasks.load_task("mine")
    assert torch.equal(before.train.x, after.train.x)
    assert not torch.equal(before.test.x, after.test.x)


def test_scaling_is_done_before_rounding(register):
    """Large offsets, such as years in seconds, would be lost in float32."""
    x, y = _table()
    register(lambda: (x + 1e9, y))
    assert torch.allclose(tasks.load_task("mine").train.x.std(0, correction=0), torch.ones(5), atol=1e-5)
    assert len(rows(tasks.load_task("mine").train)) == len(tasks.load_task("mine").train)


def test_token_data_sets_are_not_scaled(register):
    register(lambda: (np.arange(120).reshape(60, 2) % 50, np.arange(60) % 2), kind="binary", tokens=True)
    build = lambda: torch.nn.Sequential(torch.nn.Embedding(50, 2), torch.nn.Flatten(), torch.nn.Linear(4, 1))  # noqa: E731
    assert tasks.load_task("mine", build).train.x.dtype == torch.int64


def _fail():
    raise OSError("disk on fire")


@pytest.mark.parametrize(
    ("loader", "facts", "message"),
    [
        (_table, {"package": "no_such_package", "install": 'pip install "x[y]"'}, r'absent; run: pip install "x\[y\]"'),
        (_fail, {}, "the data of task 'mine' cannot be loaded: OSError: disk on fire"),
        (lambda: 3, {}, r"mine data must be a pair \(X, y\)"),
        (lambda: (_table()[0] * np.nan, _table()[1]), {}, "mine inputs hold 300 values that are NaN"),
        (lambda: (_table()[0], _table()[1] * 0), {}, "one class only"),
        (lambda: (_table()[0], _table()[1] - 1), {}, "mine labels must be class indices"),
        (lambda: (np.ones((9, 2)), np.arange(9) % 3), {}, "9 samples are too few for three splits"),
        (lambda: (_table()[0][:2], [0, 1]), {}, "2 samples are too few for three splits"),
        (_table, {"classes": 2}, "labels out of range: a label is 2"),
    ],
)
def test_bad_data_sets_are_refused_in_one_line(register, loader, facts, message):
    register(loader, **facts)
    with pytest.raises(TaskError, match=message) as caught:
        tasks.load_task("mine")
    assert "\n" not in str(caught.value)


def test_an_absent_package_is_listed_with_its_command(register):
    register(_table, package="no_such_package", install="pip install nothing")
    record = {record.name: record for record in tasks.describe()}["mine"]
    assert (record.present, record.install) == (False, "pip install nothing")


def test_listing_imports_no_data_package():
    code = (
        "import sys; from symloss import tasks; print(len([r.present for r in tasks.describe()]));"
        "assert not {'sklearn', 'mlxtend', 'matplotlib', 'pandas', 'PIL', 'faker', 'babel', 'arfs'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == len(tasks.names())
