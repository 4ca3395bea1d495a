"""Learners as files of plain arrays: reading one executes nothing."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from symloss.errors import RunError, SymlossError, TaskError
from symloss.fewshot.encoders import plain
from symloss.files import replacing
from symloss.online.checkpoint import Arrays, pack_module, unpack_module

if TYPE_CHECKING:
    from symloss.fewshot.learner import NPBML

LEARNER = "learner.npz"
"""The file of a run's directory that holds its best parameters."""
FORMAT = "symloss-fewshot-1"
_FACTS, _MODEL = "facts", "model"


def packed(learner: NPBML, arrays: Arrays | None = None) -> bytes:
    """A learner as the bytes of a file, with the parameters `arrays` in the place of its own."""
    if learner.model is None:
        raise TaskError("this learner has seen no data yet: nothing is known of its encoder's inputs; call fit first")
    facts = {
        "format": FORMAT, "settings": learner.settings.to_json(), "architecture": plain(learner.architecture),
        "shape": list(learner.model.shape), "dtype": str(learner.dtype).removeprefix("torch."),
    }  # fmt: skip
    content = io.BytesIO()
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    own = pack_module(_MODEL, learner.model) if arrays is None else arrays
    np.savez(content, allow_pickle=False, **{**own, _FACTS: text})
    return content.getvalue()


def save(learner: NPBML, path: str | os.PathLike[str]) -> None:
    """See `NPBML.save`."""
    content = packed(learner)
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise RunError(f"cannot write {str(path)!r:.200}: {error.strerror}") from None


Own = TypeVar("Own", bound="NPBML")


def load(kind: type[Own], path: str | os.PathLike[str], device: torch.device | str) -> Own:
    """See `NPBML.load`."""
    place = Path(path) / LEARNER if Path(path).is_dir() else Path(path)
    if not place.is_file():
        raise RunError(f"there is no learner {str(place)!r:.200}; give a file that save() wrote, or a run's directory")
    try:
        with np.load(io.BytesIO(place.read_bytes()), allow_pickle=False) as held:
            arrays = {name: held[name] for name in held.files}
        facts = json.loads(arrays.pop(_FACTS).tobytes())
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']!r:.40}")
        learner = _made(kind, facts, device)
        unpack_module(_MODEL, learner.build(facts["shape"]), arrays)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        EOFError,
        zipfile.BadZipFile,
    ) as error:
        if isinstance(error, SymlossError) and not isinstance(error, TaskError):
            raise
        reason = " ".join(str(error).split())[:120]
        raise RunError(f"{place} is damaged or no learner ({reason}); get it again") from None
    return learner


def _made(kind: type[Own], facts: dict[str, Any], device: torch.device | str) -> Own:
    dtype = {"float32": torch.float32, "float64": torch.float64}[facts["dtype"]]
    options: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in facts["architecture"].items()}
    encoder = str(options.pop("encoder"))
    return kind(encoder, device=device, dtype=dtype, **facts["settings"], **options)
