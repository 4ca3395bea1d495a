"""Compiled training of dense networks on the CPU: whole runs of SGD and of refinement without a call into Python.

Each candidate's parameters are one row θ [total]; `layers` [L, 6] says where each layer lies: (outputs, inputs, first
weight, first bias or -1, activation, first unit). Activations and their adjoints are rows [units B], the batch
innermost. Every candidate is computed by itself, in the same order of operations whatever its neighbours: results do
not depend, bit for bit, on how a population is cut into chunks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from symloss.loops import vector_math
from symloss.loops.cache import cached, compiled_inside
from symloss.loops.operations import constants
from symloss.population.kernels import BINARY, MULTICLASS, loss_gradient, loss_weight_gradient

IDENTITY, RELU, TANH, SIGMOID = 0, 1, 2, 3
STEPS_BETWEEN_CHECKS = 50


@compiled_inside
def _matrix(row: Any, first: int, rows: int, columns: int) -> Any:
    return row[first : first + rows * columns].reshape(rows, columns)


@compiled_inside
def activate(row: Any, activation: int, k: Any) -> None:
    """row = activation of row."""
    if activation == RELU:
        for j in range(len(row)):
            row[j] = k[0] if row[j] < k[0] else row[j]
    elif activation == TANH:
        for j in range(len(row)):
            row[j] = vector_math.tanh(row[j])
    elif activation == SIGMOID:
        for j in range(len(row)):
            row[j] = k[1] / (k[1] + vector_math.exp(-row[j]))


@compiled_inside
def forward(layers: Any, theta: Any, inputs: Any, hidden: Any, k: Any) -> None:
    """Outputs of all layers into `hidden`; inputs [D, B]."""
    batch = inputs.shape[1]
    below = inputs
    for layer in range(layers.shape[0]):
        rows, columns, weight, bias, activation, unit = layers[layer]
        z = _matrix(hidden, unit * batch, rows, batch)
        np.dot(_matrix(theta, weight, rows, columns), below, z)
        for i in range(rows):
            b = theta[bias + i] if bias >= 0 else k[0]
            row = z[i]
            for j in range(batch):
                row[j] += b
            activate(row, activation, k)
        below = z


@compiled_inside
def _through_activation(activation: int, output: Any, bar: Any, k: Any) -> None:
    """bar *= derivative of the activation, from its output; both [rows, B]."""
    for i in range(output.shape[0]):
        out, row = output[i], bar[i]
        if activation == RELU:
            for j in range(out.shape[0]):
                row[j] = k[0] if out[j] <= k[0] else row[j]
        elif activation == TANH:
            for j in range(out.shape[0]):
                row[j] *= k[1] - out[j] * out[j]
        elif activation == SIGMOID:
            for j in range(out.shape[0]):
                row[j] *= out[j] * (k[1] - out[j])


@compiled_inside
def _backward(layers: Any, theta: Any, x: Any, hidden: Any, bars: Any, gradient: Any, k: Any) -> None:
    """Gradient [total] in the parameters; the cotangent of the logits lies in the last rows of `bars`; x [B, D]."""
    batch = x.shape[0]
    for layer in range(layers.shape[0] - 1, -1, -1):
        rows, columns, weight, bias, activation, unit = layers[layer]
        bar = _matrix(bars, unit * batch, rows, batch)
        if activation != IDENTITY:
            _through_activation(activation, _matrix(hidden, unit * batch, rows, batch), bar, k)
        if bias >= 0:
            for i in range(rows):
                total, row = k[0], bar[i]
                for j in range(batch):
                    total += row[j]
                gradient[bias + i] = total
        result = _matrix(gradient, weight, rows, columns)
        if layer == 0:
            np.dot(bar, x, result)
        else:
            start = layers[layer - 1, 5] * batch
            np.dot(bar, _matrix(hidden, start, columns, batch).T, result)
            np.dot(_matrix(theta, weight, rows, columns).T, bar, _matrix(bars, start, columns, batch))


@compiled_inside
def _jvp(layers: Any, theta: Any, tangent: Any, inputs: Any, hidden: Any, dots: Any, spare: Any, k: Any) -> None:
    """Derivatives of all layers' outputs along `tangent` [total] into `dots`."""
    batch = inputs.shape[1]
    below, dot_below = inputs, inputs
    for layer in range(layers.shape[0]):
        rows, columns, weight, bias, activation, unit = layers[layer]
        dot = _matrix(dots, unit * batch, rows, batch)
        np.dot(_matrix(tangent, weight, rows, columns), below, dot)
        if layer > 0:
            through = _matrix(spare, 0, rows, batch)
            np.dot(_matrix(theta, weight, rows, columns), dot_below, through)
            for i in range(rows):
                row, more = dot[i], through[i]
                for j in range(batch):
                    row[j] += more[j]
        if bias >= 0:
            for i in range(rows):
                row = dot[i]
                for j in range(batch):
                    row[j] += tangent[bias + i]
        output = _matrix(hidden, unit * batch, rows, batch)
        if activation != IDENTITY:
            _through_activation(activation, output, dot, k)
        below, dot_below = output, dot


@compiled_inside
def _predict(kind: int, logits: Any, f: Any, batch: int, k: Any) -> None:
    """f from the logits, rows [C B]: softmax, sigmoid or the identity."""
    if kind == MULTICLASS:
        largest, total = logits[:batch].copy(), np.zeros(batch, f.dtype)
        for begin in range(batch, logits.shape[0], batch):
            row = logits[begin : begin + batch]
            for j in range(batch):
                largest[j] = max(largest[j], row[j])
        for begin in range(0, logits.shape[0], batch):
            row, out = logits[begin : begin + batch], f[begin : begin + batch]
            for j in range(batch):
                out[j] = vector_math.exp(row[j] - largest[j])
            for j in range(batch):
                total[j] += out[j]
        for j in range(batch):
            total[j] = k[1] / total[j]
        for begin in range(0, logits.shape[0], batch):
            out = f[begin : begin + batch]
            for j in range(batch):
                out[j] *= total[j]
    elif kind == BINARY:
        for j in range(logits.shape[0]):
            f[j] = k[1] / (k[1] + vector_math.exp(-logits[j]))
    else:
        f[:] = logits


@compiled_inside
def _task_gradient(kind: int, f: Any, y: Any, indices: Any, batch: int, out: Any, k: Any) -> None:
    """Gradient of the mean task loss at the logits, rows [C B]."""
    t = f.dtype.type
    if kind == MULTICLASS:
        share = k[1] / t(batch)
        if len(indices):
            for j in range(f.shape[0]):
                out[j] = share * f[j]
            for j in range(batch):
                out[indices[j] * batch + j] -= share
        else:
            mass = np.zeros(batch, f.dtype)
            for j in range(f.shape[0]):
                mass[j % batch] += y[j]
            for j in range(f.shape[0]):
                out[j] = share * (f[j] * mass[j % batch] - y[j])
    else:
        share = (k[1] if kind == BINARY else k[2]) / t(f.shape[0])
        for j in range(f.shape[0]):
            out[j] = share * (f[j] - y[j])


@compiled_inside
def _gather(data: Any, labels: Any, targets: Any, rows: Any, x: Any, inputs: Any, y: Any, indices: Any) -> None:
    """One batch: x [B, D], its transpose, and the target: class indices [B] or rows [C B]."""
    for j in range(len(rows)):
        row = data[rows[j]]
        for d in range(len(row)):
            x[j, d] = row[d]
            inputs[d, j] = row[d]
        if len(indices):
            indices[j] = labels[rows[j]]
        else:
            for c in range(targets.shape[1]):
                y[c * len(rows) + j] = targets[rows[j], c]


@compiled_inside
def _finite(values: Any) -> bool:
    finite = True
    for value in values:
        finite &= np.isfinite(value)
    return finite


@cached
def train(
    kind: int,
    task_loss: bool,
    programs: Any,
    weights: Any,
    scratch: Any,
    layers: Any,
    theta: Any,
    rates: Any,
    scales: Any,
    momentum: float,
    nesterov: bool,
    decay: float,
    data: Any,
    labels: Any,
    targets: Any,
    batches: Any,
) -> None:
    """Train P models by SGD, each under its own loss (or all under the task loss), in place.

    Args:
        kind: As in `kernels.logits_gradient`, like programs, weights and scratch.
        task_loss: Under the task loss instead.
        programs: The losses.
        weights: φ, [edges].
        scratch: [rows, 4 WIDTH].
        layers: [L, 6].
        theta: Parameters, [P, total].
        rates: Learning rate of each model, [P].
        scales: Factor on each model's gradient, [P].
        momentum: μ.
        nesterov: Nesterov's form.
        decay: Weight decay.
        data: [N, D].
        labels: Class indices [N]; empty without.
        targets: [N, C]; anything with class indices.
        batches: Rows of each step's batch, [steps, B].
    """
    k = constants(theta)
    t = theta.dtype.type
    mu, lam = t(momentum), t(decay)
    count, total = theta.shape
    batch, classes = batches.shape[1], layers[-1, 0]
    size, units = classes * batch, layers[-1, 5] * batch
    hidden, bars = np.empty(units + size, theta.dtype), np.empty(units + size, theta.dtype)
    logits, cotangent = hidden[units:], bars[units:]
    f, y, work = np.empty(size, theta.dtype), np.zeros(size, theta.dtype), np.empty((3, size), theta.dtype)
    x, inputs = np.empty((batch, data.shape[1]), theta.dtype), np.empty((data.shape[1], batch), theta.dtype)
    indices = np.zeros(batch if len(labels) else 0, np.int64)
    gradient = np.empty(total, theta.dtype)
    velocity = np.zeros((count if momentum > 0 else 0, total), theta.dtype)
    alive = np.ones(count, np.bool_)
    for step in range(batches.shape[0]):
        _gather(data, labels, targets, batches[step], x, inputs, y, indices)
        for p in range(count):
            if not alive[p]:
                continue
            forward(layers, theta[p], inputs, hidden, k)
            if step % STEPS_BETWEEN_CHECKS == 0 and not _finite(logits):
                alive[p] = False
                theta[p, :] = np.nan
                continue
            _predict(kind, logits, f, batch, k)
            if task_loss:
                _task_gradient(kind, f, y, indices, batch, cotangent, k)
            else:
                loss_gradient(kind, programs, p, weights, scratch, f, y, indices, batch, work, cotangent, k)
            for j in range(size):
                cotangent[j] *= scales[p]
            _backward(layers, theta[p], x, hidden, bars, gradient, k)
            row, rate = theta[p], rates[p]
            if momentum > 0:
                held = velocity[p]
                for i in range(total):
                    g = gradient[i] + lam * row[i]
                    held[i] = mu * held[i] + g
                    row[i] -= rate * ((g + mu * held[i]) if nesterov else held[i])
            else:
                for i in range(total):
                    row[i] -= rate * (gradient[i] + lam * row[i])


@compiled_inside
def _norm(values: Any, k: Any) -> Any:
    total = k[0]
    for value in values:
        total += value * value
    return np.sqrt(total)


@compiled_inside
def _orthogonal(v: Any, gradient: Any, scale: Any, norm: Any, k: Any) -> None:
    """v = scale · (v - (v·g) g / ‖g‖²): transpose of the derivative of a direction; `norm` is that of g."""
    inner = k[0]
    for i in range(len(v)):
        inner += v[i] * gradient[i]
    share = inner / (norm * norm) if norm > k[0] else k[0]
    for i in range(len(v)):
        v[i] = scale * (v[i] - share * gradient[i])


@compiled_inside
def _adam(value: Any, mean: Any, square: Any, gradient: Any, step: int, rate: float) -> None:
    """One step of Adam with its usual constants; elementwise, so that a NaN stays where it arose."""
    t = value.dtype.type
    alpha, first, second = t(rate), t(1 - 0.9**step), t(1 - 0.999**step)
    a, b, tiny = t(0.1), t(0.001), t(1e-8)
    for i in range(len(value)):
        mean[i] += a * (gradient[i] - mean[i])
        square[i] += b * (gradient[i] * gradient[i] - square[i])
        value[i] -= alpha * (mean[i] / first) / (np.sqrt(square[i] / second) + tiny)


@cached
def descend(
    kind: int,
    programs: Any,
    weights: Any,
    scratch: Any,
    outputs: Any,
    y: Any,
    indices: Any,
    batch: int,
    steps: int,
    step_size: float,
) -> None:
    """Minimise each loss over the outputs [P, C B] themselves, in place, by Adam; the target as in `loss_gradient`."""
    k = constants(weights)
    size = outputs.shape[1]
    f, gradient = np.empty(size, outputs.dtype), np.empty(size, outputs.dtype)
    mean, square = np.empty(size, outputs.dtype), np.empty(size, outputs.dtype)
    work = np.empty((3, size), outputs.dtype)
    for p in range(outputs.shape[0]):
        mean[:], square[:] = k[0], k[0]
        for step in range(steps):
            _predict(kind, outputs[p], f, batch, k)
            loss_gradient(kind, programs, p, weights, scratch, f, y, indices, batch, work, gradient, k)
            _adam(outputs[p], mean, square, gradient, step + 1, step_size)


@cached
def refine(
    kind: int,
    programs: Any,
    weights: Any,
    offsets: Any,
    scratch: Any,
    layers: Any,
    starts: Any,
    rate: float,
    decay: float,
    scale_free: bool,
    step_size: float,
    training: Any,
    validation: Any,
) -> None:
    """Refine φ in place by Adam on the exact one-step hypergradient; arguments that `train` lacks:

    Args:
        kind: As in `train`, like programs, weights, scratch and layers.
        programs: The losses, not frozen.
        weights: φ, [edges].
        offsets: First edge of each expression, [P + 1].
        scratch: [rows, 4 WIDTH].
        layers: [L, 6].
        starts: θ₀ of each meta-step, [steps, total].
        rate: Factor on the gradient in the first step of the base optimiser.
        decay: Weight decay.
        scale_free: The step has the length of the task loss's own.
        step_size: Of Adam.
        training: (data [N, D], class indices [N] or empty, targets [N, C], batches [steps, B]).
        validation: The same.
    """
    k = constants(starts)
    t = starts.dtype.type
    alpha, kept = t(rate), t(1 - rate * decay)
    total, classes = starts.shape[1], layers[-1, 0]
    data, labels, targets, batches = training
    data_v, labels_v, targets_v, batches_v = validation
    batch, batch_v = batches.shape[1], batches_v.shape[1]
    size, units = classes * batch, layers[-1, 5] * batch
    size_v, units_v = classes * batch_v, layers[-1, 5] * batch_v
    widest = layers[:, 0].max()
    kind_of = starts.dtype
    base, bars, dots = np.empty(units + size, kind_of), np.empty(units + size, kind_of), np.empty(units + size, kind_of)
    after, bars_v = np.empty(units_v + size_v, kind_of), np.empty(units_v + size_v, kind_of)
    spare = np.empty(widest * batch, kind_of)
    f, own, y = np.empty(size, kind_of), np.empty(size, kind_of), np.zeros(size, kind_of)
    f_v, y_v, work = np.empty(size_v, kind_of), np.zeros(size_v, kind_of), np.empty((3, size), kind_of)
    x, inputs = np.empty((batch, data.shape[1]), kind_of), np.empty((data.shape[1], batch), kind_of)
    x_v, inputs_v = np.empty((batch_v, data.shape[1]), kind_of), np.empty((data.shape[1], batch_v), kind_of)
    indices = np.zeros(batch if len(labels) else 0, np.int64)
    indices_v = np.zeros(batch_v if len(labels) else 0, np.int64)
    gradient, stepped, v = np.empty(total, kind_of), np.empty(total, kind_of), np.empty(total, kind_of)
    mean, square = np.zeros(len(weights)), np.zeros(len(weights))
    hyper, phi = np.zeros(len(weights), kind_of), weights.astype(kind_of)
    wanted = k[0]
    for step in range(batches.shape[0]):
        _gather(data, labels, targets, batches[step], x, inputs, y, indices)
        _gather(data_v, labels_v, targets_v, batches_v[step], x_v, inputs_v, y_v, indices_v)
        start = starts[step]
        forward(layers, start, inputs, base, k)
        _predict(kind, base[units:], f, batch, k)
        if scale_free:
            _task_gradient(kind, f, y, indices, batch, own, k)
            bars[units:] = own
            _backward(layers, start, x, base, bars, gradient, k)
            wanted = _norm(gradient, k)
        hyper[:] = k[0]
        for p in range(len(offsets) - 1):
            if not _finite(phi[offsets[p] : offsets[p + 1]]):
                continue
            loss_gradient(kind, programs, p, phi, scratch, f, y, indices, batch, work, bars[units:], k)
            _backward(layers, start, x, base, bars, gradient, k)
            scale = k[1]
            if scale_free:
                norm = _norm(gradient, k)
                scale = wanted / norm if norm > wanted * t(np.finfo(kind_of).eps) else k[0]
                for i in range(total):
                    gradient[i] *= scale
            for i in range(total):
                stepped[i] = kept * start[i] - alpha * gradient[i]
            forward(layers, stepped, inputs_v, after, k)
            _predict(kind, after[units_v:], f_v, batch_v, k)
            _task_gradient(kind, f_v, y_v, indices_v, batch_v, bars_v[units_v:], k)
            _backward(layers, stepped, x_v, after, bars_v, v, k)
            if scale_free:
                _orthogonal(v, gradient, scale, scale * norm, k)
            _jvp(layers, start, v, inputs, base, dots, spare, k)
            tangent = dots[units:]
            loss_weight_gradient(kind, programs, p, phi, scratch, f, y, indices, batch, work, tangent, hyper, k)
        for i in range(len(hyper)):
            hyper[i] *= -alpha
        _adam(weights, mean, square, hyper, step + 1, step_size)
        phi[:] = weights
