"""One dense network on the CPU at many points of a line or a plane of parameters, through compiled loops."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from symloss.loops.cache import prepare
from symloss.loops.threads import one_blas_thread
from symloss.population import dense, plane_kernels
from symloss.population.functional import Parameters
from symloss.population.networks import DenseNetwork


def prepared(dtype: torch.dtype) -> None:
    """See to it that the loops are compiled."""
    prepare("symloss.population.preparation", plane_kernels.measure, str(dtype).removeprefix("torch."))


class DensePlane:
    """A dense network on N samples, at points w + Σ cₖ dₖ; what is computed at a point does not depend on the others.

    Args:
        network: The network, of at least two layers.
        first: Outputs of the first layer, without its activation, at w and for each d, **[1 + K, H, N]**, K 1 or 2.
        rest: Parameters of the other layers of w and of each d, **[1 + K, ...]** each.
    """

    def __init__(self, network: DenseNetwork, first: Tensor, rest: Parameters) -> None:
        self._layers = dense.table(network, [p[0] for p in rest], skipped=1)
        self._activation, self.classes = network.codes[0], int(self._layers[-1, 0])
        self._missing = 3 - len(first)  # a line is a plane whose second direction is zero
        self._first = F.pad(first, (0, 0, 0, 0, 0, self._missing)).contiguous()
        self._rest = F.pad(torch.cat([p.reshape(len(p), -1) for p in rest], 1), (0, 0, 0, self._missing))

    def outputs(self, c: Tensor) -> Tensor:
        """Logits **[P, C, N]** at points c **[P, K]**."""
        out = self._first.new_empty(len(c), self.classes, self._first.shape[2])
        self._run(c, np.empty(0, np.int64), out.numpy(), np.empty(0))
        return out

    def cross_entropy(self, c: Tensor, labels: Tensor) -> Tensor:
        """Sum over the samples of the cross-entropy with class indices **[N]**, 0 to C − 1: **[P]**, in float64."""
        sums = np.zeros(len(c))
        self._run(c, labels.contiguous().numpy(), self._first.new_empty(0, 0, 0).numpy(), sums)
        return torch.from_numpy(sums)

    def _run(self, c: Tensor, labels: np.ndarray, out: np.ndarray, sums: np.ndarray) -> None:
        coordinates = F.pad(c.to(self._first), (0, self._missing)).numpy()
        with one_blas_thread():
            plane_kernels.measure(
                self._layers, self._activation, self._first.numpy(), self._rest.numpy(), coordinates, labels, out, sums
            )


def plane_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy **[P]**, in float64, of logits **[P, C, N]** with class indices **[N]**, 0 to C − 1."""
    out = np.empty(len(logits))
    plane_kernels.cross_entropy(logits.contiguous().numpy(), labels.contiguous().numpy(), out)
    return torch.from_numpy(out)
