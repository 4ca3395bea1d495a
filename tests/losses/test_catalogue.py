"""One contract for every named loss: whoever adds one to the table adds its closed form here and gets all tests."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from symloss.errors import LossError
from symloss.losses import Loss, SymbolicLoss, TorchLoss, entry, get, names
from tests.losses.helpers import DTYPES, classes, logits, soft


def cross_entropy(z: Tensor, y: Tensor) -> Tensor:
    return -(y * z.log_softmax(1)).sum(1)


def symmetric(z: Tensor, y: Tensor) -> Tensor:
    return 0.1 * cross_entropy(z, y) - (z.softmax(1) * y.log().clamp(min=-4)).sum(1)


def smoothing(z: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(z, 0.9 * y + 0.1 / z.shape[1])


def sparse_smoothing(z: Tensor, y: Tensor) -> Tensor:
    f, c = z.softmax(1), z.shape[1]
    return -(y * ((0.9 + 0.1 / c) * f.log() + 0.1 * (c - 1) / c * ((1 - f) / (c - 1)).log())).sum(1)


def confidence_penalty(z: Tensor, y: Tensor) -> Tensor:
    return cross_entropy(z, y) - 0.1 * torch.distributions.Categorical(logits=z).entropy()


CLOSED_FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # logits and probabilities [B, C] -> losses [B]
    "cross-entropy": cross_entropy,
    "squared-error": lambda z, y: ((z.softmax(1) - y) ** 2).sum(1),
    "absolute-error": lambda z, y: (z.softmax(1) - y).abs().sum(1),
    "focal": lambda z, y: -(y * (1 - z.softmax(1)) ** 2 * z.log_softmax(1)).sum(1),
    "generalised-cross-entropy": lambda z, y: (y * (1 - z.softmax(1) ** 0.7) / 0.7).sum(1),
    "symmetric-cross-entropy": symmetric,
    "poly": lambda z, y: cross_entropy(z, y) + 2 * (1 - (y * z.softmax(1)).sum(1)),
    "baikal": lambda z, y: (y / z.softmax(1) - z.log_softmax(1)).sum(1),
    "label-smoothing": smoothing,
    "sparse-label-smoothing": sparse_smoothing,
    "confidence-penalty": confidence_penalty,
    "absolute-cross-entropy": lambda z, y: (y * (1.1 * z.softmax(1)).log().abs()).sum(1),
}
REGRESSION: dict[str, Callable[[Tensor, Tensor], Tensor]] = {  # outputs and targets [B] -> losses [B]
    "squared-error": lambda f, y: (f - y) ** 2,
    "absolute-error": lambda f, y: (f - y).abs(),
    "huber": lambda f, y: F.huber_loss(f, y, reduction="none"),
    "log-cosh": lambda f, y: (f - y).cosh().log(),
}

CASES = [(name, kind) for name in names() for kind in entry(name).kinds]
MULTICLASS = [name for name, kind in CASES if kind == "multiclass"]
every_loss = pytest.mark.parametrize(("name", "kind"), CASES)
every_classifier = pytest.mark.parametrize("name", MULTICLASS)


def closed_form(name: str, kind: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Loss of every sample; a binary loss is that of the two classes with the logits (0, z)."""
    if kind == "multiclass":
        return CLOSED_FORMS[name]
    if kind == "regression":
        return REGRESSION[name]
    halved = 2 if name in ("squared-error", "absolute-error") else 1  # their two entries are equal: one is taken
    return lambda z, y: CLOSED_FORMS[name](torch.stack([0 * z, z], 1), torch.stack([1 - y, y], 1)) / halved


def sample(kind: str, dtype: torch.dtype = torch.float64, scale: float = 2.0) -> tuple[Tensor, Tensor]:
    """Outputs and soft targets: [B, C] for multiclass, [B] otherwise."""
    if kind == "multiclass":
        return logits(6, 4, dtype=dtype, scale=scale), soft(6, 4)
    target = logits(12, seed=3)
    return logits(12, dtype=dtype, scale=scale), target if kind == "regression" else target.sigmoid()


def value_and_gradient(
    loss: Callable[[Tensor, Tensor], Tensor], input: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    input = input.detach().clone().requires_grad_()
    value = loss(input, target)
    return value.detach(), torch.autograd.grad(value.sum(), input)[0]


def test_the_losses_of_the_field_are_there() -> None:
    assert names() == (
        "cross-entropy", "squared-error", "absolute-error", "huber", "log-cosh", "focal", "generalised-cross-entropy",
        "symmetric-cross-entropy", "poly", "baikal", "label-smoothing", "sparse-label-smoothing", "confidence-penalty",
        "absolute-cross-entropy",
    )  # fmt: skip
    assert names("regression") == ("squared-error", "absolute-error", "huber", "log-cosh")
    assert set(names("binary")) == set(names("multiclass")) == set(CLOSED_FORMS)


@every_loss
def test_agrees_with_its_closed_form(name: str, kind: str) -> None:
    for targets in ("soft", "hard"):
        input, target = sample(kind)
        if targets == "hard" and kind != "regression":
            target = F.one_hot(target.argmax(1), 4).double() if kind == "multiclass" else target.round()
        value, gradient = value_and_gradient(get(name, kind, "none"), input, target)
        expected, slope = value_and_gradient(closed_form(name, kind), input, target)
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient, slope, rtol=1e-9, atol=1e-9)


@every_loss
def test_reductions(name: str, kind: str) -> None:
    input, target = sample(kind)
    each, mean, total = (get(name, kind, reduction)(input, target) for reduction in ("none", "mean", "sum"))
    assert each.shape == (len(input),)
    torch.testing.assert_close(each.mean(), mean)
    torch.testing.assert_close(each.sum(), total)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_at_extreme_outputs(dtype: torch.dtype, name: str, kind: str) -> None:
    input, target = sample(kind, dtype)
    for hard in (target, target.round(), torch.zeros_like(target)):
        value, gradient = value_and_gradient(get(name, kind), 100 * input.sign(), hard)
        assert value.isfinite()
        assert gradient.isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", DTYPES)
def test_half_precision_is_the_wide_loss_rounded(dtype: torch.dtype, name: str, kind: str) -> None:
    input, target = sample(kind, dtype)
    loss = get(name, kind)
    value, gradient = value_and_gradient(loss, input, target)
    expected, slope = value_and_gradient(loss, input.double() if dtype == torch.float64 else input.float(), target)
    assert value.dtype == gradient.dtype == dtype
    assert value == expected.to(dtype)
    assert gradient.equal(slope.to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(input, target) == expected


@every_loss
def test_interface(name: str, kind: str) -> None:
    loss = get(name, kind)
    assert isinstance(loss, Loss)
    assert (loss.name, loss.kind, loss.reduction) == (name, kind, "mean")
    input, target = sample(kind)
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert twin(input, target) == loss(input, target)
        assert twin.name == name
    batched = torch.func.vmap(loss)(input.expand(3, *input.shape), target.expand(3, *target.shape))
    torch.testing.assert_close(batched, loss(input, target).expand(3))
    if loss.expression is not None:
        formula = SymbolicLoss(loss.expression, kind)
        torch.testing.assert_close(formula(input, target), loss(input, target), rtol=1e-9, atol=1e-9)
    assert kind in repr(loss)
    assert entry(name).equation
    assert entry(name).source


@every_classifier
def test_class_indices(name: str) -> None:
    input, index = logits(6, 4), classes(6, high=4)
    for reduction in ("none", "mean", "sum"):
        loss = get(name, reduction=reduction, kind="multiclass")
        torch.testing.assert_close(loss(input, index), loss(input, F.one_hot(index, 4)))
        torch.testing.assert_close(loss(input, index.int()), loss(input, index))
    image = get(name, kind="multiclass", reduction="none")(logits(2, 4, 3, 5), classes(2, 3, 5, high=4))
    assert image.shape == (2, 3, 5)
    with pytest.raises(LossError, match="class indices go from 0 to 3, or are ignore_index=-100; received 4"):
        get(name, "multiclass")(input, index + 1)


@every_classifier
def test_ignore_index(name: str) -> None:
    input, index = logits(6, 4), torch.tensor([0, 2, 1, 2, 3, 2])
    kept = index != 2
    for reduction in ("mean", "sum"):
        value, gradient = value_and_gradient(get(name, "multiclass", reduction, ignore_index=2), input, index)
        expected, slope = value_and_gradient(get(name, "multiclass", reduction), input[kept], index[kept])
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(gradient[kept], slope)
        assert gradient[~kept].eq(0).all()
    each = get(name, "multiclass", "none", ignore_index=2)(input, index)
    assert each[~kept].eq(0).all()


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[1] != "regression"])
def test_pulls_towards_the_target_at_the_null_epoch(name: str, kind: str) -> None:
    if kind == "multiclass":
        _, gradient = value_and_gradient(get(name, kind), torch.zeros(3, 5), torch.arange(3))
        assert (gradient.argmin(1) == torch.arange(3)).all()
        assert (gradient.min(1).values < 0).all()
    else:
        _, gradient = value_and_gradient(get(name, kind), torch.zeros(2), torch.tensor([0, 1]))
        assert gradient[1] < 0 < gradient[0]


def test_torch_itself_computes_what_it_has() -> None:
    for name, kind in (
        ("cross-entropy", "multiclass"), ("cross-entropy", "binary"), ("squared-error", "regression"),
        ("absolute-error", "regression"), ("label-smoothing", "binary"),
    ):  # fmt: skip
        assert isinstance(get(name, kind), TorchLoss)
    confident, wrong = torch.tensor([[200.0, 0.0]]), torch.tensor([1])
    assert get("cross-entropy")(confident, wrong) == 200.0  # no protected logarithm here


# --- limits of the parameters ----------------------------------------------------------------------------------------


def same(first: Loss, second: Loss, factor: float = 1.0) -> None:
    input, target = sample(first.kind)
    a, b = value_and_gradient(first, input, target), value_and_gradient(second, input, target)
    torch.testing.assert_close(a[0], factor * b[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(a[1], factor * b[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_parameters_that_give_cross_entropy(kind: str) -> None:
    reference = get("cross-entropy", kind)
    same(get("focal", kind, gamma=0), reference)
    same(get("poly", kind, epsilon=0), reference)
    same(get("label-smoothing", kind, smoothing=0), reference)
    same(get("confidence-penalty", kind, beta=0), reference)
    same(get("symmetric-cross-entropy", kind, alpha=2, beta=0), reference, 2)


def test_other_parameters() -> None:
    input, target = logits(6, 4), classes(6, high=4)
    absolute = get("absolute-error", "multiclass")(input, target)
    torch.testing.assert_close(2 * get("gce", q=1.0)(input, target), absolute)
    smooth = get("label-smoothing", smoothing=0.3)(input, target)
    torch.testing.assert_close(smooth, F.cross_entropy(input, target, label_smoothing=0.3))
    f, y = logits(9), logits(9, seed=4)
    torch.testing.assert_close(get("huber", delta=0.4)(f, y), F.huber_loss(f, y, delta=0.4))
    twice = get("absolute-cross-entropy", phi0=2, phi1=1.3)(input, target)
    torch.testing.assert_close(twice, 2 * get("absolute-cross-entropy", phi1=1.3)(input, target))


def test_absolute_cross_entropy_turns_at_its_confidence() -> None:
    loss, reference = get("absolute-cross-entropy", phi0=0.7, phi1=1.25), get("cross-entropy")  # 1/φ₁ = 0.8
    for confidence, sign in ((0.79, 1.0), (0.81, -1.0)):
        input = torch.tensor([[confidence, 1 - confidence]], dtype=torch.float64).log()
        _, gradient = value_and_gradient(loss, input, torch.tensor([0]))
        _, slope = value_and_gradient(reference, input, torch.tensor([0]))
        torch.testing.assert_close(gradient, sign * 0.7 * slope)


# --- names and errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("MSE", "squared-error"),
        ("mae", "absolute-error"),
        ("Cross_Entropy", "cross-entropy"),
        ("gce", None),
        (" focal ", None),
    ],
)
def test_aliases(alias: str, name: str | None) -> None:
    assert entry(alias).name == (name or {"gce": "generalised-cross-entropy"}.get(alias, alias.strip()))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("focl", {}, "unknown loss 'focl'; did you mean 'focal'?"),
        ("hinge-of-doom", {}, "known: cross-entropy, squared-error"),
        ("huber", {"kind": "multiclass"}, "huber is for regression; received kind 'multiclass'; losses for multiclass"),
        ("huber", {"kind": "ranking"}, "kinds: multiclass, binary, regression"),
        ("focal", {"gama": 2}, "focal has no parameter 'gama'; it takes gamma"),
        ("baikal", {"gamma": 2}, "baikal has no parameter 'gamma'; it takes none"),
        ("focal", {"gamma": -1}, "focal: gamma must lie between 0 and 50; received -1"),
        ("focal", {"gamma": float("nan")}, "gamma must lie between"),
        ("focal", {"gamma": "2"}, "gamma must lie between 0 and 50; received '2'"),
        ("focal", {"gamma": True}, "gamma must lie between"),
        ("focal", {"reduction": "max"}, "reduction must be one of"),
    ],
)
def test_errors_are_one_clear_line(name: str, options: dict, message: str) -> None:
    with pytest.raises(LossError) as caught:
        get(name, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_defaults_lie_in_their_ranges() -> None:
    for name in names():
        for parameter in entry(name).parameters.values():
            assert parameter.low <= parameter.default <= parameter.high
            assert parameter.meaning
