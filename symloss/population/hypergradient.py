r"""Gradient of the task loss after training steps under M_φ, in the weights φ.

One step, exactly and without double backward through the network. With θ₁ = θ₀ - α ∇_θ M_φ(θ₀) and v = ∇_θ L_task(θ₁):

    dL_task/dφ = -α ∂/∂φ Σ (∂ℓ_φ/∂f) ḟ,

where ḟ is the derivative of the predictions at θ₀ along v: one forward-mode product of the model. More steps go
backwards through the trajectory, by Hessian-vector products or by plain double backward.

Source: C. Raymond et al., "Learning symbolic model-agnostic loss functions via meta-learning", TPAMI 2023.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor

from symloss.expression.expression import Expression
from symloss.population.networks import FunctionalNetwork, Parameters
from symloss.population.objective import Objective
from symloss.population.predictions import predict
from symloss.population.training import Sgd, Workspace, matching_scale, norms, per_model

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Start:
    """Where a meta-step starts, the same for all candidates.

    Args:
        parameters: θ₀, one tensor per parameter.
        target: Target of the training batch: class indices [B], or [C, B].
        logits: At θ₀ on the training batch, [1, C, B].
        f: Predictions, [1, C, B].
        saved: What the network needs to differentiate there.
    """

    parameters: Parameters
    target: Tensor
    logits: Tensor
    f: Tensor
    saved: Any

    @classmethod
    def at(cls, workspace: Workspace, parameters: Parameters, batch: Batch) -> Start:
        """Run the network at θ₀ on the training batch."""
        logits, saved = workspace.network.forward_shared(parameters, batch[0])
        return cls(parameters, batch[1], logits, predict(logits, workspace.kind), saved)


def one_step(
    workspace: Workspace,
    objective: Objective,
    weights: Tensor,
    start: Start,
    valid: Batch,
    optimiser: Sgd,
    *,
    scale_free: bool = False,
) -> Tensor:
    """Exact hypergradient after one SGD step from weights that all candidates share.

    Args:
        workspace: Task and network.
        objective: Losses of P expressions, `shared` and not frozen.
        weights: φ of all expressions, [edges].
        start: θ₀ and the training batch.
        valid: Batch on which the task loss is measured: x [B, ...] and a target.
        optimiser: Step size, Nesterov momentum and weight decay enter as constants.
        scale_free: The step has the length that the task loss's own would have: only the direction of ∇M_φ counts.

    Returns:
        dL_task/dφ, [edges]; each entry depends on its own expression alone.
    """
    network, initial, rate = workspace.network, start.parameters, optimiser.first_step
    gradient = network.backward_shared(initial, start.saved, objective.logits_gradient(start.f, start.target, weights))
    scale = None
    if scale_free:
        own = network.backward_shared(initial, start.saved, workspace.task_gradient(start.logits, start.target))
        scale = matching_scale(norms(own), norms(gradient))
        gradient = [g * per_model(scale, g) for g in gradient]
    decayed = [p * (1 - rate * optimiser.weight_decay) for p in initial] if optimiser.weight_decay else initial
    stepped = [p.sub(g, alpha=rate) for p, g in zip(decayed, gradient, strict=True)]
    if isinstance(network, FunctionalNetwork):
        network.begin(objective.count)
    after, saved_after = network.forward(stepped, valid[0])
    v = network.backward(stepped, saved_after, workspace.task_gradient(after, valid[1]))
    if scale is not None:
        v = _derivative_of_direction(v, gradient, scale)
    return objective.weight_gradient(network.jvp_shared(initial, start.saved, v)).mul_(-rate)


def _derivative_of_direction(v: Parameters, gradient: Parameters, scale: Tensor) -> Parameters:
    """Transpose of the derivative of s g / ‖g‖ in g, applied to v: only what is orthogonal to g remains.

    Args:
        v: [P, ...] each.
        gradient: The scaled gradient, [P, ...] each.
        scale: s / ‖g‖, [P].
    """
    inner = torch.stack([(a * g).flatten(1).sum(1) for a, g in zip(v, gradient, strict=True)]).sum(0)
    share = inner / norms(gradient).square().clamp_min(torch.finfo(scale.dtype).tiny)
    return [per_model(scale, a) * (a - per_model(share, a) * g) for a, g in zip(v, gradient, strict=True)]


def several_steps(
    workspace: Workspace,
    expressions: Sequence[Expression],
    weights: Tensor,
    initial: Parameters,
    train: Sequence[Batch],
    valid: Batch,
    optimiser: Sgd,
    *,
    method: Literal["hvp", "double-backward"] = "hvp",
) -> Tensor:
    """Exact hypergradient through K SGD steps, one per batch in `train`.

    `"hvp"` runs backwards through the stored parameters; each step is one Hessian-vector product, the forward-mode
    derivative of the gradient, and memory holds one step's graph. `"double-backward"` keeps the graph of all steps.

    Args:
        workspace: Task and network.
        expressions: P expressions.
        weights: φ of all expressions, [edges].
        initial: θ₀, one tensor per parameter.
        train: K batches.
        valid: Batch on which the task loss is measured after step K.
        optimiser: SGD without momentum (momentum would make the state part of the trajectory).
        method: How the steps are differentiated.

    Returns:
        dL_task/dφ, [edges].
    """
    rate, decay = optimiser.learning_rate, optimiser.weight_decay
    spans = [0, *accumulate(e.size - 1 for e in expressions)]

    def loss(parameters: Parameters, phi: Tensor, batch: Batch) -> Tensor:
        f = predict(workspace.network.call(parameters, batch[0]), workspace.kind)
        y = batch[1]
        if workspace.indices:
            y = torch.nn.functional.one_hot(y, f.shape[1]).t().to(f.dtype)
        total = f.new_zeros(())
        for p, e in enumerate(expressions):
            total = total + e.evaluate(y, f[p], torch, phi[spans[p] : spans[p + 1]]).sum()
        return total / f.shape[2]

    count = len(expressions)
    parameters = [p.expand(count, *p.shape).clone() for p in initial]
    if method == "double-backward":
        return _double_backward(workspace, loss, parameters, weights, train, valid, optimiser)
    gradient_of = torch.func.grad(loss, argnums=(0, 1))
    trajectory = [parameters]
    for batch in train:
        gradient, _ = gradient_of(trajectory[-1], weights, batch)
        trajectory.append([p - rate * (g + decay * p) for p, g in zip(trajectory[-1], gradient, strict=True)])
    logits, saved = workspace.network.forward(trajectory[-1], valid[0])
    v = workspace.network.backward(trajectory[-1], saved, workspace.task_gradient(logits, valid[1]))
    total = torch.zeros_like(weights)
    for theta, batch in zip(reversed(trajectory[:-1]), reversed(train), strict=True):
        curvature, mixed = torch.func.jvp(lambda p, b=batch: gradient_of(p, weights, b), (theta,), (v,))[1]
        total -= rate * mixed
        v = [a - rate * (h + decay * a) for a, h in zip(v, curvature, strict=True)]
    return total


def _double_backward(
    workspace: Workspace,
    loss: Callable[[Parameters, Tensor, Batch], Tensor],
    parameters: Parameters,
    weights: Tensor,
    train: Sequence[Batch],
    valid: Batch,
    optimiser: Sgd,
) -> Tensor:
    with torch.enable_grad():
        phi = weights.detach().clone().requires_grad_()
        current = [p.requires_grad_() for p in parameters]
        for batch in train:
            gradient = torch.autograd.grad(
                loss(current, phi, batch), current, create_graph=True, materialize_grads=True
            )
            current = [
                p - optimiser.learning_rate * (g + optimiser.weight_decay * p)
                for p, g in zip(current, gradient, strict=True)
            ]
        logits = workspace.network.call(current, valid[0])
        cotangent = workspace.task_gradient(logits.detach(), valid[1])
        (total,) = torch.autograd.grad(logits, phi, cotangent, materialize_grads=True)
    return total
