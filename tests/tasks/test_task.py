from __future__ import annotations

import pickle
import random
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from symloss.errors import SymlossError, TaskError
from symloss.tasks import ModelFactory, Split, Task

LINEAR = ModelFactory("linear", (4,), 3)


def data(n: int = 12, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 4, generator=generator), torch.arange(n) % classes


def custom(**changes):
    values = {"model": LINEAR, "train": data(12), "valid": data(9), "test": data(6)} | changes
    return Task(**values)


def binary(**changes):
    return custom(**{
        "model": ModelFactory("linear", (4,), 1), "kind": "binary",
        "train": data(12, 2), "valid": data(8, 2), "test": None,
    } | changes)  # fmt: skip


def regression(**changes):
    parts = {part: (data(n)[0], data(n)[0].sum(1)) for part, n in (("train", 12), ("valid", 8))}
    return custom(**{"model": ModelFactory("linear", (4,), 1), "kind": "regression", "test": None} | parts | changes)


class Pairs(Dataset):
    def __init__(self, items):
        self.items, self.reads = items, 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.reads += 1
        return self.items[i]


class Stream(IterableDataset):
    def __iter__(self):
        x, y = data()
        yield from zip(x, y, strict=True)


# What a task has


def test_attributes_of_each_kind():
    task = custom(name="mine")
    assert (task.name, task.kind, task.outputs, task.classes, task.shape) == ("mine", "multiclass", 3, 3, (4,))
    assert (task.metric_name, task.parameters, task.device.type) == ("error rate", 15, "cpu")
    assert [len(s) for s in (task.train, task.valid, task.test)] == [12, 9, 6]
    assert task.train.x.dtype == torch.float32
    assert task.train.y.dtype == torch.int64
    task = binary()
    assert (task.outputs, task.classes, task.metric_name, task.test) == (1, 2, "error rate", None)
    assert task.train.y.shape == (12, 1)
    assert task.train.y.dtype == torch.float32
    task = regression()
    assert (task.outputs, task.classes, task.metric_name) == (1, None, "mean squared error")
    assert task.train.y.shape == (12, 1)


def test_summary_is_one_line_with_the_numbers():
    task = custom(name="mine")
    assert task.summary() == (
        "mine: multiclass, 3 classes; 12 training + 9 validation + 6 test; inputs 4; 15 parameters; error rate"
    )
    assert repr(task) == f"Task({task.summary()})"
    assert repr(task.train) == "Split(x=[12, 4], y=[12])"


@pytest.mark.parametrize(
    "form",
    [
        lambda x, y: (x, y),
        lambda x, y: [x.numpy(), y.numpy()],
        lambda x, y: (x.tolist(), y.tolist()),
        lambda x, y: (x.double(), y.double()),
        lambda x, y: (x.requires_grad_(), y.to(torch.uint8)),
        lambda x, y: (x, y[:, None]),
        lambda x, y: (x, F.one_hot(y)),
        lambda x, y: (x.numpy()[::-1][::-1], np.eye(3)[y.numpy()]),
        lambda x, y: (x.numpy().astype(">f4"), y.numpy().astype(np.uint16)),
        lambda x, y: (list(x), list(y)),
        lambda x, y: Split(x, y),
        lambda x, y: TensorDataset(x, y),
        lambda x, y: Pairs(list(zip(x, y, strict=True))),
        lambda x, y: Pairs([(a.numpy(), int(b)) for a, b in zip(x, y, strict=True)]),
        lambda x, y: Pairs([[a.tolist(), float(b)] for a, b in zip(x, y, strict=True)]),
        lambda x, y: Stream(),
    ],
)
def test_every_form_of_the_same_data_gives_the_same_task(form):
    task = custom(train=form(*data(12)))
    assert torch.equal(task.train.x, data(12)[0])
    assert torch.equal(task.train.y, data(12)[1])
    assert task.identity() == custom().identity()


def test_pandas_frames_are_arrays():
    pandas = pytest.importorskip("pandas")
    x, y = data(12)
    task = custom(train=(pandas.DataFrame(x.numpy()), pandas.Series(y.numpy())))
    assert task.identity() == custom().identity()


def test_a_dataset_is_read_once():
    dataset = Pairs(list(zip(*data(12), strict=True)))
    task = custom(train=dataset)
    task.identity(), task.to(dtype=torch.float64), task.new_model(1)
    assert dataset.reads == 12


@pytest.mark.parametrize("form", [lambda t: t, lambda t: t.numpy()])
def test_data_are_copied(form):
    x, y = data(12)
    task = custom(train=(form(x), form(y)))
    before = task.identity()
    x.zero_(), y.zero_()
    assert task.identity() == before


def test_soft_labels_stay_soft():
    x, y = data(12)
    soft = 0.9 * F.one_hot(y, 3) + 0.1 / 3
    task = custom(train=(x, soft))
    assert task.train.y.dtype == torch.float32
    assert torch.allclose(task.train.y, soft)
    outputs = task.new_model(0)(task.train.x)
    expected = -(soft * outputs.log_softmax(1)).sum(1).mean()
    assert task.task_loss(outputs, task.train.y).item() == pytest.approx(expected.item(), rel=1e-6)
    assert task.metric(outputs, task.train.y) == task.metric(outputs, y)


def test_tokens_stay_whole_numbers():
    x = torch.arange(24).reshape(12, 2) % 5
    model = partial(nn.Sequential, nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 3))
    with pytest.raises(TaskError, match="same one twice"):
        custom(model=model, train=(x, data(12)[1]), valid=(x, data(12)[1]), test=None, tokens=True)

    def build():
        return nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(6, 3))

    task = custom(model=build, train=(x, data(12)[1]), valid=(x.short(), data(12)[1]), test=None, tokens=True)
    moved = task.to(dtype=torch.float64)
    assert task.train.x.dtype == moved.valid.x.dtype == torch.int64
    assert moved.new_model(0)(moved.train.x).dtype == torch.float64
    with pytest.raises(TaskError, match="whole numbers of at least 0 with tokens=True"):
        custom(model=build, train=(x - 1, data(12)[1]), tokens=True)
    with pytest.raises(TaskError, match=r"cannot take inputs of shape \[3, 2\]"):
        custom(model=build, train=(x, data(12)[1]), valid=(x, data(12)[1]), test=None)


# Metric and loss


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 2**31))
def test_error_rate_is_the_share_of_wrong_classes(n, classes, seed):
    generator = np.random.default_rng(seed)
    outputs = generator.normal(size=(n, classes))
    y = generator.integers(classes, size=n)
    expected = sum(max(range(classes), key=row.__getitem__) != label for row, label in zip(outputs, y, strict=True)) / n
    task = TASKS["multiclass"]
    assert task.metric(torch.tensor(outputs), torch.tensor(y)) == pytest.approx(expected)


@given(st.integers(1, 40), st.integers(0, 2**31))
def test_binary_and_regression_metrics(n, seed):
    generator = np.random.default_rng(seed)
    outputs, real, label = generator.normal(size=(n, 1)), generator.normal(size=(n, 1)), generator.integers(2, size=n)
    wrong = np.mean([(1 / (1 + np.exp(-o)) > 0.5) != t for (o,), t in zip(outputs, label, strict=True)])
    y = torch.tensor(label, dtype=torch.float64)[:, None]
    assert TASKS["binary"].metric(torch.tensor(outputs), y) == pytest.approx(wrong)
    squared = TASKS["regression"].metric(torch.tensor(outputs), torch.tensor(real))
    assert squared == pytest.approx(np.mean((outputs - real) ** 2))


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_metric_of_many_models_is_that_of_each_and_nan_is_never_good(kind):
    task = TASKS[kind]
    outputs = torch.randn(5, len(task.valid), task.outputs)
    together = task.sample_metric(outputs, task.valid.y)
    assert together.shape == (5, len(task.valid))
    for one, many in zip(outputs, together, strict=True):
        assert task.metric(one, task.valid.y) == pytest.approx(many.mean().item())
    outputs[0, 0, -1] = torch.nan
    assert np.isnan(task.metric(outputs[0], task.valid.y))
    assert not np.isnan(task.metric(outputs[1], task.valid.y))


def test_task_losses_are_their_formulas():
    outputs, task = torch.randn(12, 3, dtype=torch.float64), TASKS["multiclass"]
    probabilities = outputs.exp() / outputs.exp().sum(1, keepdim=True)
    expected = -probabilities[range(12), task.train.y].log().mean()
    assert task.task_loss(outputs, task.train.y).item() == pytest.approx(expected.item())
    z, y = torch.randn(12, 1, dtype=torch.float64), TASKS["binary"].train.y.double()
    p = 1 / (1 + (-z).exp())
    expected = -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    assert TASKS["binary"].task_loss(z, y).item() == pytest.approx(expected.item())
    assert TASKS["regression"].task_loss(z, y).item() == pytest.approx(((z - y) ** 2).mean().item())


# Models, devices, identity


def test_models_of_a_seed_are_equal_and_global_generators_are_left_alone():
    task = custom()
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    one, same, other = task.new_model(3), task.new_model(3), task.new_model(4)
    custom(), task.identity(), task.summary()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert (np.random.get_state()[1] == states[2]).all()  # noqa: NPY002
    assert one is not same
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)
    torch.manual_seed(3)
    assert torch.equal(LINEAR()[0].weight, one[0].weight)


def test_to_changes_precision_of_data_and_models_but_not_values():
    task = custom(train=(data(12)[0], 0.5 * F.one_hot(data(12)[1]) + 0.5 / 3))
    moved = task.to(dtype=torch.float64)
    assert moved.train.x.dtype == moved.train.y.dtype == moved.test.x.dtype == torch.float64
    assert moved.valid.y.dtype == torch.int64
    assert torch.equal(moved.train.x.float(), task.train.x)
    assert torch.equal(moved.new_model(1)[0].weight.float(), task.new_model(1)[0].weight)
    assert moved.task_loss(moved.new_model(1)(moved.train.x), moved.train.y).dtype == torch.float64
    assert task.train.x.dtype == torch.float32
    assert moved.identity() == task.identity()
    assert moved.to("cpu").dtype == torch.float64
    with pytest.raises(TaskError, match="floating-point"):
        task.to(dtype=torch.int64)


def test_to_meta_device_moves_everything():
    moved = custom().to("meta")
    assert {moved.device.type, moved.test.y.device.type, moved.new_model(0)[0].weight.device.type} == {"meta"}


@given(st.integers(2, 20), st.integers(1, 20), st.integers(0, 2**31))
def test_resplit_divides_the_same_samples_anew(training, validation, seed):
    x, bounds = torch.arange(200.0).view(-1, 1), (training, training + validation)
    y = x.square()
    parts = [(x[a:b], y[a:b]) for a, b in ((0, bounds[0]), bounds, (100, 120))]
    task = Task(partial(nn.Linear, 1, 1), *parts, kind="regression")
    other = task.resplit(seed)
    assert (len(other.train), len(other.valid)) == (training, validation)
    found = torch.cat([other.train.x, other.valid.x])
    assert sorted(found.flatten().tolist()) == list(range(bounds[1])), "each sample is in one of the two parts"
    assert torch.equal(torch.cat([other.train.y, other.valid.y]), found.square())
    assert other.test is task.test
    assert torch.equal(task.resplit(seed).valid.x, other.valid.x)
    assert task.identity() != other.identity() or torch.equal(task.train.x, other.train.x)
    assert torch.equal(task.train.x, x[:training]), "the task stays as it was"


def test_identity_notices_what_differs():
    x, y = data(12)
    changed = x.clone()
    changed[5, 2] += 1e-6
    tasks = [
        custom(),
        custom(name="other"),
        custom(train=(changed, y)),
        custom(train=(x, y.roll(1))),
        custom(test=None),
        custom(train=data(9), valid=data(12)),
        custom(model=ModelFactory("mlp", (4,), 3, {"hidden": 5})),
        custom(model=ModelFactory("mlp", (4,), 3, {"hidden": 5, "activation": "tanh"})),
        binary(),
        regression(train=(data(12, 2)), valid=(data(8, 2))),
    ]
    assert len({task.identity() for task in tasks}) == len(tasks)
    assert all(len(task.identity()) == 16 for task in tasks)
    assert custom().identity() == tasks[0].identity()


def test_tasks_pickle():
    for task in TASKS.values():
        copy = pickle.loads(pickle.dumps(task))
        assert copy.identity() == task.identity()
        assert repr(copy) == repr(task)
        assert torch.equal(copy.new_model(2)[0].weight, task.new_model(2)[0].weight)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_lazy_and_batch_normalised_models():
    task = custom(model=lambda: nn.Sequential(nn.LazyLinear(8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)))
    model = task.new_model(0)
    assert model.training
    assert model[0].weight.shape == (8, 4)
    assert (model[1].running_mean == 0).all()
    assert model(task.train.x).shape == (12, 3)


def test_one_sample_splits_are_usable_for_regression():
    task = regression(valid=(torch.ones(1, 4), [2.0]), test=(torch.ones(1, 4), [2.0]))
    assert task.metric(torch.ones(1, 1), task.test.y) == 1.0


def test_some_classes_may_be_missing_when_declared():
    task = custom(model=ModelFactory("linear", (4,), 7), classes=7)
    assert (task.outputs, task.classes) == (7, 7)


# What is refused


def _set(tensor, index, value):
    tensor = tensor.double() if isinstance(value, float) else tensor.clone()
    tensor[index] = value
    return tensor


X, Y = data(12)
FACTORY_CALLS = []


def shared():
    return SHARED


SHARED = nn.Linear(4, 3)


def numpy_weights():
    model = nn.Linear(4, 3)
    FACTORY_CALLS.append(0)
    model.weight.data.fill_(len(FACTORY_CALLS))
    return model


class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


class Fixed(nn.Module):
    def forward(self, x):
        return x[:, :3]


def failing():
    raise OSError("no such\nfile")


BAD = {
    "NaN inputs": ({"train": (_set(X, (7, 2), np.nan), Y)}, "training inputs hold 1 values that are NaN.*sample 7"),
    "infinite test inputs": ({"test": (_set(X, (0, 0), np.inf), Y)}, "test inputs hold 1 values"),
    "too large for float32": ({"train": (_set(X.double(), (1, 1), 1e300), Y)}, "training inputs hold 1 values"),
    "NaN labels": ({"valid": (X, _set(Y, 3, np.nan))}, "validation labels hold 1 values.*sample 3"),
    "no samples": ({"valid": (X[:0], Y[:0])}, "validation data hold no samples"),
    "empty lists": ({"train": ([], [])}, "training data hold no samples"),
    "empty Dataset": ({"train": Pairs([])}, "training data hold no samples"),
    "no features": ({"train": (X[:, :0], Y)}, r"training inputs must have shape .* received \[12, 0\]"),
    "flat inputs": ({"train": (X[:, 0], Y)}, r"training inputs must have shape .* received \[12\]"),
    "a number": ({"train": (1.0, 2)}, "a sample per row; received a single number"),
    "one class": ({"train": (X, Y * 0)}, r"training labels hold one class only \(0\) in 12 samples"),
    "one class in validation": ({"valid": (X, Y * 0 + 2)}, r"validation labels hold one class only \(2\)"),
    "one class, one-hot": ({"train": (X, F.one_hot(Y * 0, 3))}, "training labels hold one class only"),
    "negative label": ({"train": (X, Y - 1)}, "training labels must be class indices.*from -1 to 1"),
    "ignored label": ({"test": (X, _set(Y, 0, -100))}, "test labels must be class indices"),
    "huge label": ({"train": (X, _set(Y, 0, 1e20))}, r"training labels must be class indices.*1e\+20"),
    "fractional label": ({"train": (X, _set(Y, 4, 0.5))}, "must be whole numbers; received 0.5"),
    "label beyond classes": ({"classes": 2}, "labels out of range: a label is 2, but 2 classes are 0 to 1"),
    "label beyond outputs": (
        {"test": (X, _set(Y, 0, 9))},
        r"returned shape \[3, 3\] for 3 samples, expected \[3, 10\]: labels run from 0 to 9",
    ),
    "one-based labels": (
        {"train": (X, Y + 1), "valid": (X, Y + 1), "test": None},
        r"expected \[3, 4\]: labels run from 1 to 3",
    ),
    "lengths differ": ({"train": (X, Y[:5])}, "training data hold 12 inputs but 5 labels"),
    "shapes differ": ({"valid": (X[:, :2], Y)}, r"\[4\] in the training data but \[2\] in the validation data"),
    "test shape differs": ({"test": (X[:, None], Y)}, r"but \[1, 4\] in the test data"),
    "text labels": ({"train": (X, ["cat", "dog"] * 6)}, "training labels must be numbers; received .*'cat'"),
    "missing labels": ({"train": (X, [None] * 12)}, "training labels must be numbers; received object such as None"),
    "ragged inputs": ({"train": ([[1.0, 2.0], [3.0]], [0, 1])}, "training inputs cannot be put into one array"),
    "ragged tensors": ({"train": ([*list(X[:3]), X[3, :2]], Y[:4])}, "training inputs cannot be put into one array"),
    "complex": ({"train": (X + 1j, Y)}, "training inputs must be dense real numbers"),
    "sparse": ({"train": (X.to_sparse(), Y)}, "training inputs must be dense real numbers"),
    "labels of three axes": ({"train": (X, F.one_hot(Y)[None].expand(12, 12, 3))}, r"shape \[N\] or \[N, C\]"),
    "not probabilities": ({"train": (X, torch.ones(12, 3))}, "row 0 has values from 1 to 1 and sums to 3"),
    "negative probabilities": ({"train": (X, [[2.0, -0.5, -0.5]] * 12)}, "must be probabilities"),
    "widths differ": ({"valid": (X, torch.full((12, 4), 0.25)), "train": (X, torch.ones(12, 3) / 3)}, "one column"),
    "no pair": ({"train": X}, "training data must be a pair .* received Tensor"),
    "triple": ({"train": (X, Y, Y)}, "training data must be a pair"),
    "DataLoader": ({"train": DataLoader(TensorDataset(X, Y))}, "training data are a DataLoader; pass its Dataset"),
    "items that are no pairs": ({"train": Pairs([(X[0], 1), X[1]])}, r"pairs \(x, y\); item 1 .* is a Tensor"),
    "items of three": ({"train": TensorDataset(X, Y, Y)}, r"item 0 of the training data is a tuple of 3"),
    "Dataset that fails": ({"valid": Pairs({0: 1, 2: 3})}, "the validation Dataset cannot be read: KeyError: 1"),
    "kind": ({"kind": "multi-class"}, "unknown kind of task 'multi-class'; did you mean 'multiclass'"),
    "classes": ({"classes": 1}, "classes is a whole number from 2 on"),
    "built model": ({"model": nn.Linear(4, 3)}, "received an nn.Module that is already built"),
    "model by name": ({"model": "mlp"}, "model must be a function without arguments.* received 'mlp'"),
    "model with arguments": ({"model": nn.Linear}, "the model factory failed: TypeError"),
    "model that fails": ({"model": failing}, "the model factory failed: OSError: no such file"),
    "no module": ({"model": lambda: "model"}, "must return an nn.Module; it returned str"),
    "same module twice": ({"model": shared}, "returned the same one twice"),
    "other weights": ({"model": numpy_weights}, "different weights for the same seed"),
    "nothing to train": ({"model": Fixed}, "no trainable parameters"),
    "too many outputs": ({"model": partial(nn.Linear, 4, 5)}, r"returned shape \[3, 5\] .* expected \[3, 3\]"),
    "declared classes": ({"classes": 5}, r"expected \[3, 5\]: the task has 5 classes"),
    "wrong inputs": ({"model": partial(nn.Linear, 5, 3)}, r"cannot take inputs of shape \[3, 4\]: RuntimeError"),
    "tuple of outputs": ({"model": partial(Pair, 4, 3)}, r"tensor of shape \[3, 3\]; received tuple"),
    "probabilities": (
        {"model": lambda: nn.Sequential(nn.Linear(4, 3), nn.Softmax(1))},
        "returns probabilities; return logits",
    ),
    "NaN model": ({"model": lambda: nn.Sequential(nn.Linear(4, 3), nn.Threshold(99, np.nan))}, "returns NaN"),
    "binary labels": (
        {"kind": "binary", "train": (X, Y), "model": partial(nn.Linear, 4, 1)},
        "must be 0 or 1; received values from 0 to 2",
    ),
    "binary signs": ({"kind": "binary", "train": (X, 2 * (Y % 2) - 1)}, "must be 0 or 1; received values from -1 to 1"),
    "binary one-hot": ({"kind": "binary", "train": (X, F.one_hot(Y % 2))}, r"\[N\] or \[N, 1\]; received \[12, 2\]"),
    "binary outputs": (
        {"kind": "binary", "train": (X, Y % 2), "valid": (X, Y % 2), "test": None},
        "a binary task has one output",
    ),
    "many targets": ({"kind": "regression"}, r"expected \[3, 1\]: a regression task has one output"),
    "constant target": ({"kind": "regression", "train": (X, Y * 0 + 2)}, "every training target is 2: nothing"),
    "target vectors": ({"kind": "regression", "train": (X, X)}, r"\[N\] or \[N, 1\]; received \[12, 4\]"),
    "infinite target": ({"kind": "regression", "train": (X, Y / 0)}, "training labels hold 12 values"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line(case):
    changes, message = BAD[case]
    with pytest.raises(TaskError, match=message) as caught:
        custom(**changes)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 450
    assert isinstance(caught.value, SymlossError)


TASKS = {"multiclass": custom(), "binary": binary(), "regression": regression()}
