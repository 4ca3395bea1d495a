"""P copies of one network with different parameters, run and differentiated together.

`DenseNetwork` (stacks of linear layers and activations) has its derivatives written out and keeps the batch innermost;
`FunctionalNetwork` takes any module through `torch.func`, all copies at once if `vmap` can, one at a time otherwise.
Every network offers the same methods; parameters are lists of tensors, [P, ...] or, where shared, [...].
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

logger = logging.getLogger("symloss")
Parameters = list[Tensor]


class Network(Protocol):
    """What the engine needs of a network. Logits are [P, C, B]; x is [B, ...]."""

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

    def call(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Logits [P, C, B] as a pure function, differentiable any number of times."""

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

    def __init__(self, layers: Sequence[tuple[nn.Linear, type[nn.Module]]]) -> None:
        self._activations = [_ACTIVATIONS[kind] for _, kind in layers]
        self.codes = [list(_ACTIVATIONS).index(kind) for _, kind in layers]
        self.biased = [linear.bias is not None for linear, _ in layers]

    @classmethod
    def recognise(cls, model: nn.Module) -> DenseNetwork | None:
        """The network of `model` if it is an `nn.Sequential` of known layers, else None."""
        modules = _flat(model)
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
        return cls(layers) if layers else None

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
        return self.forward(parameters, x)[0]

    evaluate = call


class FunctionalNetwork:
    """Any `nn.Module` through `torch.func`.

    Copies that run one at a time have buffers of their own (batch-norm statistics), which restart from the module's
    initial ones with every new set of parameters that `begin` announces. Dropout masks are the same for all copies.

    Args:
        model: The module.
        vmap: `torch.func.vmap` can take it: derivatives at shared parameters are computed all at once.
        together: All copies run at once, too. Otherwise one at a time, which is faster for convolutions on a CPU.
    """

    def __init__(self, model: nn.Module, vmap: bool, together: bool) -> None:
        self._model = model
        self._names = [name for name, p in model.named_parameters() if p.requires_grad]
        self.vmap, self.together = vmap, together
        self._initial = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}
        self._buffers: list[dict[str, Tensor]] = []

    def begin(self, count: int) -> None:
        """Start `count` new networks: fresh buffers."""
        self._buffers = [{k: v.clone() for k, v in self._initial.items()} for _ in range(count)]

    def _one(self, parameters: Sequence[Tensor], x: Tensor, buffers: dict[str, Tensor]) -> Tensor:
        state = dict(zip(self._names, parameters, strict=True))
        output: Tensor = torch.func.functional_call(self._model, (state, buffers), (x,))
        return output.t()

    def call(self, parameters: Parameters, x: Tensor) -> Tensor:
        if self.together:
            run = torch.func.vmap(lambda ps: self._one(ps, x, self._initial), randomness="same")
            output: Tensor = run(parameters)
            return output
        if len(self._buffers) != parameters[0].shape[0]:
            self.begin(parameters[0].shape[0])
        outputs: list[Tensor] = []
        random = _RandomState(x)
        for copy, buffers in zip(zip(*parameters, strict=True), self._buffers, strict=True):
            random.restore()
            outputs.append(self._one(copy, x, buffers))
        return torch.stack(outputs)

    def forward(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Any]:
        with torch.enable_grad():
            leaves = [p.detach().requires_grad_() for p in parameters]
            output = self.call(leaves, x)
        return output.detach(), (leaves, output)

    def backward(self, parameters: Parameters, saved: Any, cotangent: Tensor) -> Parameters:
        leaves, output = saved
        return list(torch.autograd.grad(output, leaves, cotangent, materialize_grads=True))

    def forward_shared(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Any]:
        random = _RandomState(x)
        with torch.enable_grad():
            leaves = [p.detach().requires_grad_() for p in parameters]
            output = self._one(leaves, x, {k: v.clone() for k, v in self._initial.items()})
        return output.detach().unsqueeze(0), (leaves, output, x, random)

    def backward_shared(self, parameters: Parameters, saved: Any, cotangent: Tensor) -> Parameters:
        leaves, output, _, _ = saved
        options: dict[str, Any] = {"retain_graph": True, "materialize_grads": True}
        if self.vmap:
            return list(torch.autograd.grad(output, leaves, cotangent, is_grads_batched=True, **options))
        rows = [torch.autograd.grad(output, leaves, c, **options) for c in cotangent]
        return [torch.stack(column) for column in zip(*rows, strict=True)]

    def jvp_shared(self, parameters: Parameters, saved: Any, tangents: Parameters) -> Tensor:
        leaves, output, x, random = saved
        if not self.vmap:
            return self._transposed_jvp(leaves, output, tangents)
        values = tuple(p.detach() for p in leaves)

        def along(*tangent: Tensor) -> Tensor:
            product: Tensor = torch.func.jvp(lambda *ps: self._one(ps, x, self._initial), values, tangent)[1]
            return product

        now = _RandomState(x)
        random.restore()  # the masks of the forward pass
        products: Tensor = torch.func.vmap(along, randomness="same")(*tangents)
        now.restore()
        return products

    def _transposed_jvp(self, leaves: Parameters, output: Tensor, tangents: Parameters) -> Tensor:
        """By reverse mode alone: a JVP is the transpose of the VJP, which is linear in its cotangent."""
        with torch.enable_grad():
            dummy = torch.zeros_like(output, requires_grad=True)
            pulled = torch.autograd.grad(output, leaves, dummy, create_graph=True, materialize_grads=True)
        kept = [i for i, g in enumerate(pulled) if g.requires_grad]
        outputs = [pulled[i] for i in kept]
        rows = [
            torch.autograd.grad(outputs, dummy, [tangents[i][p] for i in kept], retain_graph=True)[0]
            for p in range(len(tangents[0]))
        ]
        return torch.stack(rows)

    def evaluate(self, parameters: Parameters, x: Tensor) -> Tensor:
        training = self._model.training
        self._model.eval()
        try:
            with torch.no_grad():
                return self.call(parameters, x)
        finally:
            self._model.train(training)


def trainable(model: nn.Module) -> Parameters:
    """The parameters of `model` that are trained, in the order of every `Network`."""
    return [p.detach() for p in model.parameters() if p.requires_grad]


def _product(many: Tensor, one: Tensor) -> Tensor:
    """[P, M, K] times [K, N] -> [P, M, N] as one matrix product."""
    return (many.reshape(-1, many.shape[2]) @ one).view(many.shape[0], many.shape[1], -1)


def _flat(model: nn.Module) -> list[nn.Module] | None:
    """Modules of (nested) `nn.Sequential`s in order; None if there is a hook somewhere."""
    if any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules()):
        return None
    if type(model) is nn.Sequential:
        parts = [_flat(child) for child in model]
        return None if any(p is None for p in parts) else [m for p in parts if p is not None for m in p]
    return [model]


def network_for(model: nn.Module, x: Tensor) -> DenseNetwork | FunctionalNetwork:
    """The fastest network that runs `model`.

    Args:
        model: A module; its own parameters only matter for their shapes.
        x: A few samples [B, ...] to try it on.
    """
    frozen = any(not p.requires_grad for p in model.parameters())
    shared = len(list(model.parameters())) != len(list(model.named_parameters(remove_duplicate=False)))
    if not frozen and not shared and x.is_floating_point() and (dense := DenseNetwork.recognise(model)) is not None:
        return dense
    network = FunctionalNetwork(model, vmap=True, together=True)
    try:
        before = {k: v.clone() for k, v in model.named_buffers()}
        parameters = [torch.stack([p, p]) for p in trainable(model)]
        output, saved = network.forward(parameters, x[:2])
        network.backward(parameters, saved, torch.ones_like(output))
        _, saved = network.forward_shared(trainable(model), x[:2])
        network.jvp_shared(trainable(model), saved, parameters)
        if all(torch.equal(v, before[k]) for k, v in model.named_buffers()):
            convolves = any(isinstance(m, (nn.Conv1d, nn.Conv2d, nn.Conv3d)) for m in model.modules())
            network.together = x.is_cuda or not convolves
            return network
        reason = "it changes its buffers in training"
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:120]
    logger.info("%s is trained one copy at a time: vmap cannot take it (%s)", type(model).__name__, reason)
    return FunctionalNetwork(model, vmap=False, together=False)


class _RandomState:
    """The state of the generators that a module draws from, to be put back."""

    def __init__(self, x: Tensor) -> None:
        self._device = x.device
        self._cpu = torch.random.get_rng_state()
        self._cuda = torch.cuda.get_rng_state(x.device) if x.is_cuda else None

    def restore(self) -> None:
        """Put it back."""
        torch.random.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)
