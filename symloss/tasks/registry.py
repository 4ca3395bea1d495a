"""Data sets by name: one record for each, built-in or the user's own."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from symloss.errors import TaskError
from symloss.tasks.architectures.sizes import unknown
from symloss.tasks.reading import carried, read_split
from symloss.tasks.splits import Samples
from symloss.tasks.task import KINDS

Loader = Callable[..., tuple[Any, Any] | Samples]


@dataclass(frozen=True)
class DataSet:
    """A named data set: what it is, and how it is loaded. Nothing is read before `load`.

    Args:
        name: Name for `load_task`.
        loader: Function that returns inputs **[N, ...]** and targets **[N]**, not split, not scaled; or `Samples`,
            which can say which samples are the official test part and which belong together. It has no arguments; if
            there is a folder, that is its first.
        kind: "multiclass", "binary" or "regression".
        samples: Number of samples N, if known beforehand.
        shape: Shape of one sample's inputs, if known beforehand.
        classes: Number of classes, if known beforehand.
        source: Where the data come from, in words.
        package: Package that must be importable; empty if none.
        install: The one command that brings the data; for data of the user's own, what the folder must hold.
        tokens: Whether inputs are integer tokens: they stay as they are.
        folder: Directory that the loader reads unless the user gives another; empty if the user must give one, None if
            the loader reads none.
    """

    name: str
    loader: Loader
    kind: str
    samples: int | None = None
    shape: tuple[int, ...] | None = None
    classes: int | None = None
    source: str = ""
    package: str = ""
    install: str = ""
    tokens: bool = False
    folder: str | None = None

    @property
    def present(self) -> bool:
        """Whether the data can be loaded by name alone, found without importing anything."""
        here = not self.package or importlib.util.find_spec(self.package) is not None
        return here and (self.folder is None or (self.folder != "" and Path(self.folder).is_dir()))

    def load(self, root: str | None = None, **options: Any) -> Samples:
        """All samples, checked, before any split or scaling: in float64, bytes and tokens as they are.

        Args:
            root: Directory to read, for data sets that are read from one.
            **options: Options of the loader.

        Raises:
            TaskError: If the data are absent, the loader fails or the data cannot be used.
        """
        try:
            data = self.loader(*self._folder(root), **self._known(options))
        except TaskError:
            raise
        except Exception as error:
            raise TaskError(f"the data of task {self.name!r} cannot be loaded: {carried(error)}") from error
        samples = data if isinstance(data, Samples) else None
        pair = (data.x, data.y) if isinstance(data, Samples) else data
        read = read_split(pair, self.name, self.kind, self.tokens, torch.float64, bytes_stay=True)
        return replace(samples, x=read.x, y=read.y) if samples else Samples(read.x, read.y)

    def _folder(self, root: str | None) -> tuple[Path, ...]:
        """The directory to read, which exists; none if there is none to read."""
        if self.package and importlib.util.find_spec(self.package) is None:
            raise TaskError(
                f"task {self.name!r} needs the package {self.package}, which is absent; run: {self.install}"
            )
        if self.folder is None:
            if root is not None:
                raise TaskError(f"task {self.name!r} is not read from a directory; leave root={root!r:.200} out")
            return ()
        if root is None and self.folder == "":
            raise TaskError(
                f"task {self.name!r} is read from a directory of yours ({self.install}); "
                "give it with root=... (--data DIR)"
            )
        path = Path(self.folder if root is None else root)
        if not path.is_dir():
            if root is None:
                raise TaskError(f"task {self.name!r} needs {path}, which is absent; run: {self.install}")
            raise TaskError(f"there is no directory {str(path)!r:.200} to read task {self.name!r} from")
        return (path,)

    def _known(self, options: dict[str, Any]) -> dict[str, Any]:
        known = list(inspect.signature(self.loader).parameters) if options else []
        for option in options:
            if option not in known[self.folder is not None :]:
                raise TaskError(f"task {self.name!r} has no option {option!r}; leave it out")
        return options


_DATA_SETS: dict[str, DataSet] = {}


def register(
    name: str,
    loader: Loader,
    *,
    kind: str,
    samples: int | None = None,
    shape: tuple[int, ...] | None = None,
    classes: int | None = None,
    source: str = "",
    package: str = "",
    install: str = "",
    tokens: bool = False,
    folder: str | None = None,
) -> DataSet:
    """Make a data set available to `load_task` under a name.

    `load_task` splits what the loader returns (60 % training, 20 % validation, 20 % test; stratified, seeded) and
    standardises it with training statistics; do neither in the loader. The arguments are those of `DataSet`.

    Returns:
        The record.

    Raises:
        TaskError: If the name is taken or malformed, the kind unknown, or the loader not a function.
    """
    if not re.fullmatch(r"[a-z0-9]+([-_.][a-z0-9]+)*", name):
        raise TaskError(f"a task's name has lower-case letters, digits and hyphens; received {name!r}")
    if name in _DATA_SETS:
        raise TaskError(f"task {name!r} exists already; choose another name or call unregister({name!r}) first")
    if kind not in KINDS:
        raise unknown("kind of task", kind, KINDS)
    if not callable(loader):
        raise TaskError(f"a loader is a function without arguments that returns (X, y); received {loader!r}")
    record = DataSet(name, loader, kind, samples, shape, classes, source, package, install, tokens, folder)
    _DATA_SETS[name] = record
    return record


def unregister(name: str) -> None:
    """Take a data set out of the registry.

    Raises:
        TaskError: If there is none of that name.
    """
    find(name)
    del _DATA_SETS[name]


def names() -> list[str]:
    """Names that `load_task` takes, in alphabetical order."""
    return sorted(_DATA_SETS)


def describe() -> list[DataSet]:
    """Every data set's record, without loading any: name, kind, samples, shape, classes, source, present, install."""
    return [_DATA_SETS[name] for name in names()]


def find(name: str) -> DataSet:
    """The record of a name.

    Raises:
        TaskError: If there is none.
    """
    if name not in _DATA_SETS:
        raise unknown("task", name, names())
    return _DATA_SETS[name]
