"""Adaptation: MAML's at the start, its meta-gradients, and what it may and may not depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.fewshot import plain_task_loss, plain_theta
from symloss.fewshot import MLP, NPBML, VARIANTS, Conv4, Episodes, Sinusoids, Tasks
from symloss.fewshot.model import Model
from tests.fewshot.helpers import learner, meta_loss, tasks

ENCODERS = ("conv4", "resnet12", "mlp")


def moved_theta(model: Model, drawn: Tasks, steps: int = 3) -> dict[str, Tensor]:
    batch = model.batch(drawn.support_x, drawn.support_y, drawn.query_x)
    return {name: t.detach() for name, t in model.adapt(batch, steps).items()}


class TestStart:
    @pytest.mark.parametrize("encoder", ENCODERS)
    @pytest.mark.parametrize(
        "options", [{}, {"transductive": True}, {"fixed_width": True}, {"warp_kernel": 3}], ids=str
    )
    def test_the_update_is_that_of_maml(self, encoder: str, options: dict[str, Any]) -> None:
        drawn = tasks(encoder)
        maml, full = learner(encoder, **VARIANTS["maml"])[1], learner(encoder, **options)[1]
        before, wanted, found = maml.initial(2), moved_theta(maml, drawn), moved_theta(full, drawn)
        assert list(wanted) == list(found)
        for name in wanted:
            assert (wanted[name] - before[name]).abs().max() > 1e-4
            assert torch.allclose(found[name], wanted[name], rtol=0, atol=1e-12), name

    @pytest.mark.parametrize("variant", [name for name in VARIANTS if name not in ("maml", "prototypes")])
    def test_in_single_precision_to_a_millionth(self, variant: str) -> None:
        shape, drawn = (1, 28, 28), tasks("conv4", ways=5, shots=1)
        x = torch.nn.functional.interpolate(drawn.support_x.flatten(0, 1), 28).view(2, 5, *shape).float()
        batches = [
            NPBML("conv4", width=8, lr=0.1, **VARIANTS[name]).build(shape) for name in ("maml", variant)
        ]  # fmt: skip
        found = [m.adapt(m.batch(x, drawn.support_y, x), 5) for m in batches]
        for name in found[0]:
            assert torch.allclose(found[0][name], found[1][name], rtol=0, atol=1e-6)

    @pytest.mark.parametrize("norm", ["support", "batch"])
    def test_maml_is_that_of_a_plain_loop_over_tasks(self, norm: str) -> None:
        own = NPBML(
            Conv4(width=4, norm=norm), 3, 1, lr=0.4, inner_steps=3, dtype=torch.float64, **VARIANTS["maml"]
        )  # fmt: skip
        model = own.build((1, 28, 28))
        with torch.no_grad():
            model.encoder.theta["1_scale"][1] = -0.7  # the sign of a scale goes into the weights
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(2, 3, 1, 28, 28, generator=generator, dtype=torch.float64)
        q = torch.rand(2, 6, 1, 28, 28, generator=generator, dtype=torch.float64)
        y, qy = torch.tensor([[0, 1, 2], [2, 0, 1]]), torch.tensor([[0, 1, 2, 0, 1, 2]] * 2)
        theta = plain_theta(model)
        wanted = torch.stack(
            [
                plain_task_loss(theta, *sets, ways=3, steps=3, rate=0.4, norm=norm)
                for sets in zip(x, y, q, qy, strict=True)
            ]
        )
        found, _ = model.meta_loss(x, y, q, qy)
        assert torch.allclose(found, wanted, rtol=1e-10)
        slopes = [torch.autograd.grad(v.mean(), list(theta.values()), allow_unused=True) for v in (wanted, found)]
        for name, a, b in zip(theta, *slopes, strict=True):
            if name == "head":  # adds the same to all logits
                assert max(float(g.abs().max()) for g in (a, b) if g is not None) < 1e-12
            else:
                assert float(a.abs().max()) > 1e-6
                assert torch.allclose(a, b, rtol=1e-6, atol=1e-10), name


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "conv4": ("conv4", "multiclass", {}),
    "conv4, transductive": ("conv4", "multiclass", {"transductive": True}),
    "conv4, 3 × 3 warp": ("conv4", "multiclass", {"warp_kernel": 3}),
    "conv4, last block": ("conv4", "multiclass", {"adapted_blocks": 1}),
    "conv4, head alone": ("conv4", "multiclass", {"adapted_blocks": 0}),
    "resnet12": ("resnet12", "multiclass", {}),
    "mlp, learned rates": ("mlp", "multiclass", {"learn_rates": True}),
    "mlp, fixed width": ("mlp", "multiclass", {"fixed_width": True, "transductive": True}),
    "mlp, symbolic loss": ("mlp", "multiclass", {"base_loss": "sub(square(sub(f, y)), log(add(mul(y, f), 0.01)))"}),
    "mlp, prototypes": ("mlp", "multiclass", VARIANTS["prototypes"]),
    "regression": ("mlp", "regression", {"learn_rates": True}),
    "regression, transductive": ("mlp", "regression", {"transductive": True}),
    "regression, symbolic loss": ("mlp", "regression", {"base_loss": "log(add(1, square(sub(f, y))))"}),
}


@pytest.mark.parametrize("name", CASES)
def test_meta_gradients_of_every_group_against_differences(name: str) -> None:
    encoder, kind, options = CASES[name]
    _, model = learner(encoder, kind, moved=0.05, **options)
    drawn = tasks(encoder, kind)
    generator = torch.Generator().manual_seed(3)
    groups = model.groups()
    assert "theta" in groups
    for group, own in groups.items():
        parameters = list(own.values())
        directions = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
        gradients = torch.autograd.grad(meta_loss(model, drawn), parameters, allow_unused=True)
        slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None)
        h, values = 1e-6, []
        for sign in (1, -2):
            with torch.no_grad():
                for p, d in zip(parameters, directions, strict=True):
                    p += sign * h * d
            values.append(float(meta_loss(model, drawn).detach()))
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p += h * d
        difference = (values[0] - values[1]) / (2 * h)
        assert abs(slope) > 1e-7, group
        assert abs(slope - difference) <= 1e-5 * abs(slope) + 2e-9, (group, slope, difference)


@pytest.mark.parametrize(
    ("encoder", "kind"),
    [("conv4", "multiclass"), ("resnet12", "multiclass"), ("mlp", "multiclass"), ("mlp", "regression")],
)
@pytest.mark.parametrize("first_order", [False, True])
def test_every_meta_parameter_has_a_gradient_after_a_few_steps(encoder: str, kind: str, first_order: bool) -> None:
    _, model = learner(encoder, kind, transductive=True, learn_rates=True, first_order=first_order, inner_steps=3)
    drawn, parameters = tasks(encoder, kind), list(model.parameters())
    adam = torch.optim.Adam(parameters, 1e-2)
    for _ in range(4):
        adam.zero_grad()
        meta_loss(model, drawn).backward()
        adam.step()
    assert set(model.groups()) == {"theta", "omega", "phi", "psi", "rates"}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # to first order, the head's vector only adds the same to all logits
        without = first_order and kind == "multiclass" and name == "head.head_weight"
        assert (float(parameter.grad.abs().max()) > 1e-12) is not without, name


class TestFirstOrder:
    def test_is_the_gradient_where_inner_gradients_are_constants(self) -> None:
        """FOMAML: the slope in θ is that of L_task in the adapted tensors."""
        _, model = learner("conv4", **VARIANTS["maml"], first_order=True)
        drawn = tasks("conv4")
        batch = model.batch(drawn.support_x, drawn.support_y, drawn.query_x)
        end = {name: t.detach().requires_grad_() for name, t in model.adapt(batch, 2).items()}
        assert batch.queries is not None
        value = model.task_losses(model.predict(batch, end, batch.queries), drawn.query_y).mean()
        wanted = torch.autograd.grad(value, list(end.values()))
        found = torch.autograd.grad(meta_loss(model, drawn), list(model.encoder.theta.values()))
        for name, a, b in zip(end, wanted, found, strict=False):
            assert torch.allclose(a.sum(0), b, atol=1e-12), name

    def test_the_loss_still_learns_from_the_inner_gradient(self) -> None:
        _, model = learner("mlp", first_order=True)
        (slope,) = torch.autograd.grad(meta_loss(model, tasks("mlp")), [model.loss.support.last.weight])  # type: ignore[union-attr]
        assert float(slope.abs().max()) > 1e-9

    def test_differs_from_second_order(self) -> None:
        drawn = tasks("conv4")
        slopes = []
        for first in (False, True):
            _, model = learner("conv4", **VARIANTS["maml"], first_order=first)
            slopes.append(torch.autograd.grad(meta_loss(model, drawn), [model.encoder.theta["0_weight"]])[0])
        assert not torch.allclose(slopes[0], slopes[1], rtol=1e-2)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_step_moves_the_product_with_a_warp_layer_along_its_gram_matrix(encoder: str) -> None:
    """W ← W − α ∂L/∂W moves ω W by −α ω ωᵀ ∂L/∂(ω W)."""
    drawn = tasks(encoder, count=1)
    own, model = learner(encoder, loss=False, film=False, moved=0.2, inner_steps=1)
    name = "0_weight" if encoder != "resnet12" else "0_0_weight"
    warp = model.encoder.omega[name.removesuffix("_weight")].detach()
    first = model.encoder.theta[name].detach()
    width = len(first)
    product = (warp @ first.reshape(width, -1)).view_as(first)

    # the same network without warp layers, the products in their places
    _, twin = learner(encoder, loss=False, film=False, optimiser=False, inner_steps=1)
    with torch.no_grad():
        for key, tensor in model.encoder.theta.items():
            layer, _, part = key.rpartition("_")
            if (
                layer in model.encoder.omega
                and part in ("weight", "bias")
                and not (part == "bias" and encoder != "mlp")
            ):
                w = model.encoder.omega[layer]
                tensor = (w @ tensor.reshape(len(tensor), -1)).view_as(tensor)
            twin.encoder.theta[key].copy_(tensor)
        twin.head["head_weight"].copy_(model.head["head_weight"])
    rate = own.settings.lr

    def head_moved(m: Model) -> dict[str, Tensor]:
        """Some head that tells classes apart: from the shared one nothing reaches the encoder."""
        theta = m.initial(1)
        theta["head_weight"] = theta["head_weight"] + torch.linspace(
            -1, 1, theta["head_weight"].numel()
        ).double().view_as(theta["head_weight"])
        return theta

    gradients = []
    for m in (model, twin):
        batch = m.batch(drawn.support_x, drawn.support_y, None)
        theta = head_moved(m)
        gradients.append(torch.autograd.grad(m._inner_loss(batch, theta).sum(), theta[name])[0][0])
    moved = (warp @ (first - rate * gradients[0]).reshape(width, -1)).view_as(first)
    wanted = product - rate * (warp @ warp.T @ gradients[1].reshape(width, -1)).view_as(first)
    assert float((moved - product).abs().max()) > 1e-5
    assert torch.allclose(moved, wanted, rtol=0, atol=1e-12)


class TestDependence:
    @pytest.mark.parametrize("encoder", ENCODERS)
    @pytest.mark.parametrize("transductive", [False, True])
    def test_permuting_labels_permutes_predictions(self, encoder: str, transductive: bool) -> None:
        own, _ = learner(encoder, moved=0.1, transductive=transductive)
        drawn, order = tasks(encoder), torch.tensor([2, 0, 1])
        before = own.predict(drawn)
        after = own.predict(Tasks(drawn.support_x, order[drawn.support_y], drawn.query_x, drawn.query_y))
        assert torch.allclose(after[..., order], before, atol=1e-10)
        assert not torch.allclose(after, before, atol=1e-4)

    def test_the_published_loss_depends_on_their_order(self) -> None:
        own, _ = learner("mlp", moved=0.3, fixed_width=True)
        drawn, order = tasks("mlp"), torch.tensor([2, 0, 1])
        before = own.predict(drawn)
        after = own.predict(Tasks(drawn.support_x, order[drawn.support_y], drawn.query_x, drawn.query_y))
        assert not torch.allclose(after[..., order], before, atol=1e-6)

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_labels_of_queries_are_never_seen(self, variant: str) -> None:
        own, _ = learner("conv4", moved=0.1, **VARIANTS[variant])
        drawn = tasks("conv4")
        other = Tasks(drawn.support_x, drawn.support_y, drawn.query_x, drawn.query_y.flip(1))
        assert torch.equal(own.predict(drawn), own.predict(other))

    def test_a_prediction_depends_on_other_queries_only_if_transductive(self) -> None:
        drawn = tasks("conv4")
        fewer = Tasks(drawn.support_x, drawn.support_y, drawn.query_x[:, :2], drawn.query_y[:, :2])
        for transductive in (False, True):
            own, _ = learner("conv4", moved=0.2, transductive=transductive)
            same = torch.allclose(own.predict(drawn)[:, :2], own.predict(fewer), atol=1e-10)
            assert same is not transductive

    @pytest.mark.parametrize("name", CASES)
    def test_together_as_one_at_a_time(self, name: str) -> None:
        encoder, kind, options = CASES[name]
        own, model = learner(encoder, kind, moved=0.1, **options)
        drawn = tasks(encoder, kind, count=3)
        alone = torch.cat([own.predict(drawn[i : i + 1]) for i in range(3)])
        assert torch.allclose(own.predict(drawn), alone, rtol=0, atol=1e-10)
        losses = torch.stack([meta_loss(model, drawn[i : i + 1]) for i in range(3)])
        assert torch.allclose(meta_loss(model, drawn), losses.mean(), rtol=0, atol=1e-10)

    @pytest.mark.parametrize("name", CASES)
    def test_adapting_to_one_task_as_predicting(self, name: str) -> None:
        encoder, kind, options = CASES[name]
        own, _ = learner(encoder, kind, moved=0.1, **options)
        drawn = tasks(encoder, kind, count=1)
        queries = drawn.query_x[0]
        model = own.adapt((drawn.support_x[0], drawn.support_y[0]), queries if own.settings.transductive else None)
        assert torch.allclose(model(queries), own.predict(drawn)[0], rtol=0, atol=1e-12)
        assert list(model.parameters()) == []


def test_what_is_not_adapted_is_computed_once_per_task(monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = learner("conv4", adapted_blocks=1, inner_steps=4)
    calls: list[int] = []
    block = model.encoder.block

    def counted(index: int, *rest: Any) -> Any:
        calls.append(index)
        return block(index, *rest)

    monkeypatch.setattr(model.encoder, "block", counted)
    meta_loss(model, tasks("conv4"))
    assert calls.count(0) == 2  # support and queries
    assert calls.count(1) == 4 + 2


def test_a_symbolic_cross_entropy_is_the_default() -> None:
    drawn = tasks("mlp")
    plain, symbolic = (learner("mlp", base_loss=loss)[0] for loss in (None, "cross-entropy"))
    assert torch.allclose(plain.predict(drawn), symbolic.predict(drawn), atol=1e-9)
    other, _ = learner("mlp", base_loss="focal")
    assert not torch.allclose(plain.predict(drawn), other.predict(drawn), atol=1e-4)
    assert other.settings.base_loss is not None


def test_adaptation_learns_a_sinusoid() -> None:
    """Many steps of MAML's start fit the support set: an independent check that steps descend."""
    own = NPBML(MLP((40, 40)), shots=10, kind="regression", lr=0.05, inner_steps=1, **VARIANTS["maml"])
    drawn = Sinusoids(10).tasks([0])
    itself = Tasks(drawn.support_x, drawn.support_y, drawn.support_x, drawn.support_y)
    errors = [float((own.predict(itself, steps) - drawn.support_y).square().mean()) for steps in (0, 1, 10, 300)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


def test_prototypes_are_nearest_class_means() -> None:
    own, model = learner("mlp", **VARIANTS["prototypes"])
    drawn = tasks("mlp", count=1)
    state = {name: t.detach().numpy() for name, t in model.encoder.theta.items()}

    def features(x: Tensor) -> Any:
        h = x.numpy()
        for layer in range(2):
            h = np.maximum(h @ state[f"{layer}_weight"].T + state[f"{layer}_bias"], 0)
        return h

    support, queries = features(drawn.support_x[0]), features(drawn.query_x[0])
    centres = np.stack([support[drawn.support_y[0].numpy() == c].mean(0) for c in range(3)])
    wanted = -((queries[:, None] - centres[None]) ** 2).sum(2)
    assert np.allclose(own.predict(drawn)[0].numpy(), wanted, atol=1e-10)


def test_the_width_of_a_learner_may_be_an_option() -> None:
    assert NPBML("conv4", width=7).architecture == Conv4(width=7)
    samples = torch.rand(12, 1, 16, 16), torch.arange(12) % 3
    scores = NPBML("conv4", 3, width=4).evaluate(Episodes(samples, 3, 1, 2), tasks=3)
    assert scores.values.shape == (3,)
