"""What was learned, as numbers: the shape of the loss, and the step sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from symloss.errors import LossError, TaskError
from symloss.fewshot.loss import Outputs
from symloss.fewshot.model import HEAD_BIAS, Model

if TYPE_CHECKING:
    from symloss.fewshot.episodes import Tasks
    from symloss.fewshot.learner import NPBML

Values = NDArray[np.float64]
_REACH, _POINTS = 6.0, 121


@dataclass(frozen=True)
class LossShape:
    """The loss of one support sample along a line of outputs, and where samples of tasks lie.

    Multiclass: the logit of the target is `at` above all others, which are equal. Regression: the prediction is `at`
    above the target 0.

    Args:
        at: Places on the line **[P]**.
        base: L_base there **[P]**.
        plain: L_base + L^S with FiLM layers as the identity **[P]**.
        learned: L_base + L^S **[P]**.
        samples: For each task, places and losses of its support samples before each inner step **[2, steps · S]**: the
            target's logit above the mean of the others, or the residual.
        modulation: Mean over samples of 1 + γ in each FiLM layer of the encoder, by layer **[T, channels]**.
        kind: `"multiclass"` or `"regression"`.
    """

    at: Values
    base: Values
    plain: Values
    learned: Values
    samples: tuple[Values, ...]
    modulation: dict[str, Values]
    kind: str


def loss_shape(learner: NPBML, tasks: Tasks) -> LossShape:
    """The shape of a learned loss, and what FiLM does to it and to the encoder in tasks.

    FiLM layers of the loss see its own inputs alone: two tasks differ in where on it their samples lie.

    Args:
        learner: With a learned loss.
        tasks: Tasks to show.

    Raises:
        LossError: If the loss is not learned.
        TaskError: If the tasks do not fit the learner.
    """
    drawn = learner.checked(tasks)
    model = learner.build(drawn.support_x.shape[2:])
    network = model.loss.support
    if network is None:
        raise LossError("this learner has no learned loss; it was made with loss=False")
    at = torch.linspace(-_REACH, _REACH, _POINTS, device=learner.device, dtype=learner.dtype)
    ways, kind = learner.settings.ways, learner.settings.kind
    values = at[None, :, None] * torch.eye(ways).to(at)[0]
    target = torch.eye(ways).to(at)[0].expand_as(values) if kind == "multiclass" else torch.zeros_like(values)
    with torch.no_grad():
        base = model.loss.base(values, target)
        entries = model.loss.entries(values, target, base)
        plain, learned = (
            base + (found if model.loss.fixed_width else found.sum(-1))
            for found in (network(entries, film=False), network(entries))
        )
    samples = _samples(model, drawn)
    rows = [_numbers(row[0]) for row in (base, plain, learned)]
    return LossShape(_numbers(at), rows[0], rows[1], rows[2], samples, _modulation(model, drawn), kind)


def _samples(model: Model, tasks: Tasks) -> tuple[Values, ...]:
    """Places and losses of the support samples of each task before each inner step."""
    seen: list[torch.Tensor] = []
    with torch.no_grad():
        batch = model.batch(tasks.support_x, tasks.support_y, tasks.query_x)

        def look(outputs: Outputs) -> None:
            values, target = outputs.values, batch.target
            base = model.loss.base(values, target)
            found = model.loss.support(model.loss.entries(values, target, base)) if model.loss.support else base
            if model.settings.kind == "regression":
                place = (values - target).mean(-1)
            else:
                own = (values * target).sum(-1)
                place = own - (values.sum(-1) - own) / (values.shape[-1] - 1)
            total = base + (found if model.loss.fixed_width else found.sum(-1))
            seen.append(torch.stack([place, total], 1))

        steps = model.settings.inner_steps
        model.adapt(batch, steps, watch=lambda step, theta: look(model.outputs(batch.support, theta)[0]))
    return tuple(_numbers(row) for row in torch.cat(seen[:-1], -1))


def _modulation(model: Model, tasks: Tasks) -> dict[str, Values]:
    """Mean over support samples of 1 + γ in each FiLM layer of the encoder, before the first step [T, channels]."""
    encoder = model.encoder
    with torch.no_grad(), encoder.noting() as seen:
        encoder.run(encoder.enter(tasks.support_x), encoder.shared, 0, encoder.blocks)
    return {name: _numbers(gamma.mean(encoder.sample_axis)) for name, gamma in seen.items()}


def step_sizes(learner: NPBML) -> dict[str, Values]:
    """Learned step sizes of each adapted tensor.

    With learned rates (Meta-SGD) each entry's own; with warp layers the eigenvalues of α ω ωᵀ, by which gradients of
    the product ω θ are multiplied.

    Args:
        learner: With learned rates or warp layers.

    Returns:
        Numbers **[n]** by the tensor's name.

    Raises:
        TaskError: If neither is learned, or no data were seen yet.
    """
    own, model = learner.settings, learner.model
    if model is None or not (own.learn_rates or own.optimiser):
        raise TaskError("step sizes are learned by learn_rates=True or optimiser=True, from the first data on")
    if own.learn_rates:
        return {name: _numbers(rate.flatten()) for name, rate in model.rates.items() if name != HEAD_BIAS}
    return {
        name: _numbers(own.lr * torch.linalg.svdvals(warp.flatten(1)).square())
        for name, warp in model.encoder.omega.items()
    }


def _numbers(values: torch.Tensor) -> Values:
    return values.detach().double().cpu().numpy()
