"""The values of a metric on a line or a plane of parameter space, for one model or for several on one scale."""

from __future__ import annotations

import hashlib
import math
import numbers
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from symloss.analysis.directions import difference, principal_directions, random_directions
from symloss.analysis.points import Metric, Plane, Points, Tensors
from symloss.analysis.surface import Landscape, load_landscape
from symloss.errors import EvaluationError

KINDS = ("random", "pca", "hessian", "between")
_SAVE_SECONDS = 5.0
_MOST_POINTS = 10**8


def landscape(
    model: nn.Module | Mapping[str, nn.Module],
    data: Any,
    metric: Metric | Mapping[str, Metric],
    *,
    grid: int | tuple[int, ...] = (41, 41),
    span: float | Sequence[float | tuple[float, float]] | None = None,
    directions: str | Sequence[Mapping[str, Tensor]] = "random",
    seed: int = 0,
    seeds: int = 1,
    biases: bool = False,
    trajectory: Sequence[Any] | None = None,
    other: nn.Module | None = None,
    batch_statistics: bool = False,
    chunk: int | None = None,
    batch_size: int | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Landscape:
    r"""The metric at w + a·d₁ + b·d₂ (or w + a·d₁), computed from the stored w; at the centre the metric of w itself.

    The model runs in evaluation mode (dropout off, batch normalisation with the statistics stored in training); what it
    still draws at random is the same at every point. It is not changed, nor is torch's random state.

    Directions are

    - `"random"`: Gaussian, d ← d ‖w‖ / ‖d‖ for each output filter, so that models of other scales can be compared.
      Several models of one structure get the same draws, each with its own norms;
    - `"pca"`: principal components of w_t − w over a recorded `trajectory`, of norm 1; the default span holds it;
    - `"hessian"`: eigenvectors of the metric's Hessian at w with the largest eigenvalues, of norm 1;
    - `"between"`: from w to the `other` model, buffers too: w is at 0, the other at 1; the default span is −0.5 to 1.5;
    - your own: mappings of names of parameters to tensors.

    Args:
        model: The model, from inputs **[N, ...]** to outputs; or names to models that are to be seen on one scale.
        data: Inputs and targets (x, y), **[N, ...]** each.
        metric: Called as `metric(output, target)` on all samples, returns one number; or names to metrics. Models
            that were trained under different losses are compared under one metric.
        grid: Points along each direction, odd: one number or a tuple of one for a line, two for a plane.
        span: Coordinates go from −span to span; a number, or for each axis one or (low, high). By default 1.
        directions: See above.
        seed: Of random directions, and of the start of the search for eigenvectors.
        seeds: How many pairs of random directions, from seeds `seed`, `seed + 1`, ...: for the spread over them.
        biases: Whether biases and the parameters of normalisation move in random directions.
        trajectory: For `"pca"`: models, or copies of their `state_dict`, in order.
        other: For `"between"`: the model at 1.
        batch_statistics: Batch normalisation takes the statistics of the data at each point.
        chunk: Points computed together; None: as many as keep the activations small. It bounds the memory.
        batch_size: Samples computed together; None: all.
        out: An `.npz` file, written every few seconds; a landscape that was cut off there goes on where it was.

    Returns:
        The landscape, with `.values` **[*grid]** and `.coordinates`; with several models, metrics or seeds `.values`
        has an axis for each of these before.

    Raises:
        EvaluationError: If an option is out of its range, models do not fit, or `out` holds something else.
        TaskError: If the model cannot be run on the data.
        LossError: If a metric fails, or returns more than one number.
    """
    models = dict(model) if isinstance(model, Mapping) else {"model": model}
    metrics = dict(metric) if isinstance(metric, Mapping) else {_name(metric): metric}
    shape = grid_shape(grid, 1 if directions == "between" else None)
    if not models or not metrics:
        raise EvaluationError("a landscape needs at least one model and one metric; received none")
    check_options(directions, seeds, seed, out, chunk, batch_size)
    if directions not in ("random", "hessian") and len(models) > 1:
        raise EvaluationError(f"several models go with 'random' or 'hessian' directions; received {len(models)} models")
    prepared = {
        name: Points(m, data, metrics, chunk=chunk, batch_size=batch_size, batch_statistics=batch_statistics)
        for name, m in models.items()
    }
    first = next(iter(prepared.values()))
    planes, path, explained = _directions(prepared, directions, len(shape), range(seed, seed + seeds), {
        "biases": biases, "trajectory": trajectory, "other": other,
    })  # fmt: skip
    axes = [
        np.linspace(low, high, n)
        for (low, high), n in zip(spans(span, directions, path, len(shape)), shape, strict=True)
    ]
    for axis in axes:
        axis[np.abs(axis) < 1e-9 * (axis[-1] - axis[0])] = 0.0  # the model itself, exactly
    settings = {
        "directions": directions if isinstance(directions, str) else "given", "models": list(models),
        "metrics": list(metrics), "seeds": list(range(seed, seed + seeds)), "grid": list(shape),
        "span": [[float(a[0]), float(a[-1])] for a in axes], "samples": len(first.x), "biases": biases,
        "batch_statistics": batch_statistics, "batch_size": batch_size,
        "parameters": sum(w.numel() for w in first.parameters.values()), "explained": explained,
        "torch": torch.__version__, "content": _digest(prepared, planes),
    }  # fmt: skip
    centres = np.stack([p.centre.numpy() for p in prepared.values()])
    empty = np.full((len(models), len(metrics), seeds, *shape), np.nan)
    result = Landscape(tuple(axes), empty, np.zeros((len(models), seeds, *shape), bool), centres, path, settings)
    if out is not None:
        result = _resumed(result, Path(out))
        result.save(out)  # where that fails, nothing was computed in vain
    _fill(result, prepared, planes, Path(out) if out is not None else None)
    return result


def _fill(
    result: Landscape, prepared: Mapping[str, Points], planes: Mapping[str, list[list[Tensors]]], out: Path | None
) -> None:
    """Compute what is not done, and save it now and then."""
    mesh = np.stack([m.reshape(-1) for m in np.meshgrid(*result.coordinates, indexing="ij")], 1)
    coordinates, saved = torch.from_numpy(mesh), time.monotonic()
    try:
        for m, (name, points) in enumerate(prepared.items()):
            for s, directions in enumerate(planes[name]):
                done = result.done[m, s].reshape(-1)
                if done.all():
                    continue
                plane, values = Plane(points, directions), result.all[m, :, s].reshape(len(points.metrics), -1)
                for begin in range(0, len(mesh), plane.chunk):
                    part = slice(begin, begin + plane.chunk)
                    if not done[part].all():
                        values[:, part] = plane.measure(coordinates[part]).t().numpy()
                        done[part] = True
                    if out is not None and time.monotonic() - saved > _SAVE_SECONDS:
                        result.save(out)
                        saved = time.monotonic()
    finally:
        if out is not None:
            result.save(out)


def _directions(
    prepared: Mapping[str, Points], directions: Any, count: int, seeds: Sequence[int], options: Mapping[str, Any]
) -> tuple[dict[str, list[list[Tensors]]], np.ndarray | None, list[float] | None]:
    """For each model and each seed its K directions; with "pca" also the trajectory's coordinates and shares."""
    if directions == "random":
        own = {n: [random_directions(p, s, count, options["biases"]) for s in seeds] for n, p in prepared.items()}
        return own, None, None
    if directions == "hessian":
        from symloss.analysis.sharpness import eigenvectors

        return {n: [eigenvectors(p, count, seeds[0])] for n, p in prepared.items()}, None, None
    points = next(iter(prepared.values()))
    if directions == "pca":
        if not options["trajectory"]:
            raise EvaluationError(
                "directions='pca' needs trajectory=[...]: models, or copies of state_dict(), in order"
            )
        found, path, shares = principal_directions(points, options["trajectory"], count)
        return {name: [found] for name in prepared}, path.numpy(), list(shares)
    if directions == "between":
        if options["other"] is None:
            raise EvaluationError("directions='between' needs other=: the model at 1")
        return {next(iter(prepared)): [[difference(points, options["other"])]]}, None, None
    given = [dict(d) for d in directions]
    for direction in given:
        for name, d in direction.items():
            w = points.parameters.get(name)
            if w is None or not isinstance(d, Tensor) or d.shape != w.shape:
                raise EvaluationError(f"a direction names trained parameters, with their shapes; {name!r} does not fit")
    if len(given) != count:
        raise EvaluationError(f"a grid of {count} axes needs as many directions; received {len(given)}")
    return {name: [given] for name in prepared}, None, None


def check_options(
    directions: Any, seeds: Any, seed: Any, out: Any = None, chunk: Any = None, batch_size: Any = None
) -> None:
    """Raise an EvaluationError if an option of `landscape` is out of its range, before there are models."""
    for name, value, low in (
        ("seeds", seeds, 1),
        ("seed", seed, 0),
        ("chunk", chunk, 1),
        ("batch_size", batch_size, 1),
    ):
        if value is None and name in ("chunk", "batch_size"):
            continue
        if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < low:
            raise EvaluationError(f"{name} is a whole number of at least {low}; received {value!r:.40}")
    own = isinstance(directions, Sequence) and all(isinstance(d, Mapping) for d in directions)
    if directions not in KINDS if isinstance(directions, str) else not own:
        raise EvaluationError(
            f"directions are one of {', '.join(KINDS)}, or your own by parameter; received {directions!r:.40}"
        )
    if directions != "random" and seeds != 1:
        raise EvaluationError(f"only random directions have a spread over seeds; received seeds={seeds}")
    if out is not None and (Path(out).suffix != ".npz" or not Path(out).parent.is_dir() or Path(out).is_dir()):
        raise EvaluationError(f"out is the name of an .npz file in a directory that exists; received {str(out)!r}")


def grid_shape(grid: Any, axes: int | None = None) -> tuple[int, ...]:
    """Points along each axis; EvaluationError unless there is a centre."""
    sizes = (grid,) if isinstance(grid, numbers.Integral) else tuple(grid) if isinstance(grid, Sequence) else ()
    if axes == 1 and len(sizes) == 2:
        sizes = sizes[:1]
    if len(sizes) not in (1, 2) or not all(
        isinstance(n, numbers.Integral) and int(n) >= 3 and int(n) % 2 for n in sizes
    ):
        raise EvaluationError(
            f"grid holds one or two odd numbers from 3 on, so that there is a centre; received {grid!r:.40}"
        )
    if math.prod(map(int, sizes)) > _MOST_POINTS:
        raise EvaluationError(f"a grid of more than {_MOST_POINTS} points has no room in memory; received {grid!r:.60}")
    return tuple(int(n) for n in sizes)


def spans(span: Any, directions: Any, path: np.ndarray | None, axes: int) -> list[tuple[float, float]]:
    """Lowest and highest coordinate of each axis; EvaluationError if `span` does not tell them."""
    if span is None and directions == "between":
        return [(-0.5, 1.5)]
    if span is None and path is not None:
        reach = np.abs(path).max(0)
        return [(-1.1 * r, 1.1 * r) for r in np.maximum(reach, 1e-12)]
    given: Any = (
        [1.0 if span is None else span] * axes if span is None or isinstance(span, numbers.Real) else list(span)
    )
    pairs: list[Any] = [(-s, s) if isinstance(s, numbers.Real) else tuple(s) for s in given]
    ordered = all(
        len(p) == 2 and all(isinstance(v, numbers.Real) and math.isfinite(v) for v in p) and p[0] < p[1] for p in pairs
    )
    if len(pairs) != axes or not ordered:
        raise EvaluationError(
            f"span is a positive number, or for each direction one or (low, high); received {span!r:.60}"
        )
    return [(float(low), float(high)) for low, high in pairs]


def _digest(prepared: Mapping[str, Points], planes: Mapping[str, list[list[Tensors]]]) -> str:
    """Sixteen hexadecimal digits that change with the models, the data and the directions."""
    digest = hashlib.sha256()
    for name, points in prepared.items():
        tensors = [points.x, points.y, *points.parameters.values(), *points.buffers.values()]
        tensors += [d for directions in planes[name] for direction in directions for d in direction.values()]
        for tensor in tensors:
            digest.update(f"{tensor.dtype} {list(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _resumed(new: Landscape, out: Path) -> Landscape:
    """What the file holds of the same landscape; itself where there is no file."""
    if not out.exists():
        return new
    old = load_landscape(out)
    if old.settings != new.settings or not np.array_equal(old.centre, new.centre, equal_nan=True):
        raise EvaluationError(f"{str(out)!r} holds another landscape; give another name, or remove it")
    return old


def _name(metric: object) -> str:
    name = getattr(metric, "name", None) or getattr(metric, "__name__", None) or type(metric).__name__
    return str(name).replace("_", " ").strip("<>")
