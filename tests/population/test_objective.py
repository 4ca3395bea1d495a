"""The engine's derivatives against autograd on the expressions themselves, one at a time, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.expression.parsing import parse
from symloss.expression.slices import specialise
from symloss.loops.operations import OPERATIONS, WIDTH
from symloss.population.compiled import CompiledObjective, compilable
from symloss.population.forest import Forest
from symloss.population.objective import TorchObjective, make_objective
from symloss.population.predictions import Kind, predict, prediction_product, task_gradient
from tests.strategies import expressions

CASES: list[tuple[Kind, bool, int]] = [
    ("multiclass", True, 4), ("multiclass", False, 3), ("binary", False, 1), ("regression", False, 1),
]  # fmt: skip
BATCH = 5

populations = st.lists(expressions(max_depth=4, primitives="all", max_size=20), min_size=1, max_size=6)


def problem(kind: Kind, indices: bool, classes: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [P, C, B], the target as the engine takes it, and the same target as y [C, B]."""
    generator = torch.Generator().manual_seed(count)
    logits = 2 * torch.randn(count, classes, BATCH, generator=generator, dtype=torch.float64)
    if indices:
        target = torch.randint(classes, (BATCH,), generator=generator)
        return logits, target, torch.nn.functional.one_hot(target, classes).t().double()
    y = torch.rand(classes, BATCH, generator=generator, dtype=torch.float64)
    y = y / y.sum(0) if kind == "multiclass" else y.round() if kind == "binary" else 3 * y - 1.5
    return logits, y, y


def oracle(e: Expression, kind: Kind, logits: Tensor, y: Tensor, tangent: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient at the logits by autograd, and the gradient in the weights of its product with `tangent`."""
    z = logits.clone().requires_grad_()
    weights = torch.tensor(e.weights, dtype=torch.float64, requires_grad=True)
    f = torch.softmax(z, 0) if kind == "multiclass" else torch.sigmoid(z) if kind == "binary" else z * 1.0
    finite: list[bool] = []

    def branch(primitive: primitives.Primitive, arguments: list[Tensor]) -> Tensor:
        value: Tensor = primitive.torch(*arguments)
        finite.append(bool(value.isfinite().all()))
        return value

    one = f.new_ones(())
    leaves = {"y": y, "f": f, "1": one, "-1": -one}
    value = e.fold(leaves.__getitem__, branch, lambda argument, _, edge: argument * weights[edge])
    loss = value.expand_as(f).sum() / BATCH + 0.0 * z.square().sum() * weights.square().sum()
    (gradient,) = torch.autograd.grad(loss, z, create_graph=True)
    (mixed,) = torch.autograd.grad((gradient * tangent).sum(), weights, allow_unused=True)
    if not all(finite):  # what is 0 · inf is nobody's truth
        return torch.full_like(gradient.detach(), torch.nan), torch.full_like(weights, torch.nan).detach()
    return gradient.detach(), torch.zeros_like(weights) if mixed is None else mixed


def same(a: Tensor, b: Tensor) -> bool:
    """Equal to rounding where the oracle is finite and moderate."""
    good = b.isfinite() & (b.abs() < 1e8)
    return torch.allclose(a[good], b[good], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("kind", "indices", "classes"), CASES)
@pytest.mark.parametrize("shared", [False, True])
@given(population=populations)
@settings(max_examples=25)
def test_gradients_are_those_of_autograd(
    kind: Kind, indices: bool, classes: int, shared: bool, population: list[Expression]
) -> None:
    count = len(population)
    logits, target, y = problem(kind, indices, classes, 1 if shared else count)
    tangent = torch.randn(count, classes, BATCH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    f = predict(logits, kind)
    expected = [oracle(e, kind, logits[0 if shared else p], y, tangent[p]) for p, e in enumerate(population)]
    gradients, mixed = torch.stack([g for g, _ in expected]), torch.cat([m for _, m in expected])
    options: dict[str, Any] = {"indices": indices, "dtype": torch.float64}
    made = [
        CompiledObjective(population, kind, freeze=False, **options),
        TorchObjective(population, kind, freeze=False, shared=shared, **options),
        CompiledObjective(population, kind, freeze=True, **options),
        TorchObjective(population, kind, freeze=True, shared=shared, **options),
    ]
    for number, objective in enumerate(made):
        assert same(objective.logits_gradient(f, target), gradients)
        if number < 2:
            assert same(objective.weight_gradient(tangent), mixed)


def test_a_nan_stays_in_its_tree() -> None:
    good, bad = (
        parse("abs(log(1.2*y*f))"),
        Expression(("mul", "y", "square", "square", "exp", "square", "f"), (1e150,) * 6),
    )
    logits, target, _ = problem("multiclass", True, 4, 3)
    f = predict(logits, "multiclass")
    for kind_of in (CompiledObjective, TorchObjective):
        alone = kind_of([good], "multiclass", indices=True, freeze=False, dtype=torch.float64)
        together = kind_of([good, bad, good], "multiclass", indices=True, freeze=False, dtype=torch.float64)
        gradient = together.logits_gradient(f, target)
        assert not gradient[1].isfinite().all()
        assert torch.equal(gradient[0], alone.logits_gradient(f[:1], target)[0])
        mixed = together.weight_gradient(torch.ones_like(f))
        assert mixed[: good.size - 1].isfinite().all()
        assert mixed[-(good.size - 1) :].isfinite().all()


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_compiled_rule_is_the_row_of_the_table(name: str) -> None:
    row = primitives.get(name)
    e = Expression((name, "f") if row.arity == 1 else (name, "f", "y"))
    values = [-3.0, -1.0, -1e-3, -1e-8, 0.0, 1e-8, 1e-3, 0.5, 1.0, 2.0]
    f, y = (torch.tensor(v, dtype=torch.float64).view(1, -1) for v in np.meshgrid(values, values, indexing="ij"))
    f, y = f.reshape(1, 1, -1), y.reshape(1, -1)
    arguments = (f[0, 0],) if row.arity == 1 else (f[0, 0], y[0])
    expected = torch.as_tensor(row.gradient(torch, *arguments)[0]).double().expand(f.shape[2]) / f.shape[2]
    objective = CompiledObjective([e], "regression", indices=False, freeze=False, dtype=torch.float64)
    assert torch.allclose(objective.logits_gradient(f, y)[0, 0], expected, rtol=1e-12, atol=1e-300)


def test_the_built_in_table_is_compiled_and_other_primitives_are_not() -> None:
    built_in = [row.name for row in primitives.primitives() if row not in primitives.registered()]
    assert sorted(OPERATIONS) == sorted(set(built_in))
    e = parse("y*f")
    assert compilable([e], "cpu", torch.float32)
    assert not compilable([e], "cuda", torch.float32)
    assert not compilable([e], "cpu", torch.float16)
    assert isinstance(make_objective([e], "multiclass", indices=True, freeze=True), CompiledObjective)


def test_batches_wider_than_a_strip() -> None:
    e = parse("abs(log(1.2*y*f)) + 0.5*square(y - f)")
    f = torch.rand(2, 3, 3 * WIDTH + 17, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = torch.arange(f.shape[2]) % 3
    options: dict[str, Any] = {"indices": True, "freeze": False, "dtype": torch.float64}
    a, b = CompiledObjective([e, e], "multiclass", **options), TorchObjective([e, e], "multiclass", **options)
    assert torch.allclose(a.logits_gradient(f, target), b.logits_gradient(f, target), rtol=1e-12)
    assert torch.allclose(a.weight_gradient(f), b.weight_gradient(f), rtol=1e-10)


@pytest.mark.parametrize(
    ("text", "y", "live"),
    [
        ("y*log(f)", 0, False), ("abs(log(1.2*y*f))", 0, False), ("abs(log(1.2*y*f))", 1, True),
        ("div(y, f)", 0, False), ("div(f, y)", 0, True), ("square(y - f)", 0, True), ("tanh(y)*f*y", 0, False),
        ("sqrt(y)*f", 0, True), ("y + 1", 1, False), ("max(y, 0.5)*f", 0, True),
    ],
)  # fmt: skip
def test_what_vanishes_on_a_slice_is_removed(text: str, y: float, live: bool) -> None:
    assert (specialise(parse(text), y) is not None) is live


@given(e=expressions(max_depth=4), y=st.sampled_from([0.0, 1.0]), freeze=st.booleans())
def test_a_slice_has_the_slope_of_the_expression(e: Expression, y: float, freeze: bool) -> None:
    f = torch.linspace(0.05, 0.95, 7, dtype=torch.float64).view(1, 1, -1)
    cut = Forest([e], y, freeze=freeze, dtype=torch.float64).slope(f)
    whole = Forest([e], None, dtype=torch.float64).slope(f, torch.full((1, 7), y, dtype=torch.float64))
    good = whole.isfinite()
    assert torch.allclose(cut[good], whole[good], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("kind", "indices", "classes"), CASES)
def test_task_gradient_is_that_of_torch_losses(kind: Kind, indices: bool, classes: int) -> None:
    logits, target, y = problem(kind, indices, classes, 3)
    for p in range(3):
        z = logits[p].t().clone().requires_grad_()
        if kind == "multiclass":
            loss = torch.nn.functional.cross_entropy(z, target if indices else y.t())
        elif kind == "binary":
            loss = torch.nn.functional.binary_cross_entropy_with_logits(z, y.t())
        else:
            loss = torch.nn.functional.mse_loss(z, y.t())
        (expected,) = torch.autograd.grad(loss, z)
        assert torch.allclose(task_gradient(logits, target, kind)[p].t(), expected, atol=1e-15)


@pytest.mark.parametrize("kind", ["multiclass", "binary", "regression"])
def test_the_product_with_the_jacobian(kind: Kind) -> None:
    logits, v = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    f, expected = torch.func.jvp(lambda z: predict(z, kind), (logits,), (v,))
    assert torch.allclose(prediction_product(f, v, kind), expected, atol=1e-14)


def test_a_constant_too_large_for_float32_is_infinite_and_alone() -> None:
    bad, good = parse("y*f*square(square(square(1e9)))"), parse("-1.0*y*log(f)")
    logits, target, _ = problem("multiclass", True, 4, 2)
    f = predict(logits, "multiclass").float()
    for make in (CompiledObjective, TorchObjective):
        gradient = make([bad, good], "multiclass", indices=True, freeze=True).logits_gradient(f, target)
        assert not gradient[0].isfinite().all()
        assert torch.allclose(gradient[1], task_gradient(logits, target, "multiclass")[1].float(), atol=1e-6)
