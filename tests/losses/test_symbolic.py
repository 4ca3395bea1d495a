from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

from symloss.errors import ExpressionError, LossError, ParseError
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.losses import SymbolicLoss
from tests.losses.helpers import CROSS_ENTROPY, DTYPES, classes, logits, numpy_loss, soft
from tests.strategies import expressions

FEW = settings(max_examples=60)
SHAPES = [(5,), (7, 4), (6, 3, 2), (2, 5, 3, 4)]
KINDS = ("multiclass", "binary", "regression")


def with_f(max_depth: int = 5, primitives: str = "search") -> st.SearchStrategy[Expression]:
    return expressions(max_depth, primitives).filter(lambda e: "f" in e.variables)


def value_and_gradient(loss, input, target) -> tuple[torch.Tensor, torch.Tensor]:
    input = input.detach().clone().requires_grad_()
    value = loss(input, target)
    (gradient,) = torch.autograd.grad(value.sum(), input)
    return value.detach(), gradient


def targets_for(kind: str, shape: tuple[int, ...]) -> torch.Tensor:
    return soft(*shape) if kind == "multiclass" else logits(*shape, seed=3).sigmoid()


# --- torch's own losses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("how", ["indices", "ignored", "soft", "one-hot"])
def test_equals_torch_cross_entropy(how: str, shape: tuple[int, ...], reduction: str) -> None:
    dim = 0 if len(shape) == 1 else 1
    index_shape = shape[:dim] + shape[dim + 1 :]
    input, target = logits(*shape), classes(*index_shape, high=shape[dim])
    ours, theirs = target, target
    if how == "ignored":
        ours = theirs = torch.where(classes(*index_shape, high=2, seed=5).bool(), target, 1)
    elif how == "soft":
        ours = theirs = soft(*shape, dim=dim)
    elif how == "one-hot":
        ours = F.one_hot(target, shape[dim]).movedim(-1, dim)  # integers
        theirs = ours.double()
    ignore = 1 if how == "ignored" else -100
    loss = SymbolicLoss(CROSS_ENTROPY, reduction=reduction, ignore_index=ignore)
    value, gradient = value_and_gradient(loss, input, ours)
    expected, slope = value_and_gradient(
        lambda z, y: F.cross_entropy(z, y, reduction=reduction, ignore_index=ignore), input, theirs
    )
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12, equal_nan=True)
    torch.testing.assert_close(gradient, slope, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64])
def test_class_indices_of_any_integer_type(dtype: torch.dtype) -> None:
    input, target = logits(6, 4), classes(6, high=4)
    loss = SymbolicLoss(CROSS_ENTROPY)
    assert loss(input, target.to(dtype)) == loss(input, target)


def test_ignored_samples_do_no_harm() -> None:
    input, target = logits(4, 3), torch.tensor([0, -100, 2, -100])
    input[1], input[3] = float("nan"), float("inf")
    value, gradient = value_and_gradient(SymbolicLoss(CROSS_ENTROPY), input, target)
    torch.testing.assert_close(value, F.cross_entropy(input[[0, 2]], target[[0, 2]]))
    assert gradient[[1, 3]].eq(0).all()
    assert gradient[[0, 2]].ne(0).all()
    everything = torch.full((4,), -100)
    assert SymbolicLoss(CROSS_ENTROPY)(input, everything).isnan()  # as in torch: 0 / 0
    assert SymbolicLoss(CROSS_ENTROPY, reduction="sum")(input, everything) == 0


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(), (6,), (6, 1), (4, 3)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool])
def test_equals_torch_binary_cross_entropy(dtype: torch.dtype, shape: tuple[int, ...], reduction: str) -> None:
    target = logits(*shape, seed=3).sigmoid() if dtype == torch.float64 else classes(*shape, high=2).to(dtype)
    loss = SymbolicLoss("-1.0*y*log(f) - (1 - y)*log(1 - f)", kind="binary", reduction=reduction)
    value, gradient = value_and_gradient(loss, logits(*shape), target)
    expected, slope = value_and_gradient(
        lambda z, y: F.binary_cross_entropy_with_logits(z, y.double(), reduction=reduction), logits(*shape), target
    )
    torch.testing.assert_close(value, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradient, slope, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", [(), (6,), (6, 1), (4, 3), (4, 3, 2)])
def test_regression_sums_over_outputs_and_averages_over_the_batch(shape: tuple[int, ...]) -> None:
    input, target = logits(*shape), logits(*shape, seed=9)
    outputs = input[0].numel() if input.ndim else 1
    value, gradient = value_and_gradient(SymbolicLoss("square(y - f)", kind="regression"), input, target)
    expected, slope = value_and_gradient(lambda z, y: outputs * F.mse_loss(z, y), input, target)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, slope, rtol=1e-12, atol=1e-12)
    each = SymbolicLoss("square(y - f)", kind="regression", reduction="none")(input, target)
    assert each.shape == shape[:1]
    torch.testing.assert_close(each.mean(), value)


def test_integer_targets_for_regression() -> None:
    target = classes(6, high=9)
    loss = SymbolicLoss("abs(y - f)", kind="regression")
    assert loss(logits(6), target) == loss(logits(6), target.double())


# --- random expressions ----------------------------------------------------------------------------------------------


@FEW
@given(expression=with_f(primitives="all"), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_value_is_that_of_numpy(expression: Expression, kind: str, seed: int) -> None:
    input, target = logits(3, 4, seed=seed), targets_for(kind, (3, 4))
    expected = numpy_loss(expression, kind, input.numpy(), target.numpy())
    value = SymbolicLoss(expression, kind)(input, target).item()
    assume(np.isfinite(expected) and abs(expected) < 1e100)
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-9)


@FEW
@given(expression=with_f(4), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_gradient_is_that_of_central_differences(expression: Expression, kind: str, seed: int) -> None:
    input, target = logits(3, 4, seed=seed), targets_for(kind, (3, 4))
    direction = logits(3, 4, seed=seed + 1, scale=1.0)

    def slope(h: float) -> float:
        ahead, behind = (input + h * direction).numpy(), (input - h * direction).numpy()
        difference = numpy_loss(expression, kind, ahead, target.numpy())
        return (difference - numpy_loss(expression, kind, behind, target.numpy())) / (2 * h)

    scale = abs(numpy_loss(expression, kind, input.numpy(), target.numpy()))
    coarse, fine = slope(2e-5), slope(1e-5)
    tolerance = 1e-6 * (1 + abs(fine)) + 1e-10 * scale  # truncation h² |L'''|/6, and rounding ε |L|/h ≈ 2e-11 |L|
    assume(np.isfinite([scale, coarse, fine]).all() and abs(coarse - fine) < tolerance)  # leaves kinks out
    _, gradient = value_and_gradient(SymbolicLoss(expression, kind), input, target)
    assert (gradient * direction).sum().item() == pytest.approx(fine, abs=2 * tolerance)


@FEW
@given(expression=with_f(4), kind=st.sampled_from(("multiclass", "binary")), seed=st.integers(0, 2**31))
def test_finite_at_extreme_logits(expression: Expression, kind: str, seed: int) -> None:
    signs = logits(6, 4, seed=seed).sign().float()  # depth 4: deeper expressions can overflow by themselves
    for target in (torch.zeros(6, 4), targets_for(kind, (6, 4)), F.one_hot(classes(6, high=4), 4)):
        value, gradient = value_and_gradient(SymbolicLoss(expression, kind), 100 * signs, target)
        assert value.isfinite()
        assert gradient.isfinite().all()


@FEW
@given(expression=with_f(primitives="all"), seed=st.integers(0, 2**31))
def test_symmetries_of_multiclass(expression: Expression, seed: int) -> None:
    input, target = logits(3, 4, seed=seed, scale=1.0), classes(3, high=4)
    loss = SymbolicLoss(expression)
    value, gradient = value_and_gradient(loss, input, target)
    assume(value.isfinite() and gradient.isfinite().all() and max(value.abs(), gradient.abs().max()) < 1e6)
    order = torch.tensor([2, 0, 3, 1])
    permuted, slopes = value_and_gradient(loss, input[:, order], order.argsort()[target])
    assert permuted.item() == pytest.approx(value.item(), rel=1e-9, abs=1e-9)
    torch.testing.assert_close(slopes, gradient[:, order], rtol=1e-7, atol=1e-7 * (1 + gradient.abs().max().item()))
    assert gradient.sum(1).abs().max() <= 1e-10 * (1 + gradient.abs().max())  # adding to all logits changes nothing


def test_a_pole_of_the_slice_proves_nothing() -> None:
    pole = Expression(("exp", "truediv", "log", "f", "y"), (1.0, 1.0, 3.0, 1.0))  # ℓ(0, f) is e^±inf
    assert SymbolicLoss(pole).form == "dense"


# --- precision -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_computed_wide_and_returned_in_the_dtype_of_the_input(kind: str, dtype: torch.dtype) -> None:
    loss = SymbolicLoss("abs(log(1.1*y*f)) + 0.5*square(y - f)", kind)
    input, target = logits(8, 5, dtype=dtype), targets_for(kind, (8, 5))
    value, gradient = value_and_gradient(loss, input, target)
    wide = input.double() if dtype == torch.float64 else input.float()
    expected, slope = value_and_gradient(loss, wide, target)
    assert value.dtype == gradient.dtype == dtype
    assert value == expected.to(dtype)
    assert gradient.equal(slope.to(dtype))


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16])
def test_autocast_returns_float32(autocast: torch.dtype) -> None:
    layer = torch.nn.Linear(6, 4, dtype=torch.float32)
    inputs, target = logits(8, 6, dtype=torch.float32), classes(8, high=4)
    for loss in (SymbolicLoss(CROSS_ENTROPY), SymbolicLoss("1e5*y*log(f)", reduction="sum")):
        with torch.autocast("cpu", dtype=autocast):
            output = layer(inputs)
            value = loss(output, target)
        assert output.dtype == autocast
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert value == loss(output.float(), target)


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "input", "target", "message"),
    [
        ("multiclass", torch.zeros(4, 3), torch.tensor([0, 1, 2, 3]), "received 3"),
        ("multiclass", torch.zeros(4, 3), torch.tensor([0, 1, 2, -1]), "received -1"),
        ("multiclass", torch.zeros(3), torch.tensor(7), "received 7"),
        ("multiclass", torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.long), r"received shape \(4, 1\)"),
        ("multiclass", torch.zeros(4, 3), torch.zeros(3, dtype=torch.long), r"class indices of shape \(4,\)"),
        ("multiclass", torch.zeros(4, 3), torch.zeros(4), "must be integers"),
        ("multiclass", torch.zeros(4, 3), torch.zeros(4, dtype=torch.bool), "must be integers"),
        ("multiclass", torch.zeros(()), torch.zeros(()), "logits of shape"),
        ("multiclass", torch.zeros(4, 3, dtype=torch.long), torch.zeros(4, 3), "floating"),
        ("multiclass", [[0.0, 1.0]], torch.zeros(1, dtype=torch.long), "input must be a torch.Tensor; received list"),
        ("multiclass", torch.zeros(2, 2), np.zeros(2), "target must be a torch.Tensor; received ndarray"),
        ("binary", torch.zeros(4, 1), torch.zeros(4), r"received \(4, 1\) and \(4,\); target.view_as"),
        ("binary", torch.zeros(4), torch.zeros(4, 1), "same shape"),
        ("binary", torch.zeros(4), torch.zeros(5), "same shape"),
        ("regression", torch.zeros(4, 1), torch.zeros(4), "same shape"),
        ("regression", torch.zeros(4), torch.zeros(4, dtype=torch.complex64), "must be real"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(kind: str, input, target, message: str) -> None:
    with pytest.raises(LossError, match=message) as caught:
        SymbolicLoss("square(y - f)", kind)(input, target)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "classification"}, "kind must be one of"),
        ({"reduction": "max"}, "reduction must be one of"),
        ({"ignore_index": 1.5}, "ignore_index must be"),
        ({"ignore_index": 10**30}, "ignore_index must be"),
        ({"kind": "binary", "ignore_index": 0}, "ignore_index is for class indices"),
        ({"expression": "square(y)"}, "must contain the prediction f"),
        ({"expression": 3}, "received int"),
    ],
)
def test_options_are_checked(arguments: dict, message: str) -> None:
    with pytest.raises(LossError, match=message):
        SymbolicLoss(**{"expression": "y*f", **arguments})


def test_text_that_is_no_expression() -> None:
    with pytest.raises(ParseError):
        SymbolicLoss("__import__('os').system('x')")


# --- a module like any other -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainable", [False, True])
def test_state_copies_and_pickles(trainable: bool) -> None:
    expression = parse("abs(log(1.2345678901234567*y*f)) - 0.1*tanh(f)")
    loss = SymbolicLoss(expression, trainable=trainable)
    assert loss.expression == expression  # bit for bit
    assert len(list(loss.parameters())) == trainable
    assert list(loss.state_dict()) == ["weights"]
    other = SymbolicLoss(expression.with_weights([2.0] * (expression.size - 1)), trainable=trainable)
    other.load_state_dict(loss.state_dict())
    input, target = logits(4, 3), classes(4, high=3)
    for twin in (other, copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert twin.expression == expression
        assert twin(input, target) == loss(input, target)
    with pytest.raises(RuntimeError, match="size mismatch"):
        SymbolicLoss("y*f").load_state_dict(dict(loss.state_dict()))


@pytest.mark.parametrize("strict", [False, True])
def test_the_state_of_another_formula_is_refused(tmp_path: Path, strict: bool) -> None:
    loss, other = SymbolicLoss("1.5*y - 2*f", trainable=True), SymbolicLoss("3*y*f")
    torch.save(nn.ModuleDict({"loss": loss}).state_dict(), tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    assert list(state) == ["loss.weights"]
    twin = SymbolicLoss("y - f")
    nn.ModuleDict({"loss": twin}).load_state_dict(state, strict=strict)
    assert twin.expression == loss.expression
    for module, found in ((other, loss.state_dict()), (nn.ModuleDict({"loss": other}), state)):
        with pytest.raises(LossError, match="that of another formula: its nodes are 'sub y f', here 'mul y f'"):
            module.load_state_dict(found, strict=strict)
    assert other.expression == parse("3*y*f")
    other.load_state_dict({"weights": torch.ones(2)})  # from before the formula was kept beside it
    assert other.expression == parse("y*f")
    compiled = torch.compile(SymbolicLoss("y - f"), backend="eager")
    compiled.load_state_dict(torch.compile(loss, backend="eager").state_dict(), strict=strict)
    with pytest.raises(LossError, match="another formula"):
        torch.compile(other, backend="eager").load_state_dict(compiled.state_dict())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_moves_to_another_dtype(dtype: torch.dtype) -> None:
    loss = SymbolicLoss("abs(log(1.25*y*f))").to(dtype)
    assert loss.weights.dtype == dtype
    assert str(loss.expression) == "abs(log(1.25*y*f))"
    for input in (logits(4, 3), logits(4, 3, dtype=torch.float16)):
        assert loss(input, classes(4, high=3)).dtype == input.dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_trained_weights_of_low_precision_are_only_rounded(dtype: torch.dtype) -> None:
    loss = SymbolicLoss("abs(log(1.25*y*f)) + tanh(y*f)", trainable=True).to(dtype)
    input, target = logits(4, 3), classes(4, high=3)
    torch.testing.assert_close(loss(input, target), SymbolicLoss(loss.expression)(input, target), rtol=1e-6, atol=1e-6)


def test_trained_weights_show_in_the_formula() -> None:
    loss = SymbolicLoss("abs(log(1.5*y*f))", trainable=True)
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.1)
    before = loss.expression
    loss(logits(4, 3), classes(4, high=3)).backward()
    optimiser.step()
    after = loss.expression
    assert after.nodes == before.nodes
    assert after != before
    assert SymbolicLoss(after)(logits(4, 3), classes(4, high=3)) == loss(logits(4, 3), classes(4, high=3))
    with torch.no_grad():
        loss.weights[0] = float("nan")
    assert "no longer finite" in repr(loss)
    with pytest.raises(ExpressionError, match="finite"):
        _ = loss.expression


def test_weight_gradient_is_that_of_central_differences() -> None:
    expression = parse("0.7*abs(log(1.3*y*f)) + 0.2*square(0.9*y - tanh(1.1*f))")
    loss = SymbolicLoss(expression, trainable=True)
    input, target = logits(4, 3), soft(4, 3)
    loss(input, target).backward()
    for edge in range(expression.size - 1):
        values = []
        for h in (1e-6, -1e-6):
            weights = list(expression.weights)
            weights[edge] += h
            values.append(numpy_loss(expression.with_weights(weights), "multiclass", input.numpy(), target.numpy()))
        assert loss.weights.grad[edge].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-6, abs=1e-8)


def test_repr_names_formula_kind_and_form() -> None:
    loss = SymbolicLoss("abs(log(1.2*y*f))", ignore_index=3)
    text = "abs(log(1.2*y*f)), kind='multiclass', reduction='mean', ignore_index=3, trainable=False, form='target-only'"
    assert repr(loss) == f"SymbolicLoss({text})"


# --- torch's transforms ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_grad_and_vmap(kind: str) -> None:
    loss = SymbolicLoss("0.5*abs(log(1.1*y*f)) + tanh(f)", kind)
    input = logits(3, 5, 4)
    target = classes(3, 5, high=4) if kind == "multiclass" else targets_for(kind, (3, 5, 4))
    values = torch.func.vmap(loss)(input, target)
    slopes = torch.func.vmap(torch.func.grad(loss))(input, target)
    for i in range(3):
        value, gradient = value_and_gradient(loss, input[i], target[i])
        torch.testing.assert_close(values[i], value)
        torch.testing.assert_close(slopes[i], gradient)


def test_vmap_over_weights() -> None:
    loss = SymbolicLoss("abs(log(1.1*y*f))", trainable=True)
    weights = torch.stack([loss.weights.detach() * k for k in (1.0, 1.5, 2.0)])
    input, target = logits(5, 4), classes(5, high=4)
    values = torch.func.vmap(lambda w: torch.func.functional_call(loss, {"weights": w}, (input, target)))(weights)
    for value, row in zip(values, weights, strict=True):
        assert value.item() == pytest.approx(
            SymbolicLoss(loss.expression.with_weights(row.tolist()))(input, target).item()
        )


def test_targets_out_of_range_that_cannot_be_looked_at_give_nan() -> None:
    target = torch.tensor([[0, 1], [2, 3], [-100, 2]])
    values = torch.func.vmap(SymbolicLoss(CROSS_ENTROPY))(logits(3, 2, 3), target)
    assert values.isnan().tolist() == [False, True, False]
    compiled = torch.compile(SymbolicLoss(CROSS_ENTROPY), backend="aot_eager", fullgraph=True)
    assert compiled(logits(2, 3), target[1]).isnan()


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind: str) -> None:
    loss = SymbolicLoss("log(1.3*y + f) + 0.4*tanh(f)*square(y - f) + div(y, f) + 0.3*sqrt(f + 3.0)", kind)
    input = logits(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(loss, (input, targets_for(kind, (3, 4))))
    assert torch.autograd.gradgradcheck(loss, (input, targets_for(kind, (3, 4))))


@pytest.mark.parametrize("kind", KINDS)
def test_compiles_to_one_graph(kind: str) -> None:
    loss = SymbolicLoss("abs(log(1.1*y*f)) - 0.3*min(f, truediv(y, 2.0))", kind, trainable=True)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    target = classes(5, high=4) if kind == "multiclass" else targets_for(kind, (5, 4))
    input = logits(5, 4, dtype=torch.float16 if kind == "binary" else torch.float64)
    value, gradient = value_and_gradient(compiled, input, target)
    expected, slope = value_and_gradient(loss, input, target)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # torch's own, while it imports its compiler
def test_compiles_with_inductor() -> None:
    loss = SymbolicLoss("abs(log(1.1*y*f)) - 0.3*min(f, tanh(f))")
    compiled = torch.compile(loss, fullgraph=True)
    value, gradient = value_and_gradient(compiled, logits(5, 4, dtype=torch.float32), classes(5, high=4))
    expected, slope = value_and_gradient(loss, logits(5, 4, dtype=torch.float32), classes(5, high=4))
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradient, slope)
