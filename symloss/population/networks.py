"""P copies of one network with different parameters, run and differentiated together.

`DenseNetwork` (stacks of linear layers and activations) has its derivatives written out and keeps the batch innermost;
`FunctionalNetwork` takes modules that keep no state through `torch.func`, all copies at once; `SeparateNetwork` takes
any module, one copy at a time. Every network offers the same methods; parameters are lists of tensors, [P, ...] or,
where shared, [...].
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from symloss.errors import TaskError
from symloss.population.functional import Build, FunctionalNetwork, Parameters
from symloss.population.separate import SeparateNetwork
from symloss.population.state import State, trained
from symloss.tasks.models import seeded
from symloss.tasks.reading import carried

logger = logging.getLogger("symloss")


class Network(Protocol):
    """What the engine needs of a network. Logits are [P, C, B]; x is [B, ...].

    Attributes:
        unused: For each parameter, which of the P networks did not use it ([P], or [1] for all of them) when the last
            gradient was taken: its gradient is zero, and SGD leaves it as it is. None if all used all.
    """

    unused: list[Tensor] | None

    def restart(self, build: Build) -> None:
        """From now on run what `build` returns: all that is not trained in it (buffers, frozen parameters) is its."""

    def begin(self, count: int, after: Any = None) -> None:
        """Start `count` new networks; if `after` is what `forward_shared` saved, they have run there already."""

    def forward(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Any]:
        """Logits of P networks [P, C, B], and what `backward` needs."""

    def backward(self, parameters: Parameters, saved: Any, cotangent: Tensor) -> Parameters:
        """Gradients [P, ...] for cotangents [P, C, B] of the logits."""

    def forward_shared(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Any]:
        """Logits [1, C, B] of one network, and what the next two need."""

    def backward_shared(self, parameters: Parameters, saved: Any, cotangent: Tensor) -> Parameters:
        """Gradients [P, ...] of one network for P cotangents [P, C, B]."""

    def jvp_shared(self, parameters: Parameters, saved: Any, tangents: Parameters) -> Tensor:
        """Directional derivatives [P, C, B] of one network's logits along P tangents [P, ...]."""

    def evaluate(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Logits [P, C, B] in evaluation mode."""


@dataclass(frozen=True)
class _Activation:
    """An activation with its derivative in terms of its output."""

    value: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor, Tensor], Tensor] | None = None  # (cotangent, output), where there is a faster way


_ACTIVATIONS: dict[type[nn.Module], _Activation | None] = {
    nn.Identity: None,
    nn.ReLU: _Activation(
        torch.relu,
        lambda out: (out > 0).to(out.dtype),
        lambda bar, out: torch.ops.aten.threshold_backward(bar, out, 0),
    ),
    nn.Tanh: _Activation(torch.tanh, lambda out: 1 - out * out),
    nn.Sigmoid: _Activation(torch.sigmoid, lambda out: out * (1 - out)),
}


class DenseNetwork:
    """A stack of `nn.Linear` with elementwise activations (or none) between, flattened input."""

    unused: list[Tensor] | None = None

    def __init__(self, layers: Sequence[tuple[nn.Linear, type[nn.Module]]]) -> None:
        self._activations = [_ACTIVATIONS[kind] for _, kind in layers]
        self.codes = [list(_ACTIVATIONS).index(kind) for _, kind in layers]
        self.biased = [linear.bias is not None for linear, _ in layers]

    @classmethod
    def recognise(cls, model: nn.Module) -> DenseNetwork | None:
        """The network of `model` if it is an `nn.Sequential` of known layers, else None."""
        modules = flat(model)
        if modules is None:
            return None
        layers: list[tuple[nn.Linear, type[nn.Module]]] = []
        for position, module in enumerate(modules):
            if type(module) is nn.Flatten and position == 0 and (module.start_dim, module.end_dim) == (1, -1):
                continue
            if type(module) is nn.Linear:
                layers.append((module, nn.Identity))
            elif type(module) in _ACTIVATIONS and layers and layers[-1][1] is nn.Identity:
                layers[-1] = (layers[-1][0], type(module))
            else:
                return None
        own = [p for linear, _ in layers for p in linear.parameters()]
        theirs = list(model.parameters())
        same = len(own) == len(theirs) and all(p is q for p, q in zip(own, theirs, strict=True))
        plain = all(p.requires_grad and not p._backward_hooks for p in theirs)
        return cls(layers) if layers and same and plain else None

    def restart(self, build: Build) -> None:
        """Nothing: all of it is trained."""

    def begin(self, count: int, after: Any = None) -> None:
        """Nothing: it has no state."""

    def _layers(self, parameters: Parameters) -> list[tuple[Tensor, Tensor | None]]:
        queue = iter(parameters)
        return [(next(queue), next(queue) if biased else None) for biased in self.biased]

    def forward(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Any]:
        hidden = x.flatten(1).t()  # [D, B], shared by all copies
        trail = [hidden]
        for (weight, bias), activation in zip(self._layers(parameters), self._activations, strict=True):
            z = _product(weight, hidden) if hidden.dim() == 2 else torch.bmm(weight, hidden)
            if bias is not None:
                z = z.add_(bias.unsqueeze(2))
            hidden = activation.value(z) if activation else z
            trail.append(hidden)
        return hidden, trail

    def backward(self, parameters: Parameters, saved: Any, cotangent: Tensor) -> Parameters:
        layers = self._layers(parameters)
        gradients: Parameters = []
        for index in range(len(layers) - 1, -1, -1):
            (weight, bias), activation = layers[index], self._activations[index]
            below, output = saved[index], saved[index + 1]
            if activation and activation.backward:
                cotangent = activation.backward(cotangent, output)
            elif activation:
                cotangent = cotangent * activation.derivative(output)
            if bias is not None:
                gradients.append(cotangent.sum(2))
            if index:
                gradients.append(torch.bmm(cotangent, below.transpose(1, 2)))
                cotangent = torch.bmm(weight.transpose(1, 2), cotangent)
            else:
                gradients.append(_product(cotangent, below.t()))
        return gradients[::-1]

    def forward_shared(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Any]:
        logits, trail = self.forward([p.unsqueeze(0) for p in parameters], x)
        trail = [trail[0], *(hidden.squeeze(0) for hidden in trail[1:])]
        derivatives = [a.derivative(h) if a else None for a, h in zip(self._activations, trail[1:], strict=True)]
        return logits, (trail, derivatives)

    def backward_shared(self, parameters: Parameters, saved: Any, cotangent: Tensor) -> Parameters:
        trail, derivatives = saved
        layers = self._layers(parameters)
        gradients: Parameters = []
        for index in range(len(layers) - 1, -1, -1):
            weight, bias = layers[index]
            if derivatives[index] is not None:
                cotangent = cotangent * derivatives[index]
            if bias is not None:
                gradients.append(cotangent.sum(2))
            gradients.append(_product(cotangent, trail[index].t()))
            if index:
                cotangent = torch.bmm(weight.t().expand(len(cotangent), -1, -1), cotangent)
        return gradients[::-1]

    def jvp_shared(self, parameters: Parameters, saved: Any, tangents: Parameters) -> Tensor:
        trail, derivatives = saved
        tangent: Tensor | None = None
        pairs = zip(self._layers(parameters), self._layers(tangents), strict=True)
        for index, ((weight, _), (dot_weight, dot_bias)) in enumerate(pairs):
            z = _product(dot_weight, trail[index])
            if tangent is not None:
                z.baddbmm_(weight.expand(len(z), -1, -1), tangent)
            if dot_bias is not None:
                z.add_(dot_bias.unsqueeze(2))
            tangent = z if derivatives[index] is None else z.mul_(derivatives[index])
        assert tangent is not None
        return tangent

    def call(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Logits [P, C, B] as a pure function, differentiable any number of times."""
        return self.forward(parameters, x)[0]

    evaluate = call


def trainable(model: nn.Module) -> Parameters:
    """The parameters of `model` that are trained, in the order of every `Network`."""
    return [p.detach() for p in trained(model)]


def _product(many: Tensor, one: Tensor) -> Tensor:
    """[P, M, K] times [K, N] -> [P, M, N] as one matrix product."""
    return (many.reshape(-1, many.shape[2]) @ one).view(many.shape[0], many.shape[1], -1)


def flat(model: nn.Module) -> list[nn.Module] | None:
    """Modules of (nested) `nn.Sequential`s in order; None if one has a hook or a forward of its own."""
    if any(value for key, value in vars(model).items() if key.endswith("_hooks")) or "forward" in vars(model):
        return None
    if type(model) is nn.Sequential:
        parts = [flat(child) for child in model]
        return None if any(p is None for p in parts) else [m for p in parts if p is not None for m in p]
    return [model]


def network_for(build: Build, x: Tensor) -> DenseNetwork | FunctionalNetwork | SeparateNetwork:
    """The fastest network that runs the modules of `build` and computes what they compute.

    Args:
        build: Returns a new module at each call, always the same.
        x: Samples [B, ...] to try it on: best a whole batch.

    Raises:
        TaskError: If the module fails on its own, in training mode or in evaluation mode.
    """
    if x.is_floating_point() and (dense := DenseNetwork.recognise(build())) is not None:
        return dense
    separate, functional = SeparateNetwork(build), FunctionalNetwork(build)
    parameters = trainable(build())
    try:
        expected = _derivatives(separate, parameters, x)
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"the model cannot be trained on inputs of shape {list(x.shape)}: {carried(error)}") from error
    if reason := _obstacle(functional, parameters, x, expected):
        name = type(build()).__name__
        logger.info("%s is trained one copy at a time: vmap cannot take it (%s)", name, reason)
        return separate
    convolves = any(isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) for m in build().modules())
    functional.together = x.is_cuda or not convolves
    functional.restart(build)
    return functional


def _obstacle(network: FunctionalNetwork, parameters: Parameters, x: Tensor, expected: list[Tensor]) -> str:
    """Why a module cannot be run by `torch.func`; empty if it can and then gives what is expected."""
    before = State(network.model)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "There is a performance drop", UserWarning)
            found = _derivatives(network, parameters, x)
            with seeded(0), torch.no_grad():
                _, saved = network.forward_shared(parameters, x)
                network.jvp_shared(parameters, saved, [torch.stack([p, p]) for p in parameters])
    except Exception as error:
        return carried(error.__cause__ or error)[:120]
    if changed := before.changed(State(network.model)):
        return f"it changes its {changed} in training"
    return "" if all(map(alike, found, expected)) else "it gives something else there"


def _derivatives(network: FunctionalNetwork | SeparateNetwork, parameters: Parameters, x: Tensor) -> list[Tensor]:
    """Logits and gradients of two equal copies, of the one that is shared, and logits in evaluation mode."""
    many = [torch.stack([p, p]) for p in parameters]
    with seeded(0), torch.no_grad():
        network.begin(2)
        logits, saved = network.forward(many, x)
        cotangent = torch.arange(logits.numel()).view_as(logits).to(logits).sin()
        gradients = network.backward(many, saved, cotangent)
        shared, saved = network.forward_shared(parameters, x)
        results = [logits, *gradients, shared, *network.backward_shared(parameters, saved, cotangent)]
        return [*results, network.evaluate(many, x)]


def alike(a: Tensor, b: Tensor) -> bool:
    """Equal but for rounding."""
    tolerance = 10 * torch.finfo(b.dtype).eps ** 0.5
    largest = float(b.nan_to_num().abs().max()) if b.numel() else 0.0
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance * largest, equal_nan=True)
