"""Compiled loops over rows of logits on the CPU: the loss of each sample in one pass, its gradient in another.

A row z [C] of a sample of class t counts through its margin m = z_t − n, with n = logsumexp_{j≠t} z_j, and through its
spread u = n − mean_{j≠t} z_j. ∂m/∂z_t = 1, ∂m/∂z_j = −exp(z_j − n), and ∂u/∂z_j = exp(z_j − n) − 1/(C − 1). All of it is
finite and exact for any margin and any offset of the logits.

A loss is a `Program` over m and u that runs in float64 for each row, with its derivative in m. `python -m
symloss.losses.rows float32` compiles the loops and leaves them on the disk.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from symloss.expression.primitives import EPSILON
from symloss.loops import vector_math
from symloss.loops.cache import cached, compiled_inside, exact_inside

OPERATIONS = (
    "add", "sub", "mul", "div", "min", "max", "sign", "square", "abs", "log", "sqrt", "tanh", "exp", "truediv", "pow",
)  # fmt: skip
"""Names of the compiled operations; the position of a name is its code."""
VALUE, SLOPE, TOP, SHARE, WEIGHT = range(5)
"""Rows of the record of a forward pass: w·loss, w·∂loss/∂m, T = max_{j≠t} z_j, exp(T − n), and the sample's weight w."""
FIRST = 7
"""Row of a program's first step; before it are 1, p = sigmoid(m), 1 − p, the logarithms of the two, u, and one unused."""


BLOCK = 32
"""What the compiler takes at once: the entries of a row beyond whole blocks are taken with those before them, as a block."""


# --- one row ---------------------------------------------------------------------------------------------------------


@compiled_inside
def _largest(bits: Any, t: Any, key: Any) -> Any:
    """Largest key but that of t, an integer ordered like the float of these bits: only so is a maximum vectorised."""
    integer, lowest = bits.dtype.type, bits.dtype.type(np.iinfo(bits.dtype).min)
    shift, mask = integer(8 * bits.itemsize - 1), integer(np.iinfo(bits.dtype).max)
    for j in range(bits.shape[0]):
        k = integer(bits[j] ^ integer(integer(bits[j] >> shift) & mask))
        k = lowest if np.int32(j) == t else k
        key = k if k > key else key
    return key


@compiled_inside
def _exponentials(part: Any, begin: Any, t: Any, top: Any, low: Any, zero: Any) -> Any:
    """Σ exp(z − T) from `begin` on, but for t."""
    total = zero
    for j in range(part.shape[0]):
        x = part[j] - top
        total += zero if x < low or np.int32(j) == t or np.int32(j) < begin else vector_math.exp(x)
    return total


@compiled_inside
def _differences(part: Any, t: Any, top: Any, zero: Any) -> Any:
    """Σ (z − T), but for t."""
    total = zero
    for j in range(part.shape[0]):
        total += zero if np.int32(j) == t else part[j] - top
    return total


@compiled_inside
def _fill(part: Any, out: Any, top: Any, low: Any, a: Any, c: Any) -> None:
    for j in range(part.shape[0]):
        x = part[j] - top
        out[j] = c if x < low else a * vector_math.exp(x) + c


@compiled_inside
def _overwrite(part: Any, top: Any, low: Any, a: Any, c: Any) -> None:
    for j in range(part.shape[0]):
        x = part[j] - top
        part[j] = c if x < low else a * vector_math.exp(x) + c


@exact_inside
def _margin(row: Any, bits: Any, t: Any, spread: bool, record: Any, record_bits: Any) -> Any:
    """(m, u), with T and exp(T − n) into the record; m = ∞ and exp(T − n) = 0 where all other logits are −∞."""
    number, integer, low = row.dtype.type, bits.dtype.type, _lowest(row)
    zero, classes = number(0), row.shape[0]
    whole = classes // BLOCK * BLOCK
    last = max(0, classes - BLOCK) if whole else 0
    here, there, begin = np.int32(t), np.int32(t - last), np.int32(whole - last)
    key = _largest(bits[last:], there, integer(np.iinfo(bits.dtype).min))
    key = _largest(bits[:whole], here, key)
    shift, mask = integer(8 * bits.itemsize - 1), integer(np.iinfo(bits.dtype).max)
    record_bits[TOP] = integer(key ^ integer(integer(key >> shift) & mask))
    top = record[TOP]
    if classes == 1 or top == -np.inf:
        record[TOP], record[SHARE] = zero, zero
        return row[t] + number(np.inf), zero
    total = _exponentials(row[:whole], np.int32(0), here, top, low, zero)
    if whole < classes:
        total += _exponentials(row[last:], begin, there, top, low, zero)
    record[SHARE] = number(1) / total
    log, u = np.log(total), zero
    if spread:
        u = log - _differences(row, here, top, zero) / number(classes - 1)
    return (row[t] - top) - log, u


@compiled_inside
def _lowest(row: Any) -> Any:
    """Where eˣ leaves the normal numbers."""
    return row.dtype.type(-87.0 if row.itemsize == 4 else -708.0)


# --- a program -------------------------------------------------------------------------------------------------------


@exact_inside
def operation(op: Any, x: Any, y: Any, dx: Any, dy: Any) -> Any:
    """Value and derivative of an operation: the rules of `symloss.expression.primitives`."""
    if op == 0:
        return x + y, dx + dy
    if op == 1:
        return x - y, dx - dy
    if op == 2:
        return x * y, x * dy + y * dx
    if op == 3:
        r = 1.0 / np.sqrt(1.0 + y * y)
        return x * r, r * dx - x * y * r * r * r * dy
    if op == 4 or op == 5:
        if x == y or x != x or y != y:
            return x + y if x != y else x, 0.5 * (dx + dy)
        return (x, dx) if (x < y) == (op == 4) else (y, dy)
    if op == 6:
        return (1.0 if x > 0.0 else (-1.0 if x < 0.0 else x)), 0.0
    if op == 7:
        return x * x, 2.0 * x * dx
    if op == 8:
        return abs(x), (dx if x > 0.0 else (-dx if x < 0.0 else x * dx))
    if op == 9:
        return (np.log(EPSILON), 0.0) if abs(x) < EPSILON else (np.log(abs(x)), dx / x)
    if op == 10:
        v = np.sqrt(EPSILON if abs(x) < EPSILON else abs(x))
        return v, (0.0 if abs(x) < EPSILON else 0.5 * v / x * dx)
    if op == 11:
        v = np.tanh(x)
        return v, (1.0 - v * v) * dx
    if op == 12:
        v = np.exp(x)
        return v, v * dx
    if op == 13:
        r = 1.0 / (y if abs(y) >= EPSILON else (-EPSILON if y < 0.0 else EPSILON))
        return x * r, r * dx - (x * r * r * dy if abs(y) >= EPSILON else 0.0)
    magnitude = EPSILON if abs(x) < EPSILON else abs(x)
    v = magnitude**y
    d = 0.0 if abs(x) < EPSILON else y * v / x * dx
    return v, (d if dy == 0.0 else d + v * np.log(magnitude) * dy)


@exact_inside
def _run(program: Any, m: Any, u: Any, values: Any, slopes: Any) -> Any:
    """Loss of a margin and a spread, and its derivative in the margin."""
    codes, factors, root, factor, _ = program
    e = np.exp(-abs(m))
    log = np.log1p(e)
    small, large = e / (1.0 + e), 1.0 / (1.0 + e)
    p, q = (large, small) if m >= 0.0 else (small, large)
    values[0], values[1], values[2], values[5] = 1.0, p, q, u
    values[3], values[4] = min(m, 0.0) - log, -max(m, 0.0) - log
    slopes[0], slopes[1], slopes[2], slopes[3], slopes[4], slopes[5] = 0.0, p * q, -p * q, q, -p, 0.0
    for i in range(codes.shape[0]):
        a, b = codes[i, 1], codes[i, 2]
        x, y = factors[i, 0], factors[i, 1]
        v, d = operation(codes[i, 0], x * values[a], y * values[b], x * slopes[a], y * slopes[b])
        values[FIRST + i], slopes[FIRST + i] = v, d
    return factor * values[root], factor * slopes[root]


# --- a batch ---------------------------------------------------------------------------------------------------------


@cached
def forward(
    z: Any, bits: Any, target: Any, weight: Any, ignore_index: int, program: Any, record: Any, record_bits: Any
) -> Any:
    """Losses and their derivatives in the margins.

    Args:
        z: Logits [B, C].
        bits: The same as integers.
        target: Class indices [B], int64.
        weight: Weight of each class [C]; empty for ones.
        ignore_index: Target of the samples to leave out.
        program: Code of the operation and its two rows per step [N, 3], factors of the two [N, 2], row of the result,
            its factor, and ∂loss/∂u.
        record: [B, 5], written: see `VALUE`, ..., `WEIGHT`; zeros for samples left out.
        record_bits: The same as integers.

    Returns:
        Σ w·loss, Σ w, and the first sample whose target is no class, or -1.
    """
    size = FIRST + program[0].shape[0]
    values, slopes = np.empty(size), np.empty(size)
    total, weights = 0.0, 0.0
    for i in range(z.shape[0]):
        t = target[i]
        if t == ignore_index:
            record[i] = 0
            continue
        if t < 0 or t >= z.shape[1]:
            return total, weights, i
        m, u = _margin(z[i], bits[i], t, program[4] != 0, record[i], record_bits[i])
        v, d = _run(program, np.float64(m), np.float64(u), values, slopes)
        w = 1.0
        if weight.shape[0] > 0:
            w = np.float64(weight[t])
        record[i, VALUE], record[i, SLOPE], record[i, WEIGHT] = w * v, w * d, w
        total += w * v
        weights += w
    return total, weights, -1


@cached
def backward(z: Any, target: Any, record: Any, spread: float, scale: Any, inplace: bool, out: Any) -> None:
    """The gradient at the logits.

    Args:
        z: Logits [B, C], as in the forward pass.
        target: Class indices [B].
        record: [B, 5], of the forward pass (its values are not looked at).
        spread: ∂loss/∂u.
        scale: What multiplies the gradient of each sample [B], or of all [1].
        inplace: Whether to write into `z` itself.
        out: [B, C], written unless `inplace`.
    """
    number, low, whole = z.dtype.type, _lowest(z), z.shape[1] // BLOCK * BLOCK
    for i in range(z.shape[0]):
        row = z[i]
        result = row if inplace else out[i]
        t, top = target[i], record[i, TOP]
        s = np.float64(scale[0] if scale.shape[0] == 1 else scale[i])
        at_target, at_others = s * np.float64(record[i, SLOPE]), s * spread * np.float64(record[i, WEIGHT])
        if record[i, WEIGHT] == 0 or (record[i, SLOPE] == 0 and at_others == 0):  # flat, even where a logit is NaN
            result[:] = number(0)
            continue
        a = number((at_others - at_target) * np.float64(record[i, SHARE]))
        c = number(-at_others / max(1.0, z.shape[1] - 1.0))
        if inplace:
            _overwrite(row, top, low, a, c)
        else:
            _fill(row[:whole], result[:whole], top, low, a, c)
            last = max(0, z.shape[1] - BLOCK)
            _fill(row[last:], result[last:], top, low, a, c)
        result[t] = number(at_target)


def compile_loops(dtype: str) -> None:
    """Call every loop once in this precision."""
    z = np.zeros((2, 3), dtype)
    target, record, integer = np.zeros(2, np.int64), np.zeros((2, 5), dtype), f"i{z.itemsize}"
    program = np.zeros((0, 3), np.int64), np.zeros((0, 2)), 3, -1.0, 0.0
    forward(z, z.view(integer), target, z[0], -100, program, record, record.view(integer))
    backward(z, target, record, 0.0, z[0], False, z.copy())


if __name__ == "__main__":
    for name in sys.argv[1:] or ["float32"]:
        compile_loops(name)
