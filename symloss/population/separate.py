"""P copies of any module, each with a state of its own, run and differentiated one at a time by autograd alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from symloss.errors import TaskError
from symloss.population.functional import Build, Parameters
from symloss.population.state import BUFFERS, RandomState, State, dense_gradients, evaluating, logits, pull, trained
from symloss.tasks.reading import carried


class SeparateNetwork:
    """Any `nn.Module`: each copy is a module of its own, with its own buffers, attributes and hooks.

    Copies start as `build` makes them whenever `begin` announces new ones. Random draws (dropout masks) are the same
    for all copies.

    Args:
        build: Returns a new module at each call, always the same.
    """

    def __init__(self, build: Build) -> None:
        self.unused: list[Tensor] | None = None
        self.restart(build)

    def restart(self, build: Build) -> None:
        self._build = build
        self._copies: list[nn.Module] = []

    def begin(self, count: int, after: Any = None) -> None:
        self._copies = [self.new() for _ in range(count)]
        if after is not None:
            self._follow(*after[2:])

    def _follow(self, model: nn.Module, moved: bool, x: Tensor, random: RandomState) -> None:
        """Bring the copies where one of them is after a forward pass: by its buffers, or by the pass itself."""
        now, leaves = RandomState(x), trained(model)
        for copy in self._copies:
            if moved:
                random.restore()
                self.run(copy, leaves, x, 0)
            else:
                for mine, theirs in zip(copy.buffers(), model.buffers(), strict=True):
                    mine.copy_(theirs)
        now.restore()

    def new(self) -> nn.Module:
        """A new copy."""
        return dense_gradients(self._build())

    def run(self, model: nn.Module, parameters: Sequence[Tensor], x: Tensor, derivatives: int) -> Tensor:
        """Logits [C, B] of one module, to be differentiated so often; the values of the parameters become its own."""
        for mine, value in zip(trained(model), parameters, strict=True):
            mine.data = value.detach()
        with torch.set_grad_enabled(derivatives > 0):
            return logits(model, model, x, twice=derivatives > 1)

    def _run_all(self, parameters: Parameters, x: Tensor, derivatives: int) -> list[Tensor]:
        if len(self._copies) != len(parameters[0]):
            self.begin(len(parameters[0]))
        outputs, random = [], RandomState(x)
        for copy, values in zip(self._copies, zip(*parameters, strict=True), strict=True):
            random.restore()
            outputs.append(self.run(copy, values, x, derivatives))
        return outputs

    def forward(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Any]:
        outputs = self._run_all(parameters, x, 1)
        return torch.stack([o.detach() for o in outputs]), outputs

    def backward(self, parameters: Parameters, saved: Any, cotangent: Tensor) -> Parameters:
        leaves = [leaf for copy in self._copies for leaf in trained(copy)]
        return self._stacked(pull(saved, leaves, cotangent), len(cotangent), parameters)

    def _stacked(self, gradients: list[Tensor | None], count: int, like: Parameters) -> Parameters:
        """Gradients of all copies in turn -> [P, ...] each; zeros where there is none, which is noted."""
        columns = [gradients[index :: len(like)] for index in range(len(like))]
        missing = [[g is None for g in column] for column in columns]
        self.unused = [torch.tensor(m, device=p.device) for m, p in zip(missing, like, strict=True)]
        if not any(map(any, missing)):
            self.unused = None
        shapes = [p.shape[1:] for p in like]
        return [
            torch.stack([p.new_zeros(shape) if g is None else g for g in column])
            for column, p, shape in zip(columns, like, shapes, strict=True)
        ]

    def forward_shared(self, parameters: Parameters, x: Tensor) -> tuple[Tensor, Any]:
        random, model = RandomState(x), self.new()
        before = State(model)
        output = self.run(model, parameters, x, 2)
        moved = before.changed(State(model)) not in ("", BUFFERS)
        return output.detach().unsqueeze(0), (trained(model), output, model, moved, x, random)

    def backward_shared(self, parameters: Parameters, saved: Any, cotangent: Tensor) -> Parameters:
        leaves, output, *_ = saved
        rows = [g for c in cotangent for g in pull([output], leaves, [c], retain_graph=True)]
        return self._stacked(rows, len(cotangent), [p.unsqueeze(0) for p in parameters])

    def jvp_shared(self, parameters: Parameters, saved: Any, tangents: Parameters) -> Tensor:
        """By reverse mode alone: a JVP is the transpose of the VJP, which is linear in its cotangent."""
        leaves, output, *_ = saved
        try:
            with torch.enable_grad():
                dummy = torch.zeros_like(output, requires_grad=True)
                pulled = pull([output], leaves, [dummy], create_graph=True)
            kept = [(g, tangent) for g, tangent in zip(pulled, tangents, strict=True) if g is not None]
            outputs = [g for g, _ in kept]
            rows = [
                pull(outputs, [dummy], [tangent[p] for _, tangent in kept], retain_graph=True)[0]
                for p in range(len(tangents[0]))
            ]
        except Exception as error:
            raise not_twice(error) from error
        return torch.stack([torch.zeros_like(output) if row is None else row for row in rows])

    def evaluate(self, parameters: Parameters, x: Tensor) -> Tensor:
        if len(self._copies) != len(parameters[0]):
            self.begin(len(parameters[0]))
        with evaluating(self._copies):
            return torch.stack(self._run_all(parameters, x, 0))


def not_twice(error: Exception) -> TaskError:
    """The error for a model that has gradients, but no derivatives of them."""
    return TaskError(
        f"the model cannot be differentiated twice, which the refinement of weights needs: {carried(error)}; "
        "search without it (refine=False, --no-refine)"
    )
