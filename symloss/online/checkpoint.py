"""Files of a run of `adapt`: plain text and plain arrays, so that reading them executes nothing.

config.json      settings, task and loss that the run was started with; written once
checkpoint.npz   numbers of the model, the loss and both optimisers after a whole step; rewritten atomically
history.csv      what was measured over the online phase
best.json        the loss as it is now, where it is a formula or a network
result.json      everything that `Adaptation.to_json` tells, once a call has ended; what a report is made of
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from symloss.errors import RunError
from symloss.files import replacing

CONFIG, CHECKPOINT, HISTORY, BEST = "config.json", "checkpoint.npz", "history.csv", "best.json"
RESULT = "result.json"
Arrays = dict[str, NDArray[Any]]
_FACTS = "facts"


class AdaptDirectory:
    """The directory of one run.

    Args:
        path: Where; it is made if it is not there.
        config: What defines the run, as plain values.

    Raises:
        RunError: If it cannot be used, holds something else, or a run of another configuration.
    """

    def __init__(self, path: str | os.PathLike[str], config: Mapping[str, Any]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise RunError(f"the directory of a run is given by its path; received {path!r:.80}")
        self.path = Path(path)
        own = json.loads(json.dumps(config))
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            present = sorted(entry.name for entry in self.path.iterdir() if not entry.name.endswith(".tmp"))
            if CONFIG in present:
                self._check(own, (self.path / CONFIG).read_bytes())
            elif present:
                raise RunError(f"{self.path} holds files that are not this run's ({present[0]}); give a new directory")
        except OSError as error:
            raise RunError(f"cannot use the directory {str(self.path)!r}: {error.strerror}") from None
        if CONFIG not in present:
            self.write(CONFIG, (json.dumps(own, indent=2) + "\n").encode())

    def _check(self, own: dict[str, Any], content: bytes) -> None:
        try:
            known = json.loads(content)
            if not isinstance(known, dict):
                raise ValueError
        except ValueError:
            raise RunError(f"{self.path / CONFIG} is damaged; restore it or give a new directory") from None
        for name in [*own, *known]:
            if own.get(name) != known.get(name):
                raise RunError(
                    f"{self.path} holds a run with other settings ({name} was {known.get(name)!r:.60}, "
                    f"is {own.get(name)!r:.60}); give the same, or a new directory"
                )

    def write(self, name: str, content: bytes) -> None:
        """Write a file, whole or not at all."""
        place = self.path / name
        try:
            with replacing(place) as file:
                file.write(content)
        except OSError as error:
            raise RunError(f"cannot write {str(place)!r}: {error.strerror}") from None

    def save(self, arrays: Arrays, facts: Mapping[str, Any]) -> None:
        """Write the checkpoint: arrays by name, and plain values."""
        text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **{**arrays, _FACTS: text})
        self.write(CHECKPOINT, content.getvalue())

    def load(self) -> tuple[Arrays, dict[str, Any]] | None:
        """What `save` wrote; None if there is nothing yet.

        Raises:
            RunError: If it is damaged.
        """
        place = self.path / CHECKPOINT
        if not place.exists():
            return None
        try:
            with np.load(io.BytesIO(place.read_bytes()), allow_pickle=False) as held:
                arrays = {name: held[name] for name in held.files}
            facts = json.loads(arrays.pop(_FACTS).tobytes())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            reason = " ".join(str(error).split())[:120]
            raise RunError(f"{place} is damaged ({reason}); remove it to start over, or restore it") from None
        return arrays, facts


def pack_module(prefix: str, module: nn.Module) -> Arrays:
    """Parameters and buffers of a module as arrays."""
    return {f"{prefix}/{name}": _array(value) for name, value in module.state_dict().items()}


def unpack_module(prefix: str, module: nn.Module, arrays: Arrays) -> None:
    """Give a module the values that `pack_module` took from one like it."""
    module.load_state_dict({name: torch.from_numpy(arrays[f"{prefix}/{name}"]) for name in module.state_dict()})


def pack_optimiser(prefix: str, optimiser: torch.optim.Optimizer) -> Arrays:
    """Moments and counters of an optimiser as arrays."""
    return {
        f"{prefix}/{index}/{name}": _array(value)
        for index, state in optimiser.state_dict()["state"].items()
        for name, value in state.items()
        if value is not None
    }


def unpack_optimiser(prefix: str, optimiser: torch.optim.Optimizer, arrays: Arrays) -> None:
    """Give an optimiser the values that `pack_optimiser` took from one like it."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in arrays.items():
        if key.startswith(f"{prefix}/"):
            index, name = key[len(prefix) + 1 :].split("/")
            state.setdefault(int(index), {})[name] = torch.from_numpy(value)
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def fingerprint(module: nn.Module) -> str:
    """Sixteen hexadecimal digits that change with a module's structure or weights."""
    digest = hashlib.sha256(" ".join(type(part).__qualname__ for part in module.modules()).encode())
    for name, value in module.state_dict().items():
        digest.update(name.encode() + _array(value).tobytes())
    return digest.hexdigest()[:16]


def _array(value: Any) -> NDArray[Any]:
    array: NDArray[Any] = torch.as_tensor(value).detach().cpu().numpy().copy()
    return array
