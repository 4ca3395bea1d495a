from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import symloss as sl
from symloss.errors import LossError
from symloss.losses import Architecture, EntryNetwork, LossNetwork, loss
from symloss.losses.network import ACTIVATIONS, OUTPUTS, pack, smooth_leaky_relu, unpack
from tests.losses.helpers import classes, logits, soft

KINDS = ("multiclass", "binary", "regression")
ARCHITECTURES = [
    Architecture(),
    Architecture((4,)),
    Architecture((5, 3), "smooth-leaky-relu", "identity", True),
    Architecture((5, 3), "relu", "smooth-leaky-relu", True),
    Architecture((2, 3, 4), "smooth-leaky-relu", "softplus", True),
    Architecture((5, 3), "relu", "identity"),
]


def network(architecture: Architecture = ARCHITECTURES[2], seed: int = 0, scale: float = 1.0) -> EntryNetwork:
    return EntryNetwork.of(architecture, architecture.initial(seed), scale)


def by_torch(e: EntryNetwork) -> nn.Sequential:
    """The same network of torch's own layers, in float64."""
    own, layers = e.architecture, []
    activation = {
        "relu": nn.ReLU(),
        "smooth-leaky-relu": Smooth(),
        "softplus": nn.Softplus(),
        "identity": nn.Identity(),
    }
    for number, ((out, into), matrix) in enumerate(zip(own.shapes, own.layers(e.weights), strict=True)):
        last = number == len(own.shapes) - 1
        biased = own.bias and not (last and own.output == "identity")
        linear = nn.Linear(into - biased, out, bias=biased, dtype=torch.float64)
        linear.weight.data = matrix[:, : into - biased]
        if biased:
            linear.bias.data = matrix[:, -1]
        layers += [linear, activation[own.output if last else own.activation]]
    return nn.Sequential(*layers)


class Smooth(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0.01 * x + 0.99 * torch.logaddexp(10 * x, torch.zeros_like(x)) / 10


def data(kind: str) -> tuple[Tensor, Tensor]:
    return logits(6, 4), classes(6, high=4) if kind == "multiclass" else soft(6, 4)


# --- the function --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_torchs_layers_at_every_entry(architecture: Architecture, kind: str) -> None:
    e = network(architecture, scale=1.5)
    z, target = data(kind)
    f = {"multiclass": z.softmax(1), "binary": z.sigmoid(), "regression": z}[kind]
    y = F.one_hot(target, 4).double() if kind == "multiclass" else target
    entries = 1.5 * by_torch(e)(torch.stack([y, f], -1)).squeeze(-1)
    expected = entries.mean() if kind == "binary" else entries.sum(1).mean()
    torch.testing.assert_close(LossNetwork(e, kind)(z, target), expected, rtol=1e-9, atol=1e-9)


def test_many_networks_at_once() -> None:
    a = ARCHITECTURES[2]
    rows = torch.stack([a.initial(seed) for seed in range(3)]).double()
    y, f = soft(3, 5), soft(3, 5, seed=9)
    together = a.evaluate(y, f, rows)
    assert together.shape == (3, 5)
    for p in range(3):
        torch.testing.assert_close(together[p], a.evaluate(y[p], f[p], rows[p]))
    torch.testing.assert_close(
        a.evaluate(torch.tensor(1.0).double(), f[:1], rows)[2], a.evaluate(f[0] * 0 + 1, f[0], rows[2])
    )


def test_the_smooth_leaky_relu_has_its_asymptotes_and_never_overflows() -> None:
    x = torch.tensor([-1e30, -50.0, 0.0, 50.0, 1e30], dtype=torch.float64)
    expected = torch.tensor([-1e28, -0.5, 0.99 * torch.log(torch.tensor(2.0).double()) / 10, 50.0, 1e30]).double()
    torch.testing.assert_close(smooth_leaky_relu(x), expected)


def test_initial_weights_follow_from_the_seed_alone_and_are_those_of_linear_layers() -> None:
    a = Architecture((400, 50), bias=True)
    before = torch.random.get_rng_state()
    assert a.initial(1).equal(a.initial(1))
    assert torch.random.get_rng_state().equal(before)
    assert not a.initial(1).equal(a.initial(2))
    for layer, inputs in zip(a.layers(a.initial(0)), (2, 400, 50), strict=True):
        assert 0.9 / inputs**0.5 < layer.abs().max() <= 1 / inputs**0.5


def test_sizes() -> None:
    assert Architecture().size == 2 * 50 + 50 * 50 + 50
    assert Architecture((40, 40), "smooth-leaky-relu", "identity", True).size == 2 * 40 + 40 + 40 * 40 + 40 + 40
    assert str(Architecture()) == "network 2-50-50-1 (relu, softplus)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden": ()}, "hidden is a width from 1 on"),
        ({"hidden": 3}, "hidden is a width"),
        ({"hidden": (0,)}, "hidden is a width"),
        ({"hidden": (3.0,)}, "hidden is a width"),
        ({"hidden": (True,)}, "hidden is a width"),
        ({"hidden": (10**9,)}, "at most 40000 weights"),
        ({"activation": "tanh"}, "activation is one of relu, smooth-leaky-relu; received 'tanh'"),
        ({"output": []}, "output is one of identity, softplus"),
        ({"bias": 1}, "bias is True or False; received 1"),
    ],
)
def test_a_bad_architecture_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(LossError, match=message) as caught:
        Architecture(**arguments)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit() -> None:
    a = Architecture((3,))
    with pytest.raises(LossError, match=r"has 9 weights of 4 or 8 bytes; received 32 bytes"):
        EntryNetwork.of(a, torch.zeros(8))
    for bad in (torch.nan, torch.inf):
        with pytest.raises(LossError, match="must be finite"):
            EntryNetwork.of(a, torch.full((9,), bad))
    with pytest.raises(LossError, match="made from an EntryNetwork; received str"):
        LossNetwork("y*f")  # type: ignore[arg-type]


def test_packing_is_exact_and_small_where_it_can_be() -> None:
    narrow, wide = torch.rand(9), torch.rand(9, dtype=torch.float64)
    assert (len(pack(narrow)), len(pack(narrow.double())), len(pack(wide))) == (36, 36, 72)
    assert unpack(pack(narrow), 9).equal(narrow.double())
    assert unpack(pack(wide), 9).equal(wide)


# --- the module ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_options_of_every_loss(reduction: str) -> None:
    """Ignored samples, class weights, and targets given as probabilities, as torch has them."""
    e, z, target = network(), logits(6, 4), classes(6, high=4)
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    one = LossNetwork(e, reduction="none")(z, target)
    kept = (target != 2).double()
    value = LossNetwork(e, reduction=reduction, ignore_index=2, weight=weight)(z, target)
    factors = kept * weight[target]
    expected = {"mean": (factors * one).sum() / factors.sum(), "sum": (factors * one).sum(), "none": factors * one}
    torch.testing.assert_close(value, expected[reduction])
    plain = LossNetwork(e, reduction=reduction)
    torch.testing.assert_close(plain(z, F.one_hot(target, 4).double()), plain(z, target))


def test_classes_are_alike_and_gradients_are_those_of_the_definition() -> None:
    module, z, target = LossNetwork(network()), logits(6, 4).requires_grad_(), classes(6, high=4)
    order = torch.tensor([2, 0, 3, 1])
    permuted = module(z[:, order], order.argsort()[target])
    torch.testing.assert_close(permuted, module(z, target))
    assert torch.autograd.gradcheck(lambda x: module(x, target), z)
    half = module(z.detach().half(), target)
    assert half.dtype == torch.float16
    assert half.item() == pytest.approx(module(z.detach(), target).item(), rel=2e-3)


def test_trainable_weights_are_a_parameter_and_the_network_follows_them() -> None:
    module = LossNetwork(network(), trainable=True)
    (weights,) = module.parameters()
    assert not list(LossNetwork(network()).parameters())
    module(logits(6, 4), classes(6, high=4)).backward()
    assert weights.grad is not None
    assert weights.grad.abs().sum() > 0
    weights.data += 1
    assert module.network.weights.equal(network().weights + 1)
    for again in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert again.network == module.network
    fresh = LossNetwork(network(seed=1), trainable=True)
    fresh.load_state_dict(module.state_dict())
    assert fresh.network == module.network
    assert module.expression is None
    assert "network 2-5-3-1" in repr(module)
    weights.data[0] = torch.nan
    with pytest.raises(LossError, match="must be finite"):
        module.network  # noqa: B018


@pytest.mark.parametrize("what", ["latex", "sympy", "draw", "simplify"])
def test_what_needs_a_formula_says_so_in_one_line(what: str) -> None:
    with pytest.raises(LossError, match=r"network 2-5-3-1 \(.*\) has no formula ℓ\(y, f\)") as caught:
        getattr(network(), what)()
    assert "\n" not in str(caught.value)


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
def test_round_trips_are_exact(architecture: Architecture, tmp_path: Path) -> None:
    weights = architecture.initial(3).double() / 3
    for kind, values in zip(KINDS, (weights, weights.float(), weights), strict=True):
        options: dict[str, Any] = {"ignore_index": 1, "weight": soft(1, 4)[0]} if kind == "multiclass" else {}
        module = LossNetwork(EntryNetwork.of(architecture, values, 1 / 3), kind, "sum", trainable=True, **options)
        module.save(tmp_path / "loss.json", notes={"task": "digits"})
        again = sl.load(tmp_path / "loss.json")
        assert isinstance(again, LossNetwork)
        assert again.network == module.network
        assert (again.kind, again.reduction, again.trainable) == (kind, "sum", True)
        z, target = data(kind)
        assert again(z, target).equal(module(z, target))
        assert loss(str(tmp_path / "loss.json"), kind)(z, target).equal(module(z, target))
        namespace: dict[str, Any] = {}
        exec(compile(module.source(), "exported.py", "exec"), namespace)
        torch.testing.assert_close(namespace["loss"](z, target), module(z, target), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            namespace["Loss"]()(z.float(), target).double(), module(z, target), rtol=1e-4, atol=1e-4
        )
        assert "symloss" not in module.source().replace("found by symloss", "")


def test_the_text_of_another_kind_is_refused(tmp_path: Path) -> None:
    LossNetwork(network(), "binary").save(tmp_path / "loss.json")
    with pytest.raises(LossError, match="is a loss of kind 'binary'; wanted 'multiclass'"):
        loss(tmp_path / "loss.json")


def change(record: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A record with another value at `key` or `layers.number.row.column`."""
    first, *rest = place.split(".")
    inner: Any = record
    for step in ([first, *rest])[:-1]:
        inner = inner[int(step) if step.isdigit() else step]
    last = ([first, *rest])[-1]
    if value is None:
        del inner[int(last) if last.isdigit() else last]
    else:
        inner[int(last) if last.isdigit() else last] = value
    return record


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("format", "symloss-nets", "is not a loss"),
        ("format", ["symloss-network"], "is not a loss"),
        ("version", 2, "format version 2, this symloss reads up to 1"),
        ("hidden", None, "'hidden' is missing"),
        ("hidden", [5, 2], "layers are 3 matrices, number 2 of shape"),
        ("hidden", [5], "layers are 2 matrices"),
        ("hidden", [5, 10**9], "at most 40000 weights"),
        ("hidden", ["5"], "hidden is a width"),
        ("activation", "exec", "activation is one of"),
        ("bias", 1, "'bias' must be bool"),
        ("bias", False, "layers are 3 matrices, number 1 of shape"),
        ("scale", "1", "'scale' must be float"),
        ("scale", float("nan"), "must be finite"),
        ("layers", [], "layers are 3 matrices, number 1"),
        ("layers", 3, "'layers' must be list"),
        ("layers.1", 7, "number 2 of shape"),
        ("layers.2", None, "layers are 3 matrices"),
        ("layers.1.0", None, "number 2 of shape"),
        ("layers.1.0", 7, "number 2 of shape"),
        ("layers.1.0.0", None, "number 2 of shape"),
        ("layers.1.0.0", "0.5", "matrices of finite numbers"),
        ("layers.1.0.0", True, "matrices of finite numbers"),
        ("layers.1.0.0", float("inf"), "matrices of finite numbers"),
        ("layers.1.0.0", [0.5], "matrices of finite numbers"),
        ("kind", "ranking", "kind must be one of"),
    ],
)
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, place: str, value: Any, message: str) -> None:
    path = tmp_path / "loss.json"
    LossNetwork(network()).save(path)
    path.write_text(json.dumps(change(json.loads(path.read_text()), place, value)))
    with pytest.raises(LossError, match=message) as caught:
        sl.load(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_the_tables_name_what_there_is() -> None:
    assert set(ACTIVATIONS) == {"relu", "smooth-leaky-relu"}
    assert set(OUTPUTS) == {"identity", "softplus", "smooth-leaky-relu"}


# --- where other losses go -----------------------------------------------------------------------------------------


def test_analysis_and_figures_take_it() -> None:
    module = LossNetwork(network(Architecture((5, 3))))
    assert sl.analysis.label_smoothing(module, classes=5).verdict in ("none", "approximate", "same optimum")
    for kind in ("multiclass", "regression"):
        figure = sl.plotting.loss_curves(LossNetwork(network(), kind))
        assert any("network 2-5-3-1" in text.get_text() for text in figure.legends[0].get_texts())


def test_one_that_only_pulls_up_is_no_label_smoothing() -> None:
    """One unit max(y − f, 0): the loss falls until f = 1 on the target and is flat elsewhere, which is no smoothing."""
    a = Architecture((1,), "relu", "identity")
    report = sl.analysis.label_smoothing(LossNetwork(EntryNetwork.of(a, torch.tensor([1.0, -1.0, 1.0]))), classes=4)
    assert report.verdict == "none"
    assert report.target_only


@pytest.mark.parametrize("place", [0.55, 0.77, 0.9])
def test_it_rests_at_a_jump_of_its_slope(place: float) -> None:
    """With ReLUs the slope is a staircase: −2 on the target until f = p*, +3 beyond; 2 elsewhere.

    There, rounding decides on which side the same probabilities are found; that is no difference between classes.
    """
    a = Architecture((3,), "relu", "identity")
    weights = torch.tensor([place, -1.0, -place, 1.0, 1.0, -1.0, 3.0, 2.0, -1.0], dtype=torch.float64)
    report = sl.analysis.label_smoothing(LossNetwork(EntryNetwork.of(a, weights)), classes=10)
    assert report.attractors == pytest.approx([place])
    assert report.smoothing == pytest.approx((1 - place) * 10 / 9)
    assert report.verdict == "same optimum"
