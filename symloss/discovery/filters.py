"""The cheap filters before any training: the fingerprint of a loss, and the rejection protocol."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from symloss.discovery.settings import Settings
from symloss.expression.expression import Expression
from symloss.population.forest import Forest
from symloss.population.predictions import Kind, predict
from symloss.population.training import Workspace, metric

_PROBABILITIES = 24
_NEW_WEIGHT = 0.01  # weights this near to 1 are those a tree was born with
_DIGITS = 2


def fingerprints(expressions: Sequence[Expression], kind: Kind) -> list[str | None]:
    """What distinguishes each loss as a training signal, up to its scale.

    ∂ℓ/∂f is evaluated on a grid (for probabilities: f in (0, 1) at y = 0 and y = 1; for regression: y and f in
    [-3, 3]), divided by its largest magnitude and rounded to two significant digits. Weights that are still at birth
    (all within 1 % of 1) count as 1. For `multiclass`, where Σ f = 1, a constant added to ∂ℓ/∂f changes no gradient and
    is removed.

    Args:
        expressions: Losses ℓ(y, f).
        kind: What f is.

    Returns:
        One text per expression; None where the gradient is zero on the whole grid, or not finite somewhere on it.
    """
    if not expressions:
        return []
    plain = [_at_birth(e) for e in expressions]
    f, y = _grid(kind)
    slopes = Forest(plain, freeze=True, shared=True, dtype=torch.float64).slope(f, y)
    return [_fingerprint(row, kind) for row in slopes.flatten(1)]


def _at_birth(expression: Expression) -> Expression:
    if all(abs(w - 1) <= _NEW_WEIGHT for w in expression.weights):
        return Expression(expression.nodes)
    return expression


def _grid(kind: Kind) -> tuple[Tensor, Tensor]:
    """Predictions [1, 2 or more, points] and targets [2 or more, points]."""
    if kind == "regression":
        line = torch.linspace(-3, 3, 13, dtype=torch.float64)
        y, f = torch.meshgrid(line, line + 0.0417, indexing="ij")
    else:
        p = torch.sigmoid(torch.linspace(-7, 7, _PROBABILITIES, dtype=torch.float64))
        y, f = torch.stack([torch.zeros_like(p), torch.ones_like(p)]), torch.stack([p, p])
    return f.unsqueeze(0), y


def _fingerprint(slope: Tensor, kind: Kind) -> str | None:
    if not bool(slope.isfinite().all()):
        return None
    reference = float(slope.abs().max())
    if kind == "multiclass":
        slope = slope - 0.5 * (slope.max() + slope.min())
    largest = float(slope.abs().max())
    if largest <= 1e-9 * max(reference, 1e-30):
        return None
    return " ".join(_rounded(value / largest) for value in slope.tolist())


def _rounded(value: float) -> str:
    return "0" if abs(value) < 1e-3 else f"{value:.{_DIGITS - 1}e}"


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
    """Adam on the outputs themselves."""
    objective = workspace.objective(expressions, freeze=True)
    adam = Adam(outputs, 0.01)
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
