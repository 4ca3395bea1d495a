"""What a module holds besides its trained parameters, and what it draws from: seen, compared, put back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from symloss.errors import TaskError
from symloss.tasks.reading import carried

BUFFERS = "buffers"
_OWN = ("_parameters", "_buffers", "_modules")


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that are trained, each once."""
    return [p for p in model.parameters() if p.requires_grad]


def dense_gradients(model: nn.Module) -> nn.Module:
    """The model, its embeddings told to give dense gradients: sparse ones have no derivatives of their own."""
    for part in model.modules():
        if isinstance(part, (nn.Embedding, nn.EmbeddingBag)):
            part.sparse = False
    return model


def logits(model: nn.Module, run: Callable[[Tensor], Any], x: Tensor, twice: bool = True) -> Tensor:
    """Outputs [C, B] of `run(x)` for inputs [B, ...]; `twice` if their gradients are to have derivatives too.

    Raises:
        TaskError: If the model fails, or returns something else.
    """
    try:
        with sdpa_kernel(SDPBackend.MATH) if twice else nullcontext():  # fused attention can be differentiated once
            output = run(x)
    except Exception as error:
        raise TaskError(f"the model failed on inputs of shape {list(x.shape)}: {carried(error)}") from error
    if not isinstance(output, Tensor) or output.dim() != 2:
        received = f"shape {list(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        mode = "training" if model.training else "evaluation"
        raise TaskError(f"the model must return a tensor of shape [B, C] in {mode} mode too; received {received}")
    return output.t()


def pull(
    outputs: Iterable[Tensor], leaves: Iterable[Tensor], cotangents: Iterable[Tensor], **options: Any
) -> list[Tensor | None]:
    """Gradients of outputs at leaves, dense; None where an output does not depend on a leaf."""
    leaves = list(leaves)
    pairs = [(o, c) for o, c in zip(outputs, cotangents, strict=True) if o.requires_grad]
    if not pairs:
        return [None] * len(leaves)
    outputs, cotangents = zip(*pairs, strict=True)
    found = torch.autograd.grad(outputs, leaves, cotangents, allow_unused=True, **options)
    return [g if g is None or g.layout == torch.strided else g.to_dense() for g in found]


@contextmanager
def evaluating(models: Iterable[nn.Module]) -> Iterator[None]:
    """Evaluation mode inside, and the mode that each part had before it afterwards."""
    models = list(models)
    modes = [(part, part.training) for model in models for part in model.modules()]
    for model in models:
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


class State:
    """Everything that a module holds, at one moment."""

    def __init__(self, model: nn.Module) -> None:
        self._buffers = [(b, b.detach().clone()) for b in model.buffers()]
        self._attributes = [
            (key, held)
            for part in model.modules()
            for key, value in vars(part).items()
            if key not in _OWN
            for held in _held(value)
        ]

    def changed(self, later: State) -> str:
        """What differs in a later state of the same module: an attribute, else its buffers, else nothing ("")."""
        mine, theirs = self._attributes, later._attributes
        for (key, a), (other, b) in zip(mine, theirs, strict=False):
            plain = type(a) is type(b) and isinstance(a, (bool, int, float, str))
            if key != other or not (a is b or (plain and a == b)):
                return f"attribute {other!r}"
        if len(mine) != len(theirs):
            return "attributes"
        pairs = zip(self._buffers, later._buffers, strict=False)
        same = len(self._buffers) == len(later._buffers) and all(a is b and _equal(x, y) for (a, x), (b, y) in pairs)
        return "" if same else BUFFERS


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a.nan_to_num(), b.nan_to_num())


def _held(value: Any) -> Iterator[Any]:
    """A value and, where it can change inside, what it holds."""
    yield value
    if isinstance(value, Tensor):
        yield value._version
    elif isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, (list, set)):
        yield from value


class RandomState:
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
