"""A landscape that was computed: its values, its summary in words, and its file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from symloss.errors import EvaluationError
from symloss.evaluation.statistics import estimate
from symloss.expression.showing import aligned, drawn
from symloss.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMAT = 1


@dataclass(frozen=True)
class Landscape:
    """Values of M metrics of L models on a grid in S pairs of directions; prints itself.

    Args:
        coordinates: For each axis of the grid its coordinates; element [i, j] of a plane lies at
            (coordinates[0][i], coordinates[1][j]).
        all: **[L, M, S, *grid]**.
        done: Which points were computed, **[L, S, *grid]**.
        centre: The metrics of the models as they are, **[L, M]**.
        path: Coordinates **[T, K]** of the trajectory, with directions "pca"; else None.
        settings: Everything that defines it, as plain values.
    """

    coordinates: tuple[np.ndarray, ...]
    all: np.ndarray
    done: np.ndarray
    centre: np.ndarray
    path: np.ndarray | None
    settings: Mapping[str, Any]

    @property
    def models(self) -> list[str]:
        """Names of the models."""
        return list(self.settings["models"])

    @property
    def metrics(self) -> list[str]:
        """Names of the metrics."""
        return list(self.settings["metrics"])

    @property
    def values(self) -> np.ndarray:
        """`all` without the axes of models, metrics and seeds of which there is one: **[*grid]** for one of each."""
        return self.all.reshape([n for n in self.all.shape[:3] if n > 1] + list(self.all.shape[3:]))

    def mean(self, model: int = 0, metric: int = 0) -> np.ndarray:
        """Mean over the seeds of the directions, **[*grid]**."""
        return np.asarray(self.all[model, metric].mean(0))

    def spread(self, model: int = 0, metric: int = 0) -> np.ndarray:
        """Standard deviation over the seeds of the directions, **[*grid]**; NaN with one seed."""
        values = self.all[model, metric]
        return values.std(0, ddof=1) if len(values) > 1 else np.full(values.shape[1:], np.nan)

    def rises(self, model: int = 0, metric: int = 0) -> np.ndarray:
        """For each seed, the mean over the grid minus the centre, **[S]**; inf where a point is not finite."""
        values = self.all[model, metric].reshape(self.all.shape[2], -1)
        means = np.where(np.isfinite(values).all(1), np.where(np.isfinite(values), values, 0).mean(1), np.inf)
        return np.asarray(means - self.centre[model, metric])

    def __str__(self) -> str:
        grid = " × ".join(str(len(axis)) for axis in self.coordinates)
        seeds = len(self.settings["seeds"])
        kind = self.settings["directions"] + (f", {seeds} seeds" if seeds > 1 else "")
        left = int((~self.done).sum())
        lines = [f"landscape of {grid} points, directions: {kind}" + (f" ({left} points not computed)" if left else "")]
        head = ("model", "metric", "at the centre", "mean rise over the grid", "lowest", "highest")
        rows = [head]
        for m, model in enumerate(self.models):
            for k, metric in enumerate(self.metrics):
                numbers = self.centre[m, k], self.all[m, k].min(), self.all[m, k].max()
                centre, lowest, highest = (f"{value:.4g}" for value in numbers)
                rows.append((model, metric, centre, self._rise(m, k), lowest, highest))
        return "\n".join(lines + aligned(rows))

    def _rise(self, model: int, metric: int) -> str:
        rises = self.rises(model, metric)
        if len(rises) == 1 or not np.isfinite(rises).all():
            return f"{rises.mean():.4g}"
        return estimate(rises.tolist()).text()

    def figure(self, **options: Any) -> Figure:
        """What `symloss.plotting.landscape` draws of it."""
        return drawn("landscape", self, **options)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an `.npz` file of plain arrays, whole or not at all; the settings are JSON text in it."""
        arrays: dict[str, Any] = {f"axis{k}": axis for k, axis in enumerate(self.coordinates)}
        if self.path is not None:
            arrays["path"] = self.path
        arrays |= {"values": self.all, "done": self.done, "centre": self.centre}
        text = np.array(json.dumps({"format": _FORMAT, **self.settings}))
        try:
            with replacing(path) as file:
                np.savez_compressed(file, settings=text, **arrays)
        except (OSError, ValueError) as error:
            raise EvaluationError(f"cannot write {str(path)!r}: {getattr(error, 'strerror', None) or error}") from None


def load_landscape(path: str | os.PathLike[str]) -> Landscape:
    """A landscape from its file; nothing in it is executed.

    Raises:
        EvaluationError: If it cannot be read, or is none.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            settings = json.loads(str(file["settings"]))
            if settings.pop("format") != _FORMAT:
                raise ValueError("it is from another version")
            shape = tuple(settings["grid"])
            axes = tuple(file[f"axis{k}"] for k in range(len(shape)))
            values, done, centre = file["values"], file["done"], file["centre"]
            path_taken = file["path"] if "path" in file.files else None
        sizes = (len(settings["models"]), len(settings["metrics"]), len(settings["seeds"]))
        fits = values.shape == (*sizes, *shape) and done.shape == (sizes[0], sizes[2], *shape) and done.dtype == bool
        if not fits or centre.shape != sizes[:2] or tuple(map(len, axes)) != shape:
            raise ValueError("its arrays do not fit together")
    except Exception as error:
        raise EvaluationError(f"{os.fspath(path)!r} holds no landscape: {' '.join(str(error).split())[:120]}") from None
    return Landscape(axes, values, done, centre, path_taken, settings)
