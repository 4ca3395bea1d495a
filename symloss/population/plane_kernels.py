"""Compiled loops for one dense network at many points of a line or a plane of parameters.

The first layer is linear in its parameters: its outputs at w + Σ cₖ dₖ are those of w plus Σ cₖ those of dₖ, and are
combined instead of computed. Samples are taken in strips that stay in the cache while all points pass over them. What
is computed of a point does not depend, bit for bit, on the other points of a call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symloss.loops import vector_math
from symloss.loops.cache import cached, compiled_inside, exact_inside
from symloss.loops.operations import constants
from symloss.population.dense_kernels import IDENTITY, RELU, activate, forward

_STRIP = 128
_SECOND = 2 * _STRIP


@exact_inside
def _combine(basis: Any, c: Any, floor: Any, units: int, out: Any) -> None:
    """Rows w + c₀ d₀ + c₁ d₁, at least `floor`, for four points at once: reading `basis` is what takes time.

    Args:
        basis: Rows of w, d₀ and d₁, each of one strip [units, 3 STRIP].
        c: Coordinates [4, 2].
        floor: 0 makes them rectifiers, -∞ changes nothing.
        units: Rows.
        out: Written here [4 units STRIP].
    """
    a0, a1, a2, a3 = c[0, 0], c[1, 0], c[2, 0], c[3, 0]
    b0, b1, b2, b3 = c[0, 1], c[1, 1], c[2, 1], c[3, 1]
    second, third, fourth = units * _STRIP, 2 * units * _STRIP, 3 * units * _STRIP
    for i in range(units):
        row, to = basis[i], out[i * _STRIP :]
        for j in range(_STRIP):
            w, u, v = row[j], row[_STRIP + j], row[_SECOND + j]
            z0, z1, z2, z3 = w + a0 * u + b0 * v, w + a1 * u + b1 * v, w + a2 * u + b2 * v, w + a3 * u + b3 * v
            to[j] = floor if z0 < floor else z0
            to[second + j] = floor if z1 < floor else z1
            to[third + j] = floor if z2 < floor else z2
            to[fourth + j] = floor if z3 < floor else z3


@exact_inside
def _moved(rest: Any, c: Any, out: Any) -> None:
    """Parameters w + c₀ d₀ + c₁ d₁ [P, total]."""
    for p in range(out.shape[0]):
        row, a, b = out[p], c[p, 0], c[p, 1]
        for i in range(out.shape[1]):
            row[i] = rest[0, i] + a * rest[1, i] + b * rest[2, i]


@compiled_inside
def _loss(logits: Any, labels: Any, largest: Any, total: Any, k: Any) -> Any:
    """Sum of the cross-entropies of the first samples of logits [C, n], as many as there are labels, in float64."""
    samples = logits.shape[1]
    for j in range(samples):
        largest[j] = logits[0, j]
        total[j] = k[0]
    for i in range(1, logits.shape[0]):
        row = logits[i]
        for j in range(samples):
            largest[j] = row[j] if row[j] > largest[j] else largest[j]
    for i in range(logits.shape[0]):
        row = logits[i]
        for j in range(samples):
            total[j] += vector_math.exp(row[j] - largest[j])
    for j in range(samples):
        total[j] = vector_math.log(total[j]) + largest[j]
    value = 0.0
    for j in range(len(labels)):
        value += np.float64(total[j]) - np.float64(logits[labels[j], j])
    return value


@cached
def measure(layers: Any, activation: int, first: Any, rest: Any, c: Any, labels: Any, out: Any, sums: Any) -> None:
    """Logits of P networks on N samples, or their cross-entropy: writing and reading logits would take a third more.

    Args:
        layers: Table of `dense_kernels` [L, 6] of all layers but the first.
        activation: Of the first layer.
        first: Outputs of the first layer, before its activation, at w, d₀ and d₁ [3, H, N].
        rest: Parameters of the other layers at w, d₀ and d₁ [3, total].
        c: Coordinates [P, 2].
        labels: Class indices [N]; empty if the logits are wanted.
        out: Logits, written here [P, C, N]; anything with labels.
        sums: Sums over the samples, added here [P], in float64.
    """
    k = constants(rest)
    points, (units, samples) = c.shape[0], first.shape[1:]
    last = layers.shape[0] - 1
    rows, offset = layers[last, 0], layers[last, 5]
    floor = k[0] if activation == RELU else rest.dtype.type(-np.inf)
    after = IDENTITY if activation == RELU else activation
    coordinates, theta = np.zeros((points + 3, 2), rest.dtype), np.empty((points, rest.shape[1]), rest.dtype)
    coordinates[:points] = c
    _moved(rest, c, theta)
    strip, inputs = np.zeros((units, 3 * _STRIP), rest.dtype), np.empty((4, units, _STRIP), rest.dtype)
    hidden, spare = np.empty((offset + rows) * _STRIP, rest.dtype), np.empty((2, _STRIP), rest.dtype)
    logits = hidden[offset * _STRIP :].reshape(rows, _STRIP)
    for begin in range(0, samples, _STRIP):
        size = min(_STRIP, samples - begin)
        for d in range(3):
            strip[:, d * _STRIP : d * _STRIP + size] = first[d, :, begin : begin + size]
        for p in range(points):
            if p % 4 == 0:
                _combine(strip, coordinates[p : p + 4], floor, units, inputs.reshape(-1))
            here = inputs[p % 4]
            activate(here.reshape(-1), after, k)
            forward(layers, theta[p], here, hidden, k)
            if len(labels):
                sums[p] += _loss(logits, labels[begin : begin + size], spare[0], spare[1], k)
            else:
                for i in range(rows):
                    out[p, i, begin : begin + size] = logits[i, :size]


@cached
def cross_entropy(logits: Any, labels: Any, out: Any) -> None:
    """Mean cross-entropy of logits [P, C, N] with class indices [N], written to `out` [P], in float64."""
    k = constants(logits)
    spare = np.empty((2, len(labels)), logits.dtype)
    for p in range(len(out)):
        out[p] = _loss(logits[p], labels, spare[0], spare[1], k) / len(labels)
