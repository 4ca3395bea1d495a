"""Directions in parameter space: random and filter-normalised, principal components of a trajectory, between models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from symloss.analysis.points import Points, Tensors
from symloss.errors import EvaluationError

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def random_directions(points: Points, seed: int, count: int, biases: bool = False) -> list[Tensors]:
    """Gaussian directions with the norms of the model's filters: d ← d ‖w‖ / ‖d‖ for each output filter.

    Args:
        points: The model.
        seed: Of the draws: two models of one structure get the same ones, each with its own norms.
        count: K.
        biases: Whether parameters of less than two dimensions (biases, those of normalisation) move too, each as one
            filter; by default they stay.

    Returns:
        K directions by name.

    Raises:
        EvaluationError: If nothing would move.

    Source: Li, Xu, Taylor, Studer and Goldstein, Visualizing the loss landscape of neural nets, 2018.
    """
    generator = torch.Generator().manual_seed(seed)
    transposed = {f"{n}.weight".lstrip(".") for n, m in points.model.named_modules() if isinstance(m, _TRANSPOSED)}
    directions: list[Tensors] = []
    for _ in range(count):
        direction: Tensors = {}
        for name, w in points.parameters.items():
            drawn = torch.randn(w.shape, generator=generator, dtype=torch.float64).to(w)
            if w.dim() < 2 and not biases:
                continue
            filters = 1 if name in transposed else 0
            along = [i for i in range(w.dim()) if i != filters or w.dim() == 1]
            wanted, norm = (t.square().sum(along, keepdim=True).sqrt() for t in (w, drawn))
            direction[name] = drawn * (wanted / norm)
        directions.append(direction)
    if not any(d.any() for d in directions[0].values()):
        raise EvaluationError("nothing moves along these directions; biases=True moves parameters of one dimension too")
    return directions


def principal_directions(
    points: Points, trajectory: Sequence[Any], count: int
) -> tuple[list[Tensors], Tensor, tuple[float, ...]]:
    """Principal components of a trajectory about the model, of norm 1, and where the trajectory lies on them.

    The components are the right singular vectors of the rows w_t − w.

    Args:
        points: The model, with w.
        trajectory: T models, or mappings of names to tensors such as copied `state_dict`s.
        count: K.

    Returns:
        K directions by name; coordinates **[T, K]**; the share of Σ ‖w_t − w‖² that each component explains.

    Raises:
        EvaluationError: If a point does not fit the model, or the trajectory spans fewer than K dimensions.
    """
    rows = torch.stack([_flat(difference(points, state, buffers=False)) for state in trajectory])
    _, singular, right = torch.linalg.svd(rows.double(), full_matrices=False)
    rank = int((singular > singular.max() * 1e-9).sum()) if len(singular) and singular.max() > 0 else 0
    if rank < count:
        raise EvaluationError(
            f"the trajectory spans {rank} dimensions about the model, {count} are to be drawn; record more points of it"
        )
    components = right[:count]
    signs = torch.sign(components.gather(1, components.abs().argmax(1, keepdim=True)))
    components = components * signs
    shares = (singular.square() / singular.square().sum())[:count]
    return [unflat(points, row) for row in components], rows.double() @ components.t(), tuple(shares.tolist())


def difference(points: Points, other: Any, buffers: bool = True) -> Tensors:
    """Another model minus this one, by name: parameters, and the floating-point buffers if wanted.

    Args:
        points: The model.
        other: A model of the same structure, or a mapping of names to tensors.
        buffers: Whether buffers (such as the statistics of batch normalisation) are among them.

    Raises:
        EvaluationError: If a tensor is missing or has another shape.
    """
    state = other.state_dict(keep_vars=True) if isinstance(other, nn.Module) else other
    if not isinstance(state, Mapping):
        raise EvaluationError(f"a model, or a state_dict, is wanted; received {type(other).__name__}")
    if isinstance(other, nn.Module):
        state = dict(other.named_parameters()) | dict(other.named_buffers()) | dict(state)
    found: Tensors = {}
    for name, w in (points.parameters | (points.buffers if buffers else {})).items():
        value = state.get(name)
        if not isinstance(value, Tensor) or value.shape != w.shape:
            received = list(value.shape) if isinstance(value, Tensor) else "nothing"
            raise EvaluationError(
                f"models of one structure are wanted: {name!r} is {list(w.shape)}, received {received}"
            )
        found[name] = value.detach().to(w) - w
    return found


def unflat(points: Points, row: Tensor) -> Tensors:
    """A vector **[total]** as tensors by name."""
    pieces = torch.split(row, [w.numel() for w in points.parameters.values()])
    return {n: piece.view(w.shape).to(w) for (n, w), piece in zip(points.parameters.items(), pieces, strict=True)}


def _flat(tensors: Tensors) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors.values()])
