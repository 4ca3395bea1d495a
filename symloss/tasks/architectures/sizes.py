"""What the sizes and activations of models may be."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from torch import nn

from symloss.errors import TaskError

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}


def unknown(what: str, name: object, known: Iterable[str]) -> TaskError:
    """The error for a name that does not exist, with close matches first."""
    known = list(known)
    close = difflib.get_close_matches(str(name), known, n=2)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    return TaskError(f"unknown {what} {name!r}; {hint}known: {', '.join(known) or 'none'}")


def whole(name: str, sizes: int | Sequence[int], count: int | None = None) -> tuple[int, ...]:
    """Sizes as a tuple of positive whole numbers.

    Raises:
        TaskError: If one is not, or there are not `count` of them.
    """
    found = tuple(sizes) if isinstance(sizes, Sequence) else (sizes,)
    if not all(type(size) is int and size > 0 for size in found) or (count is not None and len(found) != count):
        wanted = "positive whole numbers" if count is None else f"{count} positive whole numbers"
        wanted = "a positive whole number" if count == 1 else wanted
        raise TaskError(f"{name} holds {wanted}; received {sizes!r:.80}")
    return found


def rate(name: str, value: float) -> float:
    """A rate of dropout, from 0 to less than 1.

    Raises:
        TaskError: If it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise TaskError(f"{name} is a rate from 0 up to, but not, 1; received {value!r:.80}")
    return float(value)


def activation_named(name: str) -> nn.Module:
    """A module of `ACTIVATIONS`.

    Raises:
        TaskError: If there is none of that name.
    """
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise unknown("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]()


def image(model: str, shape: Sequence[int], least: int) -> tuple[int, int, int]:
    """The shape of images [channels, height, width] of at least so many pixels.

    Raises:
        TaskError: If inputs are not such images.
    """
    if len(shape) != 3 or min(shape[1:]) < least:
        raise TaskError(
            f"{model} takes images [channels, height, width] of at least {least} × {least} pixels; "
            f"received inputs of shape {list(shape)}; use model='mlp' or 'linear'"
        )
    return shape[0], shape[1], shape[2]
