"""A file that is replaced is the old one or the new one, whole, whatever happens in between; each room tells why."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from symloss import SymbolicLoss
from symloss.analysis.surface import Landscape
from symloss.comparison import cells
from symloss.discovery.run_directory import RunDirectory
from symloss.errors import EvaluationError, LossError, OutputError, RunError, SymlossError
from symloss.files import replacing
from symloss.online.checkpoint import AdaptDirectory
from symloss.report import files
from tests.disks import full_disk


def write(path: Path, content: bytes = b"new") -> None:
    with replacing(path) as file:
        file.write(content)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A file with an old content."""
    path = tmp_path / "place.txt"
    path.write_bytes(b"old")
    return path


def assert_old(place: Path) -> None:
    assert place.read_bytes() == b"old"
    assert os.listdir(place.parent) == [place.name]


class TestReplacing:
    def test_the_new_content_comes_at_the_end(self, place: Path) -> None:
        with replacing(place) as file:
            file.write(b"new" * 100_000)
            assert place.read_bytes() == b"old"
        assert place.read_bytes() == b"new" * 100_000
        assert os.listdir(place.parent) == [place.name]

    def test_it_is_on_disk_before_it_takes_the_old_ones_place(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[str] = []
        for name in ("fsync", "replace"):
            real = getattr(os, name)
            monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (calls.append(name), real(*a))[1])
        write(place)
        assert calls == ["fsync", "replace", "fsync"]

    @pytest.mark.parametrize("step", ["fsync", "replace"])
    @pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), MemoryError()])
    def test_a_failure_leaves_the_old_one_and_nothing_else(
        self, place: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
    ) -> None:
        def fail(*arguments: object) -> None:
            raise failure

        monkeypatch.setattr(os, step, fail)
        with pytest.raises(type(failure)) as caught:
            write(place)
        assert caught.value is failure
        assert_old(place)

    def test_an_interruption_while_it_is_written(self, place: Path) -> None:
        def interrupted() -> None:
            with replacing(place) as file:
                file.write(b"half")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert_old(place)

    @pytest.mark.parametrize("kept", [0, 10, 5000])
    def test_a_full_disk(self, place: Path, kept: int) -> None:
        with full_disk(kept), pytest.raises(OSError, match="File too large"):
            write(place, b"n" * 100_000)
        assert_old(place)

    def test_a_directory_that_cannot_be_forced_to_disk_is_no_failure(
        self, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.fsync

        def refuse(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")
            real(descriptor)

        monkeypatch.setattr(os, "fsync", refuse)
        write(place)
        assert place.read_bytes() == b"new"

    def test_killed_it_leaves_the_old_one(self, place: Path) -> None:
        script = (
            "import os, signal, sys; from symloss.files import replacing\n"
            "with replacing(sys.argv[1]) as file:\n"
            "    file.write(b'n' * 100_000); file.flush(); os.kill(os.getpid(), signal.SIGKILL)"
        )
        done = subprocess.run([sys.executable, "-c", script, place], check=False)
        assert done.returncode == -signal.SIGKILL
        assert place.read_bytes() == b"old"
        write(place)  # what the other one left is in nobody's way
        assert place.read_bytes() == b"new"
        assert all(
            name.startswith(".") and name.endswith(".tmp") for name in set(os.listdir(place.parent)) - {place.name}
        )

    def test_of_many_writers_at_once_one_wins_whole(self, place: Path) -> None:
        contents = [bytes([65 + n]) * 50_000 for n in range(8)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda content: [write(place, content) for _ in range(5)], contents))
        assert place.read_bytes() in contents
        assert os.listdir(place.parent) == [place.name]

    def test_permissions_are_the_usual_ones_or_those_of_what_is_replaced(self, tmp_path: Path) -> None:
        mask = os.umask(0o027)
        try:
            write(tmp_path / "new")
            (tmp_path / "private").write_text("old")
            for mode in (0o600, 0o444, 0o666):
                (tmp_path / "private").chmod(mode)
                write(tmp_path / "private")
                assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == mode
        finally:
            os.umask(mask)
        assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640

    def test_links_are_followed(self, place: Path) -> None:
        link = place.with_name("link")
        link.symlink_to(place.name)
        write(link)
        assert link.is_symlink()
        assert place.read_bytes() == b"new"

    @pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "x"])
    def test_names_may_be_as_long_as_the_system_allows(self, tmp_path: Path, name: str) -> None:
        write(tmp_path / name)
        assert os.listdir(tmp_path) == [name]

    def test_where_there_is_no_directory(self, place: Path) -> None:
        with pytest.raises(FileNotFoundError):
            write(place.with_name("missing") / "file")
        with pytest.raises(NotADirectoryError):
            write(place / "file")
        assert_old(place)

    def test_what_is_no_file_is_never_replaced(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to("pipe")
        for name, kind in (("pipe", "a pipe or a device"), ("link", "a pipe or a device"), (".", "a directory")):
            with pytest.raises(OSError, match=f"no file that could be replaced, but {kind}"):
                write(tmp_path / name)
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
        with pytest.raises(ValueError, match="null"):
            write(tmp_path / "a\0b")


def landscape(path: Path) -> None:
    nothing = np.zeros(0)
    Landscape((nothing,), nothing, nothing, nothing, None, {}).save(path)


def adaptation(path: Path) -> None:
    run = AdaptDirectory.__new__(AdaptDirectory)  # made while there was room
    run.path = path.parent
    run.write(path.name, b"new")


def run_directory(path: Path) -> None:
    RunDirectory(path.parent)._replace(path.name, "new")


WRITERS: dict[str, tuple[Callable[[Path], object], type[SymlossError]]] = {
    "loss": (SymbolicLoss("y*f").save, LossError),
    "run": (run_directory, RunError),
    "cell": (lambda path: cells.replace(path, "new"), RunError),
    "adaptation": (adaptation, RunError),
    "landscape": (landscape, EvaluationError),
    "report": (lambda path: files.write(path, b"new"), OutputError),
}


@pytest.mark.parametrize(("writer", "error"), WRITERS.values(), ids=WRITERS)
def test_every_room_tells_a_full_disk_in_one_line_of_its_own(
    place: Path, monkeypatch: pytest.MonkeyPatch, writer: Callable[[Path], object], error: type[SymlossError]
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(error, match=r"place\.txt.*No space left on device") as caught:
            writer(place)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert_old(place)
    writer(place)
    assert place.read_bytes() != b"old"
