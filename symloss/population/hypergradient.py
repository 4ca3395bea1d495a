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
from itertools import accumulate, pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from symloss.expression.expression import Expression
from symloss.population.functional import FunctionalNetwork, Parameters
from symloss.population.networks import DenseNetwork
from symloss.population.objective import Objective
from symloss.population.predictions import predict
from symloss.population.separate import SeparateNetwork, not_twice
from symloss.population.state import RandomState, pull, trained
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
    decayed = _decayed(initial, rate * optimiser.weight_decay, network.unused) if optimiser.weight_decay else initial
    stepped = [p.sub(g, alpha=rate) for p, g in zip(decayed, gradient, strict=True)]
    network.begin(objective.count, start.saved)
    after, saved_after = network.forward(stepped, valid[0])
    v = network.backward(stepped, saved_after, workspace.task_gradient(after, valid[1]))
    if scale is not None:
        v = _derivative_of_direction(v, gradient, scale)
    return objective.weight_gradient(network.jvp_shared(initial, start.saved, v)).mul_(-rate)


def _decayed(parameters: Parameters, rate: float, unused: list[Tensor] | None) -> Parameters:
    """Parameters after weight decay, which leaves those that no model uses as they are."""
    if unused is None:
        return [p * (1 - rate) for p in parameters]
    return [
        p * (1 - rate * (~idle).to(p.dtype).view(-1, *[1] * p.dim()))
        for p, idle in zip(parameters, unused, strict=True)
    ]


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
    network, spans = workspace.network, [0, *accumulate(e.size - 1 for e in expressions)]
    if isinstance(network, SeparateNetwork):
        replay = _Replay(workspace, network, initial, train, valid, optimiser, RandomState(valid[0]))
        parts = [replay.hypergradient(e, weights[a:b]) for e, (a, b) in zip(expressions, pairwise(spans), strict=True)]
        return torch.cat(parts)
    assert isinstance(network, (DenseNetwork, FunctionalNetwork))

    def loss(parameters: Parameters, phi: Tensor, batch: Batch) -> Tensor:
        f, y = predict(network.call(parameters, batch[0]), workspace.kind), _dense_target(workspace, batch[1])
        total = f.new_zeros(())
        for p, e in enumerate(expressions):
            total = total + e.evaluate(y, f[p], torch, phi[spans[p] : spans[p + 1]]).sum()
        return total / f.shape[2]

    parameters = [p.expand(len(expressions), *p.shape).clone() for p in initial]
    if method == "double-backward":
        return _double_backward(workspace, loss, parameters, weights, train, valid, optimiser)
    return _hvp(workspace, loss, parameters, weights, train, valid, optimiser)


def _dense_target(workspace: Workspace, target: Tensor) -> Tensor:
    """[C, B]."""
    if not workspace.indices:
        return target
    return torch.nn.functional.one_hot(target, workspace.task.outputs).t().to(workspace.dtype)


def _hvp(
    workspace: Workspace,
    loss: Callable[[Parameters, Tensor, Batch], Tensor],
    parameters: Parameters,
    weights: Tensor,
    train: Sequence[Batch],
    valid: Batch,
    optimiser: Sgd,
) -> Tensor:
    rate, decay = optimiser.learning_rate, optimiser.weight_decay
    gradient_of = torch.func.grad(loss, argnums=(0, 1))
    trajectory, steps = [parameters], []
    for batch in train:
        random = RandomState(batch[0])
        with torch.enable_grad():
            leaves = [p.detach().requires_grad_() for p in trajectory[-1]]
            gradient = _pull_loss(loss(leaves, weights, batch), leaves)
        steps.append((trajectory[-1], batch, random, [g is not None for g in gradient]))
        trajectory.append(_stepped(trajectory[-1], gradient, optimiser))
    logits, saved = workspace.network.forward(trajectory[-1], valid[0])
    now = RandomState(valid[0])
    v = workspace.network.backward(trajectory[-1], saved, workspace.task_gradient(logits, valid[1]))
    total = torch.zeros_like(weights)
    for theta, batch, random, used in reversed(steps):
        random.restore()  # the masks of the step
        curvature, mixed = torch.func.jvp(lambda p, b=batch: gradient_of(p, weights, b), (theta,), (v,))[1]
        total -= rate * mixed
        v = [a - rate * (h + decay * a) if u else a for a, h, u in zip(v, curvature, used, strict=True)]
    now.restore()
    return total


def _pull_loss(value: Tensor, leaves: Sequence[Tensor], **options: Any) -> list[Tensor | None]:
    """Gradient of a loss; None at parameters that it does not use."""
    return pull([value], leaves, [torch.ones_like(value)], **options)


def _stepped(parameters: Parameters, gradient: Sequence[Tensor | None], optimiser: Sgd) -> Parameters:
    """Parameters after a step of plain SGD, which leaves those without a gradient as they are."""
    rate, decay = optimiser.learning_rate, optimiser.weight_decay
    return [p if g is None else p - rate * (g + decay * p) for p, g in zip(parameters, gradient, strict=True)]


def _double_backward(
    workspace: Workspace,
    loss: Callable[[Parameters, Tensor, Batch], Tensor],
    parameters: Parameters,
    weights: Tensor,
    train: Sequence[Batch],
    valid: Batch,
    optimiser: Sgd,
) -> Tensor:
    network = workspace.network
    assert isinstance(network, (DenseNetwork, FunctionalNetwork))
    with torch.enable_grad():
        phi = weights.detach().clone().requires_grad_()
        current = [p.requires_grad_() for p in parameters]
        for batch in train:
            gradient = _pull_loss(loss(current, phi, batch), current, create_graph=True)
            current = _stepped(current, gradient, optimiser)
        logits = network.call(current, valid[0])
        cotangent = workspace.task_gradient(logits.detach(), valid[1])
        (total,) = torch.autograd.grad(logits, phi, cotangent, materialize_grads=True)
    return total


@dataclass(frozen=True)
class _Replay:
    """Several steps of a module that has a state: each point of the trajectory is reached again by a new copy.

    The derivatives are those of autograd on the module itself, so that nothing is asked of it but two derivatives.
    """

    workspace: Workspace
    network: SeparateNetwork
    initial: Parameters
    train: Sequence[Batch]
    valid: Batch
    optimiser: Sgd
    random: RandomState

    def hypergradient(self, expression: Expression, weights: Tensor) -> Tensor:
        """dL_task/dφ of one expression, [edges]."""
        rate, decay = self.optimiser.learning_rate, self.optimiser.weight_decay
        trajectory = [self.initial]
        for _ in self.train:
            self.random.restore()
            _, _, gradient = self._gradient(expression, weights, trajectory)
            trajectory.append(_stepped(trajectory[-1], gradient, self.optimiser))
        self.random.restore()
        leaves, logits = self._reach(trajectory)
        cotangent = self.workspace.task_gradient(logits.detach().unsqueeze(0), self.valid[1])
        v = [_or_zeros(g, p) for g, p in zip(pull([logits], leaves, cotangent), leaves, strict=True)]
        now, total = RandomState(self.valid[0]), torch.zeros_like(weights)
        for end in range(len(self.train), 0, -1):
            self.random.restore()
            leaves, phi, gradient = self._gradient(expression, weights, trajectory[:end], create_graph=True)
            used = [(g, a) for g, a in zip(gradient, v, strict=True) if g is not None]
            try:
                mixed, *curvature = pull([g for g, _ in used], [phi, *leaves], [a for _, a in used])
            except Exception as error:
                raise not_twice(error) from error
            total -= rate * _or_zeros(mixed, phi)
            v = [
                a if g is None else a - rate * (_or_zeros(h, a) + decay * a)
                for a, h, g in zip(v, curvature, gradient, strict=True)
            ]
        now.restore()
        return total

    def _gradient(
        self, expression: Expression, weights: Tensor, trajectory: Sequence[Parameters], create_graph: bool = False
    ) -> tuple[Sequence[Tensor], Tensor, list[Tensor | None]]:
        """Parameters, φ, and the gradient of the loss at the end of a trajectory that is still in training."""
        leaves, logits = self._reach(trajectory)
        target = _dense_target(self.workspace, self.train[len(trajectory) - 1][1])
        with torch.enable_grad():
            phi = weights.detach().clone().requires_grad_()
            f = predict(logits.unsqueeze(0), self.workspace.kind)[0]
            value = expression.evaluate(target, f, torch, phi).sum() / f.shape[1]
            return leaves, phi, _pull_loss(value, leaves, create_graph=create_graph)

    def _reach(self, trajectory: Sequence[Parameters]) -> tuple[Sequence[Tensor], Tensor]:
        """Parameters and logits [C, B] of a new copy at the end of a trajectory, after it ran at all points before."""
        model, inputs = self.network.new(), [x for x, _ in (*self.train, self.valid)]
        for parameters, x in zip(trajectory[:-1], inputs, strict=False):
            self.network.run(model, parameters, x, 0)
        logits = self.network.run(model, trajectory[-1], inputs[len(trajectory) - 1], 2)
        return trained(model), logits


def _or_zeros(value: Tensor | None, like: Tensor) -> Tensor:
    return torch.zeros_like(like) if value is None else value
