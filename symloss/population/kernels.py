"""Compiled loops over many expressions on the CPU: the inner loop of the engine.

A tree is a list of nodes in an order in which arguments come first. It runs over strips of `WIDTH` entries, so that all
its intermediate values stay in the cache. Every node has a row of four strips: value, derivative in f, and the adjoints
of the two (see `symloss.loops.operations`). Rows 0, 1 and 2 are the constant 1, the target y and the prediction f;
node i is row 3 + i.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symloss.loops.cache import cached, compiled_inside
from symloss.loops.operations import SLOPE, SLOPE_BAR, VALUE_BAR, WIDTH, constants, forward, reverse

ONE, TARGET, PREDICTION, FIRST = 0, 1, 2, 3
MULTICLASS, BINARY, REGRESSION = 0, 1, 2
KINDS = {"multiclass": MULTICLASS, "binary": BINARY, "regression": REGRESSION}


@compiled_inside
def _edges(node: Any, factor: Any, weights: Any) -> Any:
    """Weights of the two argument slots of a node."""
    p, q = factor[0], factor[1]
    if node[3] >= 0:
        p *= weights[node[3]]
    if node[4] >= 0:
        q *= weights[node[4]]
    return p, q


@compiled_inside
def _run(program: Any, tree: int, weights: Any, scratch: Any, f: Any, y: Any, begin: int, n: int, k: Any) -> Any:
    """One tree forward over the n entries from `begin` on; the row of its root."""
    start, nodes, factors, _ = program
    one, target, prediction = scratch[ONE], scratch[TARGET], scratch[PREDICTION]
    known, predicted = y[begin : begin + n], f[begin : begin + n]
    for j in range(n):
        one[j], one[SLOPE + j] = k[1], k[0]
        target[j], target[SLOPE + j] = known[j], k[0]
        prediction[j], prediction[SLOPE + j] = predicted[j], k[1]
    low, count = start[tree], start[tree + 1] - start[tree]
    for i in range(count):
        node = nodes[low + i]
        p, q = _edges(node, factors[low + i], weights)
        forward(node[0], scratch[FIRST + i], scratch[node[1]], scratch[node[2]], p, q, n, k)
    return scratch[FIRST + count - 1]


@compiled_inside
def _slope(program: Any, tree: int, weights: Any, scratch: Any, f: Any, y: Any, out: Any, k: Any) -> None:
    """out = ∂ℓ/∂f of one tree; f, y and out are rows [M]."""
    for begin in range(0, f.shape[0], WIDTH):
        n = min(WIDTH, f.shape[0] - begin)
        root = _run(program, tree, weights, scratch, f, y, begin, n, k)
        result = out[begin : begin + n]
        for j in range(n):
            result[j] = root[SLOPE + j]


@compiled_inside
def _weight_gradient(
    program: Any, tree: int, weights: Any, scratch: Any, f: Any, y: Any, tangent: Any, out: Any, k: Any
) -> None:
    """out += ∂/∂φ Σ (∂ℓ_φ/∂f) · tangent of one tree; f, y and tangent are rows [M]."""
    start, nodes, factors, _ = program
    low, count = start[tree], start[tree + 1] - start[tree]
    sums = np.zeros(2, weights.dtype)
    for begin in range(0, f.shape[0], WIDTH):
        n = min(WIDTH, f.shape[0] - begin)
        root = _run(program, tree, weights, scratch, f, y, begin, n, k)
        along = tangent[begin : begin + n]
        for j in range(n):
            root[VALUE_BAR + j] = k[0]
            root[SLOPE_BAR + j] = along[j]
        for i in range(count - 1, -1, -1):
            node, factor = nodes[low + i], factors[low + i]
            p, q = _edges(node, factor, weights)
            reverse(node[0], scratch[FIRST + i], scratch[node[1]], scratch[node[2]], p, q, n, k, sums)
            if node[3] >= 0:
                out[node[3]] += sums[0] * factor[0]
            if node[4] >= 0:
                out[node[4]] += sums[1] * factor[1]


@compiled_inside
def _softmax_product(f: Any, values: Any, out: Any, batch: int, factor: Any) -> None:
    """out = factor · f · (values - Σ_c f · values) over rows [C B]: the Jacobian of softmax, which is symmetric."""
    mean = np.zeros(batch, f.dtype)
    for begin in range(0, f.shape[0], batch):
        p, v = f[begin : begin + batch], values[begin : begin + batch]
        for j in range(batch):
            mean[j] += p[j] * v[j]
    for begin in range(0, f.shape[0], batch):
        p, v, result = f[begin : begin + batch], values[begin : begin + batch], out[begin : begin + batch]
        for j in range(batch):
            result[j] = factor * (p[j] * (v[j] - mean[j]))


@compiled_inside
def _prediction_product(kind: int, f: Any, values: Any, out: Any, batch: int, factor: Any, k: Any) -> None:
    """out = factor · (∂f/∂logits) · values: softmax, sigmoid or the identity."""
    if kind == MULTICLASS:
        _softmax_product(f, values, out, batch, factor)
    elif kind == BINARY:
        for j in range(f.shape[0]):
            out[j] = factor * (values[j] * (f[j] * (k[1] - f[j])))
    else:
        for j in range(f.shape[0]):
            out[j] = factor * values[j]


@compiled_inside
def loss_gradient(
    kind: int,
    programs: Any,
    number: int,
    weights: Any,
    scratch: Any,
    f: Any,
    y: Any,
    indices: Any,
    batch: int,
    work: Any,
    out: Any,
    k: Any,
) -> None:
    """out = gradient of the mean of one expression's loss at the logits; f, y and out are rows [C B], work [3, C B]."""
    slopes, picked, at_target = work[0, : f.shape[0]], work[1, : len(indices)], work[2, : len(indices)]
    slopes[:], at_target[:] = k[0], k[0]
    for j in range(len(indices)):
        picked[j] = f[indices[j] * batch + j]
    for part in range(2):
        tree = programs[part][3][number]
        if tree >= 0:
            seen, result = (f, slopes) if part == 0 else (picked, at_target)
            _slope(programs[part], tree, weights, scratch, seen, y, result, k)
    for j in range(len(indices)):
        slopes[indices[j] * batch + j] = at_target[j]
    _prediction_product(kind, f, slopes, out, batch, k[1] / weights.dtype.type(batch), k)


@compiled_inside
def loss_weight_gradient(
    kind: int,
    programs: Any,
    number: int,
    weights: Any,
    scratch: Any,
    f: Any,
    y: Any,
    indices: Any,
    batch: int,
    work: Any,
    tangent: Any,
    out: Any,
    k: Any,
) -> None:
    """out += ∂/∂φ of `loss_gradient` · tangent; tangent is a row [C B], out [edges]."""
    seed, picked, at_target = work[0, : f.shape[0]], work[1, : len(indices)], work[2, : len(indices)]
    _prediction_product(kind, f, tangent, seed, batch, k[1] / weights.dtype.type(batch), k)
    for j in range(len(indices)):
        entry = indices[j] * batch + j
        picked[j], at_target[j], seed[entry] = f[entry], seed[entry], k[0]
    for part in range(2):
        tree = programs[part][3][number]
        if tree >= 0:
            seen, bar = (f, seed) if part == 0 else (picked, at_target)
            _weight_gradient(programs[part], tree, weights, scratch, seen, y, bar, out, k)


@cached
def logits_gradient(
    kind: int, programs: Any, weights: Any, scratch: Any, f: Any, y: Any, indices: Any, batch: int, out: Any
) -> None:
    """out[p] = gradient of the mean of ℓ_p over the batch, at the logits.

    Args:
        kind: `MULTICLASS`, `BINARY` or `REGRESSION`.
        programs: Trees on the slices y = 0 and y = 1 for class indices, else (trees, no trees). Each program is
            first node of each tree [T + 1]; (operation, row a, row b, weight of a, weight of b) per node [N, 5], where
            weight -1 is none; numbers that multiply the two weights [N, 2]; tree of each expression [P], -1 for none.
        weights: φ, [edges].
        scratch: [rows, 4 WIDTH].
        f: Predictions, [P, C B], or [1, C B] if all trees share them.
        y: Targets [C B]; anything with class indices.
        indices: Class indices [B]; empty without.
        batch: B.
        out: [P, C B].
    """
    k = constants(weights)
    work = np.empty((3, f.shape[1]), f.dtype)
    for number in range(out.shape[0]):
        row = f[0] if f.shape[0] == 1 else f[number]
        loss_gradient(kind, programs, number, weights, scratch, row, y, indices, batch, work, out[number], k)


@cached
def weight_gradient(
    kind: int,
    programs: Any,
    weights: Any,
    scratch: Any,
    f: Any,
    y: Any,
    indices: Any,
    batch: int,
    tangent: Any,
    out: Any,
) -> None:
    """out += ∂/∂φ Σ (gradient of the mean loss at the logits) · tangent; tangent [P, C B], out [edges]."""
    k = constants(weights)
    work = np.empty((3, f.shape[1]), f.dtype)
    for number in range(tangent.shape[0]):
        row = f[0] if f.shape[0] == 1 else f[number]
        bar = tangent[number]
        loss_weight_gradient(kind, programs, number, weights, scratch, row, y, indices, batch, work, bar, out, k)
