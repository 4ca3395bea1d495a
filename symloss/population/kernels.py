"""Compiled loops over many expressions on the CPU: the inner loop of the engine.

A tree is a list of nodes in an order in which arguments come first. It runs over strips of `WIDTH` entries, so that all
its intermediate values stay in the cache. Every node has a row of four strips: value, derivative in f, and the adjoints
of the two. Rows 0, 1 and 2 are the constant 1, the target y and the prediction f; node i is row 3 + i.

The rules of the operations are those of `symloss.expression.primitives` (value, gradient and Hessian), once more as
scalar code; tests hold the two against each other. All rows are addressed as `row[constant + j]`: only so can the
compiler see that strips do not overlap, and use vector instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symloss.expression.primitives import EPSILON
from symloss.loops import vector_math
from symloss.loops.cache import cached, compiled_inside

WIDTH = 256
ONE, TARGET, PREDICTION, FIRST = 0, 1, 2, 3
MULTICLASS, BINARY, REGRESSION = 0, 1, 2
KINDS = {"multiclass": MULTICLASS, "binary": BINARY, "regression": REGRESSION}
_SLOPE, _VALUE_BAR, _SLOPE_BAR = WIDTH, 2 * WIDTH, 3 * WIDTH


def _unary(value: Callable[..., Any], partials: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Forward and reverse loop of an operation of one argument over a strip of n entries.

    Args:
        value: `value(x, k)` with the constants k = (0, 1, 2, 1/2, EPSILON) in the dtype of x.
        partials: `partials(x, v, k)` at the value v -> (g, h), first and second derivative.
    """

    value, partials = compiled_inside(value), compiled_inside(partials)

    @compiled_inside
    def forward(node: Any, a: Any, b: Any, p: Any, q: Any, n: int, k: Any) -> None:
        for j in range(n):
            x = p * a[j]
            v = value(x, k)
            gradient, _ = partials(x, v, k)
            node[j] = v
            node[_SLOPE + j] = gradient * (p * a[_SLOPE + j])

    @compiled_inside
    def reverse(node: Any, a: Any, b: Any, p: Any, q: Any, n: int, k: Any, sums: Any) -> None:
        total = k[0]
        for j in range(n):
            x = p * a[j]
            gradient, hessian = partials(x, node[j], k)
            slope_bar = node[_SLOPE_BAR + j]
            value_bar = node[_VALUE_BAR + j] * gradient + slope_bar * hessian * (p * a[_SLOPE + j])
            slope_bar = slope_bar * gradient
            total += value_bar * a[j] + slope_bar * a[_SLOPE + j]
            a[_VALUE_BAR + j] = p * value_bar
            a[_SLOPE_BAR + j] = p * slope_bar
        sums[0], sums[1] = total, k[0]

    return forward, reverse


def _binary(value: Callable[..., Any], partials: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The same for two arguments: `value(x, y, k)`, and `partials(x, y, v, k)` -> (g_x, g_y, h_xx, h_xy, h_yy)."""

    value, partials = compiled_inside(value), compiled_inside(partials)

    @compiled_inside
    def forward(node: Any, a: Any, b: Any, p: Any, q: Any, n: int, k: Any) -> None:
        for j in range(n):
            x, y = p * a[j], q * b[j]
            v = value(x, y, k)
            gx, gy, _, _, _ = partials(x, y, v, k)
            node[j] = v
            node[_SLOPE + j] = gx * (p * a[_SLOPE + j]) + gy * (q * b[_SLOPE + j])

    @compiled_inside
    def reverse(node: Any, a: Any, b: Any, p: Any, q: Any, n: int, k: Any, sums: Any) -> None:
        total_p, total_q = k[0], k[0]
        for j in range(n):
            x, y, dx, dy = p * a[j], q * b[j], p * a[_SLOPE + j], q * b[_SLOPE + j]
            gx, gy, hxx, hxy, hyy = partials(x, y, node[j], k)
            value_bar, slope_bar = node[_VALUE_BAR + j], node[_SLOPE_BAR + j]
            x_bar = value_bar * gx + slope_bar * (hxx * dx + hxy * dy)
            y_bar = value_bar * gy + slope_bar * (hxy * dx + hyy * dy)
            x_slope, y_slope = slope_bar * gx, slope_bar * gy
            total_p += x_bar * a[j] + x_slope * a[_SLOPE + j]
            total_q += y_bar * b[j] + y_slope * b[_SLOPE + j]
            b[_VALUE_BAR + j] = q * y_bar
            b[_SLOPE_BAR + j] = q * y_slope
            a[_VALUE_BAR + j] = p * x_bar
            a[_SLOPE_BAR + j] = p * x_slope
        sums[0], sums[1] = total_p, total_q

    return forward, reverse


def _div_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    r = k[1] / np.sqrt(k[1] + y * y)
    cube = r * r * r
    return r, -x * y * cube, k[0], -y * cube, x * (k[2] * y * y - k[1]) * cube * r * r


def _min_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    first = k[1] if x < y else (k[0] if x > y else k[3])
    return first, k[1] - first, k[0], k[0], k[0]


def _max_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    first = k[1] if x > y else (k[0] if x < y else k[3])
    return first, k[1] - first, k[0], k[0], k[0]


def _log_partials(x: Any, v: Any, k: Any) -> Any:
    g = k[0] if abs(x) < k[4] else k[1] / x
    return g, -g * g


def _sqrt_partials(x: Any, v: Any, k: Any) -> Any:
    g = k[0] if abs(x) < k[4] else k[3] * v / x
    return g, (k[0] if abs(x) < k[4] else -k[3] * g / x)


def _truediv_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    r = k[1] / (y if abs(y) >= k[4] else (-k[4] if y < k[0] else k[4]))
    live = r if abs(y) >= k[4] else k[0]
    return r, -x * r * live, k[0], -live * r, k[2] * x * live * r * r


def _pow_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    m = k[4] if abs(x) < k[4] else abs(x)
    s = k[0] if abs(x) < k[4] else (k[1] if x > k[0] else -k[1])
    n = np.log(m)
    return y * v / m * s, v * n, y * (y - k[1]) * v / (m * m) * s * s, (k[1] + y * n) * v / m * s, v * n * n


_add_forward, _add_reverse = _binary(lambda x, y, k: x + y, lambda x, y, v, k: (k[1], k[1], k[0], k[0], k[0]))
_sub_forward, _sub_reverse = _binary(lambda x, y, k: x - y, lambda x, y, v, k: (k[1], -k[1], k[0], k[0], k[0]))
_mul_forward, _mul_reverse = _binary(lambda x, y, k: x * y, lambda x, y, v, k: (y, x, k[0], k[1], k[0]))
_div_forward, _div_reverse = _binary(lambda x, y, k: x / np.sqrt(k[1] + y * y), _div_partials)
_min_forward, _min_reverse = _binary(lambda x, y, k: x if x <= y else (y if x > y else x + y), _min_partials)
_max_forward, _max_reverse = _binary(lambda x, y, k: x if x >= y else (y if x < y else x + y), _max_partials)
_sign_forward, _sign_reverse = _unary(
    lambda x, k: k[1] if x > k[0] else (-k[1] if x < k[0] else x), lambda x, v, k: (k[0], k[0])
)
_square_forward, _square_reverse = _unary(lambda x, k: x * x, lambda x, v, k: (k[2] * x, k[2]))
_abs_forward, _abs_reverse = _unary(
    lambda x, k: abs(x), lambda x, v, k: (k[1] if x > k[0] else (-k[1] if x < k[0] else x), k[0])
)
_log_forward, _log_reverse = _unary(lambda x, k: vector_math.log(k[4] if abs(x) < k[4] else abs(x)), _log_partials)
_sqrt_forward, _sqrt_reverse = _unary(lambda x, k: np.sqrt(k[4] if abs(x) < k[4] else abs(x)), _sqrt_partials)
_tanh_forward, _tanh_reverse = _unary(
    lambda x, k: vector_math.tanh(x), lambda x, v, k: (k[1] - v * v, -k[2] * v * (k[1] - v * v))
)
_exp_forward, _exp_reverse = _unary(lambda x, k: vector_math.exp(x), lambda x, v, k: (v, v))
_truediv_forward, _truediv_reverse = _binary(
    lambda x, y, k: x / (y if abs(y) >= k[4] else (-k[4] if y < k[0] else k[4])), _truediv_partials
)
_pow_forward, _pow_reverse = _binary(lambda x, y, k: (k[4] if abs(x) < k[4] else abs(x)) ** y, _pow_partials)

OPERATIONS = (
    "add", "sub", "mul", "div", "min", "max", "sign", "square", "abs", "log", "sqrt", "tanh", "exp", "truediv", "pow",
)  # fmt: skip
"""Names of the compiled operations; the position of a name is its code in `nodes`."""


@compiled_inside
def _forward(op: Any, node: Any, a: Any, b: Any, p: Any, q: Any, n: Any, k: Any) -> None:
    if op == 0:
        _add_forward(node, a, b, p, q, n, k)
    elif op == 1:
        _sub_forward(node, a, b, p, q, n, k)
    elif op == 2:
        _mul_forward(node, a, b, p, q, n, k)
    elif op == 3:
        _div_forward(node, a, b, p, q, n, k)
    elif op == 4:
        _min_forward(node, a, b, p, q, n, k)
    elif op == 5:
        _max_forward(node, a, b, p, q, n, k)
    elif op == 6:
        _sign_forward(node, a, b, p, q, n, k)
    elif op == 7:
        _square_forward(node, a, b, p, q, n, k)
    elif op == 8:
        _abs_forward(node, a, b, p, q, n, k)
    elif op == 9:
        _log_forward(node, a, b, p, q, n, k)
    elif op == 10:
        _sqrt_forward(node, a, b, p, q, n, k)
    elif op == 11:
        _tanh_forward(node, a, b, p, q, n, k)
    elif op == 12:
        _exp_forward(node, a, b, p, q, n, k)
    elif op == 13:
        _truediv_forward(node, a, b, p, q, n, k)
    elif op == 14:
        _pow_forward(node, a, b, p, q, n, k)


@compiled_inside
def _reverse(op: Any, node: Any, a: Any, b: Any, p: Any, q: Any, n: Any, k: Any, sums: Any) -> None:
    if op == 0:
        _add_reverse(node, a, b, p, q, n, k, sums)
    elif op == 1:
        _sub_reverse(node, a, b, p, q, n, k, sums)
    elif op == 2:
        _mul_reverse(node, a, b, p, q, n, k, sums)
    elif op == 3:
        _div_reverse(node, a, b, p, q, n, k, sums)
    elif op == 4:
        _min_reverse(node, a, b, p, q, n, k, sums)
    elif op == 5:
        _max_reverse(node, a, b, p, q, n, k, sums)
    elif op == 6:
        _sign_reverse(node, a, b, p, q, n, k, sums)
    elif op == 7:
        _square_reverse(node, a, b, p, q, n, k, sums)
    elif op == 8:
        _abs_reverse(node, a, b, p, q, n, k, sums)
    elif op == 9:
        _log_reverse(node, a, b, p, q, n, k, sums)
    elif op == 10:
        _sqrt_reverse(node, a, b, p, q, n, k, sums)
    elif op == 11:
        _tanh_reverse(node, a, b, p, q, n, k, sums)
    elif op == 12:
        _exp_reverse(node, a, b, p, q, n, k, sums)
    elif op == 13:
        _truediv_reverse(node, a, b, p, q, n, k, sums)
    elif op == 14:
        _pow_reverse(node, a, b, p, q, n, k, sums)


@compiled_inside
def constants(like: Any) -> Any:
    """(0, 1, 2, 1/2, EPSILON) in the dtype of an array: a Python number would turn float32 into float64."""
    t = like.dtype.type
    return t(0), t(1), t(2), t(0.5), t(EPSILON)


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
        one[j], one[_SLOPE + j] = k[1], k[0]
        target[j], target[_SLOPE + j] = known[j], k[0]
        prediction[j], prediction[_SLOPE + j] = predicted[j], k[1]
    low, count = start[tree], start[tree + 1] - start[tree]
    for i in range(count):
        node = nodes[low + i]
        p, q = _edges(node, factors[low + i], weights)
        _forward(node[0], scratch[FIRST + i], scratch[node[1]], scratch[node[2]], p, q, n, k)
    return scratch[FIRST + count - 1]


@compiled_inside
def _slope(program: Any, tree: int, weights: Any, scratch: Any, f: Any, y: Any, out: Any, k: Any) -> None:
    """out = ∂ℓ/∂f of one tree; f, y and out are rows [M]."""
    for begin in range(0, f.shape[0], WIDTH):
        n = min(WIDTH, f.shape[0] - begin)
        root = _run(program, tree, weights, scratch, f, y, begin, n, k)
        result = out[begin : begin + n]
        for j in range(n):
            result[j] = root[_SLOPE + j]


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
            root[_VALUE_BAR + j] = k[0]
            root[_SLOPE_BAR + j] = along[j]
        for i in range(count - 1, -1, -1):
            node, factor = nodes[low + i], factors[low + i]
            p, q = _edges(node, factor, weights)
            _reverse(node[0], scratch[FIRST + i], scratch[node[1]], scratch[node[2]], p, q, n, k, sums)
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
