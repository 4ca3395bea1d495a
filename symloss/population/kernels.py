"""Compiled loops over many expressions on the CPU: the inner loop of the engine.

A tree is a list of nodes in an order in which arguments come first. It runs over strips of `WIDTH` entries, so that all its
intermediate values stay in the first-level cache. Every node has a row of four strips: value, derivative in f, and
the adjoints of the two. Rows 0, 1 and 2 are the constant 1, the target y and the prediction f; node i is row 3 + i.

The rules of the operations are those of `symloss.expression.primitives` (value, gradient and Hessian), once more as scalar
code; tests hold the two against each other. All rows are addressed as `row[constant + j]`: only so can the compiler see
that strips do not overlap, and use vector instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from symloss.expression.primitives import EPSILON

WIDTH = 256
ONE, TARGET, PREDICTION, FIRST = 0, 1, 2, 3
_SLOPE, _VALUE_BAR, _SLOPE_BAR = WIDTH, 2 * WIDTH, 3 * WIDTH

_FAST = {"reassoc", "contract", "nsz"}  # sums may be reordered; NaN and infinity stay what they are
_compiled = njit(error_model="numpy", fastmath=_FAST)


def _cached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile at first use and keep the machine code on disk, where a directory can be written."""
    try:
        compiled: Callable[..., Any] = njit(error_model="numpy", fastmath=_FAST, cache=True)(function)
    except RuntimeError:  # no place for the cache
        compiled = _compiled(function)
    return compiled


# -- rules: value(x, y, k), and partials(x, y, v, k) = (g_x, g_y, h_xx, h_xy, h_yy); k = (0, 1, 2, 1/2, EPSILON) -------------


@_compiled
def _add(x: Any, y: Any, k: Any) -> Any:
    return x + y


@_compiled
def _add_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    return k[1], k[1], k[0], k[0], k[0]


@_compiled
def _sub(x: Any, y: Any, k: Any) -> Any:
    return x - y


@_compiled
def _sub_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    return k[1], -k[1], k[0], k[0], k[0]


@_compiled
def _mul(x: Any, y: Any, k: Any) -> Any:
    return x * y


@_compiled
def _mul_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    return y, x, k[0], k[1], k[0]


@_compiled
def _div(x: Any, y: Any, k: Any) -> Any:
    return x / np.sqrt(k[1] + y * y)


@_compiled
def _div_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    r = k[1] / np.sqrt(k[1] + y * y)
    cube = r * r * r
    return r, -x * y * cube, k[0], -y * cube, x * (k[2] * y * y - k[1]) * cube * r * r


@_compiled
def _min(x: Any, y: Any, k: Any) -> Any:
    return x if x <= y else (y if x > y else x + y)


@_compiled
def _min_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    first = k[1] if x < y else (k[0] if x > y else k[3])
    return first, k[1] - first, k[0], k[0], k[0]


@_compiled
def _max(x: Any, y: Any, k: Any) -> Any:
    return x if x >= y else (y if x < y else x + y)


@_compiled
def _max_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    first = k[1] if x > y else (k[0] if x < y else k[3])
    return first, k[1] - first, k[0], k[0], k[0]


@_compiled
def _sign(x: Any, y: Any, k: Any) -> Any:
    return k[1] if x > k[0] else (-k[1] if x < k[0] else x)


@_compiled
def _sign_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    return k[0], k[0], k[0], k[0], k[0]


@_compiled
def _square(x: Any, y: Any, k: Any) -> Any:
    return x * x


@_compiled
def _square_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    return k[2] * x, k[0], k[2], k[0], k[0]


@_compiled
def _abs(x: Any, y: Any, k: Any) -> Any:
    return abs(x)


@_compiled
def _abs_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    return k[1] if x > k[0] else (-k[1] if x < k[0] else x), k[0], k[0], k[0], k[0]


@_compiled
def _log(x: Any, y: Any, k: Any) -> Any:
    return np.log(k[4] if abs(x) < k[4] else abs(x))


@_compiled
def _log_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    g = k[0] if abs(x) < k[4] else k[1] / x
    return g, k[0], -g * g, k[0], k[0]


@_compiled
def _sqrt(x: Any, y: Any, k: Any) -> Any:
    return np.sqrt(k[4] if abs(x) < k[4] else abs(x))


@_compiled
def _sqrt_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    g = k[0] if abs(x) < k[4] else k[3] * v / x
    return g, k[0], -k[3] * g / x if abs(x) >= k[4] else k[0], k[0], k[0]


@_compiled
def _tanh(x: Any, y: Any, k: Any) -> Any:
    return np.tanh(x)


@_compiled
def _tanh_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    g = k[1] - v * v
    return g, k[0], -k[2] * v * g, k[0], k[0]


@_compiled
def _exp(x: Any, y: Any, k: Any) -> Any:
    return np.exp(x)


@_compiled
def _exp_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    return v, k[0], v, k[0], k[0]


@_compiled
def _truediv(x: Any, y: Any, k: Any) -> Any:
    return x / (y if abs(y) >= k[4] else (-k[4] if y < k[0] else k[4]))


@_compiled
def _truediv_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    r = k[1] / (y if abs(y) >= k[4] else (-k[4] if y < k[0] else k[4]))
    live = r if abs(y) >= k[4] else k[0]
    return r, -x * r * live, k[0], -live * r, k[2] * x * live * r * r


@_compiled
def _pow(x: Any, y: Any, k: Any) -> Any:
    return (k[4] if abs(x) < k[4] else abs(x)) ** y


@_compiled
def _pow_partials(x: Any, y: Any, v: Any, k: Any) -> Any:
    m = k[4] if abs(x) < k[4] else abs(x)
    s = k[0] if abs(x) < k[4] else (k[1] if x > k[0] else -k[1])
    n = np.log(m)
    return y * v / m * s, v * n, y * (y - k[1]) * v / (m * m) * s * s, (k[1] + y * n) * v / m * s, v * n * n


# -- loops ---------------------------------------------------------------------------------------------------------------


def _unary(value: Callable[..., Any], partials: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Forward and reverse loop of an operation of one argument over a strip of n entries."""

    @_compiled
    def forward(node: Any, a: Any, b: Any, p: Any, q: Any, n: int, k: Any) -> None:
        for j in range(n):
            x = p * a[j]
            v = value(x, x, k)
            gradient, _, _, _, _ = partials(x, x, v, k)
            node[j] = v
            node[_SLOPE + j] = gradient * (p * a[_SLOPE + j])

    @_compiled
    def reverse(node: Any, a: Any, b: Any, p: Any, q: Any, n: int, k: Any, sums: Any) -> None:
        total = k[0]
        for j in range(n):
            x = p * a[j]
            gradient, _, hessian, _, _ = partials(x, x, node[j], k)
            slope_bar = node[_SLOPE_BAR + j]
            value_bar = node[_VALUE_BAR + j] * gradient + slope_bar * hessian * (p * a[_SLOPE + j])
            slope_bar = slope_bar * gradient
            total += value_bar * a[j] + slope_bar * a[_SLOPE + j]
            a[_VALUE_BAR + j] = p * value_bar
            a[_SLOPE_BAR + j] = p * slope_bar
        sums[0], sums[1] = total, k[0]

    return forward, reverse


def _binary(value: Callable[..., Any], partials: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Forward and reverse loop of an operation of two arguments over a strip of n entries."""

    @_compiled
    def forward(node: Any, a: Any, b: Any, p: Any, q: Any, n: int, k: Any) -> None:
        for j in range(n):
            x, y = p * a[j], q * b[j]
            v = value(x, y, k)
            gx, gy, _, _, _ = partials(x, y, v, k)
            node[j] = v
            node[_SLOPE + j] = gx * (p * a[_SLOPE + j]) + gy * (q * b[_SLOPE + j])

    @_compiled
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


_add_forward, _add_reverse = _binary(_add, _add_partials)
_sub_forward, _sub_reverse = _binary(_sub, _sub_partials)
_mul_forward, _mul_reverse = _binary(_mul, _mul_partials)
_div_forward, _div_reverse = _binary(_div, _div_partials)
_min_forward, _min_reverse = _binary(_min, _min_partials)
_max_forward, _max_reverse = _binary(_max, _max_partials)
_sign_forward, _sign_reverse = _unary(_sign, _sign_partials)
_square_forward, _square_reverse = _unary(_square, _square_partials)
_abs_forward, _abs_reverse = _unary(_abs, _abs_partials)
_log_forward, _log_reverse = _unary(_log, _log_partials)
_sqrt_forward, _sqrt_reverse = _unary(_sqrt, _sqrt_partials)
_tanh_forward, _tanh_reverse = _unary(_tanh, _tanh_partials)
_exp_forward, _exp_reverse = _unary(_exp, _exp_partials)
_truediv_forward, _truediv_reverse = _binary(_truediv, _truediv_partials)
_pow_forward, _pow_reverse = _binary(_pow, _pow_partials)

OPERATIONS = (
    "add", "sub", "mul", "div", "min", "max", "sign", "square", "abs", "log", "sqrt", "tanh", "exp", "truediv", "pow",
)  # fmt: skip
"""Names of the compiled operations; the position of a name is its code in `nodes`."""


@_compiled
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


@_compiled
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


@_compiled
def _constants(like: Any) -> Any:
    """(0, 1, 2, 1/2, EPSILON) in the dtype of an array: a Python number would turn float32 into float64."""
    t = like.dtype.type
    return t(0), t(1), t(2), t(0.5), t(EPSILON)


@_compiled
def _edges(node: Any, factor: Any, weights: Any) -> Any:
    """Weights of the two argument slots of a node."""
    p, q = factor[0], factor[1]
    if node[3] >= 0:
        p *= weights[node[3]]
    if node[4] >= 0:
        q *= weights[node[4]]
    return p, q


@_compiled
def _run(nodes: Any, factors: Any, weights: Any, scratch: Any, f: Any, y: Any, begin: int, n: int, k: Any) -> None:
    """One tree forward over the n entries from `begin` on."""
    one, target, prediction = scratch[ONE], scratch[TARGET], scratch[PREDICTION]
    for j in range(n):
        one[j], one[_SLOPE + j] = k[1], k[0]
        target[j], target[_SLOPE + j] = y[begin + j], k[0]
        prediction[j], prediction[_SLOPE + j] = f[begin + j], k[1]
    for i in range(nodes.shape[0]):
        p, q = _edges(nodes[i], factors[i], weights)
        _forward(nodes[i, 0], scratch[FIRST + i], scratch[nodes[i, 1]], scratch[nodes[i, 2]], p, q, n, k)


@_cached
def slope(
    start: Any, nodes: Any, factors: Any, live: Any, weights: Any, scratch: Any, f: Any, y: Any, out: Any
) -> None:
    """out[p] = ∂ℓ_p/∂f for every live tree.

    Args:
        start: First node of each tree, [T + 1].
        nodes: (operation, row a, row b, weight of a, weight of b) per node, [N, 5]; weight -1 is none.
        factors: Numbers that multiply the two weights, [N, 2].
        live: Number of the expression of each tree, [T].
        weights: φ, [edges].
        scratch: [rows, 4 WIDTH].
        f: Predictions, [P, M], or [1, M] if all trees share them.
        y: Targets, [M] (anything where the slice fixes y).
        out: [P, M]; rows of other expressions are left alone.
    """
    k = _constants(weights)
    for tree in range(live.shape[0]):
        low, high = start[tree], start[tree + 1]
        source = f[0] if f.shape[0] == 1 else f[live[tree]]
        result, root = out[live[tree]], scratch[FIRST + high - low - 1]
        for begin in range(0, f.shape[1], WIDTH):
            n = min(WIDTH, f.shape[1] - begin)
            _run(nodes[low:high], factors[low:high], weights, scratch, source, y, begin, n, k)
            for j in range(n):
                result[begin + j] = root[_SLOPE + j]


@_cached
def weight_gradient(
    start: Any, nodes: Any, factors: Any, live: Any, weights: Any, scratch: Any, f: Any, y: Any, tangent: Any, out: Any
) -> None:
    """out += ∂/∂φ Σ (∂ℓ_φ/∂f) · tangent; arguments as in `slope`, tangent [P, M], out [edges]."""
    k = _constants(weights)
    sums = np.zeros(2, weights.dtype)
    for tree in range(live.shape[0]):
        low, high = start[tree], start[tree + 1]
        source = f[0] if f.shape[0] == 1 else f[live[tree]]
        seed, root = tangent[live[tree]], scratch[FIRST + high - low - 1]
        for begin in range(0, f.shape[1], WIDTH):
            n = min(WIDTH, f.shape[1] - begin)
            _run(nodes[low:high], factors[low:high], weights, scratch, source, y, begin, n, k)
            for j in range(n):
                root[_VALUE_BAR + j] = k[0]
                root[_SLOPE_BAR + j] = seed[begin + j]
            for i in range(high - low - 1, -1, -1):
                node, factor = nodes[low + i], factors[low + i]
                p, q = _edges(node, factor, weights)
                _reverse(node[0], scratch[FIRST + i], scratch[node[1]], scratch[node[2]], p, q, n, k, sums)
                if node[3] >= 0:
                    out[node[3]] += sums[0] * factor[0]
                if node[4] >= 0:
                    out[node[4]] += sums[1] * factor[1]
