"""One dense network on the CPU at many points of an affine space of parameters, through compiled loops."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from symloss.loops.cache import prepare
from symloss.loops.threads import one_blas_thread
from symloss.population import dense, plane_kernels
from symloss.population.functional import Parameters
from symloss.population.networks import DenseNetwork


def prepared(dtype: torch.dtype) -> None:
    """See to it that the loops are compiled."""
    prepare("symloss.population.preparation", plane_kernels.outputs, str(dtype).removeprefix("torch."))


def plane_outputs(network: DenseNetwork, first: Tensor, c: Tensor, rest: Parameters) -> Tensor:
    """Logits of P networks whose first layer is w + Σ cₖ dₖ.

    Args:
        network: The network, of at least two layers.
        first: Outputs of the first layer, without its activation, at w and for each d, **[1 + K, H, N]**.
        c: Coordinates **[P, K]**.
        rest: Parameters of the other layers at each point, **[P, ...]** each.

    Returns:
        Logits **[P, C, N]**.
    """
    theta = torch.cat([p.reshape(len(c), -1) for p in rest], 1)
    layers = dense.table(network, [p[0] for p in rest], skipped=1)
    out = torch.empty(len(c), int(layers[-1, 0]), first.shape[2], dtype=first.dtype)
    with one_blas_thread():
        plane_kernels.outputs(
            layers, network.codes[0], first.numpy(), c.to(first).contiguous().numpy(), theta.numpy(), out.numpy()
        )
    return out


def plane_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy **[P]**, in float64, of logits **[P, C, N]** with class indices **[N]**, 0 to C − 1."""
    out = np.empty(len(logits))
    plane_kernels.cross_entropy(logits.contiguous().numpy(), labels.numpy(), out)
    return torch.from_numpy(out)
