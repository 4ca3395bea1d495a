"""RunDirectory: the plain-text files of a run, written so that a kill at any instant loses nothing.

config.toml       everything that defines the run, resolved; written once
candidates.jsonl  one line per candidate ever seen; only ever appended to
front.csv         the Pareto front, and
best.json         its pick as a loss file: rewritten atomically after each generation
checkpoint.json   population, random state and counters after the last whole generation: rewritten atomically, last
log.txt           one line per generation, start and stop

What candidates.jsonl holds beyond the checkpoint belongs to a generation that was cut off: reading shows it, resuming
drops it and computes it anew.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import strftime
from typing import IO, Any, TypeVar

from symloss.discovery.archive import Candidate
from symloss.discovery.record import Checkpoint, RunConfig, write_toml
from symloss.errors import LossError, RunError, SymlossError
from symloss.files import replacing

try:
    import fcntl
except ImportError:  # not a POSIX system: two writers are not noticed there
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")

FORMAT = 1
"""Version of the files; a run of another one is refused. When it rises: see `settings.BEFORE`."""
_DAMAGE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, SymlossError)
_ADVICE = "restore it or start a new run"
FILES = ("config.toml", "candidates.jsonl", "front.csv", "best.json", "checkpoint.json", "log.txt")


class RunDirectory:
    """The files of one run; `create` and `open` make it.

    Args:
        path: The directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or "\0" in os.fspath(path):
            raise RunError(f"the directory of a run is given by its path; received {path!r:.80}")
        self.path = Path(path)
        self._log: IO[str] | None = None

    @classmethod
    def create(cls, path: str | os.PathLike[str], config: RunConfig, overwrite: bool = False) -> RunDirectory:
        """Start a run in a new or empty directory; `overwrite` removes the files of an earlier run, and no others.

        Raises:
            RunError: If the directory is in use or cannot be written.
        """
        run = cls(path)
        with _reported(run.path):
            if run.path.exists() and not run.path.is_dir():
                raise RunError(f"{run.path} is a file; give a directory that is new or empty")
            present = {entry.name for entry in run.path.iterdir()} if run.path.exists() else set()
            present = {name for name in present if not name.endswith(".tmp") and name != "log.txt"}  # left by a kill
            if present and not run._is_run():
                raise RunError(f"{run.path} holds files that are not a run's ({min(present)}); give a new directory")
            if present and not overwrite:
                raise RunError(f"{run.path} holds a run already; resume it, overwrite it, or give a new directory")
            run.path.mkdir(parents=True, exist_ok=True)
        with run._writing():
            with _reported(run.path):
                for name in FILES[::-1]:  # config.toml last: until then the directory is still known as a run's
                    if name != "log.txt":
                        (run.path / name).unlink(missing_ok=True)
            run.write_config(config)
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str], writing: bool = False) -> RunDirectory:
        """An existing run, to read or to go on with.

        Raises:
            RunError: If it is no run directory, or another process is writing to it.
        """
        run = cls(path)
        with _reported(run.path):
            if not run.path.is_dir():
                raise RunError(f"{run.path} is not a directory; give the directory of a run")
            if not any(run.path.iterdir()):
                raise RunError(f"{run.path} is empty; give the directory of a run")
            if not (run.path / "config.toml").is_file():
                raise RunError(f"{run.path} is not a run directory: it has no config.toml")
        if writing:
            run._lock()
        return run

    def close(self) -> None:
        """Let another process write."""
        if self._log is not None:
            with suppress(OSError):  # what could not be written was told of when it was to be
                self._log.close()
            self._log = None

    def contents(self) -> tuple[RunConfig, Checkpoint | None, list[Candidate]]:
        """Everything about the run, checked to fit together: what defines it, where it stands, and all candidates.

        Raises:
            RunError: If a file is damaged or from another version, or they do not fit together.
        """
        config, checkpoint = self.config(), self.checkpoint()
        candidates = self.candidates(config.task["kind"])
        if checkpoint is not None:
            if len(candidates) < checkpoint.candidates:
                self.candidates(config.task["kind"], checkpoint.candidates)  # raises: some are lost
            try:
                checkpoint.check(config.settings, candidates)
            except ValueError as error:
                raise RunError(
                    f"{self.path}: checkpoint.json and the other files do not fit together ({error}); {_ADVICE}"
                ) from None
        return config, checkpoint, candidates

    def config(self) -> RunConfig:
        """What defines the run.

        Raises:
            RunError: If config.toml is damaged or from a newer version.
        """
        return self._record("config.toml", tomllib.loads, RunConfig.from_dict)

    def write_config(self, config: RunConfig) -> None:
        """Rewrite config.toml: a resumed run may go on for longer than it was started for."""
        self._replace("config.toml", write_toml({"format": FORMAT, **config.to_dict()}))

    def checkpoint(self) -> Checkpoint | None:
        """Where the run stands; None when it was cut off before its first checkpoint.

        Raises:
            RunError: If checkpoint.json is damaged or from a newer version.
        """
        if not _exists(self.path / "checkpoint.json"):
            return None
        return self._record("checkpoint.json", _json, Checkpoint.from_json)

    def write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Rewrite checkpoint.json; everything that it counts must be on disk already."""
        self._replace("checkpoint.json", json.dumps({"format": FORMAT, **checkpoint.to_json()}, allow_nan=False) + "\n")

    def candidates(self, kind: str, count: int | None = None) -> list[Candidate]:
        """The candidates logged so far, the first `count` or all; a torn last line is left out.

        Raises:
            RunError: If a line is damaged or fewer than `count` are there.
        """
        path = self.path / "candidates.jsonl"
        if not count and not _exists(path):
            return []
        lines = _read(path).split("\n")[:-1]  # what follows the last line break is torn or empty
        if count is not None and len(lines) < count:
            raise RunError(f"{path} is truncated: {len(lines)} of {count} candidates are left; {_ADVICE}")
        candidates: list[Candidate] = []
        for number, line in enumerate(lines[:count], start=1):
            with _understood(f"{path}, line {number},"):
                candidates.append(Candidate.from_json(_json(line), kind))
                if number > 1 and candidates[-2].id >= candidates[-1].id:
                    raise ValueError(f"candidate {candidates[-1].id} comes after {candidates[-2].id}")
        return candidates

    def truncate(self, count: int) -> None:
        """Drop every line after the first `count` of candidates.jsonl: they are computed anew."""
        path = self.path / "candidates.jsonl"
        with _reported(path), path.open("a+b") as file:
            file.seek(0)
            for _ in range(count):
                file.readline()
            file.truncate(file.tell())

    def append(self, candidates: Iterable[Candidate]) -> None:
        """Log candidates, on disk when this returns."""
        path = self.path / "candidates.jsonl"
        text = "".join(json.dumps(c.to_json(), allow_nan=False) + "\n" for c in candidates)
        if not text:
            return
        with _reported(path), path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def write_front(self, front: list[Candidate], pick: Candidate | None, notes: dict[str, Any]) -> None:
        """Rewrite front.csv and, once there is a pick, best.json, a loss file with `notes` in it."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("id", "generation", "complexity", "fitness", "pick", "expression"))
        for c in front:
            mark = "yes" if pick is not None and c.id == pick.id else ""
            writer.writerow((c.id, c.generation, c.complexity, repr(c.fitness), mark, str(c.expression)))
        self._replace("front.csv", table.getvalue())
        if pick is not None:
            with _reported(self.path / "best.json"):
                pick.loss.save(self.path / "best.json", notes)

    def log(self, line: str) -> None:
        """Append one line with the time to log.txt."""
        with _reported(self.path / "log.txt"):
            assert self._log is not None, "log needs a run that is open for writing"
            self._log.write(f"{strftime('%Y-%m-%d %H:%M:%S')}  {' '.join(line.split())}\n")
            self._log.flush()

    def _is_run(self) -> bool:
        """Whether config.toml is there and symloss wrote it."""
        path = self.path / "config.toml"
        try:
            return path.is_file() and "symloss" in tomllib.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError):
            return False

    def _lock(self) -> None:
        """Open log.txt and keep it locked, so that a second writer is refused."""
        path = self.path / "log.txt"
        with _reported(path):
            if path.exists() and not path.is_file():
                raise RunError(f"{path} is not a file; remove it")
            self._log = path.open("a", encoding="utf-8", errors="backslashreplace")
        if fcntl is None:
            return
        try:
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RunError(f"another process is writing to {self.path}; wait for it or stop it first") from None
        except OSError:  # a file system without locks
            pass

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Locked, and no longer after a failure."""
        self._lock()
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _record(self, name: str, read: Callable[[str], Any], build: Callable[[dict[str, Any]], T]) -> T:
        """A record of this format from one of the files."""
        path = self.path / name
        content = _read(path)
        with _understood(str(path)):
            values = read(content)
            found = values.pop("format", None)
        if type(found) is not int:
            raise RunError(f"{path} was not written by symloss: it has no format number; give another directory")
        if found > FORMAT:
            raise RunError(f"{path} has format {found}, newer than this version reads ({FORMAT}); upgrade symloss")
        if found < FORMAT:
            raise RunError(f"{path} was written by an older version (format {found}, not {FORMAT}); {_ADVICE}")
        with _understood(str(path)):
            return build(values)

    def _replace(self, name: str, text: str) -> None:
        """Write a file so that either the old or the new content is there at any instant."""
        path = self.path / name
        with _reported(path), replacing(path) as file:
            file.write(text.encode())


def _exists(path: Path) -> bool:
    with _reported(path):
        return os.path.lexists(path)  # a link to nowhere is there, and what it led to is lost


def _read(path: Path) -> str:
    with _reported(path):
        if path.exists() and not path.is_file():
            raise RunError(f"{path} is not a file; {_ADVICE}")
        try:
            return path.read_bytes().decode("utf-8")  # line breaks as they are: `truncate` counts the same
        except UnicodeDecodeError:
            raise RunError(f"{path} is damaged (it is not UTF-8 text); {_ADVICE}") from None


def _json(text: str) -> Any:
    """JSON without NaN and Infinity."""

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not a number of JSON")

    return json.loads(text, parse_constant=refuse)


@contextmanager
def _understood(where: str) -> Iterator[None]:
    """Turn what is wrong with a content into one line."""
    try:
        yield
    except RunError as error:
        raise RunError(f"{where} cannot be used: {error}") from None
    except _DAMAGE as error:
        said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise RunError(f"{where} is damaged ({said:.300}); {_ADVICE}") from None


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn the system's errors into one line."""
    try:
        yield
    except (OSError, LossError) as error:
        named = str(getattr(error, "filename2", None) or getattr(error, "filename", None))  # the second is where to
        where, why = named if named.startswith(str(path)) else path, getattr(error, "strerror", None) or str(error)
        raise RunError(f"cannot use {where}: {why}; what was written before is kept") from error
