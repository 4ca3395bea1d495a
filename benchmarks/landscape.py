"""Processor time of landscapes and eigenvalues against a plain loop, and against loss-landscapes where it is installed.

    python -m benchmarks.landscape      # about two minutes on one idle core

A 41 × 41 plane of filter-normalised directions and the five largest Hessian eigenvalues, of the digits MLP on all
training data and on the validation data, and of LeNet-5 on 256 images of 28 × 28 pixels.

The plain loop is as lean as such a loop is: it writes w + a·d₁ + b·d₂ into the model and evaluates all samples at once,
without gradients. For LeNet-5 the others do 11 × 11 points, and their time is multiplied. Values are checked to be the
same. Plain power iteration with deflation, by double backward, stands beside the eigenvalues. Both sides of a ratio run
in turn, several times: given are the median and, in brackets, the range. Writes `benchmarks/results/landscape.*`.
"""

from __future__ import annotations

import copy
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.record import save
from symloss.analysis import landscape, sharpness
from symloss.analysis.directions import random_directions
from symloss.analysis.points import Points
from symloss.tasks import lenet5, load_task, seeded

GRID = 41
Pair = tuple[Tensor, Tensor]


def cases() -> dict[str, tuple[nn.Module, Pair, int]]:
    """Models with data, and how many points along each axis the slow ones do."""
    task = load_task("digits", model="mlp", seed=0)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(256, 1, 28, 28, generator=generator), torch.randint(10, (256,), generator=generator)
    with seeded(0):
        convolutional = lenet5((1, 28, 28), 10)
    return {
        "digits MLP, 1079 samples": (task.new_model(0), (task.train.x, task.train.y), GRID),
        "digits MLP, 359 samples": (task.new_model(0), (task.valid.x, task.valid.y), GRID),
        "LeNet-5, 256 images": (convolutional, images, 11),
    }


def plain(model: nn.Module, data: Pair, directions: Any, points: int) -> np.ndarray:
    """Set the parameters, evaluate, point by point."""
    model = copy.deepcopy(model).eval()
    x, y = data
    named = [
        (p, p.detach().clone(), *(d[n] for d in directions)) for n, p in model.named_parameters() if n in directions[0]
    ]
    axis = np.linspace(-1, 1, points).tolist()
    values = np.zeros((points, points))
    with torch.no_grad():
        for i, a in enumerate(axis):
            for j, b in enumerate(axis):
                for p, w, u, v in named:
                    p.copy_(w + a * u + b * v)
                values[i, j] = F.cross_entropy(model(x), y).item()
    return values


def with_loss_landscapes(model: nn.Module, data: Pair, points: int) -> None:
    """Its random plane, of the same kind; its directions are its own, so that the values are not compared."""
    import loss_landscapes
    from loss_landscapes.metrics import Loss

    loss_landscapes.random_plane(
        model, Loss(F.cross_entropy, *data), distance=1, steps=points, normalization="filter", deepcopy_model=True
    )


def power_iteration(model: nn.Module, data: Pair, count: int, steps: int) -> list[float]:
    """The largest eigenvalues by power iteration, those found taken out, a forward pass for each product."""
    parameters, found = list(model.parameters()), []
    generator = torch.Generator().manual_seed(0)
    kept: list[tuple[float, Tensor]] = []
    for _ in range(count):
        v, value = torch.randn(sum(p.numel() for p in parameters), generator=generator), 0.0
        for _ in range(steps):
            v = v / v.norm()
            slopes = torch.autograd.grad(F.cross_entropy(model(data[0]), data[1]), parameters, create_graph=True)
            product = torch.autograd.grad(torch.cat([s.reshape(-1) for s in slopes]) @ v, parameters)
            image = torch.cat([p.reshape(-1) for p in product])
            for known, vector in kept:
                image = image - known * (vector @ v) * vector
            value = float(v @ image)
            v = image
        kept.append((value, v / v.norm()))
        found.append(value)
    return found


def compared(ours: Callable[[], Any], theirs: Callable[[], Any], share: float, repeats: int) -> tuple[Any, ...]:
    """Least times of both, run in turn, the median of their ratios and the range, and what the last calls returned."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        found = ours()
        middle = time.process_time()
        other = theirs()
        times.append((middle - start, share * (time.process_time() - middle)))
    ratios = [b / a for a, b in times]
    ratio = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
    return *(min(column) for column in zip(*times, strict=True)), ratio, found, other


def main() -> None:
    """Measure everything; each function was called before it is timed."""
    torch.set_num_threads(1)
    rows = []
    for name, (model, data, points) in cases().items():
        directions = random_directions(Points(model, data, {"loss": F.cross_entropy}), 0, 2)
        share, repeats = (GRID / points) ** 2, 5 if points == GRID else 2
        surface = partial(landscape, model, data, F.cross_entropy, grid=(GRID, GRID))
        curvature = partial(sharpness, model, data, F.cross_entropy, top_k=5, probes=1, normalised=False)
        landscape(model, data, F.cross_entropy, grid=(3, 3))
        plain(model, data, directions, 3)
        ours, theirs, ratio, found, values = compared(
            surface, partial(plain, model, data, directions, points), share, repeats
        )
        every = (GRID - 1) // (points - 1)
        np.testing.assert_allclose(values, found.values[::every, ::every], rtol=1e-3)
        row: dict[str, Any] = {
            "case": name, "plain loop, s": theirs, "landscape, s": ours, "plain ÷ landscape": ratio,
        }  # fmt: skip
        try:
            with_loss_landscapes(model, data, 3)
            _, other, ratio, *_ = compared(surface, partial(with_loss_landscapes, model, data, points), share, repeats)
            row |= {"loss-landscapes, s": other, "loss-landscapes ÷ landscape": ratio}
        except ImportError:
            row |= {"loss-landscapes, s": "not installed"}
        sharpness(model, data, F.cross_entropy, top_k=1, probes=1, normalised=False)
        power_iteration(model, data, 1, 1)
        curve, power, ratio, sharp, values5 = compared(
            curvature, partial(power_iteration, model, data, 5, 40), 1, 3 if points == GRID else 1
        )
        row |= {
            "eigenvalues, s": curve, "power iteration, s": power, "power ÷ eigenvalues": ratio,
            "largest": float(sharp.eigenvalues[0]), "by power": values5[0],
        }  # fmt: skip
        row["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append(row)
    save(
        "landscape", rows, f"Plane of {GRID} × {GRID} points and five eigenvalues, float32, processor time, one thread"
    )


if __name__ == "__main__":
    main()
