"""Losses as JSON text: written atomically, read with every value checked; reading executes nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from symloss.errors import LossError, SymlossError
from symloss.files import replacing
from symloss.losses.base import Loss
from symloss.losses.network import Architecture, EntryNetwork, LossNetwork
from symloss.losses.symbolic import SymbolicLoss

FORMAT = "symloss-loss"
"""What a file says that holds a formula."""
NETWORK_FORMAT = "symloss-network"
"""What a file says that holds a network."""
VERSION = 1
MAX_BYTES = 1 << 20
"""Largest file that `load` reads and `save` writes; the longest text of an expression fits."""

_OPTIONS: dict[str, type] = {"kind": str, "reduction": str, "ignore_index": int, "trainable": bool}
_LAYERS: dict[str, type] = {"hidden": list, "activation": str, "output": str, "bias": bool}
_FIELDS: dict[str, dict[str, type]] = {
    FORMAT: {"expression": str, **_OPTIONS},
    NETWORK_FORMAT: {**_LAYERS, "scale": float, "layers": list, **_OPTIONS},
}


def save(loss: Loss, path: str | os.PathLike[str], notes: Mapping[str, Any] | None = None) -> None:
    """Write a loss to a JSON file, whole or not at all.

    Args:
        loss: A SymbolicLoss, whose formula is written as text with exact weights; or a LossNetwork, whose layers are
            written as matrices of exact numbers.
        path: File to write or to replace.
        notes: Plain values to keep beside the loss (where it was found, its fitness); `load` passes them over.

    Raises:
        LossError: If the loss is neither, or the file cannot be written.
    """
    place = _path(path)
    own: dict[str, Any]
    if isinstance(loss, SymbolicLoss):
        name, own = FORMAT, {"expression": str(loss.expression)}
    elif isinstance(loss, LossNetwork):
        name, own = NETWORK_FORMAT, _network_record(loss.network)
    else:
        known = getattr(loss, "name", None)
        remedy = f"get({known!r}) makes it anew" if known else "torch.save keeps its state_dict"
        raise LossError(
            f"only a SymbolicLoss or a LossNetwork can be saved as text; received {type(loss).__name__}; {remedy}"
        )
    record = {"format": name, "version": VERSION, "symloss": _symloss_version(), **own}
    record |= {key: getattr(loss, key) for key in _OPTIONS}
    if loss.weight is not None:
        record["weight"] = loss.weight.tolist()
    if notes:
        record["notes"] = dict(notes)
    try:
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise LossError(f"notes must be plain values that JSON can hold; {error}") from None
    if len(text) > MAX_BYTES:
        raise LossError(f"the text of the loss and its notes is at most {MAX_BYTES} bytes; received {len(text)}")
    try:
        with replacing(place) as file:
            file.write(text.encode())
    except (OSError, ValueError) as error:
        raise LossError(f"cannot write {str(path)!r}: {_reason(error)}") from None


def load(path: str | os.PathLike[str]) -> SymbolicLoss | LossNetwork:
    """Read a loss that `save` wrote.

    Args:
        path: The JSON file, of at most 1 MB.

    Returns:
        The loss, with the kind, reduction and options it was saved with, and the same weights bit for bit.

    Raises:
        LossError: If the file is missing, empty, damaged, too large, from a newer version, or not a loss.
    """
    record = _read(path)
    name = record.get("format") if isinstance(record, dict) else None
    if not isinstance(name, str) or name not in _FIELDS:
        raise LossError(f"{str(path)!r} is not a loss: it lacks 'format': {FORMAT!r}")
    version = record.get("version")
    if type(version) is not int or version < 1:
        raise LossError(f"{str(path)!r} is not a loss: 'version' must be a whole number; received {version!r:.80}")
    if version > VERSION:
        raise LossError(
            f"{str(path)!r} is of format version {version}, this symloss reads up to {VERSION}; upgrade symloss"
        )
    for key, expected in _FIELDS[name].items():
        if key not in record:
            raise LossError(f"{str(path)!r} is damaged: {key!r} is missing")
        if type(record[key]) is not expected:
            raise LossError(
                f"{str(path)!r} is damaged: {key!r} must be {expected.__name__}; received {record[key]!r:.80}"
            )
    options = {key: record[key] for key in _OPTIONS} | {"weight": _weight(path, record.get("weight"))}
    try:
        if name == FORMAT:
            return SymbolicLoss(record["expression"], **options)
        return LossNetwork(_network(record), **options)
    except SymlossError as error:
        raise LossError(f"{str(path)!r} does not hold a usable loss: {error}") from error


def _network_record(network: EntryNetwork) -> dict[str, Any]:
    own = network.architecture
    layers = [layer.tolist() for layer in own.layers(network.weights)]
    values = {"hidden": list(own.hidden), "activation": own.activation, "output": own.output, "bias": own.bias}
    return {**values, "scale": float(network.scale), "layers": layers}


def _network(record: dict[str, Any]) -> EntryNetwork:
    """The network of `_network_record`'s form, its layers of the shapes that its widths ask for."""
    architecture = Architecture(**{key: record[key] for key in _LAYERS})
    layers, numbers = record["layers"], list[float]()
    for number, shape in enumerate(architecture.shapes):
        rows = layers[number] if number < len(layers) and type(layers[number]) is list else []
        found = {(len(rows), len(row) if type(row) is list else -1) for row in rows}
        if found != {shape} or len(layers) != len(architecture.shapes):
            raise LossError(f"layers are {len(architecture.shapes)} matrices, number {number + 1} of shape {shape}")
        numbers += [value for row in rows for value in row]
    if not all(_is_number(value) for value in numbers):
        raise LossError("layers are matrices of finite numbers")
    return EntryNetwork.of(architecture, torch.tensor(numbers, dtype=torch.float64), record["scale"])


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def _weight(path: str | os.PathLike[str], numbers: Any) -> Tensor | None:
    """The weights of the classes."""
    if numbers is None:
        return None
    if not isinstance(numbers, list) or not all(map(_is_number, numbers)):
        raise LossError(f"{str(path)!r} is damaged: 'weight' must be a list of numbers; received {numbers!r:.80}")
    return torch.tensor(numbers, dtype=torch.float64)


def _path(path: str | os.PathLike[str]) -> Path:
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str):
        raise LossError(f"the file of a loss is given by its path; received {path!r:.80}")
    return Path(path)


def _read(path: str | os.PathLike[str]) -> Any:
    file = _path(path)
    try:
        if not file.is_file():
            raise LossError(f"{str(path)!r} is not a file" if file.exists() else f"there is no file {str(path)!r}")
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except LossError:
        raise
    except (OSError, ValueError) as error:
        raise LossError(f"cannot read {str(path)!r}: {_reason(error)}") from None
    if not content.strip():
        raise LossError(f"{str(path)!r} is empty")
    if len(content) > MAX_BYTES:
        raise LossError(f"{str(path)!r} is not a loss: it is larger than 1 MB ({MAX_BYTES} bytes)")
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else _reason(error)
        raise LossError(f"{str(path)!r} is not JSON text, or was cut off: {reason}") from None


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200]


def _symloss_version() -> str:
    try:
        return metadata.version("symloss")
    except metadata.PackageNotFoundError:
        return "unknown"
