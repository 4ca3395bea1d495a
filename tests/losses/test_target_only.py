"""The forms of an expression, the fused kernel, and the kernel fused with the last linear layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from symloss.errors import LossError
from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.losses import (
    AbsoluteCrossEntropy,
    LabelSmoothing,
    SparseLabelSmoothing,
    SymbolicLoss,
    get,
    linear_loss,
    target_only,
)
from tests.losses.helpers import classes, logits, numpy_loss, soft
from tests.strategies import expressions

TARGET_ONLY = (
    "abs(log(1.2*y*f))", "-1.0*y*log(f)", "-1.0*y*pow(1 - f, 2.0)*log(f)", "-1.0*y*log(f) + 2.0*y*(1 - f)",
    "truediv(y*(1 - pow(f, 0.7)), 0.7)", "square(y*log(1.1*f)) + 0.3*tanh(y*f)", "y*abs(log(0.5*f*(1 - f)))",
    "max(abs(log(f*y)), y*sqrt(f))", "y*exp(-1.0*f) + div(y, f)", "log(abs(0.9*square(f)*y)) - y*min(f, 0.3)",
)  # fmt: skip
MARGIN = ("abs(y - f)", "-0.1*y*log(f) - f*max(log(y), -4.0)", "f - 2.0*y*log(f)", "truediv(f, 2.0 + y) - y")
DENSE = ("square(y - f)", "truediv(y, f) - log(f)", "0.1*f*log(f) - y*log(f)", "tanh(f) - y*f", "max(f, 0.5) - y")


def value_and_gradient(loss, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    input = input.detach().clone().requires_grad_()
    value = loss(input, target)
    return value.detach(), torch.autograd.grad(value.sum(), input)[0]


def dense(loss: SymbolicLoss):
    """The same loss at every (sample, output), by the primitives themselves and with protected logarithms."""

    def value(input: Tensor, target: Tensor) -> Tensor:
        dim = 0 if input.ndim == 1 else 1
        f, kept = input.softmax(dim), target != loss.ignore_index
        y = F.one_hot(target.where(kept, 0), input.shape[dim]).movedim(-1, dim).to(f)
        leaves = {"y": y, "f": f, "1": f.new_ones(()), "-1": -f.new_ones(())}
        entries = loss.expression.fold(
            leaves.__getitem__,
            lambda primitive, arguments: primitive.torch(*arguments),
            lambda value, weight, _: value * weight,
        )
        values = entries.expand(f.shape).sum(dim) * kept
        return {"none": values, "sum": values.sum(), "mean": values.sum() / kept.sum()}[loss.reduction]

    return value


def same(ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor], rtol: float, atol: float) -> None:
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol)


# --- which form -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "form"),
    [(t, "target-only") for t in TARGET_ONLY] + [(t, "margin") for t in MARGIN] + [(t, "dense") for t in DENSE],
)
def test_form(text: str, form: str) -> None:
    for trainable in (False, True):
        loss = SymbolicLoss(text, trainable=trainable)
        assert loss.form == form
        assert f"form={form!r}" in repr(loss)
    assert SymbolicLoss(text, "binary").form == SymbolicLoss(text, "regression").form == "dense"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("y*f + log(f) - log(f)", "target-only"),
        ("sign(f) - y*log(f)", "target-only"),
        ("max(f, 1.5) - y*log(f)", "target-only"),
        ("square(f) - f*f + 0.5*f - y", "margin"),
        ("y*log(f) + 0.0*f", "target-only"),
        ("y*log(f) + f - f", "target-only"),
        ("y*log(f) + 1e-10*f", "margin"),
    ],
)
def test_algebra_where_structure_does_not_decide(text: str, form: str) -> None:
    assert SymbolicLoss(text).form == form
    assert SymbolicLoss(text, trainable=True).form in ("dense", "margin")  # it is true of these weights alone
    loss = SymbolicLoss(text, reduction="none")
    input, target = logits(6, 5), classes(6, high=5)
    same(value_and_gradient(loss, input, target), value_and_gradient(dense(loss), input, target), 1e-9, 1e-10)


def test_a_term_that_only_numbers_hide_is_not_proved() -> None:
    assert SymbolicLoss("1e-4*square(f) - y*log(f)").form == "dense"
    assert SymbolicLoss("0.0*square(f) - y*log(f)", trainable=True).form == "dense"


@given(expression=expressions(5, "all").filter(lambda e: "f" in e.variables), seed=st.integers(0, 2**31))
@settings(max_examples=150)
def test_a_cheap_form_is_never_wrong(expression: Expression, seed: int) -> None:
    loss = SymbolicLoss(expression, reduction="none")
    assume(loss.form != "dense")
    input, target = logits(4, 5, seed=seed), classes(4, high=5, seed=seed)
    value, gradient = value_and_gradient(loss, input, target)
    expected, slope = value_and_gradient(dense(loss), input, target)
    assume(expected.isfinite().all() and expected.abs().max() < 1e6 and slope.isfinite().all())
    scale = 1 + slope.abs().max().item() + expected.abs().max().item()
    torch.testing.assert_close(value, expected, rtol=1e-8, atol=1e-8 * scale)
    close = (gradient - slope).abs() <= 1e-7 * scale
    assert close.all() or _at_a_kink(loss, input, target)


def _at_a_kink(loss: SymbolicLoss, input: Tensor, target: Tensor) -> bool:
    """Whether the gradient jumps within rounding of this point."""
    left = value_and_gradient(dense(loss), input * (1 - 1e-9), target)[1]
    right = value_and_gradient(dense(loss), input * (1 + 1e-9), target)[1]
    return bool((left - right).abs().max() > 1e-6)


@given(expression=expressions(4).filter(lambda e: {"y", "f"} <= e.variables), seed=st.integers(0, 2**31))
@settings(max_examples=60)
def test_every_target_only_loss_is_found(expression: Expression, seed: int) -> None:
    product = parse(f"y*({expression})")
    loss = SymbolicLoss(product)
    assert loss.form == "target-only"
    input, target = logits(3, 4, seed=seed), classes(3, high=4)
    expected = numpy_loss(product, "multiclass", input.numpy(), F.one_hot(target, 4).double().numpy())
    assume(np.isfinite(expected) and abs(expected) < 1e6)
    assert loss(input, target).item() == pytest.approx(expected, rel=1e-7, abs=1e-7)


# --- the same as the full grid, and better where that ends ------------------------------------------------------------


@pytest.mark.parametrize("text", TARGET_ONLY + MARGIN)
@pytest.mark.parametrize("shape", [(5,), (6, 4), (3, 4, 2)])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_same_as_the_full_grid(text: str, shape: tuple[int, ...], reduction: str) -> None:
    dim = 0 if len(shape) == 1 else 1
    loss = SymbolicLoss(text, reduction=reduction, ignore_index=2)
    trained = SymbolicLoss(text, reduction=reduction, ignore_index=2, trainable=True)
    input, target = logits(*shape), classes(*shape[:dim], *shape[dim + 1 :], high=4)
    expected = value_and_gradient(dense(loss), input, target)
    for one in (loss, trained):
        ours = value_and_gradient(one, input, target)
        for a, b in zip(ours, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_logarithm_of_a_softmax(dtype: torch.dtype) -> None:
    loss = SymbolicLoss("abs(log(1.25*y*f))", reduction="none")
    constant = 3 * abs(math.log(1e-7))  # the other entries, as on the full grid
    margins = torch.tensor([-10000.0, -100.0, -20.0, 0.0, 20.0, 100.0, 10000.0], dtype=dtype)
    input = torch.stack([margins, *(torch.zeros_like(margins),) * 3], 1)
    value, gradient = value_and_gradient(loss, input, torch.zeros(7, dtype=torch.long))
    exact = [abs(math.log(1.25) - math.log1p(3 * math.exp(-m)) if m > -500 else m - math.log(3) + math.log(1.25))
             for m in margins.tolist()]  # fmt: skip
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(
        value.double(), torch.tensor(exact, dtype=torch.float64) + constant, rtol=8 * eps, atol=0
    )
    q = torch.sigmoid(-(margins.double() - math.log(3)))
    sign = torch.where(torch.sigmoid(margins.double() - math.log(3)) < 0.8, -1.0, 1.0)
    torch.testing.assert_close(gradient[:, 0].double(), sign * q, rtol=64 * eps, atol=1e-40)
    flat = value_and_gradient(dense(loss), input, torch.zeros(7, dtype=torch.long))[1]
    assert flat[:2].eq(0).all()  # the protected logarithm: an error that can never be unlearnt
    assert gradient[:2, 0].eq(-1).all()


@pytest.mark.parametrize("text", TARGET_ONLY + MARGIN)
def test_finite_where_the_grid_is_not(text: str) -> None:
    loss = SymbolicLoss(text)
    for margin in (-10000.0, -200.0, 200.0, 10000.0):
        input = torch.tensor([[margin, 0.0, -3.0]])
        value, gradient = value_and_gradient(loss, input, torch.tensor([0]))
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("text", ["0.7*abs(log(1.3*y*f))", "abs(0.9*y - 1.1*f)", "0.8*y*square(log(0.7*f))"])
def test_trained_weights(text: str) -> None:
    expression = parse(text)
    loss = SymbolicLoss(expression, trainable=True)
    assert loss.form != "dense"
    input, target = logits(6, 4), classes(6, high=4)
    loss(input.requires_grad_(), target).backward()
    one_hot = F.one_hot(target, 4).double().numpy()
    for edge in range(expression.size - 1):
        values = []
        for h in (1e-6, -1e-6):
            weights = list(expression.weights)
            weights[edge] += h
            values.append(numpy_loss(expression.with_weights(weights), "multiclass", input.detach().numpy(), one_hot))
        assert loss.weights.grad[edge].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6, abs=1e-8)


def test_new_weights_are_used_and_looked_at() -> None:
    loss, other = SymbolicLoss("0.0*square(f)*1.0 - y*log(f)"), SymbolicLoss("2.0*square(f)*1.0 - 3.0*y*log(f)")
    input, target = logits(6, 4), classes(6, high=4)
    first = loss(input, target)
    torch.testing.assert_close(first, F.cross_entropy(input, target))
    loss.load_state_dict(other.state_dict())
    assert loss.form == "dense"
    torch.testing.assert_close(loss(input, target), other(input, target))
    scaled = SymbolicLoss("-1.0*y*log(f)")
    before = scaled(input, target)
    with torch.no_grad():
        scaled.weights.mul_(2.0)
    torch.testing.assert_close(scaled(input, target), SymbolicLoss(scaled.expression)(input, target))
    assert scaled(input, target) != before


# --- the compiled loops ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 3, 31, 32, 33, 63, 64, 100, 1000])
@pytest.mark.parametrize("make", [LabelSmoothing, SparseLabelSmoothing])
def test_compiled_loops_are_the_plain_form(make, count: int, dtype: torch.dtype) -> None:
    z, target = logits(300, count, dtype=dtype, scale=8.0), classes(300, high=count)
    weight = logits(count, seed=4).exp() if make is SparseLabelSmoothing else None
    function = make(0.2).function(count)
    tolerance = 200 * torch.finfo(dtype).eps
    for reduction in ("mean", "sum", "none"):
        options = {"weight": weight, "reduction": reduction, "ignore_index": 0}
        ours = value_and_gradient(lambda z, t, o=options: target_only.target_loss(z, t, function, **o), z, target)
        theirs = value_and_gradient(
            lambda z, t, o=options: target_only.plain_loss(z, t, function, *o.values()), z, target
        )
        if count > 1:
            same(ours, theirs, tolerance, tolerance)
        strided = value_and_gradient(
            lambda z, t, o=options: target_only.target_loss(z.T.contiguous().T, t, function, **o), z, target
        )
        for one, other in zip(ours, strided, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize(
    "text", ["abs(log(1.2*y*f))", "-1.0*y*pow(1 - f, 2.0)*log(f)", "-1.0*y*log(1 - 0.5*f) + log(1 - f)"]
)
def test_classes_that_are_masked_out(text: str, count: int) -> None:
    z, target = torch.full((1, count), -math.inf).double().index_fill_(1, torch.tensor([0]), 0.3), torch.tensor([0])
    for loss in (SymbolicLoss(text), SymbolicLoss(text, trainable=True)):  # compiled loops and plain form
        assert value_and_gradient(loss, z, target)[1].isfinite().all()
    for loss in (SparseLabelSmoothing(0.0), LabelSmoothing(0.0)):
        assert torch.func.grad(loss)(z, target).eq(0).all()
        assert value_and_gradient(SparseLabelSmoothing(0.0), z, F.one_hot(target, count))[1].eq(0).all()


# --- in place, and who needs the logits -------------------------------------------------------------------------------


def layer_and_data() -> tuple[nn.Linear, Tensor, Tensor]:
    return nn.Linear(6, 5, dtype=torch.float64), logits(8, 6), classes(8, high=5)


@pytest.mark.parametrize("make", [LabelSmoothing, SparseLabelSmoothing, AbsoluteCrossEntropy])
def test_in_place_gives_the_same_gradient_in_the_storage_of_the_logits(make) -> None:
    layer, x, target = layer_and_data()
    gradients = []
    for inplace in (False, True):
        z = layer(x)
        before = z.detach().clone()
        z.retain_grad()
        make(inplace=inplace)(z, target).backward()
        gradients.append(layer.weight.grad.clone())
        layer.weight.grad = None
        if inplace:
            assert not z.detach().equal(before)
        else:
            assert z.detach().equal(before)
            assert z.grad.data_ptr() != z.data_ptr()
    torch.testing.assert_close(*gradients, rtol=1e-13, atol=1e-15)


def test_in_place_is_refused_where_it_would_do_harm() -> None:
    layer, x, target = layer_and_data()
    loss = SparseLabelSmoothing(inplace=True)
    with pytest.raises(LossError, match="leaf tensor"):
        loss(logits(8, 5).requires_grad_(), target)
    with pytest.raises(LossError, match="leaf tensor"):  # a view of one is no better
        loss(nn.Parameter(logits(40)).view(8, 5), target)
    z = layer(x)
    value = z.exp().mul(z).sum() + loss(z, target)  # the product needs the logits after the loss has spent them
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()
    value = loss(layer(x), target)
    value.backward(retain_graph=True)
    with pytest.raises(LossError, match="overwritten by the first backward pass"):
        value.backward()
    with pytest.raises(LossError, match="second derivatives"):
        torch.autograd.grad(loss(layer(x), target), layer.weight, create_graph=True)
    values = logits(8, 5)
    kept = values.clone()
    loss(values, target)  # nothing to differentiate: nothing is written
    assert values.equal(kept)


def test_going_back_twice_gives_the_same() -> None:
    layer, x, target = layer_and_data()
    for loss in (SparseLabelSmoothing(), SymbolicLoss("abs(log(1.2*y*f))", trainable=True)):
        value = loss(layer(x), target)
        first = torch.autograd.grad(value, layer.weight, retain_graph=True)[0]
        assert first.equal(torch.autograd.grad(value, layer.weight)[0])


@pytest.mark.parametrize("text", [*TARGET_ONLY[:4], *MARGIN])
@pytest.mark.parametrize("trainable", [False, True])
def test_second_derivatives_and_forward_mode(text: str, trainable: bool) -> None:
    loss, input, target = SymbolicLoss(text, trainable=trainable), logits(4, 3).requires_grad_(), classes(4, high=3)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), input)
    assert torch.autograd.gradgradcheck(lambda z: loss(z, target), input)
    assert torch.autograd.gradcheck(lambda z: loss(z, target), input, check_forward_ad=True, check_backward_ad=False)
    hessian = torch.func.hessian(lambda z: loss(z, target))(input.detach())
    expected = torch.func.hessian(lambda z: dense(loss)(z, target))(input.detach())
    torch.testing.assert_close(hessian, expected, rtol=1e-7, atol=1e-8)


def test_an_operation_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    primitives.register("gentle", 1, lambda xp, a: a / (1 + a * a), sympy=lambda sp, a: a / (1 + a**2))
    try:
        loss = SymbolicLoss("y*gentle(log(f))", reduction="none")
        assert loss.form == "target-only"
        input, target = logits(6, 4), classes(6, high=4)
        expected = value_and_gradient(dense(loss), input, target)
        same(value_and_gradient(loss, input, target), expected, 1e-10, 1e-11)
    finally:
        primitives.unregister("gentle")


# --- with the last linear layer ---------------------------------------------------------------------------------------

MODULES = {
    "sparse": lambda r: SparseLabelSmoothing(0.1, reduction=r, ignore_index=2),
    "weighted": lambda r: SparseLabelSmoothing(0.1, torch.linspace(0.5, 2, 7).double(), r, ignore_index=2),
    "smoothing": lambda r: LabelSmoothing(0.1, reduction=r, ignore_index=2),
    "absolute": lambda r: AbsoluteCrossEntropy(0.7, 1.3, reduction=r, ignore_index=2),
    "focal": lambda r: get("focal", reduction=r, ignore_index=2),
    "poly": lambda r: get("poly", reduction=r, ignore_index=2),
    "cross-entropy": lambda r: get("cross-entropy", reduction=r, ignore_index=2),
    "torch": lambda r: nn.CrossEntropyLoss(reduction=r, ignore_index=2, label_smoothing=0.2),
    "discovered": lambda r: SymbolicLoss("abs(log(1.2*y*f)) + 0.3*tanh(y*f)", reduction=r, ignore_index=2),
    "dense": lambda r: SymbolicLoss("square(y - f)", reduction=r, ignore_index=2),
    "weighted-smoothing": lambda r: LabelSmoothing(0.1, torch.linspace(0.5, 2, 7).double(), r, ignore_index=2),
    "margin": lambda r: SymbolicLoss("abs(y - f)", reduction=r, ignore_index=2),
    "trained": lambda r: SymbolicLoss("abs(log(1.2*y*f))", reduction=r, ignore_index=2, trainable=True),
}


def linear_case(name: str, reduction: str, bias: bool) -> tuple[nn.Module, list[Tensor], Tensor]:
    tensors = [logits(10, 4), logits(7, 4, seed=8)] + [logits(7, seed=9)] * bias
    return MODULES[name](reduction), [t.requires_grad_() for t in tensors], classes(10, high=7)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("bias", [False, True])
def test_linear_loss_is_the_composition(bias: bool, reduction: str, name: str) -> None:
    loss, tensors, target = linear_case(name, reduction, bias)
    tensors += list(loss.parameters())
    upstream = logits(10, seed=11) if reduction == "none" else torch.tensor(1.7, dtype=torch.float64)

    def both(value: Tensor) -> list[Tensor]:
        return [value.detach(), *torch.autograd.grad(value, tensors, upstream, retain_graph=True)]

    expected = both(loss(F.linear(*tensors[: 2 + bias]), target))
    for chunk in (None, 1, 3, 10, 100):
        hidden, weight, *rest = tensors[: 2 + bias]
        value = linear_loss(hidden, weight, target, loss, *rest, chunk=chunk)
        for _ in range(2):  # the second time it is computed once more
            for ours, theirs in zip(both(value), expected, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_linear_loss_differentiates_what_is_asked() -> None:
    loss, (hidden, weight), target = linear_case("sparse", "mean", bias=False)
    value = linear_loss(hidden, weight.detach(), target, loss, chunk=3)
    expected = torch.autograd.grad(loss(F.linear(hidden, weight.detach()), target), hidden)[0]
    torch.testing.assert_close(torch.autograd.grad(value, hidden)[0], expected)
    with torch.no_grad():
        assert not linear_loss(hidden, weight, target, loss).requires_grad
    assert torch.autograd.gradcheck(lambda h, w: linear_loss(h, w, target, loss, chunk=4), (hidden, weight))
    assert torch.autograd.gradgradcheck(lambda h, w: linear_loss(h, w, target, loss, chunk=4), (hidden, weight))
    slopes = torch.func.grad(lambda w: linear_loss(hidden.detach(), w, target, loss))(weight.detach())
    composed = loss(F.linear(hidden, weight), target)
    torch.testing.assert_close(slopes, torch.autograd.grad(composed, weight)[0])


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("count", [0, 6])
def test_linear_loss_without_any_sample_that_counts(count: int, reduction: str, name: str) -> None:
    loss, tensors, _ = linear_case(name, reduction, bias=True)
    (hidden, weight, bias), target = tensors, torch.full((count,), 2)  # 2 is left out
    hidden = hidden[:count].detach().requires_grad_()
    value, composed = (
        linear_loss(hidden, weight, target, loss, bias, chunk=4),
        loss(F.linear(hidden, weight, bias), target),
    )
    torch.testing.assert_close(value, composed, equal_nan=True)
    for _ in range(2):
        gradients = torch.autograd.grad(value.sum(), (hidden, weight, bias), retain_graph=True)
        assert all(gradient.eq(0).all() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_linear_loss_in_low_precision(dtype: torch.dtype) -> None:
    hidden, weight = (t.detach().to(dtype).requires_grad_() for t in linear_case("sparse", "mean", bias=False)[1])
    target, loss = classes(10, high=7), SparseLabelSmoothing(0.1)
    value = linear_loss(hidden, weight, target, loss, chunk=4)
    gradients = torch.autograd.grad(value, (hidden, weight))
    wide = [t.detach().float().requires_grad_() for t in (hidden, weight)]
    expected = loss(F.linear(*wide), target)
    assert value.dtype == dtype
    torch.testing.assert_close(value, expected.detach().to(dtype))
    for ours, theirs in zip(gradients, torch.autograd.grad(expected, wide), strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, theirs.to(dtype), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


def test_linear_loss_never_holds_the_logits() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, function, kinds, arguments=(), keywords=None):
            result = function(*arguments, **(keywords or {}))
            for tensor in result if isinstance(result, tuple | list) else (result,):
                if isinstance(tensor, Tensor):
                    self.size = max(self.size, tensor.untyped_storage().nbytes())
            return result

    hidden, weight = logits(64, 4).requires_grad_(), logits(500, 4).requires_grad_()
    target = classes(64, high=500)
    for loss in (SparseLabelSmoothing(), LabelSmoothing(reduction="none"), SymbolicLoss("y*log(f)", trainable=True)):
        with Largest() as largest:
            linear_loss(hidden, weight, target, loss, chunk=8).sum().backward()
        assert largest.size <= 8 * 500 * 8  # a block of eight rows; all logits are 64 · 500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": nn.MSELoss()}, "received MSELoss"),
        ({"loss": get("squared-error", "regression")}, "needs a multiclass loss"),
        ({"weight": torch.zeros(7, 3)}, "wanted hidden [B, D], weight [C, D]"),
        ({"bias": torch.zeros(6)}, "and bias [C]; received"),
        ({"target": torch.zeros(9, dtype=torch.long)}, "received (10, 4)"),
        ({"target": torch.full((10,), 7)}, "class indices go from 0 to 6"),
        ({"target": torch.zeros(10)}, "must be integers"),
        ({"weight": torch.zeros(7, 4, dtype=torch.float64)}, "one floating dtype"),
        ({"hidden": [1.0]}, "hidden must be a torch.Tensor"),
        ({"chunk": 0}, "chunk must be a positive number"),
    ],
)
def test_misfits_of_linear_loss(change: dict, message: str) -> None:
    given = {
        "hidden": torch.zeros(10, 4), "weight": torch.zeros(7, 4), "target": torch.zeros(10, dtype=torch.long),
        "loss": SparseLabelSmoothing(), **change,
    }  # fmt: skip
    with pytest.raises(LossError) as caught:
        linear_loss(**given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_soft_targets_are_dense() -> None:
    expression = parse("abs(log(1.2*y*f))")
    input, target = logits(6, 4), soft(6, 4)
    expected = numpy_loss(expression, "multiclass", input.numpy(), target.numpy())
    assert SymbolicLoss(expression)(input, target).item() == pytest.approx(expected, rel=1e-12)
