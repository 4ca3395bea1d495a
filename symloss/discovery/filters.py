"""The cheap filters before any training: the fingerprint of a loss, and the rejection protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from symloss.discovery.settings import Settings
from symloss.expression.expression import Expression
from symloss.population import dense
from symloss.population.compiled import CompiledObjective
from symloss.population.forest import Forest
from symloss.population.predictions import Kind, predict, prediction_product
from symloss.population.training import Workspace, metric

_PROBABILITIES = 15
_NEW_WEIGHT = 0.01  # weights this near to 1 are those a tree was born with
_DIGITS = 2
_STEP_SIZE = 0.01  # of Adam in the rejection protocol


def fingerprints(expressions: Sequence[Expression], kind: Kind) -> list[str | None]:
    """What distinguishes each loss as a training signal, up to its scale.

    The gradient at the logits is evaluated on a grid, divided by its largest magnitude and rounded to two significant
    digits. The grid is, for `multiclass`: three classes, the target's probability from 0.001 to 0.999, the rest split
    in several ways; for `binary`: the same range at y = 0 and y = 1; for `regression`: y and f in [-3, 3]. Weights that
    are still at birth (all within 1 % of 1) count as 1.

    Args:
        expressions: Losses ℓ(y, f).
        kind: What f is.

    Returns:
        One text per expression; None where the gradient is zero on the whole grid, or not finite somewhere on it.
    """
    if not expressions:
        return []
    f, y = _grid(kind)
    plain = [_at_birth(e) for e in expressions]
    slopes = Forest(plain, freeze=True, shared=True, dtype=torch.float64).slope(f, y)
    gradients = prediction_product(f, slopes, kind).flatten(1)
    scales = slopes.flatten(1).abs().amax(1).tolist()
    return [_fingerprint(row.tolist(), scale) for row, scale in zip(gradients, scales, strict=True)]


def _at_birth(expression: Expression) -> Expression:
    if all(abs(w - 1) <= _NEW_WEIGHT for w in expression.weights):
        return Expression(expression.nodes)
    return expression


def _grid(kind: Kind) -> tuple[Tensor, Tensor]:
    """Predictions [1, C, points] and targets [C, points]."""
    if kind == "regression":
        line = torch.linspace(-3, 3, 13, dtype=torch.float64)
        y, f = torch.meshgrid(line, line + 0.0417, indexing="ij")
        return f.reshape(1, 1, -1), y.reshape(1, -1)
    p = torch.sigmoid(torch.linspace(-7, 7, _PROBABILITIES, dtype=torch.float64))
    if kind == "binary":
        return torch.cat([p, p]).view(1, 1, -1), torch.cat([torch.zeros_like(p), torch.ones_like(p)]).view(1, -1)
    shares = torch.tensor([0.5, 0.8, 0.99], dtype=torch.float64).view(-1, 1)
    f = torch.stack([p.expand(3, -1), (1 - p) * shares, (1 - p) * (1 - shares)]).view(1, 3, -1)
    y = torch.zeros_like(f[0])
    y[0] = 1
    return f, y


def _fingerprint(gradient: list[float], scale: float) -> str | None:
    largest = max(map(abs, gradient))
    if not all(map(math.isfinite, gradient)) or largest <= 1e-12 * scale or largest == 0:
        return None
    return " ".join(_rounded(value / largest) for value in gradient)


def _rounded(value: float) -> str:
    return "0" if abs(value) < 1e-4 else f"{value:.{_DIGITS - 1}e}"


def passes_rejection(workspace: Workspace, settings: Settings, expressions: Sequence[Expression]) -> list[bool]:
    """The rejection protocol: does minimising the loss over the predictions themselves improve the task metric?

    The outputs of an untrained model on training samples are optimised directly (Adam, step size 0.01; logits where the
    prediction is a probability). A loss passes if the metric of the outputs got strictly better; NaN does not.

    Args:
        workspace: Task and network.
        settings: `rejection_steps`, `rejection_samples`, `seed`.
        expressions: P losses.

    Returns:
        P booleans.
    """
    if not expressions:
        return []
    kind, count = workspace.kind, len(expressions)
    steps = settings.rejection_steps
    if steps is None:
        steps = 1000 if kind == "regression" else 100
    if steps == 0:
        return [True] * count
    generator = torch.Generator().manual_seed(settings.seed)
    index = torch.randperm(len(workspace.train.x), generator=generator)[: settings.rejection_samples]
    x, target = workspace.pick(workspace.train, index.to(workspace.device))
    parameters = [p.unsqueeze(0) for p in workspace.initial(settings.seed)]
    start = workspace.network.evaluate(parameters, x)
    with torch.no_grad():
        end = _descend(workspace, expressions, start.repeat(count, 1, 1), target, steps)
    before = metric(start, target, kind)[0]
    return [after < before and math.isfinite(after) for after in metric(end, target, kind)]


def _descend(
    workspace: Workspace, expressions: Sequence[Expression], outputs: Tensor, target: Tensor, steps: int
) -> Tensor:
    """Adam on the outputs themselves, in place."""
    objective = workspace.objective(expressions, freeze=True)
    if isinstance(objective, CompiledObjective):
        dense.descend(objective, outputs, target, steps, _STEP_SIZE)
        return outputs
    adam = Adam(outputs, _STEP_SIZE)
    for _ in range(steps):
        f = predict(outputs, workspace.kind)
        adam.step(objective.logits_gradient(f, target))
    return outputs


class Adam:
    """Adam on one tensor, in place; elementwise, so that a NaN stays where it arose.

    Source: D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    """

    def __init__(self, value: Tensor, learning_rate: float, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.value, self.learning_rate, self.betas = value, learning_rate, betas
        self.mean, self.square, self.steps = torch.zeros_like(value), torch.zeros_like(value), 0

    def step(self, gradient: Tensor) -> None:
        """One update by `gradient`, of the tensor's shape."""
        self.steps += 1
        first, second = self.betas
        self.mean.mul_(first).add_(gradient, alpha=1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        root = self.square.sqrt().mul_((1 - second**self.steps) ** -0.5).add_(1e-8)
        self.value.addcdiv_(self.mean, root, value=-self.learning_rate / (1 - first**self.steps))
