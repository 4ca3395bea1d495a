from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from symloss.errors import LossError
from symloss.expression import primitives
from symloss.expression.expression import Expression
from symloss.losses import SymbolicLoss
from tests.losses.helpers import DTYPES, classes, logits, soft
from tests.strategies import expressions

TOLERANCE = {torch.float64: 1e-11, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
KINDS = ("multiclass", "binary", "regression")


def exported(loss: SymbolicLoss) -> dict:
    namespace: dict = {}
    exec(compile(loss.source(), "exported.py", "exec"), namespace)
    return namespace


def check_same(loss: SymbolicLoss, input: torch.Tensor, target: torch.Tensor) -> None:
    results = []
    for function in (loss, exported(loss)["loss"]):
        z = input.detach().clone().requires_grad_()
        value = function(z, target)
        results.append((value.detach(), torch.autograd.grad(value.sum(), z)[0]))
    scale = (
        1 + results[0][0].abs().nan_to_num(0, 0, 0).max().item() + results[0][1].abs().nan_to_num(0, 0, 0).max().item()
    )
    for ours, theirs in zip(*results, strict=True):
        assert ours.dtype == theirs.dtype
        torch.testing.assert_close(
            ours, theirs, rtol=TOLERANCE[ours.dtype], atol=TOLERANCE[ours.dtype] * scale, equal_nan=True
        )


@settings(max_examples=100)
@given(
    expression=expressions().filter(lambda e: "f" in e.variables),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**31),
)
def test_same_values_and_gradients_on_random_expressions(expression: Expression, kind: str, seed: int) -> None:
    target = classes(4, high=3, seed=seed) if kind == "multiclass" else logits(4, 3, seed=seed + 1).sigmoid()
    check_same(SymbolicLoss(expression, kind), logits(4, 3, seed=seed), target)


@pytest.mark.parametrize("name", [row.name for row in primitives.primitives()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_primitive_inside_and_outside_its_protected_range(dtype: torch.dtype, name: str) -> None:
    nodes = (name, "f") if primitives.get(name).arity == 1 else (name, "y", "f")
    values = torch.tensor([-2.0, -1e-7, -1e-9, -0.0, 0.0, 1e-9, 1e-7, 2.0], dtype=dtype)
    grid = torch.cartesian_prod(values, values)
    check_same(SymbolicLoss(Expression(nodes), "regression", "none"), grid[:, 0], grid[:, 1])
    weighted = Expression((*nodes[:-1], "add", "f", "-1"), (1.5,) * (len(nodes) + 1))
    check_same(SymbolicLoss(weighted, "regression", "none"), grid[:, 0], grid[:, 1])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4,), (5, 4), (5, 4, 3)])
def test_shapes_dtypes_and_reductions(shape: tuple[int, ...], dtype: torch.dtype, reduction: str) -> None:
    formula, input = "abs(log(1.1*y*f)) + 0.3*square(y - f)", logits(*shape, dtype=dtype)
    for kind in KINDS:
        loss = SymbolicLoss(formula, kind, reduction)
        check_same(loss, input, soft(*shape, dim=0 if len(shape) == 1 else 1))
    dim = 0 if len(shape) == 1 else 1
    loss = SymbolicLoss(formula, reduction=reduction, ignore_index=1)
    for index_dtype in (torch.uint8, torch.int64):
        check_same(loss, input, classes(*shape[:dim], *shape[dim + 1 :], high=4).to(index_dtype))


def test_autocast() -> None:
    loss, input, target = (
        SymbolicLoss("1e5*y*log(f)", reduction="sum"),
        logits(5, 4, dtype=torch.float16),
        classes(5, high=4),
    )
    with torch.autocast("cpu", dtype=torch.float16):
        check_same(loss, input, target)
        assert exported(loss)["loss"](input, target).isfinite()


def test_a_misfit_is_an_error() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        exported(SymbolicLoss("y*f"))["loss"](logits(4, 3), torch.zeros(4, 1))
    with pytest.raises(ValueError, match="does not fit"):
        exported(SymbolicLoss("y*f", "binary"))["loss"](logits(4, 1), torch.zeros(4))
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        exported(SymbolicLoss("y*f"))["loss"](logits(2, 3), torch.tensor([0, 3]))


def test_the_file_stands_alone(tmp_path: Path) -> None:
    loss = SymbolicLoss("abs(log(1.2*y*f))", trainable=True)
    file = tmp_path / "found.py"
    file.write_text(loss.source(), encoding="utf-8")
    script = (
        "import sys, torch, found\n"
        "print(float(found.Loss()(torch.tensor([[0.5, -1.0]], dtype=torch.float64), torch.tensor([0]))))\n"
        "assert not any(name.startswith('symloss') for name in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    expected = loss(torch.tensor([[0.5, -1.0]], dtype=torch.float64), torch.tensor([0]))
    assert float(run.stdout) == expected.item()


def test_text_names_the_formula_and_grows_with_the_size_alone() -> None:
    nested, size = "f", 1
    for _ in range(40):  # every level uses its argument several times in the source template of truediv
        nested, size = f"truediv(y, {nested})", size + 2
    loss = SymbolicLoss(nested)
    text = loss.source()
    tree = ast.parse(text)
    assert str(loss.expression).replace(" ", "") in (ast.get_docstring(tree) or "").replace(" ", "").replace("\n", "")
    assignments = [node for node in ast.walk(tree) if isinstance(node, ast.Assign)]
    assert len(assignments) < size + 15
    assert len(text) < 200 * size
    assert max(map(len, text.splitlines())) <= 120


def test_an_operation_without_source_text(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = dataclasses.replace(primitives.get("tanh"), source=None)
    monkeypatch.setitem(primitives._TABLE, "tanh", silent)
    with pytest.raises(LossError, match="'tanh' was registered without source text"):
        SymbolicLoss("y*tanh(f)").source()
