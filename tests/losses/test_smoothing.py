"""Label smoothing, its sparse form and the absolute cross-entropy: closed forms, torch's own losses, and extremes."""

from __future__ import annotations

import copy
import itertools
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from symloss.errors import LossError
from symloss.losses import AbsoluteCrossEntropy, LabelSmoothing, Loss, SparseLabelSmoothing, SymbolicLoss
from tests.losses.helpers import DTYPES, classes, logits, soft

LOSSES = {
    "smoothing": lambda **options: LabelSmoothing(0.1, **options),
    "sparse": lambda **options: SparseLabelSmoothing(0.1, **options),
    "absolute": lambda **options: AbsoluteCrossEntropy(0.7, 1.2, **options),
}
every_loss = pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)
REDUCTIONS = ("mean", "sum", "none")


def shares(smoothing: float, count: int) -> tuple[float, float]:
    """A and B."""
    return 1 - smoothing + smoothing / count, smoothing * (count - 1) / count


def value_and_gradient(loss, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    input = input.detach().clone().requires_grad_()
    value = loss(input, target)
    return value.detach(), torch.autograd.grad(value.sum(), input)[0]


def pairs(target: Tensor) -> tuple[Tensor, Tensor]:
    return torch.arange(len(target)), target


# --- the table of gradients, in float64 -------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 10, 1000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, 1.0])
def test_gradients_of_the_closed_forms(smoothing: float, count: int) -> None:
    input, target = logits(7, count), classes(7, high=count)
    f, (rows, here) = input.softmax(1), pairs(target)
    p = f[rows, here].unsqueeze(1)
    a, _ = shares(smoothing, count)
    dense, sparse = f - smoothing / count, f * (a - p) / (1 - p)
    for expected, loss in ((dense, LabelSmoothing), (sparse, SparseLabelSmoothing)):
        expected[rows, here] = p.squeeze(1) - a
        _, gradient = value_and_gradient(loss(smoothing, reduction="sum"), input, target)
        torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("phi1", [0.5, 1.0, 1.3, 2.0])
def test_absolute_cross_entropy_is_cross_entropy_with_a_sign(phi1: float) -> None:
    input, target = logits(40, 3, scale=3.0), classes(40, high=3)
    p = input.softmax(1)[pairs(target)]
    value, gradient = value_and_gradient(AbsoluteCrossEntropy(0.7, phi1, reduction="none"), input, target)
    _, slope = value_and_gradient(lambda z, t: F.cross_entropy(z, t, reduction="sum"), input, target)
    sign = torch.where(p < 1 / phi1, 0.7, -0.7)
    assert phi1 <= 1 or len(set(sign.tolist())) == 2
    torch.testing.assert_close(value, 0.7 * (phi1 * p).log().abs())
    torch.testing.assert_close(gradient, sign.unsqueeze(1) * slope)


@given(smoothing=st.floats(0, 1), count=st.integers(2, 12), seed=st.integers(0, 2**31))
def test_sparse_form_against_the_dense_one(smoothing: float, count: int, seed: int) -> None:
    input, target = logits(5, count, seed=seed), classes(5, high=count, seed=seed)
    a, b = shares(smoothing, count)
    f, (rows, here) = input.softmax(1), pairs(target)
    p = f[rows, here]
    sparse = SparseLabelSmoothing(smoothing, reduction="none")(input, target)
    dense = LabelSmoothing(smoothing, reduction="none")(input, target)
    naive = -a * p.log() - b * ((1 - p) / (count - 1)).log()
    torch.testing.assert_close(sparse, naive, rtol=1e-9, atol=1e-11)
    margin = input[rows, here] - input.masked_fill(F.one_hot(target, count).bool(), -math.inf).logsumexp(1)
    share = torch.full((5,), a, dtype=torch.float64)
    binary = F.binary_cross_entropy_with_logits(margin, share, reduction="none") + b * math.log(count - 1)
    torch.testing.assert_close(sparse, binary, rtol=1e-12, atol=1e-12)
    others = f.masked_fill(F.one_hot(target, count).bool(), 1.0) / (1 - p).unsqueeze(1)
    others[rows, here] = 1 / (count - 1)
    divergence = -(others * (count - 1)).log().sum(1) / (count - 1)  # of uniform from the others' softmax
    torch.testing.assert_close(dense - sparse, b * divergence, rtol=1e-8, atol=1e-10)
    assert (dense - sparse >= -1e-12).all()


def test_equal_at_uniform_logits_and_for_two_classes() -> None:
    for input in (torch.zeros(6, 5, dtype=torch.float64), logits(6, 2, scale=5.0)):
        target = classes(6, high=2)
        for ours, theirs in zip(
            value_and_gradient(SparseLabelSmoothing(0.3), input, target),
            value_and_gradient(LabelSmoothing(0.3), input, target),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


def test_without_smoothing_it_is_cross_entropy() -> None:
    input, target = logits(6, 5, scale=30.0), classes(6, high=5)
    expected = value_and_gradient(F.cross_entropy, input, target)
    for loss in (SparseLabelSmoothing(0.0), LabelSmoothing(0.0), AbsoluteCrossEntropy(1.0, 1.0)):
        for ours, theirs in zip(value_and_gradient(loss, input, target), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)


# --- torch's own loss -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (6, 4), (3, 4, 5), (2, 4, 3, 2), (6, 1), (0, 4)])
@pytest.mark.parametrize("how", ["indices", "ignored", "soft", "one-hot"])
@pytest.mark.parametrize("loss_class", [LabelSmoothing, SparseLabelSmoothing])
def test_every_combination_of_arguments(loss_class: type, how: str, shape: tuple[int, ...]) -> None:
    dim, smoothing = (0, 0.2) if len(shape) == 1 else (1, 0.2)
    if loss_class is SparseLabelSmoothing:
        smoothing = 0.0  # where torch has it
    index = classes(*shape[:dim], *shape[dim + 1 :], high=shape[dim])
    target, ignore = index, -100
    if how == "ignored":
        ignore = 1 if shape[dim] > 1 else -1
        target = torch.where(classes(*index.shape, high=3, seed=7) == 0, ignore, index)
    elif how != "indices":
        target = soft(*shape, dim=dim) if how == "soft" else F.one_hot(index, shape[dim]).movedim(-1, dim).double()
    weights = (None, torch.linspace(0.5, 2.0, shape[dim], dtype=torch.float64))
    for weight, reduction in itertools.product(weights, REDUCTIONS):
        ours = loss_class(smoothing, weight=weight, reduction=reduction, ignore_index=ignore)
        theirs = torch.nn.CrossEntropyLoss(weight, ignore_index=ignore, reduction=reduction, label_smoothing=smoothing)
        for one, other in zip(
            value_and_gradient(ours, logits(*shape), target),
            value_and_gradient(theirs, logits(*shape), target),
            strict=True,
        ):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12, equal_nan=True)


@every_loss
@pytest.mark.parametrize("weighted", [False, True])
def test_probabilities_are_the_mean_over_labels(make, weighted: bool) -> None:
    input, y = logits(6, 4), soft(6, 4)
    weight = torch.tensor([0.5, 1.0, 2.0, 3.0], dtype=torch.float64) if weighted else None
    each = [make(reduction="none")(input, torch.full((6,), c)) * (1 if weight is None else weight[c]) for c in range(4)]
    if make is LOSSES["smoothing"] and weighted:
        pytest.skip("torch weights every class of the smoothed target, not the label")
    expected = sum(y[:, c] * each[c] for c in range(4))
    torch.testing.assert_close(make(reduction="none", weight=weight)(input, y), expected)
    torch.testing.assert_close(make(weight=weight)(input, y), expected.mean())
    one_hot = F.one_hot(torch.tensor([0, 3, 1, 2, 0, 1]), 4)
    for ours, theirs in zip(
        value_and_gradient(make(), input, one_hot), value_and_gradient(make(), input, one_hot.argmax(1)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


# --- extremes ---------------------------------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("offset", [0.0, 20000.0, -20000.0])
def test_finite_and_exact_at_any_margin(offset: float, dtype: torch.dtype, make) -> None:
    """At margins ±10 000 (p is 0 or 1 to every digit): gradient p − A at the target, and its negative at the rival."""
    input = (offset + torch.tensor([[10000.0, 0.0, -30000.0], [0.0, 10000.0, -30000.0]])).to(dtype)
    input = input.clamp(-60000, 60000)
    target = torch.tensor([0, 0])
    loss = make(reduction="none")
    value, gradient = value_and_gradient(loss, input, target)
    assert value.isfinite().all()
    assert gradient.isfinite().all()
    a = {"LabelSmoothing": shares(0.1, 3)[0], "SparseLabelSmoothing": shares(0.1, 3)[0]}.get(type(loss).__name__)
    at_target = torch.tensor([1 - a, -a]) if a else torch.tensor([0.0, -0.7])
    torch.testing.assert_close(gradient[:, 0].float(), at_target, rtol=1e-2 if dtype.itemsize == 2 else 1e-6, atol=0)
    if not isinstance(loss, LabelSmoothing):
        torch.testing.assert_close(gradient[:, 1], -gradient[:, 0], rtol=0, atol=0)
        assert gradient[:, 2].eq(0).all()


@every_loss
@pytest.mark.parametrize("margin", [10000.0, -10000.0])
def test_values_at_extreme_margins(margin: float, make) -> None:
    input, target = torch.tensor([[margin, 0.0, 0.0]], dtype=torch.float64), torch.tensor([0])
    exact = margin - math.log(2)  # the two others sum to 2
    a, b = shares(0.1, 3)
    penalty = -exact * a if margin < 0 else exact * b
    expected = 0.7 * abs(math.log(1.2) + min(exact, 0)) if make is LOSSES["absolute"] else penalty + b * math.log(2)
    assert make()(input, target).item() == pytest.approx(expected, rel=1e-12)
    assert make()(input.float(), target).item() == pytest.approx(expected, rel=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_invariant_to_an_offset(dtype: torch.dtype, make) -> None:
    input, target = logits(6, 4, dtype=torch.float64).mul(64).round().div(64).to(dtype), classes(6, high=4)
    value, gradient = value_and_gradient(make(), input, target)
    moved, slope = value_and_gradient(make(), input + 4096.0, target)
    torch.testing.assert_close(value, moved, rtol=1e-6 if dtype == torch.float32 else 1e-12, atol=1e-9)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-7)


def test_infinite_logits_as_in_torch() -> None:
    masked = torch.tensor([[1.0, -math.inf, 0.5], [0.0, -math.inf, -math.inf], [math.nan, 0.0, 0.0]])
    target = torch.tensor([0, 0, 1])
    ours = value_and_gradient(SparseLabelSmoothing(0.0, reduction="none"), masked, target)
    theirs = value_and_gradient(lambda z, t: F.cross_entropy(z, t, reduction="none"), masked, target)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)
    for bad in (torch.tensor([[math.inf, 0.0]]), torch.tensor([[0.0, math.inf]]), torch.tensor([[0.0, -math.nan]])):
        assert SparseLabelSmoothing(0.0)(bad, torch.tensor([0])).isnan()


# --- a loss like any other --------------------------------------------------------------------------------------------


@every_loss
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_derivatives_by_central_differences(make, reduction: str) -> None:
    weight = None if make is LOSSES["smoothing"] else torch.tensor([0.5, 1.0, 2.0, 1.5], dtype=torch.float64)
    loss = make(reduction=reduction, weight=weight, ignore_index=1)
    input = logits(5, 4).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 0])
    assert torch.autograd.gradcheck(lambda z: loss(z, target), input)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, target), input)
    assert torch.autograd.gradcheck(lambda z: loss(z, soft(5, 4)), input)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), input, check_forward_ad=True, check_backward_ad=False)


@every_loss
def test_transforms(make) -> None:
    loss, input, target = make(), logits(3, 5, 4), classes(3, 5, high=4)
    values = torch.func.vmap(loss)(input, target)
    slopes = torch.func.vmap(torch.func.grad(loss))(input, target)
    for i in range(3):
        value, gradient = value_and_gradient(loss, input[i], target[i])
        torch.testing.assert_close(values[i], value)
        torch.testing.assert_close(slopes[i], gradient)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    for ours, theirs in zip(
        value_and_gradient(compiled, input[0], target[0]), value_and_gradient(loss, input[0], target[0]), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@every_loss
@pytest.mark.parametrize("dtype", DTYPES)
def test_computed_wide_and_returned_in_the_dtype_of_the_input(dtype: torch.dtype, make) -> None:
    input, target = logits(8, 5, dtype=dtype), classes(8, high=5)
    value, gradient = value_and_gradient(make(), input, target)
    expected, slope = value_and_gradient(make(), input.double() if dtype == torch.float64 else input.float(), target)
    assert value.dtype == gradient.dtype == dtype
    assert value == expected.to(dtype)
    assert gradient.equal(slope.to(dtype))


@every_loss
def test_ignored_samples_do_no_harm(make) -> None:
    input, target = logits(4, 3), torch.tensor([0, -100, 2, -100])
    input[1], input[3] = math.nan, math.inf
    for reduction in REDUCTIONS:
        value, gradient = value_and_gradient(make(reduction=reduction), input, target)
        assert value.isfinite().all()
        assert gradient[[1, 3]].eq(0).all()
        assert gradient[[0, 2]].ne(0).all()
    assert make()(input, torch.full((4,), -100)).isnan()
    assert make(reduction="sum")(input, torch.full((4,), -100)) == 0


@every_loss
def test_copies_and_state(make) -> None:
    loss = make(weight=torch.tensor([1.0, 2.0, 3.0]))
    assert isinstance(loss, Loss)
    assert list(loss.state_dict()) == ["weight"]
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert twin(logits(4, 3), classes(4, high=3)) == loss(logits(4, 3), classes(4, high=3))
    assert loss.double().weight.dtype == torch.float64


def test_representations_and_formula() -> None:
    assert repr(SparseLabelSmoothing(0.2, ignore_index=3)) == (
        "SparseLabelSmoothing(smoothing=0.2, kind='multiclass', reduction='mean', ignore_index=3)"
    )
    loss = AbsoluteCrossEntropy(0.7, 1.2, reduction="none", inplace=True)
    assert repr(loss) == "AbsoluteCrossEntropy(phi0=0.7, phi1=1.2, kind='multiclass', reduction='none', inplace=True)"
    input, target = logits(6, 4), classes(6, high=4)
    formula = SymbolicLoss(loss.expression, reduction="none")
    torch.testing.assert_close(formula(input, target), loss(input, target), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SparseLabelSmoothing(1.5), "smoothing must lie between 0 and 1; received 1.5"),
        (lambda: LabelSmoothing(math.nan), "smoothing must lie between"),
        (lambda: LabelSmoothing(True), "smoothing must lie between"),
        (lambda: AbsoluteCrossEntropy(phi1=0.0), "phi1 must lie between 1e-06 and 1e"),
        (lambda: LabelSmoothing(reduction="max"), "reduction must be one of"),
        (lambda: LabelSmoothing(weight=torch.ones(2, 2)), "one number per class; received shape"),
        (lambda: LabelSmoothing(weight=[1.0]), "one number per class; received"),
        (
            lambda: LabelSmoothing(weight=torch.ones(3))(logits(2, 4), classes(2, high=4)),
            "weight has 3 numbers; the logits",
        ),
        (lambda: LabelSmoothing()(logits(2, 4), torch.tensor([0, 4])), "received 4"),
        (lambda: SparseLabelSmoothing()(logits(2, 4).requires_grad_(), torch.tensor([-1, 0])), "received -1"),
        (lambda: SparseLabelSmoothing()(logits(2, 4), torch.zeros(3, dtype=torch.long)), "class indices of shape"),
    ],
)
def test_errors_are_one_clear_line(make, message: str) -> None:
    with pytest.raises(LossError) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
