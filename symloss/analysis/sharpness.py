"""How sharp a minimum is: eigenvalues, trace and density of the Hessian, and the sharpness of SAM."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from symloss.analysis.directions import unflat
from symloss.analysis.lanczos import largest, tridiagonal
from symloss.analysis.points import Metric, Points, Tensors
from symloss.errors import EvaluationError, LossError
from symloss.expression.showing import aligned, drawn
from symloss.tasks.reading import carried

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Sharpness:
    """What is known of the curvature of a metric at a model's parameters; prints itself.

    Args:
        value: The metric there.
        gradient_norm: Norm of its gradient.
        eigenvalues: Largest eigenvalues of the Hessian **[k]**, descending.
        residuals: ‖H v − λ v‖ of each **[k]**.
        trace: Trace of the Hessian.
        trace_error: Its standard error over the probes; NaN with one probe.
        density: Spectral density: eigenvalues **[G]** and density **[G]**, whose integral is 1; None if not wanted.
        sam: max over ‖ε‖ ≤ ρ of L(w + ε) − L(w), to first order in the choice of ε.
        adaptive_sam: The same over ‖ε / |w|‖ ≤ ρ, which does not change when weights are rescaled.
        normalised: All of it for logits divided by their root mean square; None in that one itself.
    """

    value: float
    gradient_norm: float
    eigenvalues: np.ndarray
    residuals: np.ndarray
    trace: float
    trace_error: float
    density: tuple[np.ndarray, np.ndarray] | None
    sam: float
    adaptive_sam: float
    normalised: Sharpness | None = None

    def __str__(self) -> str:
        columns = [("", self)] + ([("normalised logits", self.normalised)] if self.normalised else [])
        rows = [("", *(title or "as it is" for title, _ in columns))]
        rows.append(("metric", *(f"{s.value:.4g}" for _, s in columns)))
        for k in range(len(self.eigenvalues)):
            rows.append((f"eigenvalue {k + 1}", *(f"{s.eigenvalues[k]:.4g}" for _, s in columns)))
        rows.append(("trace", *(f"{s.trace:.4g} ± {s.trace_error:.2g}" for _, s in columns)))
        rows.append(("SAM", *(f"{s.sam:.4g}" for _, s in columns)))
        rows.append(("adaptive SAM", *(f"{s.adaptive_sam:.4g}" for _, s in columns)))
        return "\n".join(aligned(rows))

    def figure(self) -> Figure:
        """Its spectral density, eigenvalues marked; see `symloss.plotting.spectral_density`."""
        return drawn("spectral_density", self)


def sharpness(
    model: nn.Module,
    data: Any,
    metric: Metric,
    *,
    top_k: int = 5,
    probes: int = 32,
    radius: float = 0.05,
    adaptive_radius: float = 0.5,
    density_steps: int = 0,
    density_probes: int = 4,
    normalised: bool = True,
    steps: int = 200,
    batch_size: int | None = None,
    batch_statistics: bool = False,
    seed: int = 0,
) -> Sharpness:
    r"""Curvature of a metric in the trained parameters w of a model.

    With L(w) the metric of all samples, g its gradient and H its Hessian:

    - the largest eigenvalues of H by Lanczos, the basis growing until residuals are below 10⁻³ of the largest;
    - tr H = E[vᵀ H v] over random signs v (Hutchinson), with the standard error of that mean;
    - the spectral density by Lanczos quadrature, each node widened to a Gaussian;
    - SAM: L(w + ρ g/‖g‖) − L(w), and adaptive SAM: L(w + ρ w² g / ‖w g‖) − L(w), elementwise squares and products.

    Losses rescale logits, and so L: everything is also given for logits z/s, s the root mean square of z − mean z over
    all samples (of z, where there is one output), held constant. Multiplying all logits by a number changes none of it.

    The model runs in evaluation mode; neither it nor torch's random state is changed. Products with H are exact, by
    differentiating twice.

    Args:
        model: The model, from inputs **[N, ...]** to outputs **[N, ...]**.
        data: Inputs and targets (x, y).
        metric: Called as `metric(output, target)`, returns one number that can be differentiated twice.
        top_k: How many eigenvalues.
        probes: Sign vectors for the trace.
        radius: ρ of SAM.
        adaptive_radius: ρ of adaptive SAM.
        density_steps: Lanczos steps for the spectral density; 0 leaves it out.
        density_probes: Start vectors for it.
        normalised: Whether logits are normalised too.
        steps: Most vectors of Lanczos' basis; they are all kept.
        batch_size: Samples computed together, to bound the memory; the metric must then be a mean over samples.
        batch_statistics: Batch normalisation takes the statistics of the data.
        seed: Of the random vectors.

    Returns:
        The numbers.

    Raises:
        EvaluationError: If an option is out of its range.
        TaskError: If the model cannot be run on the data.
        LossError: If the metric fails, or cannot be differentiated.

    Source: Foret, Kleiner, Mobahi and Neyshabur, Sharpness-aware minimization, 2021; Kwon, Kim, Park and Choi, ASAM,
    2021; Ghorbani, Krishnan and Xiao, An investigation into neural net optimization via Hessian eigenvalue density,
    2019.
    """
    check_options(
        {"top_k": top_k, "probes": probes, "density_probes": density_probes, "steps": steps},
        {"radius": radius, "adaptive_radius": adaptive_radius},
        density_steps,
    )
    if batch_size is not None:
        check_options({"batch_size": batch_size}, {})
    points = Points(model, data, {"metric": metric}, batch_size=batch_size, batch_statistics=batch_statistics)
    options: dict[str, Any] = {
        "top_k": top_k, "probes": probes, "radii": (radius, adaptive_radius), "steps": max(steps, top_k), "seed": seed,
        "density": (density_steps, density_probes),
    }  # fmt: skip
    own = _sharpness(points, 1.0, **options)
    if not normalised:
        return own
    return Sharpness(**{**vars(own), "normalised": _sharpness(points, _scale(points), **options)})


def check_options(counts: Mapping[str, object], radii: Mapping[str, object], density_steps: object = 0) -> None:
    """Raise an EvaluationError unless counts are whole numbers of at least 1 (0 for steps), radii positive numbers."""
    for low, whole in ((1, counts), (0, {"density_steps": density_steps})):
        for name, value in whole.items():
            if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
                raise EvaluationError(f"{name} is a whole number of at least {low}; received {value!r:.40}")
    for name, rho in radii.items():
        if not isinstance(rho, numbers.Real) or not math.isfinite(rho) or rho <= 0:
            raise EvaluationError(f"{name} is a positive number; received {rho!r:.40}")


def eigenvectors(points: Points, count: int, seed: int) -> list[Tensors]:
    """Eigenvectors of norm 1 with the largest eigenvalues of the first metric's Hessian, by name."""
    with _Curvature(points, 1.0).ready() as curvature:
        _, vectors, _ = largest(curvature.product, curvature.size, count, curvature.w, seed, 200, _TOLERANCE)
    return [unflat(points, vector) for vector in vectors]


def _sharpness(
    points: Points, scale: float, top_k: int, probes: int, radii: tuple[float, float], steps: int, seed: int,
    density: tuple[int, int],
) -> Sharpness:  # fmt: skip
    with _Curvature(points, scale).ready() as here:
        count = min(top_k, here.size)
        values, _, residuals = largest(here.product, here.size, count, here.w, seed, steps, _TOLERANCE)
        generator = torch.Generator().manual_seed(seed + 1)
        signs = (torch.randint(2, (here.size,), generator=generator).to(here.w) * 2 - 1 for _ in range(probes))
        forms = torch.tensor([float(v @ here.product(v)) for v in signs], dtype=torch.float64)
        curve = _density(here, *density, generator) if density[0] else None
        g, w = here.gradient, here.w
        sam = here.at(_step(g, radii[0])) - here.value
        adaptive = here.at(w.abs() * _step(w.abs() * g, radii[1])) - here.value
    error = float(forms.std() / math.sqrt(probes)) if probes > 1 else math.nan
    return Sharpness(
        here.value, float(g.norm()), values.numpy(), residuals.numpy(), float(forms.mean()), error, curve, sam, adaptive
    )


def _step(direction: Tensor, radius: float) -> Tensor:
    """Of this length; nowhere if there is no direction."""
    norm = direction.norm()
    return direction * (radius / norm) if norm > 0 else direction


def _scale(points: Points) -> float:
    """Root mean square of the logits about each sample's mean."""
    with points.running():
        logits = points.outputs({}).double().flatten(1)
    if logits.shape[1] > 1:
        logits = logits - logits.mean(1, keepdim=True)
    scale = float(logits.square().mean().sqrt())
    return scale if math.isfinite(scale) and scale > 0 else 1.0


def _density(here: _Curvature, steps: int, probes: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean over probes of Σ (first entry of each eigenvector of T)² · Gaussian about its eigenvalue."""
    nodes, weights = [], []
    for _ in range(probes):
        start = torch.randn(here.size, generator=generator, dtype=torch.float64).to(here.w)
        matrix, _ = tridiagonal(here.product, start, steps, generator)
        values, vectors = torch.linalg.eigh(matrix)
        nodes.append(values.numpy())
        weights.append(vectors[0].square().numpy() / probes)
    at, mass = np.concatenate(nodes), np.concatenate(weights)
    width = max(0.01 * (at.max() - at.min()), 1e-6 * abs(at).max()) or 1e-6
    grid = np.linspace(at.min() - 5 * width, at.max() + 5 * width, 2001)
    bells = np.exp(-0.5 * ((grid[:, None] - at) / width) ** 2) / (width * math.sqrt(2 * math.pi))
    return grid, bells @ mass


class _Curvature:
    """A metric as a function of the flat vector w **[n]** of the trained parameters, and its derivatives."""

    def __init__(self, points: Points, scale: float) -> None:
        self._points, self._scale = points, scale
        self._metric = next(iter(points.metrics.values()))
        self.w = torch.cat([p.reshape(-1) for p in points.parameters.values()])
        self.size = self.w.numel()
        self.value = math.nan
        self.gradient = torch.zeros_like(self.w)

    @contextmanager
    def ready(self) -> Iterator[_Curvature]:
        """Inside, products can be taken."""
        with self._points.running(), sdpa_kernel(SDPBackend.MATH):  # fused attention can be differentiated once
            self._graphs = list(self._differentiated()) if len(self._points.batches) == 1 else None
            total = 0.0
            for _, value, slope, share in self._graphs or self._differentiated():
                total += share * float(value.detach())
                self.gradient = self.gradient + share * slope.detach()
            self.value = total
            if not math.isfinite(total):
                raise LossError(f"the metric is {total} at the model's parameters: there is no curvature to measure")
            yield self
            self._graphs = None

    def _differentiated(self) -> Iterator[tuple[Tensor, Tensor, Tensor, float]]:
        """Of each batch: w with a graph, the value, the gradient, and the batch's share of the samples."""
        points, begin = self._points, 0
        for x in points.batches:
            y = points.y[begin : begin + len(x)]
            begin += len(x)
            with torch.enable_grad():
                w = self.w.detach().requires_grad_()
                value = self._value(w, x, y)
                try:
                    (slope,) = torch.autograd.grad(value, w, create_graph=True)
                except Exception as error:
                    raise LossError(f"the metric cannot be differentiated: {carried(error)}") from error
            yield w, value, slope, len(x) / len(points.x)

    def _value(self, w: Tensor, x: Tensor, y: Tensor) -> Tensor:
        self._points.same_draws()
        output = self._points.call(unflat(self._points, w), x)
        try:
            value = self._metric(output / self._scale, y)
        except Exception as error:
            raise LossError(f"the metric failed on outputs of shape {list(output.shape)}: {carried(error)}") from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            raise LossError(f"the metric must return one number, as a tensor; received {type(value).__name__}")
        return value.reshape(())

    def product(self, v: Tensor) -> Tensor:
        """H v."""
        result = torch.zeros_like(self.w)
        for w, _, slope, share in self._graphs or self._differentiated():
            if slope.requires_grad:
                found = torch.autograd.grad(slope, w, v, retain_graph=True, allow_unused=True)[0]
                result = result if found is None else result + share * found
        return result

    def at(self, step: Tensor) -> float:
        """The metric at w + step."""
        total, begin = 0.0, 0
        for x in self._points.batches:
            value = self._value(self.w + step, x, self._points.y[begin : begin + len(x)])
            total += float(value) * len(x) / len(self._points.x)
            begin += len(x)
        return total
