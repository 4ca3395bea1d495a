"""Compiled loops over rows of logits on the CPU: the loss of each sample and its gradient in one pass.

A row z [C] of a sample of class t counts through its margin m = z_t − n, with n = logsumexp_{j≠t} z_j, and through its
spread u = n − mean_{j≠t} z_j. ∂m/∂z_t = 1, ∂m/∂z_j = −exp(z_j − n), and ∂u/∂z_j = exp(z_j − n) − 1/(C − 1). All of it
is finite and exact for any margin and any offset of the logits.

A loss is a `Program` over m and u that runs over many rows at once, with its derivative in m. `python -m
symloss.losses.rows float32` compiles the loops and leaves them on the disk.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from symloss.loops import operations, vector_math
from symloss.loops.cache import cached, compiled_inside, exact_inside
from symloss.loops.operations import WIDTH

VALUE, SLOPE, TOP, SHARE, WEIGHT = range(5)
"""Columns of the record of a forward pass: w·loss, w·∂loss/∂m, T = max_{j≠t} z_j, exp(T − n), the sample's weight w."""
MARGIN, FIRST = 6, 7
"""Rows of m and of a program's first step; before m are 1, p = sigmoid(m), 1 − p, the logarithms of the two, and u."""
STRIP = 1 << 14
"""Logits that are taken together, so that they stay in the cache, and a program runs over many samples at once."""


BLOCK = 32
"""What the compiler takes at once: entries of a row beyond whole blocks are taken with those before, as a block."""
_U = np.uint64  # an index that cannot be negative needs no look at its sign, which would stop vectorisation


# --- one row, from one entry to another; slices would cost more than what is done with them -------------------------


@compiled_inside
def _largest(bits: Any, begin: Any, end: Any, t: Any, key: Any) -> Any:
    """Largest key but that of t, an integer ordered like the float of these bits: only so is a maximum vectorised."""
    integer, lowest = bits.dtype.type, bits.dtype.type(np.iinfo(bits.dtype).min)
    shift, mask = integer(8 * bits.itemsize - 1), integer(np.iinfo(bits.dtype).max)
    for j in range(begin, end):
        k = integer(bits[j] ^ integer(integer(bits[j] >> shift) & mask))
        k = lowest if np.int32(j) == t else k
        key = k if k > key else key
    return key


@compiled_inside
def _exponentials(row: Any, begin: Any, end: Any, done: Any, t: Any, top: Any, low: Any, zero: Any) -> Any:
    """Σ exp(z − T) of entries that are not done, but for t."""
    total = zero
    for j in range(begin, end):
        x = row[j] - top
        total += zero if x < low or np.int32(j) == t or np.int32(j) < done else vector_math.exp(x)
    return total


@compiled_inside
def _kept_exponentials(
    row: Any, out: Any, begin: Any, end: Any, done: Any, t: Any, top: Any, low: Any, zero: Any
) -> Any:
    """The same, and exp(z − T) of all of them into `out`."""
    total = zero
    for j in range(begin, end):
        x = row[j] - top
        e = zero if x < low else vector_math.exp(x)
        out[j] = e
        total += zero if np.int32(j) == t or np.int32(j) < done else e
    return total


@compiled_inside
def _differences(row: Any, t: Any, top: Any, zero: Any) -> Any:
    """Σ (z − T), but for t."""
    total = zero
    for j in range(row.shape[0]):
        total += zero if np.int32(j) == t else row[j] - top
    return total


@compiled_inside
def _overwrite(row: Any, top: Any, low: Any, a: Any, c: Any) -> None:
    for j in range(row.shape[0]):
        x = row[j] - top
        row[j] = c if x < low else a * vector_math.exp(x) + c


@exact_inside
def _margin(row: Any, bits: Any, t: Any, spread: bool, keep: bool, out: Any) -> Any:
    """m, u, T and exp(T − n); m = ∞ and exp(T − n) = 0 where all other logits are −∞, and m is NaN where z_t = ∞.

    With `keep`, exp(z − T) is left in `out`; u is 0 unless there is `spread`.
    """
    number, integer, low = row.dtype.type, bits.dtype.type, _lowest(row)
    zero, classes = number(0), row.shape[0]
    here, none, end = np.int32(t), _U(0), _U(classes)
    whole = end // _U(BLOCK) * _U(BLOCK)
    last = end - _U(BLOCK) if whole else none
    key = _largest(bits, none, whole, here, integer(np.iinfo(bits.dtype).min))
    if whole < end:
        key = _largest(bits, last, end, here, key)
    shift, mask = integer(8 * bits.itemsize - 1), integer(np.iinfo(bits.dtype).max)
    top = vector_math.float_of(integer(key ^ integer(integer(key >> shift) & mask)))
    if row[t] == np.inf:
        return number(np.nan), zero, zero, zero
    if classes == 1 or top == -np.inf:
        if keep:
            out[:] = zero
        return row[t] + number(np.inf), zero, zero, zero
    if keep:
        total = _kept_exponentials(row, out, none, whole, np.int32(0), here, top, low, zero)
        if whole < end:
            total += _kept_exponentials(row, out, last, end, np.int32(whole), here, top, low, zero)
    else:
        total = _exponentials(row, none, whole, np.int32(0), here, top, low, zero)
        if whole < end:
            total += _exponentials(row, last, end, np.int32(whole), here, top, low, zero)
    log, u = np.log(total), zero
    if spread:
        u = log - _differences(row, here, top, zero) / number(classes - 1)
    return (row[t] - top) - log, u, top, number(1) / total


@compiled_inside
def _lowest(row: Any) -> Any:
    """Where eˣ leaves the normal numbers."""
    return row.dtype.type(-87.0 if row.itemsize == 4 else -708.0)


# --- a program -------------------------------------------------------------------------------------------------------


@exact_inside
def _leaves(scratch: Any, n: int, k: Any) -> None:
    """The rows that a program starts from, at the margins in row `MARGIN`, and their derivatives."""
    bound = -_lowest(scratch)
    one, p, q, log_p, log_q, u, m = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4], scratch[5], scratch[6]
    for j in range(n):
        x = m[j]
        e = k[0] if abs(x) > bound else vector_math.exp(-abs(x))
        w = k[1] + e
        log = e if w == k[1] else vector_math.log(w) * (e / (w - k[1]))  # log(1 + e), exact also for small e
        large = k[1] / w
        small = e * large
        one[j], one[WIDTH + j], u[WIDTH + j] = k[1], k[0], k[0]
        above, below = (large, small) if x >= k[0] else (small, large)
        p[j], p[WIDTH + j] = above, above * below
        q[j], q[WIDTH + j] = below, -above * below
        log_p[j], log_p[WIDTH + j] = (x if x < k[0] else k[0]) - log, below
        log_q[j], log_q[WIDTH + j] = (-x if x > k[0] else k[0]) - log, -above


@compiled_inside
def _run(program: Any, scratch: Any, n: int, k: Any) -> Any:
    """A program over n samples; the row of its result, before the last factor."""
    codes, factors, root, _, _ = program
    _leaves(scratch, n, k)
    for i in range(codes.shape[0]):
        a, b = scratch[codes[i, 1]], scratch[codes[i, 2]]
        p, q = scratch.dtype.type(factors[i, 0]), scratch.dtype.type(factors[i, 1])
        operations.forward(codes[i, 0], scratch[FIRST + i], a, b, p, q, n, k)
    return scratch[root]


# --- a batch ---------------------------------------------------------------------------------------------------------


@compiled_inside
def _factors(record: Any, spread: Any, scale: Any, share: Any) -> Any:
    """(a, b, c): the gradient is b at the target and a exp(z − T) + c elsewhere; `share` is 1/(C − 1)."""
    b, others = scale * np.float64(record[SLOPE]), scale * spread * np.float64(record[WEIGHT])
    return (others - b) * np.float64(record[SHARE]), b, -others * share


@cached
def forward(
    z: Any, bits: Any, target: Any, weight: Any, ignore_index: int, mean: bool, program: Any, record: Any,
    out: Any,
) -> Any:  # fmt: skip
    """Losses and their gradients.

    Args:
        z: Logits [B, C].
        bits: The same as integers.
        target: Class indices [B], int64.
        weight: Weight of each class [C]; empty for ones.
        ignore_index: Target of the samples to leave out.
        mean: Whether the gradient is that of the mean, not of the sum.
        program: Code of the operation and its two rows per step [N, 3], factors of the two [N, 2], row of the result,
            its factor, and ∂loss/∂u.
        record: [B, 5], written: see `VALUE`, ..., `WEIGHT`; zeros for samples left out.
        out: [B, C], the gradient, written; or [0, 0].

    Returns:
        Σ w·loss, Σ w, and the first sample whose target is no class, or -1.
    """
    k, number = operations.constants(z), z.dtype.type
    zero, strip = k[0], max(1, min(WIDTH, STRIP // max(1, z.shape[1])))
    scratch = np.empty((FIRST + program[0].shape[0], 4 * WIDTH), z.dtype)
    margins, spreads = scratch[MARGIN], scratch[MARGIN - 1]
    total, weights, keep = 0.0, 0.0, out.shape[0] > 0
    for i in range(z.shape[0]):
        t = target[i]
        record[i, WEIGHT] = zero
        if t == ignore_index:
            continue
        if t < 0 or t >= z.shape[1]:
            return total, weights, i
        w = 1.0
        if weight.shape[0] > 0:
            w = np.float64(weight[t])
        record[i, WEIGHT] = w
        weights += w
    scale, share = 1.0 / weights if mean and weights != 0.0 else 1.0, 1.0 / max(1.0, z.shape[1] - 1.0)
    for begin in range(0, z.shape[0], strip):
        n = min(strip, z.shape[0] - begin)
        for j in range(n):
            i = begin + j
            margins[j], spreads[j], row = zero, zero, out[i] if keep else record[i]
            if target[i] != ignore_index:
                margins[j], spreads[j], record[i, TOP], record[i, SHARE] = _margin(
                    z[i], bits[i], target[i], program[4] != 0, keep, row
                )
        result = _run(program, scratch, n, k)
        for j in range(n):
            i = begin + j
            t, w = target[i], program[3] * np.float64(record[i, WEIGHT])
            if t == ignore_index:
                record[i] = zero
            else:
                record[i, VALUE], record[i, SLOPE] = w * result[j], w * result[WIDTH + j]
                total += w * np.float64(result[j])
            if keep:
                a, b, c = _factors(record[i], program[4], scale, share)
                _finish(out[i], t, number(a), number(b), number(c))
    return total, weights, -1


@compiled_inside
def _finish(row: Any, t: Any, a: Any, b: Any, c: Any) -> None:
    """From exp(z − T) to the gradient; zeros for a sample that is left out, or flat, even where a logit is NaN."""
    if a == 0 and b == 0 and c == 0:
        for j in range(row.shape[0]):
            row[j] = c
    else:
        for j in range(row.shape[0]):
            row[j] = a * row[j] + c
        row[t] = b


@cached
def overwrite(z: Any, target: Any, record: Any, spread: float, scale: Any) -> None:
    """The gradient at the logits in their own place.

    Args:
        z: Logits [B, C], as in the forward pass.
        target: Class indices [B].
        record: [B, 5], of the forward pass.
        spread: ∂loss/∂u.
        scale: What multiplies the gradient of each sample [B], or of all [1].
    """
    number, low, share = z.dtype.type, _lowest(z), 1.0 / max(1.0, z.shape[1] - 1.0)
    for i in range(z.shape[0]):
        s = np.float64(scale[0] if scale.shape[0] == 1 else scale[i])
        a, b, c = _factors(record[i], spread, s, share)
        if a == 0.0 and b == 0.0 and c == 0.0:
            z[i] = number(0)
            continue
        _overwrite(z[i], record[i, TOP], low, number(a), number(c))
        z[i, target[i]] = number(b)


def compile_loops(dtype: str) -> None:
    """Call every loop once in this precision."""
    z = np.zeros((2, 3), dtype)
    target, record = np.zeros(2, np.int64), np.zeros((2, 5), dtype)
    program = np.zeros((0, 3), np.int64), np.zeros((0, 2)), 3, -1.0, 0.0
    forward(z, z.view(f"i{z.itemsize}"), target, z[0], -100, True, program, record, z.copy())
    overwrite(z, target, record, 0.0, z[0])


if __name__ == "__main__":
    from symloss.losses import rows  # as others will load it: what `__main__` compiles is its own

    for name in sys.argv[1:] or ["float32"]:
        rows.compile_loops(name)
