"""What a user hands over as data, read once into checked tensors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from symloss.errors import TaskError
from symloss.tasks.splits import Samples, Split

Data = Split | Dataset[Any] | tuple[Any, Any]
"""Data of one part: a pair (X, y), a torch `Dataset` of such pairs, or a `Split`."""


def read_split(
    data: Data,
    part: str,
    kind: str,
    tokens: bool = False,
    dtype: torch.dtype = torch.float32,
    bytes_stay: bool = False,
) -> Split:
    """Copy one part of a task's data into memory and check it.

    Args:
        data: Pair (X, y) of tensors, arrays or lists, with X **[N, ...]**; a torch `Dataset`; or a `Split`.
        part: "training", "validation" or "test": how messages name it.
        kind: "multiclass", "binary" or "regression".
        tokens: Whether X holds integer tokens, which stay int64.
        dtype: Precision of everything that is not an index.
        bytes_stay: Whether inputs of uint8 stay so.

    Returns:
        The split; its targets are int64 **[N]** or soft **[N, C]** for multiclass, **[N, 1]** otherwise.

    Raises:
        TaskError: If something about the data is wrong: one line says what.
    """
    inputs, targets = _pair(data, part)
    x, y = _tensor(inputs, f"{part} inputs"), _tensor(targets, f"{part} labels")
    if x.ndim == 0 or y.ndim == 0:
        raise TaskError(f"{part} data must hold a sample per row; received a single number")
    if len(x) != len(y):
        raise TaskError(f"{part} data hold {len(x)} inputs but {len(y)} labels; give one label for each input")
    if len(x) == 0:
        raise TaskError(f"{part} data hold no samples; give at least one")
    if x.ndim == 1 or x.numel() == 0:
        raise TaskError(f"{part} inputs must have shape [N, features, ...]; received {list(x.shape)}")
    _require_finite(y, f"{part} labels")
    y = y if y.is_floating_point() else y.to(torch.int64)
    if tokens:
        x = _tokens(x, part)
    elif not (bytes_stay and x.dtype == torch.uint8):
        x = x.to(dtype)
    _require_finite(x, f"{part} inputs")
    y = _targets(y, part, kind, dtype)
    _require_finite(y, f"{part} labels")
    return Split(x, y.to(x.device))


def _pair(data: Any, part: str) -> tuple[Any, Any]:
    """Inputs and targets of anything that holds both."""
    if isinstance(data, Split):
        return data.x, data.y
    if isinstance(data, DataLoader):
        raise TaskError(
            f"{part} data are a DataLoader; pass its Dataset (loader.dataset): batches are drawn by symloss"
        )
    if isinstance(data, Dataset):
        return _materialise(data, part)
    if isinstance(data, tuple | list) and len(data) == 2:
        return data[0], data[1]
    raise TaskError(f"{part} data must be a pair (X, y) or a torch Dataset; received {type(data).__name__}")


def _materialise(dataset: Any, part: str) -> tuple[Any, Any]:
    """Every item of a torch `Dataset`, read once."""
    if type(dataset) is TensorDataset and len(dataset.tensors) == 2:
        return dataset.tensors[0], dataset.tensors[1]
    try:
        items = [dataset[i] for i in range(len(dataset))] if hasattr(dataset, "__len__") else list(dataset)
    except Exception as error:
        raise TaskError(f"the {part} Dataset cannot be read: {carried(error)}") from error
    for i, item in enumerate(items):
        if not isinstance(item, tuple | list) or len(item) != 2:
            size = f" of {len(item)}" if isinstance(item, tuple | list) else ""
            received = f"{type(item).__name__}{size}"
            raise TaskError(f"items of a Dataset must be pairs (x, y); item {i} of the {part} data is a {received}")
    return [item[0] for item in items], [item[1] for item in items]


def _tensor(values: Any, what: str) -> torch.Tensor:
    """A dense copy of any real numbers."""
    try:
        if isinstance(values, list | tuple) and any(isinstance(value, torch.Tensor) for value in values):
            values = torch.stack([torch.as_tensor(value) for value in values])
        tensor = values if isinstance(values, torch.Tensor) else _array(values, what)
    except (ValueError, TypeError, RuntimeError) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"{what} cannot be put into one array: {carried(error)}") from error
    if tensor.layout != torch.strided or tensor.is_complex():
        raise TaskError(f"{what} must be dense real numbers; received {tensor.layout}, {tensor.dtype}")
    return tensor.detach().clone()


def _array(values: Any, what: str) -> torch.Tensor:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        example = f" such as {array.flat[0]!r}" if array.size and array.dtype.kind in "OUS" else ""
        raise TaskError(f"{what} must be numbers; received {array.dtype.name}{example}; encode them first")
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def _require_finite(values: torch.Tensor, what: str) -> None:
    bad = ~torch.isfinite(values)
    if bad.any():
        sample = int(bad.reshape(len(values), -1).any(dim=1).nonzero()[0])
        raise TaskError(
            f"{what} hold {int(bad.sum())} values that are NaN, infinite or too large (the first in sample {sample}); "
            "remove or replace them"
        )


def _tokens(x: torch.Tensor, part: str) -> torch.Tensor:
    if x.is_floating_point() or x.min() < 0:
        raise TaskError(f"{part} inputs must be whole numbers of at least 0 with tokens=True; received {_range(x)}")
    return x.to(torch.int64)


def _targets(y: torch.Tensor, part: str, kind: str, dtype: torch.dtype) -> torch.Tensor:
    """Targets in the form that the kind of task has."""
    if kind == "multiclass" and y.ndim == 2 and y.shape[1] > 1:
        return _soft(y, part, dtype)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        wanted = "[N] or [N, C]" if kind == "multiclass" else "[N] or [N, 1]"
        raise TaskError(f"{part} labels of a {kind} task must have shape {wanted}; received {list(y.shape)}")
    if kind == "regression":
        return y.to(dtype)[:, None]
    if y.is_floating_point() and (y != y.round()).any():
        example = y[y != y.round()][0].item()
        raise TaskError(f"{part} labels of a {kind} task must be whole numbers; received {example:g}")
    if kind == "binary":
        if y.min() < 0 or y.max() > 1:
            raise TaskError(f"{part} labels of a binary task must be 0 or 1; received {_range(y)}")
        return y.to(dtype)[:, None]
    if y.min() < 0 or y.max() >= 2**31:
        raise TaskError(f"{part} labels must be class indices, 0, 1, 2, ...; received {_range(y)}")
    return y.to(torch.int64)


def _soft(y: torch.Tensor, part: str, dtype: torch.dtype) -> torch.Tensor:
    """Rows of class probabilities **[N, C]**; as indices **[N]** where every row is one-hot."""
    sums = y.sum(dim=1, dtype=torch.float64)
    wrong = (y < 0).any(dim=1) | ((sums - 1).abs() > 1e-3)
    if wrong.any():
        sample = int(wrong.nonzero()[0])
        raise TaskError(
            f"{part} labels of shape {list(y.shape)} must be probabilities that sum to 1 in each row; "
            f"row {sample} has {_range(y[sample])} and sums to {sums[sample].item():g}"
        )
    one_hot = ((y == 0) | (y == 1)).all()
    return y.argmax(dim=1) if one_hot else y.to(dtype)


def _range(values: torch.Tensor) -> str:
    return f"values from {values.min().item():g} to {values.max().item():g}"


def carried(error: BaseException) -> str:
    """Another error's type and message, on one line of bounded length."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text if len(text) <= 300 else text[:297] + "..."


def class_count(splits: Iterable[Split | Samples], classes: int | None) -> int:
    """Number of classes C: as declared, else the width of soft targets or one more than the largest label.

    Raises:
        TaskError: If labels do not fit the declared number, or soft targets have different widths.
    """
    labels = [split.y for split in splits]
    widths = {y.shape[1] for y in labels if y.ndim == 2}
    if len(widths) > 1 or (classes is not None and widths - {classes}):
        received = sorted(widths)
        raise TaskError(f"soft labels must have one column for each class; received {received} with classes={classes}")
    largest = max((int(y.max()) for y in labels if y.ndim == 1), default=0)
    count = classes if classes is not None else widths.pop() if widths else largest + 1
    if largest >= count:
        raise TaskError(f"labels out of range: a label is {largest}, but {count} classes are 0 to {count - 1}")
    return count
