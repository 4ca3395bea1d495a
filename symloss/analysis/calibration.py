"""Calibration: whether a classifier is right as often as it says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from symloss.errors import LossError
from symloss.expression.showing import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MOST_BINS = 1_000_000


@dataclass(frozen=True)
class Calibration:
    """What `calibration` found; bins are (k/K, (k + 1)/K], k from 0 to K − 1.

    Args:
        counts: Samples in each bin of confidence.
        confidence: Mean confidence in each bin; NaN where it is empty.
        accuracy: Share of each bin that is right; NaN where it is empty.
    """

    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def error(self) -> float:
        """Expected calibration error, ECE = Σ n_k / N |accuracy_k − confidence_k|."""
        return sum(n * abs(gap) for n, gap in self._gaps) / sum(self.counts)

    @property
    def largest_error(self) -> float:
        """Largest |accuracy_k − confidence_k|."""
        return max(abs(gap) for _, gap in self._gaps)

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus accuracy: above zero for a model that is too sure of itself."""
        return -sum(n * gap for n, gap in self._gaps) / sum(self.counts)

    @property
    def _gaps(self) -> list[tuple[int, float]]:
        rows = zip(self.counts, self.accuracy, self.confidence, strict=True)
        return [(n, right - sure) for n, right, sure in rows if n]

    def __str__(self) -> str:
        more, apart = "more" if self.overconfidence > 0 else "less", abs(self.overconfidence)
        return (
            f"expected calibration error {self.error:.4f} (largest {self.largest_error:.4f}, {len(self.counts)} bins, "
            f"{sum(self.counts)} samples): on average {more} confident than right, by {apart:.4f}"
        )

    def figure(self) -> Figure:
        """Accuracy against confidence; see `symloss.plotting.calibration`."""
        return drawn("calibration", self)


def calibration(outputs: Tensor, targets: Tensor, bins: int = 15) -> Calibration:
    """Confidence of a classifier in its own answer, against how often that is right, in bins of equal width.

    Args:
        outputs: Logits **[N, C]**, C ≥ 2; of a binary task **[N]** or **[N, 1]**.
        targets: Class indices **[N]**; binary labels, 0 or 1, of any shape with N entries.
        bins: K.

    Returns:
        Counts, mean confidence max_c f_c (binary: max(f, 1 − f)) and accuracy of each bin.

    Raises:
        LossError: If shapes do not fit, an output is not finite, or a target is no class.

    Source: Guo et al., *On Calibration of Modern Neural Networks*, arXiv 1706.04599.
    """
    if isinstance(bins, bool) or not isinstance(bins, int) or not 1 <= bins <= _MOST_BINS:
        raise LossError(f"bins is a whole number of at least 1, at most {_MOST_BINS}; received {bins!r:.40}")
    for what, given in (("outputs", outputs), ("targets", targets)):
        if not isinstance(given, Tensor):
            raise LossError(f"{what} are a tensor; received {type(given).__name__}")
    z, y = outputs.detach().double().cpu(), targets.detach().cpu().flatten()
    z = z.unsqueeze(1) if z.dim() == 1 else z
    if z.dim() != 2 or len(z) != len(y) or not len(y) or z.shape[1] == 0:
        raise LossError(
            f"outputs are logits of shape [N, C] and targets classes [N]; received {tuple(outputs.shape)} and "
            f"{tuple(targets.shape)}"
        )
    if not z.isfinite().all():
        raise LossError("an output is not finite: a model that diverged has no calibration")
    if z.shape[1] == 1:
        z = torch.cat([torch.zeros_like(z), z], 1)
    classes = z.shape[1]
    if strange := [value for value in sorted(set(y.tolist())) if value not in range(classes)]:
        raise LossError(f"targets are classes from 0 to {classes - 1} for {classes} classes; received {strange[0]!r}")
    confidence, guess = z.softmax(1).max(1)
    right = (guess == y).double()
    place = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    counts, sure, correct = (
        torch.zeros(bins, dtype=torch.float64).index_add_(0, place, values).tolist()
        for values in (torch.ones_like(right), confidence, right)
    )
    return Calibration(
        tuple(int(n) for n in counts),
        tuple(total / n if n else math.nan for total, n in zip(sure, counts, strict=True)),
        tuple(total / n if n else math.nan for total, n in zip(correct, counts, strict=True)),
    )
