"""Curvature against quadratics of known spectrum, closed forms, and Hessians formed entry by entry."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import symloss as sl
from symloss.analysis import sharpness
from symloss.analysis.lanczos import largest, tridiagonal
from symloss.errors import EvaluationError, LossError
from tests.analysis.quadratic import DATA, Quadratic, mean, symmetric

SPECTRUM = [7.0, 3.0, 3.0, 1.0, 0.5, 0.2, 0.1, -2.0]


def quadratic(start: Tensor | None = None, slope: Tensor | None = None) -> tuple[Quadratic, Tensor]:
    hessian, _ = symmetric(SPECTRUM)
    start = torch.linspace(-1.0, 2.0, 8, dtype=torch.float64) if start is None else start
    return Quadratic(hessian, start, slope), hessian


class TestQuadratics:
    def test_eigenvalues_repeated_ones_too(self) -> None:
        model, _ = quadratic()
        found = sharpness(model, DATA, mean, top_k=5, normalised=False)
        np.testing.assert_allclose(found.eigenvalues, SPECTRUM[:5], rtol=1e-9)
        assert (found.residuals < 1e-8).all()
        assert found.value == 1.0

    def test_trace_within_its_error(self) -> None:
        """The variance of vᵀHv over signs is 2 Σ_{i≠j} H²ᵢⱼ."""
        model, hessian = quadratic()
        found = sharpness(model, DATA, mean, probes=2000, normalised=False)
        exact = float((2 * (hessian.square().sum() - hessian.diagonal().square().sum()) / 2000).sqrt())
        assert found.trace_error == pytest.approx(exact, rel=0.1)
        assert abs(found.trace - sum(SPECTRUM)) < 3 * exact
        diagonal = Quadratic(
            torch.diag(torch.tensor(SPECTRUM, dtype=torch.float64)), torch.ones(8, dtype=torch.float64)
        )
        found = sharpness(diagonal, DATA, mean, probes=3, normalised=False)
        assert found.trace == pytest.approx(sum(SPECTRUM))
        assert found.trace_error == pytest.approx(0.0, abs=1e-12)

    def test_density(self) -> None:
        """Its mass is 1, its mean tr H / n within the error of the probes, and it is where eigenvalues are."""
        model, _ = quadratic()
        found = sharpness(model, DATA, mean, density_steps=8, density_probes=400, normalised=False)
        assert found.density is not None
        at, height = found.density
        mass = np.trapezoid(height, at)
        assert mass == pytest.approx(1.0, abs=1e-6)
        assert np.trapezoid(height * at, at) == pytest.approx(
            np.mean(SPECTRUM), abs=4 * np.std(SPECTRUM) / np.sqrt(400 * 4)
        )
        for value, share in ((7.0, 1 / 8), (3.0, 2 / 8), (-2.0, 1 / 8)):
            near = np.abs(at - value) < 0.4
            assert np.trapezoid(height[near], at[near]) == pytest.approx(share, abs=0.03)
        assert height[np.abs(at - 5.0) < 0.5].max() < 1e-6

    def test_sam(self) -> None:
        """gᵀε + ½ εᵀHε at ε = ρ g/‖g‖, and at ε = ρ w² g/‖w g‖."""
        slope = torch.linspace(1.0, -1.0, 8, dtype=torch.float64)
        model, hessian = quadratic(slope=slope)
        w = torch.linspace(-1.0, 2.0, 8, dtype=torch.float64)
        found = sharpness(model, DATA, mean, radius=0.3, adaptive_radius=0.7, normalised=False)
        plain, adaptive = 0.3 * slope / slope.norm(), 0.7 * w.square() * slope / (w * slope).norm()
        for value, step in ((found.sam, plain), (found.adaptive_sam, adaptive)):
            assert value == pytest.approx(float(slope @ step + 0.5 * step @ hessian @ step), rel=1e-12)
        assert found.gradient_norm == pytest.approx(float(slope.norm()))

    def test_flat(self) -> None:
        model = Quadratic(torch.zeros(8, 8, dtype=torch.float64), torch.ones(8, dtype=torch.float64))
        found = sharpness(model, DATA, mean, top_k=3, density_steps=4)
        assert (found.eigenvalues == 0).all()
        assert (found.trace, found.sam, found.adaptive_sam) == (0, 0, 0)


class Scaled(nn.Module):
    """The outputs of a network, times a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.inner = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 4)).double()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.inner(x)


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(30, 3, dtype=torch.float64, generator=generator), torch.randint(4, (30,), generator=generator)


def by_entries(model: nn.Module, data: Any, metric: Any) -> Tensor:
    """The Hessian by central differences of the gradient."""
    twin = copy.deepcopy(model)
    parameters = list(twin.parameters())
    w, h = nn.utils.parameters_to_vector(parameters).detach(), 1e-5
    rows = []
    for k in range(len(w)):
        slopes = []
        for sign in (1, -1):
            step = w.clone()
            step[k] += sign * h
            nn.utils.vector_to_parameters(step, parameters)
            slope = torch.autograd.grad(metric(twin(data[0]), data[1]), parameters)
            slopes.append(torch.cat([s.reshape(-1) for s in slope]))
        rows.append((slopes[0] - slopes[1]) / (2 * h))
    return torch.stack(rows)


class TestNetworks:
    def test_against_differences(self, data: Any) -> None:
        model = Scaled(1.0)
        hessian = by_entries(model, data, F.cross_entropy)
        found = sharpness(model, data, F.cross_entropy, top_k=4, probes=500, normalised=False)
        np.testing.assert_allclose(found.eigenvalues, torch.linalg.eigvalsh(hessian).flip(0)[:4].numpy(), rtol=1e-5)
        assert abs(found.trace - float(hessian.trace())) < 4 * found.trace_error

    def test_batches_and_formulas(self, data: Any) -> None:
        """A mean over samples, a batch at a time; and a loss with a kernel of its own."""
        model = Scaled(1.0)
        whole = sharpness(model, data, F.cross_entropy, top_k=2)
        for metric, size in ((F.cross_entropy, 7), (sl.SymbolicLoss("-y*log(f)"), None)):
            found = sharpness(model, data, metric, top_k=2, batch_size=size)
            np.testing.assert_allclose(found.eigenvalues, whole.eigenvalues, rtol=1e-4)
            assert found.trace == pytest.approx(whole.trace, rel=1e-4)
            assert found.sam == pytest.approx(whole.sam, rel=1e-4)

    def test_normalised_logits_know_no_scale(self, data: Any) -> None:
        one, two = (sharpness(Scaled(c), data, F.cross_entropy, top_k=3) for c in (1.0, 7.0))
        assert one.normalised is not None
        assert two.normalised is not None
        np.testing.assert_allclose(one.normalised.eigenvalues, two.normalised.eigenvalues, rtol=1e-6)
        for name in ("value", "trace", "sam", "adaptive_sam", "gradient_norm"):
            assert getattr(one.normalised, name) == pytest.approx(getattr(two.normalised, name), rel=1e-6)
        assert two.eigenvalues[0] > 2 * one.eigenvalues[0]
        logits = Scaled(1.0)(data[0]).detach()
        scale = (logits - logits.mean(1, keepdim=True)).square().mean().sqrt()
        assert one.normalised.value == pytest.approx(float(F.cross_entropy(logits / scale, data[1])))

    def test_leaves_no_trace_and_repeats(self, data: Any) -> None:
        model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 4)).double().train()
        state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        one, two = (sharpness(model, data, F.cross_entropy, top_k=2, density_steps=5) for _ in range(2))
        assert str(one) == str(two)
        assert torch.equal(random, torch.get_rng_state())
        assert model.training
        assert all(torch.equal(a, b) for a, b in zip(state.values(), model.state_dict().values(), strict=True))
        assert all(p.grad is None for p in model.parameters())

    def test_attention(self) -> None:
        model = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        found = sharpness(model, (torch.randn(3, 5, 4), torch.randn(3, 5, 4)), F.mse_loss, top_k=1, probes=2)
        assert np.isfinite(found.eigenvalues).all()


class TestLanczos:
    def test_basis_and_matrix(self) -> None:
        """Qᵀ H Q = T also where the space is exhausted at once."""
        hessian, rows = symmetric([2.0, 2.0, 2.0, -1.0, 5.0])
        for start in (rows[0], torch.ones(5, dtype=torch.float64)):
            matrix, basis = tridiagonal(lambda v: hessian @ v, start, 9, torch.Generator().manual_seed(0))
            torch.testing.assert_close(basis @ basis.T, torch.eye(5, dtype=torch.float64))
            torch.testing.assert_close(basis @ hessian @ basis.T, matrix, atol=1e-12, rtol=1e-12)

    def test_large(self) -> None:
        """Of 3000 eigenvalues in [0, 1] and three outliers, with few products."""
        values = torch.cat([torch.linspace(0, 1, 3000, dtype=torch.float64), torch.tensor([50.0, 20.0, 10.0]).double()])
        products: list[int] = []

        def product(v: Tensor) -> Tensor:
            products.append(1)
            return values * v

        found, vectors, residuals = largest(product, 3003, 3, values, 0, 200, 1e-6)
        np.testing.assert_allclose(found.numpy(), [50, 20, 10], rtol=1e-9)
        torch.testing.assert_close(vectors.abs()[range(3), range(3000, 3003)], torch.ones(3, dtype=torch.float64))
        assert (residuals < 1e-4).all()
        assert len(products) < 100


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_k": 0}, "top_k"),
        ({"probes": 1.5}, "probes"),
        ({"radius": 0.0}, "radius"),
        ({"adaptive_radius": -1}, "adaptive_radius"),
        ({"density_steps": -1}, "density_steps is a whole number of at least 0"),
        ({"density_steps": 2.5}, "density_steps"),
        ({"density_steps": 5, "density_probes": 0}, "density_probes"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": -1}, "batch_size"),
    ],
)
def test_options(options: dict[str, Any], said: str, data: Any) -> None:
    with pytest.raises(EvaluationError, match=said):
        sharpness(Scaled(1.0), data, F.cross_entropy, **options)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        (lambda o, y: float(o.detach().sum()), "one number, as a tensor"),
        (lambda o, y: (o.argmax(1) != y).double().mean(), "cannot be differentiated"),
        (lambda o, y: o.sum() * torch.nan, "no curvature"),
        (lambda o, y: o @ y, "failed on"),
    ],
)
def test_metrics(metric: Any, said: str, data: Any) -> None:
    with pytest.raises(LossError, match=said):
        sharpness(Scaled(1.0), data, metric)
