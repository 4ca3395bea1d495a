"""Comma-, semicolon- or tab-separated text, with a heading or without."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from symloss.errors import TaskError
from symloss.tasks.architectures.sizes import unknown
from symloss.tasks.splits import Array, Samples

_DELIMITERS = (",", ";", "\t")


def read_csv(path: Path, target: str | None = None) -> Samples:
    """Inputs **[N, D]**, which are numbers, and targets **[N]**, numbers or words.

    The first row is a heading if none of its cells is a number (columns without a name may have their place, 0, 1, 2,
    ..., for one). Without a heading, columns are called 1, 2, 3, ...

    Args:
        path: The file, in UTF-8.
        target: Name or number of the target's column; None is the last one.

    Raises:
        TaskError: If a cell is empty, no number or not finite, or a row has another number of cells.
    """
    names, rows = _cells(path)
    if names[0] == "" and [row[0] for _, row in rows] == [str(i) for i in range(len(rows))]:
        raise TaskError(f"{path} numbers its rows in a first column without a name; write it without (index=False)")
    if target is not None and target not in names:
        raise unknown(f"column of {path.name!r}:", target, names)
    place = len(names) - 1 if target is None else names.index(target)
    if len(names) < 2:
        raise TaskError(f"{path} has one column; give a column of targets beside columns of inputs")
    columns = [np.array([row[i] for _, row in rows]) for i in range(len(names))]
    lines = [line for line, _ in rows]
    inputs = [_numbers(path, names[i], columns[i], lines) for i in range(len(names)) if i != place]
    words = columns[place]
    if all(_number(word) is None for word in words if word):
        _require_filled(path, names[place], words, lines)
        if lines[0] == 1 and len(words) > 2 and words[0] not in words[1:]:
            raise TaskError(
                f"{path}, line 1: is it a heading or a sample? {str(words[0])!r:.60} is no other row's target; "
                "give every column a name that is no number, or remove the row"
            )
        return Samples(np.stack(inputs, axis=1), words)
    return Samples(np.stack(inputs, axis=1), _numbers(path, names[place], words, lines))


def _cells(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names of the columns, and the rows with the lines that they end on; cells without blanks around them."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(_DELIMITERS, key=first.count), strict=True)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if row]
    except (csv.Error, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read as comma-separated text in UTF-8 ({error})") from None
    except OSError as error:
        raise TaskError(f"{path} cannot be read ({error.strerror})") from None
    if not rows:
        raise TaskError(f"{path} is empty; give a row for each sample")
    width = len(rows[0][1])
    for line, row in rows:
        if len(row) != width:
            raise TaskError(f"{path}, line {line}: {len(row)} cells, where the first row has {width}; make them equal")
    heading = _is_heading(rows[0][1])
    names = rows[0][1] if heading else [str(i + 1) for i in range(width)]
    if not rows[heading:]:
        raise TaskError(f"{path} has a heading and no rows; give a row for each sample")
    if len(set(names)) < width:
        twice = next(name for name in names if names.count(name) > 1)
        raise TaskError(f"{path} has two columns {twice!r:.60}; give each a name of its own")
    return names, rows[heading:]


def _is_heading(cells: Sequence[str]) -> bool:
    """Whether no cell is a number, but for columns that are called by their place, 0, 1, 2, ..."""
    numbers = [_number(cell) is not None for cell in cells]
    return not all(numbers) and all(cell == str(i) for i, cell in enumerate(cells) if numbers[i])


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _require_filled(path: Path, name: str, words: Array, lines: Sequence[int]) -> None:
    if not words.all():
        line = lines[int(np.flatnonzero(words == "")[0])]
        raise TaskError(f"{path}, line {line}: column {name!r:.60} is empty; fill or remove the row")


def _numbers(path: Path, name: str, words: Array, lines: Sequence[int]) -> Array:
    """A column of finite numbers [N]."""
    _require_filled(path, name, words, lines)
    values = [_number(word) for word in words]
    for line, word, value in zip(lines, words, values, strict=True):
        if value is None or not math.isfinite(value):
            what = "is no number; encode words as numbers" if value is None else "is not finite; replace it"
            raise TaskError(f"{path}, line {line}: {str(word)!r:.60} in column {name!r:.60} {what}")
    return np.array(values, dtype=np.float64)
