"""The step of a base optimiser as a function of the gradient: its derivative in closed form, and a differentiable twin.

SGD (momentum, Nesterov, weight decay), Adam and AdamW, all with gradients clipped by their global norm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from symloss.errors import LossError

Tensors = Sequence[Tensor | None]

_CLIP_GUARD = 1e-6
"""What `torch.nn.utils.clip_grad_norm_` adds to the norm."""
_REFUSED = ("dampening", "maximize", "amsgrad")


def check(optimiser: torch.optim.Optimizer) -> None:
    """Raise LossError unless the derivative of this optimiser's step is known."""
    if type(optimiser) not in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        raise LossError(f"the base optimiser is torch's SGD, Adam or AdamW; received {type(optimiser).__name__}")
    for group in optimiser.param_groups:
        for option in _REFUSED:
            if group.get(option):
                raise LossError(f"the base optimiser cannot have {option}; received {option}={group[option]!r:.40}")


def clip_factor(gradients: Tensors, bound: float | None) -> tuple[Tensor | None, Tensor | None]:
    """Norm of all gradients and the factor that clips it, c / (‖g‖ + 1e-6); None for both where nothing is clipped."""
    known = [g for g in gradients if g is not None]
    if bound is None or not known:
        return None, None
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in known]))
    factor = bound / (norm + _CLIP_GUARD)
    return (norm, factor) if bool(factor < 1) else (None, None)


def clipped(gradients: Tensors, bound: float | None) -> list[Tensor | None]:
    """Gradients scaled so that their global norm is at most `bound`, as by `clip_grad_norm_`; differentiable."""
    factor = clip_factor(gradients, bound)[1]
    return [g if g is None or factor is None else g * factor for g in gradients]


def pull_back(
    optimiser: torch.optim.Optimizer, before: Sequence[Tensor], gradients: Tensors, vectors: Tensors,
    bound: float | None = None,
) -> list[Tensor | None]:  # fmt: skip
    r"""Preconditioned vectors u = −(∂θ′/∂g)ᵀ v of the step that the optimiser has just made.

    SGD: α v, with Nesterov's momentum α (1 + μ) v. Adam, elementwise, with D = √(s/b₂) + ε of its moments m, s after
    the step and corrections b₁ = 1 − β₁ᵗ, b₂ = 1 − β₂ᵗ: (α/b₁) [(1 − β₁)/D − m (1 − β₂) g / (D² √(s b₂))] v.
    Clipping to c, where ‖g‖ > c: c/n (u − g (g·u) / (‖g‖ n)) with n = ‖g‖ + 1e-6.

    Args:
        optimiser: After its step.
        before: The P parameters as they were before it.
        gradients: Gradients before clipping, in the order of the optimiser's parameters; None for the unused.
        vectors: v, the gradients of what is to be differentiated at θ′.
        bound: c, None if nothing is clipped.

    Returns:
        P tensors u; None where there is no gradient or no vector.
    """
    norm, factor = clip_factor(gradients, bound)
    found: list[Tensor | None] = []
    slots = [(p, group) for group in optimiser.param_groups for p in group["params"] if p.requires_grad]
    for (p, group), theta, g, v in zip(slots, before, gradients, vectors, strict=True):
        if g is None or v is None:
            found.append(None)
        elif "betas" in group:
            scaled = g if factor is None else g * factor
            found.append(v * _adam_slope(group, optimiser.state[p], theta, scaled))
        else:
            found.append(v * (group["lr"] * (1 + group["momentum"] * group["nesterov"])))
    if norm is None or factor is None:
        return found
    pairs = [(g, u) for g, u in zip(gradients, found, strict=True) if g is not None and u is not None]
    along = torch.stack([(g * u).sum() for g, u in pairs]).sum() / (norm * (norm + _CLIP_GUARD))
    return [None if u is None or g is None else factor * (u - along * g) for g, u in zip(gradients, found, strict=True)]


def _adam_slope(group: dict[str, Any], state: dict[str, Any], theta: Tensor, g: Tensor) -> Tensor:
    """Derivative of Adam's step with respect to the gradient, elementwise."""
    first, second = group["betas"]
    time = float(state["step"])
    if group["weight_decay"] and not group.get("decoupled_weight_decay"):
        g = g.add(theta, alpha=group["weight_decay"])
    m, root = state["exp_avg"], state["exp_avg_sq"].sqrt()
    correction = (1 - second**time) ** 0.5
    scale = root / correction + group["eps"]
    bend = torch.where(root > 0, m * g / root, torch.zeros_like(g)) * ((1 - second) / correction)
    slope: Tensor = (group["lr"] / (1 - first**time)) * ((1 - first) / scale - bend / scale.square())
    return slope


class Twin:
    """The optimiser's steps once more, differentiable in the gradients and in earlier parameters.

    Its state starts from that of the optimiser, so that an unrolled stretch may begin anywhere in training.

    Args:
        optimiser: Whose options are read at each step.
        parameters: Its P parameters that are trained, in its order.
    """

    def __init__(self, optimiser: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
        self._groups = [group for group in optimiser.param_groups for p in group["params"] if p.requires_grad]
        self._states: list[dict[str, Any]] = [
            {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in optimiser.state.get(p, {}).items()}
            for p in parameters
        ]

    def step(self, parameters: Sequence[Tensor], gradients: Tensors) -> list[Tensor]:
        """Parameters after a step from `parameters` with these (clipped) gradients; None leaves one as it is."""
        return [
            theta if g is None else _rule(group)(group, state, theta, g)
            for group, state, theta, g in zip(self._groups, self._states, parameters, gradients, strict=True)
        ]


def _rule(group: dict[str, Any]) -> Callable[[dict[str, Any], dict[str, Any], Tensor, Tensor], Tensor]:
    return _adam if "betas" in group else _sgd


def _sgd(group: dict[str, Any], state: dict[str, Any], theta: Tensor, g: Tensor) -> Tensor:
    momentum = group["momentum"]
    g = g + group["weight_decay"] * theta
    if momentum:
        held = state.get("momentum_buffer")
        velocity = g if held is None else momentum * held + g
        state["momentum_buffer"] = velocity
        g = g + momentum * velocity if group["nesterov"] else velocity
    moved: Tensor = theta - group["lr"] * g
    return moved


def _adam(group: dict[str, Any], state: dict[str, Any], theta: Tensor, g: Tensor) -> Tensor:
    first, second = group["betas"]
    if group.get("decoupled_weight_decay"):
        theta = theta * (1 - group["lr"] * group["weight_decay"])
    else:
        g = g + group["weight_decay"] * theta
    time = float(state.get("step", 0)) + 1
    m = first * state.get("exp_avg", torch.zeros_like(g)) + (1 - first) * g
    s = second * state.get("exp_avg_sq", torch.zeros_like(g)) + (1 - second) * g.square()
    state.update(step=time, exp_avg=m, exp_avg_sq=s)
    root = torch.where(s > 0, s, 1.0).sqrt() * (s > 0)  # the root of 0 would have an infinite slope
    moved: Tensor = theta - (group["lr"] / (1 - first**time)) * m / (root / (1 - second**time) ** 0.5 + group["eps"])
    return moved
