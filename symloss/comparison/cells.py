"""The cells of a comparison on disk: one small JSON file each, written whole, named by what defines it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from symloss.comparison.plan import Cell
from symloss.discovery.values import number, text, whole
from symloss.errors import RunError
from symloss.expression.showing import plain
from symloss.files import replacing

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing is locked
    fcntl = None  # type: ignore[assignment]

FORMAT = 1


@dataclass(frozen=True)
class TaskFacts:
    """What tables say of a task, known once a cell of it is finished.

    Args:
        kind: `"multiclass"`, `"binary"` or `"regression"`.
        metric: What is measured on its test data.
        test_samples: How many of those there are.
        identity: `Task.identity()`, by which other data are noticed.
        constant: Test metric that a diverged training counts at least: 1, or that of predicting the training mean.
    """

    kind: str
    metric: str
    test_samples: int
    identity: str
    constant: float


@dataclass(frozen=True)
class Outcome:
    """What a finished cell found.

    Args:
        task: The task.
        failed: One line of why there is no loss; empty if there is one.
        formula: Text of the loss, of a module without a formula its own text.
        complexity: Its number of nodes; None if it has no formula.
        validation: Validation metric by which it was picked; None if nothing was picked.
        rate: Its tuned learning rate.
        tuning: Validation metric **[tuning seeds][rates]**; inf where training diverged.
        values: Test metric of each training seed **[R]**; inf where training diverged.
        candidates: How many candidates the search proposed, or how many losses of the catalogue were tried.
        search_seconds: Processor time of the search.
        evaluation_seconds: Processor time of tuning and measuring.
        versions: What computed it.
    """

    task: TaskFacts
    failed: str = ""
    formula: str = ""
    complexity: int | None = None
    validation: float | None = None
    rate: float = math.nan
    tuning: tuple[tuple[float, ...], ...] = ()
    values: tuple[float, ...] = ()
    candidates: int = 0
    search_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not finite is null."""
        values: dict[str, Any] = plain(asdict(self))
        return values

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Outcome:
        """The outcome of `to_json`'s form.

        Raises:
            KeyError, TypeError, ValueError: If the record is not of that form.
        """
        facts = record["task"]
        task = TaskFacts(
            text(facts["kind"]), text(facts["metric"]), whole(facts["test_samples"]), text(facts["identity"]),
            number(facts["constant"], 0),
        )  # fmt: skip
        return cls(
            task=task,
            failed=text(record["failed"]),
            formula=text(record["formula"]),
            complexity=None if record["complexity"] is None else whole(record["complexity"]),
            validation=None if record["validation"] is None else number(record["validation"], 0),
            rate=math.nan if record["rate"] is None else number(record["rate"], 0),
            tuning=tuple(tuple(map(_metric, row)) for row in record["tuning"]),
            values=tuple(map(_metric, record["values"])),
            candidates=whole(record["candidates"]),
            search_seconds=number(record["search_seconds"], 0),
            evaluation_seconds=number(record["evaluation_seconds"], 0),
            versions={text(name): text(version) for name, version in record["versions"].items()},
        )


class Store:
    """The directory of a comparison: `cells/` holds finished cells, `searches/` the runs of its searches.

    Args:
        path: The directory; it is made when the first cell is written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def file(self, cell: Cell) -> Path:
        """Where a finished cell is."""
        return self.path / "cells" / f"{cell.name}.json"

    def search(self, cell: Cell) -> Path:
        """The run directory of a cell's search."""
        return self.path / "searches" / cell.search_name

    def read(self, cell: Cell) -> Outcome | None:
        """A finished cell, or None.

        Raises:
            RunError: If its file is damaged or of another version.
        """
        path = self.file(cell)
        try:
            record = json.loads(path.read_bytes().decode("utf-8"))
            if record["format"] != FORMAT or record["definition"] != cell.definition:
                raise ValueError("it is of another format or another cell")
            outcome = Outcome.from_json(record)
            if not outcome.failed and len(outcome.values) != cell.definition["protocol"]["training_seeds"]:
                raise ValueError("training seeds are missing")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RunError(f"cannot read {path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
            raise RunError(f"{path} is damaged ({said:.200}); remove it, and it is computed anew") from None
        return outcome

    def write(self, cell: Cell, outcome: Outcome) -> None:
        """Keep a finished cell.

        Raises:
            RunError: If it cannot be written.
        """
        record = {"format": FORMAT, "definition": cell.definition, **outcome.to_json()}
        lines = (f"{json.dumps(key)}: {json.dumps(value, allow_nan=False)}" for key, value in record.items())
        replace(self.file(cell), "{\n" + ",\n".join(lines) + "\n}\n")

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Compute cells as the only process that does: a second one would search in the same directories.

        Raises:
            RunError: If another process does, or the directory cannot be written.
        """
        path = self.path / ".lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror}") from error
        with file:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"another process is computing the comparison in {self.path}; wait for it or stop it first"
                ) from None
            except OSError:  # a file system without locks
                pass
            yield


def replace(path: Path, content: str) -> None:
    """Write a text file so that either the old or the new content is there at any instant.

    Raises:
        RunError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(content.encode())
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; what was written before is kept") from error


def _metric(value: Any) -> float:
    return math.inf if value is None else number(value, 0)
