"""P copies of a module that keeps no state, run and differentiated together through `torch.func`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from symloss.population.state import RandomState, dense_gradients, evaluating, logits, pull, trained

Parameters = list[Tensor]
Build = Callable[[], nn.Module]


class FunctionalNetwork:
    """Modules that `torch.func.vmap` can take and that change nothing in themselves.

    Random draws (dropout masks) are the same for all copies.

    Args:
        build: Returns a new module at each call, always the same.

    Attributes:
        together: All copies run at once. Otherwise one at a time, which is faster for convolutions on a CPU.
    """

    unused: list[Tensor] | None = None

    def __init__(self, build: Build) -> None:
        self.together = True
        self.restart(build)

    def restart(self, build: Build) -> None:
        self.model = dense_gradients(build())
        number = {id(p): index for index, p in enumerate(trained(self.model))}
        self._places = [
            (f"{path}.{name}".lstrip("."), number[id(p)])  # each place where a parameter is held: some are held twice
            for path, part in self.model.named_modules()
            for name, p in part._parameters.items()
            if id(p) in number
        ]

    def begin(self, count: int, after: Any = None) -> None:
        """Nothing: there is no state."""

    def _one(self, parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        state = {name: parameters[index] for name, index in self._places}
        return logits(self.model, lambda x: torch.func.functional_call(self.model, state, (x,), tie_weights=False), x)

    def call(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Logits [P, C, B] as a pure function, differentiable any number of times."""
        if self.together:
            run = torch.func.vmap(lambda ps: self._one(ps, x), randomness="same")
            output: Tensor = run(parameters)
            return output
        outputs: list[Tensor] = []
        random = RandomState(x)
        for copy in zip(*parameters, strict=True):
            random.restore()
            outputs.append(self._one(copy, x))
        return torch.stack(outputs)

    def forward(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Any]:
        with torch.enable_grad():
            leaves = [p.detach().requires_grad_() for p in parameters]
            output = self.call(leaves, x)
        return output.detach(), (leaves, output)

    def backward(self, parameters: Parameters, saved: Any, cotangent: Tensor) -> Parameters:
        leaves, output = saved
        return self._filled(pull([output], leaves, [cotangent]), parameters)

    def forward_shared(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Any]:
        random = RandomState(x)
        with torch.enable_grad():
            leaves = [p.detach().requires_grad_() for p in parameters]
            output = self._one(leaves, x)
        return output.detach().unsqueeze(0), (leaves, output, x, random)

    def backward_shared(self, parameters: Parameters, saved: Any, cotangent: Tensor) -> Parameters:
        leaves, output, _, _ = saved
        found = pull([output], leaves, [cotangent], retain_graph=True, is_grads_batched=True)
        return self._filled(found, [p.expand(len(cotangent), *p.shape) for p in parameters])

    def _filled(self, gradients: list[Tensor | None], like: Parameters) -> Parameters:
        """Zeros where there is no gradient, which is noted."""
        missing = [g is None for g in gradients]
        self.unused = [torch.tensor([m], device=p.device) for m, p in zip(missing, like, strict=True)]
        if not any(missing):
            self.unused = None
        return [torch.zeros_like(p) if g is None else g for g, p in zip(gradients, like, strict=True)]

    def jvp_shared(self, parameters: Parameters, saved: Any, tangents: Parameters) -> Tensor:
        leaves, _, x, random = saved
        values = tuple(p.detach() for p in leaves)

        def along(*tangent: Tensor) -> Tensor:
            product: Tensor = torch.func.jvp(lambda *ps: self._one(ps, x), values, tangent)[1]
            return product

        now = RandomState(x)
        random.restore()  # the masks of the forward pass
        products: Tensor = torch.func.vmap(along, randomness="same")(*tangents)
        now.restore()
        return products

    def evaluate(self, parameters: Parameters, x: Tensor) -> Tensor:
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # vmap cannot take the fused layers of a transformer
        try:
            with evaluating([self.model]):
                return self.call(parameters, x)
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)
