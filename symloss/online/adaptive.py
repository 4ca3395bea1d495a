"""AdaptiveLoss: a loss and the model under it, trained together, for any training loop."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm

from symloss.errors import LossError
from symloss.online import optimisers
from symloss.online.guard import Guard
from symloss.online.losses import TASK_LOSSES
from symloss.population.state import RandomState, dense_gradients, pull

TaskLoss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """What one step saw, before it was made.

    Args:
        loss: M_φ of the training batch.
        task_loss: L_task of the training batch.
        valid_loss: L_task of the validation batch after the step; NaN where the loss was not adapted.
        slope: v·(θ − θ′)/α, by which L_task(θ′) falls per unit of the learning rate; NaN likewise.
        effective_rate: ‖∇_θ M‖ / ‖∇_θ L_task‖; NaN unless asked for.
    """

    loss: float
    task_loss: float
    valid_loss: float = math.nan
    slope: float = math.nan
    effective_rate: float = math.nan


class AdaptiveLoss:
    r"""A loss M_φ that adapts while a model trains under it: each `step` trains the model, and then the loss.

    θ′ = θ − step(∇_θ M_φ), then φ ← φ − η dL_task(θ′)/dφ, with the exact hypergradient

        dL_task/dφ = −∂/∂φ Σ_entries (∂M_φ/∂z) · ż,

    where ż is the directional derivative of the outputs at θ along u = (∂step/∂∇)ᵀ ∇L_task(θ′). One step costs a
    forward and a backward pass on each batch and one Jacobian-vector product, in forward mode, with the dropout masks
    and batch statistics of the training step. No graph of one pass outlives it, and nothing is kept between steps.

    The validation pass is in evaluation mode, except that batch norm uses the statistics of its batch; it leaves
    running statistics and random generators as they were.

    Args:
        loss: M_φ, a module called as `loss(outputs, targets)` with trainable parameters φ; see `online.loss_network`.
        model: Any module; its training mode is left as it is.
        optimiser: torch's SGD (momentum, Nesterov, weight decay), Adam or AdamW over the model's parameters. Learning
            rate schedules work as usual.
        task_loss: L_task, called with outputs and targets; None takes cross-entropy, or the mean squared error, by the
            loss's `kind`.
        meta_lr: η of Adam over φ, where there is no `meta_optimiser`.
        meta_optimiser: Any optimiser over φ.
        inner_steps: K; the loss is updated at every K-th step, by plain double backward through the last K of them.
            Memory grows with K alone.
        clip: Bound on the global norm of the gradients; None leaves them.

    Attributes:
        guard: Notices a collapsed loss and diverging training; see `guard.trouble`.
        steps: Steps done.

    Raises:
        LossError: If something is not of this form.

    Example::

        adaptive = sl.AdaptiveLoss(loss, model, torch.optim.SGD(model.parameters(), 0.01))
        for (x, y), (valid_x, valid_y) in zip(train_batches, valid_batches):
            adaptive.step(x, y, valid_x, valid_y)

    Source: Raymond et al., *Online Loss Function Learning*, arXiv 2301.13247.
    """

    def __init__(
        self, loss: nn.Module, model: nn.Module, optimiser: torch.optim.Optimizer, *,
        task_loss: TaskLoss | None = None, meta_lr: float = 1e-4,
        meta_optimiser: torch.optim.Optimizer | None = None, inner_steps: int = 1, clip: float | None = None,
    ) -> None:  # fmt: skip
        optimisers.check(optimiser)
        if type(inner_steps) is not int or inner_steps < 1:
            raise LossError(f"inner_steps is a whole number of at least 1; received {inner_steps!r:.40}")
        positive("meta_lr", meta_lr)
        if clip is not None:
            positive("clip", clip)
        kind = getattr(loss, "kind", None)
        if task_loss is None and kind not in TASK_LOSSES:
            raise LossError(
                f"{type(loss).__name__} has no kind: give task_loss, such as torch.nn.functional.cross_entropy"
            )
        self.loss, self.model, self.optimiser = loss, dense_gradients(model), optimiser
        self.task_loss: TaskLoss = task_loss or TASK_LOSSES[str(kind)]
        self.phi = [p for p in loss.parameters() if p.requires_grad]
        if not self.phi:
            raise LossError(f"{type(loss).__name__} has no trainable parameters; a symloss loss takes trainable=True")
        self.meta_optimiser = meta_optimiser or torch.optim.Adam(self.phi, lr=meta_lr)
        self.inner_steps, self.clip, self.guard, self.steps = inner_steps, clip, Guard(), 0
        self._names, self._parameters = _named(model, optimiser)
        self._stretch: _Stretch | None = None

    def step(
        self, x: Tensor, y: Tensor, valid_x: Tensor | None = None, valid_y: Tensor | None = None, measure: bool = False
    ) -> Step:
        """Train the model on a batch, then the loss by how well the model now does on another.

        Args:
            x: Inputs of the training batch **[B, ...]**.
            y: Its targets, as the loss takes them.
            valid_x: Inputs of the validation batch; None leaves the loss as it is.
            valid_y: Its targets.
            measure: Whether to measure the effective rate, which costs one more backward pass.

        Returns:
            What was seen.

        Raises:
            LossError: If the loss, its gradient or the hypergradient is not finite; nothing is updated then, or
                (hypergradient) the model alone.
        """
        held_out = None if valid_x is None or valid_y is None else (valid_x, valid_y)
        adapting = held_out is not None
        unrolled = adapting and self.inner_steps > 1
        if not unrolled:
            self._stretch = None
        elif self._stretch is None:
            self._stretch = _Stretch(self.optimiser, self._parameters)
        live = self._stretch.live if self._stretch is not None else self._parameters
        random = RandomState(x)
        with torch.enable_grad():
            z = self._outputs(live, x)
        leaf = z if unrolled else z.detach().requires_grad_()
        with torch.enable_grad():
            value = self.loss(leaf, y)
            (slope,) = torch.autograd.grad(value, leaf, create_graph=adapting)
        cotangent = slope if unrolled else slope.detach()
        reference, task_value = self._reference(z, y)
        self._check(value, slope)
        gradients = pull([z], live, [cotangent], create_graph=unrolled, retain_graph=unrolled or measure)
        rate = _over(_norm(gradients), pull([z], live, [reference], retain_graph=unrolled)) if measure else math.nan
        del z, leaf  # and with them the graph through the model
        before = [p.detach().clone() for p in self._parameters] if adapting and not unrolled else []
        self._descend(gradients)
        self.steps += 1
        found = Step(float(value.detach()), task_value, effective_rate=rate)
        self.guard.watch(self.steps, _ratio(slope, reference), task_value)
        if held_out is None:
            return found
        if unrolled:
            return self._adapt_unrolled(found, gradients, *held_out)
        return self._adapt(found, before, gradients, slope, (x, random), held_out)

    def _adapt(
        self, found: Step, before: Sequence[Tensor], gradients: Sequence[Tensor | None], slope: Tensor,
        drawn: tuple[Tensor, RandomState], held_out: tuple[Tensor, Tensor],
    ) -> Step:  # fmt: skip
        """Update the loss through the one step that was made from `before`, by the identity of the class."""
        x, random = drawn
        valid_value, v = self._held_out(self._parameters, *held_out)
        u = optimisers.pull_back(self.optimiser, before, gradients, v, self.clip)
        hyper: Sequence[Tensor | None] = [None] * len(self.phi)
        if slope.requires_grad:
            tangent = self._tangent(before, u, x, random)
            hyper = torch.autograd.grad(slope, self.phi, -tangent, allow_unused=True)
        self._update(hyper)
        return self._seen(found, before, valid_value, v)

    def _tangent(
        self, parameters: Sequence[Tensor], u: Sequence[Tensor | None], x: Tensor, random: RandomState
    ) -> Tensor:
        """ż, the derivative of the outputs at the parameters along u (None is zero), with the draws of `random`."""
        try:
            with torch.no_grad(), forward_ad.dual_level(), _drawing_as(random, x):
                make: Callable[[Tensor, Tensor], Tensor] = forward_ad.make_dual
                parts: Callable[[Tensor], tuple[Tensor, Tensor | None]] = forward_ad.unpack_dual
                duals = [p if w is None else make(p, w) for p, w in zip(parameters, u, strict=True)]
                z, tangent = parts(self._outputs(duals, x, keep=False))
                return torch.zeros_like(z) if tangent is None else tangent.clone()
        except (NotImplementedError, RuntimeError) as error:
            if not re.search("forward (mode )?AD", str(error)):
                raise
        with _drawing_as(random, x):
            return self._tangent_by_transposing(parameters, u, x)

    def _tangent_by_transposing(self, parameters: Sequence[Tensor], u: Sequence[Tensor | None], x: Tensor) -> Tensor:
        """The same as the derivative of a backward pass in its cotangent, for layers that have no forward mode."""
        with torch.enable_grad():
            live = _leaves(parameters)
            z = self._outputs(live, x, keep=False)
            cotangent = torch.zeros_like(z, requires_grad=True)
            gradients = pull([z], live, [cotangent], create_graph=True)
        pairs = [(g, w) for g, w in zip(gradients, u, strict=True) if g is not None and w is not None]
        (tangent,) = torch.autograd.grad([g for g, _ in pairs], cotangent, [w for _, w in pairs])
        return tangent

    def _outputs(self, parameters: Sequence[Tensor], x: Tensor, keep: bool = True) -> Tensor:
        """Outputs at these parameters; what the model then holds in its buffers is kept, or not."""
        buffers = dict(self.model.named_buffers())
        state = {name: b.detach().clone() for name, b in buffers.items()}  # the graph sees copies that stay as they are
        state.update(zip(self._names, parameters, strict=True))
        with sdpa_kernel(SDPBackend.MATH):  # fused attention can be differentiated once
            z: Tensor = torch.func.functional_call(self.model, state, (x,))
        if keep:
            with torch.no_grad():
                for name, held in buffers.items():
                    held.copy_(state[name])
        return z

    def _reference(self, z: Tensor, y: Tensor) -> tuple[Tensor, float]:
        """∂L_task/∂z, and L_task."""
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            value = self.task_loss(leaf, y)
            return torch.autograd.grad(value, leaf)[0], float(value.detach())

    def _check(self, value: Tensor, slope: Tensor) -> None:
        if not bool(value.isfinite()) or not bool(slope.isfinite().all()):
            raise LossError(
                f"the loss or its gradient became infinite or NaN before step {self.steps + 1}; use a smaller learning "
                "rate or meta_lr, or more offline_steps"
            )

    def _descend(self, gradients: Sequence[Tensor | None]) -> None:
        """A step of the base optimiser with these gradients, clipped."""
        for p, g in zip(
            self._parameters, optimisers.clipped([_detached(g) for g in gradients], self.clip), strict=True
        ):
            p.grad = g
        self.optimiser.step()
        self.optimiser.zero_grad()

    def _held_out(self, parameters: Sequence[Tensor], x: Tensor, y: Tensor) -> tuple[float, list[Tensor | None]]:
        """L_task on a validation batch and its gradient at the parameters."""
        with _undisturbed(self.model, x), torch.enable_grad():
            value = self.task_loss(self._outputs(parameters, x, keep=False), y)
        return float(value.detach()), pull([value], parameters, [torch.ones_like(value)])

    def _update(self, hyper: Sequence[Tensor | None]) -> None:
        """A step of the meta-optimiser."""
        if any(h is not None and not bool(h.isfinite().all()) for h in hyper):
            raise LossError(
                f"the hypergradient became infinite or NaN at step {self.steps}; use a smaller learning rate or meta_lr"
            )
        for p, h in zip(self.phi, hyper, strict=True):
            p.grad = h
        self.meta_optimiser.step()
        self.meta_optimiser.zero_grad()

    def _seen(self, found: Step, before: Sequence[Tensor], valid: float, v: Sequence[Tensor | None]) -> Step:
        rate = float(self.optimiser.param_groups[0]["lr"])
        moved = sum(
            float((g * (old.detach() - new.detach())).sum())
            for g, old, new in zip(v, before, self._parameters, strict=True)
            if g is not None
        )
        return Step(found.loss, found.task_loss, valid, moved / rate if rate else math.nan, found.effective_rate)

    def _adapt_unrolled(self, found: Step, gradients: Sequence[Tensor | None], x: Tensor, y: Tensor) -> Step:
        """Go one step further with the twin; at the K-th the loss is updated through all of them."""
        stretch = self._stretch
        assert stretch is not None
        before = [p.detach() for p in stretch.live]
        stretch.advance(optimisers.clipped(gradients, self.clip), self._parameters)
        if stretch.length < self.inner_steps:
            return found
        with _undisturbed(self.model, x), torch.enable_grad():
            value = self.task_loss(self._outputs(stretch.live, x, keep=False), y)
        parts = torch.autograd.grad(value, [*self.phi, *stretch.live], allow_unused=True)
        self._stretch = None
        self._update(parts[: len(self.phi)])
        return self._seen(found, before, float(value.detach()), parts[len(self.phi) :])


class _Stretch:
    """Parameters with the graph of the last steps behind them."""

    def __init__(self, optimiser: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> None:
        self.live: list[Tensor] = _leaves(parameters)
        self.twin = optimisers.Twin(optimiser, parameters)
        self.length = 0

    def advance(self, gradients: Sequence[Tensor | None], now: Sequence[Tensor]) -> None:
        """The same step as the optimiser's own, whose values are taken exactly."""
        self.live = [
            twin if twin.is_leaf else twin + (p.detach() - twin.detach())
            for twin, p in zip(self.twin.step(self.live, gradients), now, strict=True)
        ]
        self.length += 1


def positive(name: str, value: object) -> None:
    """Raise LossError unless this is a positive, finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise LossError(f"{name} is a positive number; received {value!r:.40}")


def _named(model: nn.Module, optimiser: torch.optim.Optimizer) -> tuple[list[str], list[Tensor]]:
    """Names and parameters that are trained, in the optimiser's order."""
    names = {id(p): name for name, p in model.named_parameters()}
    held = [p for group in optimiser.param_groups for p in group["params"] if p.requires_grad]
    if not held or any(id(p) not in names for p in held):
        raise LossError(
            "the base optimiser must hold parameters of the model, such as SGD(model.parameters(), lr=0.01)"
        )
    return [names[id(p)] for p in held], held


def _leaves(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [p.detach().clone().requires_grad_() for p in parameters]


def _detached(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.detach()


def _norm(tensors: Sequence[Tensor | None]) -> float:
    return math.sqrt(sum(float(t.detach().square().sum()) for t in tensors if t is not None))


def _ratio(slope: Tensor, reference: Tensor) -> float:
    return _over(float(slope.detach().norm()), [reference])


def _over(above: float, tensors: Sequence[Tensor | None]) -> float:
    below = _norm(tensors)
    return above / below if below else math.inf


@contextmanager
def _drawing_as(random: RandomState, x: Tensor) -> Iterator[None]:
    """Random draws inside are those made since `random` was noted; afterwards the generators are as they are now."""
    now = RandomState(x)
    random.restore()
    try:
        yield
    finally:
        now.restore()


@contextmanager
def _undisturbed(model: nn.Module, x: Tensor) -> Iterator[None]:
    """Evaluation mode, but batch norm on batch statistics; modes and generators are put back."""
    modes = [(part, part.training) for part in model.modules()]
    random = RandomState(x)
    for part, mode in modes:
        part.training = mode and isinstance(part, _BatchNorm)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
        random.restore()
