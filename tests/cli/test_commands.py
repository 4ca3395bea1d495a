"""Every command is listed, and says what it is for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import symloss as sl
from symloss.cli import (
    adapt,
    compare,
    discover,
    draw,
    evaluate,
    explain,
    landscape,
    latex,
    losses,
    plot,
    report,
    resume,
    show,
    simplify,
    smoothing,
    tasks,
)
from symloss.cli.main import app
from tests.cli.conftest import Cli

MODULES = (
    discover, resume, show, evaluate, compare, adapt, explain, simplify, latex, draw, plot, report, smoothing,
    landscape, tasks, losses,
)  # fmt: skip


class TestHelp:
    def test_lists_every_command(self, cli: Cli) -> None:
        status, out, err = cli("--help")
        assert (status, err) == (0, "")
        for module in MODULES:
            assert f" {module.__name__.rpartition('.')[2]} " in out
        assert len(app.registered_commands) == len(MODULES)

    def test_without_words(self, cli: Cli) -> None:
        assert cli() == cli("-h") == cli("--help")

    @pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
    def test_has_an_example(self, cli: Cli, module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "200")
        name = module.__name__.rpartition(".")[2]
        status, out, err = cli(name, "--help")
        assert (status, err) == (0, "")
        assert f"Example: {module.EXAMPLE}" in out
        assert module.EXAMPLE.startswith(f"symloss {name}")

    def test_version(self, cli: Cli) -> None:
        from importlib.metadata import version

        assert cli("--version") == (0, version("symloss") + "\n", "")

    def test_starts_light(self) -> None:
        """Help needs none of the heavy packages."""
        heavy = ("torch", "numpy", "numba", "scipy", "sympy", "matplotlib", "sklearn", "networkx", "joblib", "gplearn")
        code = f"import sys, symloss.cli.main as m; m.main(['--help']); print([h for h in {heavy} if h in sys.modules])"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "[]"


class TestLists:
    def test_tasks(self, cli: Cli) -> None:
        status, out, _ = cli("tasks")
        assert status == 0
        listed, *rest = out.split("\n\n")
        assert [line.split()[0] for line in listed.splitlines()[1:]] == sl.tasks.names()
        assert {line.split()[-1] for line in listed.splitlines()[1:]} <= {"ready", "absent", "disk"}
        assert any("--data DIR" in part and "data_batch_1.bin" in part for part in rest)
        assert max(map(len, out.splitlines())) <= 80

    def test_absent_tasks_say_what_brings_them(self, cli: Cli) -> None:
        sl.tasks.register("absent", list, kind="binary", package="no_such_package", install="pip install this")
        try:
            listed, absent, *_ = cli("tasks").out.split("\n\n")
            assert next(line for line in listed.splitlines() if line.startswith("absent")).endswith("absent")
            assert "absent" in absent
            assert "pip install this" in absent
        finally:
            sl.tasks.unregister("absent")

    def test_losses(self, cli: Cli) -> None:
        names = lambda out: tuple(line.split()[0] for line in out.splitlines()[1:])  # noqa: E731
        assert names(cli("losses").out) == sl.losses.names()
        assert names(cli("losses", "--kind", "regression").out) == sl.losses.names("regression")
