"""Pupil: a loss network on its way through meta-training, as a search keeps it and its files hold it."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

from symloss.losses.network import Architecture, EntryNetwork


@dataclass(frozen=True)
class Pupil(EntryNetwork):
    """A loss network and how far it was taught.

    Args:
        steps: Meta-steps done.
        moments: Adam's two moments, packed like the weights; empty before the first step, and for good once a weight
            became infinite or NaN. They are no part of the loss: networks that differ in them alone are equal.

    Raises:
        LossError: If weights or moments do not fit the architecture, or are not finite.
    """

    steps: int = 0
    moments: tuple[bytes, ...] = field(default=(), compare=False, repr=False)

    def to_json(self, moments: bool = False) -> dict[str, Any]:
        """Plain values; the weights as base64 of little-endian numbers of 4 or 8 bytes, layer by layer."""
        own = self.architecture
        return {
            "hidden": list(own.hidden), "activation": own.activation, "output": own.output, "bias": own.bias,
            "steps": self.steps, "weights": _text(self.packed),
        } | ({"moments": [_text(moment) for moment in self.moments]} if moments else {})  # fmt: skip

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Pupil:
        """The network of `to_json`'s form.

        Raises:
            KeyError, TypeError, ValueError, LossError: If the record is not of that form, or a value cannot be.
        """
        hidden, steps, moments = record["hidden"], record["steps"], record.get("moments", [])
        if type(hidden) is not list or type(moments) is not list or len(moments) not in (0, 2):
            raise ValueError("hidden is a list of widths, and moments are two or none")
        if type(steps) is not int or steps < 0:
            raise ValueError(f"steps is a count; received {steps!r:.40}")
        architecture = Architecture(tuple(hidden), record["activation"], record["output"], record["bias"])
        pupil = cls(architecture, _bytes(record["weights"]), 1.0, steps, tuple(map(_bytes, moments)))
        for moment in pupil.moments:
            EntryNetwork(architecture, moment)  # so many numbers, all finite
        return pupil

    def __str__(self) -> str:
        """Layers and meta-steps."""
        return f"{super().__str__()} after {self.steps} meta-steps"


def _text(packed: bytes) -> str:
    return base64.b64encode(packed).decode("ascii")


def _bytes(text: Any) -> bytes:
    if not isinstance(text, str):
        raise ValueError(f"weights are base64 text; received {text!r:.40}")
    return base64.b64decode(text, validate=True)
