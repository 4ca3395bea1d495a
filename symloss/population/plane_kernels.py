"""Compiled loops for one dense network at many points of an affine space of parameters.

The first layer is linear in its parameters: its outputs at w + Σ cₖ dₖ are those of w plus Σ cₖ those of dₖ, and are
combined instead of computed. Samples are taken in strips that stay in the cache while all points pass over them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symloss.loops import vector_math
from symloss.loops.cache import cached
from symloss.loops.operations import constants
from symloss.population.dense_kernels import activate, forward

_STRIP = 512


@cached
def outputs(layers: Any, activation: int, basis: Any, c: Any, theta: Any, out: Any) -> None:
    """Logits of P networks on N samples.

    Args:
        layers: Table of `dense_kernels` [L, 6] of all layers but the first.
        activation: Of the first layer.
        basis: Outputs of the first layer, before its activation, at w and for each d [1 + K, H, N].
        c: Coordinates [P, K].
        theta: Parameters of the other layers at each point [P, total].
        out: Logits, written here [P, C, N].
    """
    k = constants(theta)
    units, samples = basis.shape[1], basis.shape[2]
    last = layers.shape[0] - 1
    rows, offset = layers[last, 0], layers[last, 5]
    for begin in range(0, samples, _STRIP):
        size = min(_STRIP, samples - begin)
        strip = np.ascontiguousarray(basis[:, :, begin : begin + size])
        inputs, hidden = np.empty((units, size), theta.dtype), np.empty((offset + rows) * size, theta.dtype)
        for p in range(c.shape[0]):
            for i in range(units):
                row, fixed = inputs[i], strip[0, i]
                for j in range(size):
                    row[j] = fixed[j]
                for d in range(c.shape[1]):
                    along, share = strip[1 + d, i], c[p, d]
                    for j in range(size):
                        row[j] += share * along[j]
                activate(row, activation, k)
            forward(layers, theta[p], inputs, hidden, k)
            logits = hidden[offset * size :].reshape(rows, size)
            for i in range(rows):
                row = out[p, i]
                for j in range(size):
                    row[begin + j] = logits[i, j]


@cached
def cross_entropy(logits: Any, labels: Any, out: Any) -> None:
    """Mean cross-entropy of logits [P, C, N] with class indices [N], written to `out` [P], in float64."""
    k = constants(logits)
    samples = len(labels)
    largest, total = np.empty(samples, logits.dtype), np.empty(samples, logits.dtype)
    for p in range(logits.shape[0]):
        rows = logits[p]
        for j in range(samples):
            largest[j] = rows[0, j]
            total[j] = k[0]
        for i in range(1, rows.shape[0]):
            row = rows[i]
            for j in range(samples):
                largest[j] = row[j] if row[j] > largest[j] else largest[j]
        for i in range(rows.shape[0]):
            row = rows[i]
            for j in range(samples):
                total[j] += vector_math.exp(row[j] - largest[j])
        for j in range(samples):
            total[j] = vector_math.log(total[j]) + largest[j]
        value = 0.0
        for j in range(samples):
            value += np.float64(total[j]) - np.float64(rows[labels[j], j])
        out[p] = value / samples
