"""The operations of an expression as compiled loops over strips of entries.

Every value has a row of four strips of `WIDTH` entries: value, derivative, and the adjoints of the two. The rules are
those of `symloss.expression.primitives` (value, gradient and Hessian), once more as scalar code; tests hold the two
against each other. All rows are addressed as `row[constant + j]`: only so can the compiler see that strips do not
overlap, and use vector instructions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from symloss.expression.primitives import EPSILON
from symloss.loops import vector_math
from symloss.loops.cache import compiled_inside

WIDTH = 256
SLOPE, VALUE_BAR, SLOPE_BAR = WIDTH, 2 * WIDTH, 3 * WIDTH


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
            node[SLOPE + j] = gradient * (p * a[SLOPE + j])

    @compiled_inside
    def reverse(node: Any, a: Any, b: Any, p: Any, q: Any, n: int, k: Any, sums: Any) -> None:
        total = k[0]
        for j in range(n):
            x = p * a[j]
            gradient, hessian = partials(x, node[j], k)
            slope_bar = node[SLOPE_BAR + j]
            value_bar = node[VALUE_BAR + j] * gradient + slope_bar * hessian * (p * a[SLOPE + j])
            slope_bar = slope_bar * gradient
            total += value_bar * a[j] + slope_bar * a[SLOPE + j]
            a[VALUE_BAR + j] = p * value_bar
            a[SLOPE_BAR + j] = p * slope_bar
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
            node[SLOPE + j] = gx * (p * a[SLOPE + j]) + gy * (q * b[SLOPE + j])

    @compiled_inside
    def reverse(node: Any, a: Any, b: Any, p: Any, q: Any, n: int, k: Any, sums: Any) -> None:
        total_p, total_q = k[0], k[0]
        for j in range(n):
            x, y, dx, dy = p * a[j], q * b[j], p * a[SLOPE + j], q * b[SLOPE + j]
            gx, gy, hxx, hxy, hyy = partials(x, y, node[j], k)
            value_bar, slope_bar = node[VALUE_BAR + j], node[SLOPE_BAR + j]
            x_bar = value_bar * gx + slope_bar * (hxx * dx + hxy * dy)
            y_bar = value_bar * gy + slope_bar * (hxy * dx + hyy * dy)
            x_slope, y_slope = slope_bar * gx, slope_bar * gy
            total_p += x_bar * a[j] + x_slope * a[SLOPE + j]
            total_q += y_bar * b[j] + y_slope * b[SLOPE + j]
            b[VALUE_BAR + j] = q * y_bar
            b[SLOPE_BAR + j] = q * y_slope
            a[VALUE_BAR + j] = p * x_bar
            a[SLOPE_BAR + j] = p * x_slope
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
"""Names of the compiled operations; the position of a name is its code."""


@compiled_inside
def forward(op: Any, node: Any, a: Any, b: Any, p: Any, q: Any, n: Any, k: Any) -> None:
    """Value and derivative of an operation on p·a and q·b, over n entries; k are the `constants`."""
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
def reverse(op: Any, node: Any, a: Any, b: Any, p: Any, q: Any, n: Any, k: Any, sums: Any) -> None:
    """From the adjoints of a node to those of its arguments, and of p and q in `sums`."""
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
