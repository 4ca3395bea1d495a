"""The public face, what importing it costs, and which room may know which."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import symloss as sl

PACKAGE = Path(sl.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = (
    "errors", "files", "expression", "loops", "losses", "tasks", "population", "discovery", "evaluation", "comparison",
    "online", "fewshot", "analysis", "plotting", "report", "cli",
)  # fmt: skip
"""A room imports only from rooms before it, and from itself."""
PICTURES_AND_TERMINALS = ("matplotlib", "cycler", "rich", "typer")
HEAVY = (
    "torch",
    "numpy",
    "numba",
    "scipy",
    "sympy",
    "sklearn",
    "pandas",
    "joblib",
    "gplearn",
    "networkx",
    "matplotlib",
)


def name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of what is imported anywhere below a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def at_runtime(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements of a module that run when it is imported."""
    for node in tree.body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node


def loaded_by(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*(m for m in {HEAVY} if m in sys.modules))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split()


class TestFace:
    @pytest.mark.parametrize("public", sl.__all__)
    def test_every_name_is_there(self, public: str) -> None:
        assert getattr(sl, public) is getattr(sl, public)
        assert public in dir(sl)

    def test_type_checkers_see_the_same_names(self) -> None:
        tree = ast.parse((PACKAGE / "__init__.py").read_text())
        block = next(node for node in tree.body if isinstance(node, ast.If))
        declared = {full.rpartition(".")[2]: full for full in imports(block)}
        assert sorted(declared) == sorted(sl.__all__)
        for home, names in sl._HOMES.items():
            for public in names:
                assert declared[public] == f"symloss.{home}.{public}"
        assert sorted(sl.__all__) == sorted([*sl._ROOMS, *(n for names in sl._HOMES.values() for n in names)])

    def test_unknown_names(self) -> None:
        with pytest.raises(AttributeError, match="no attribute 'discvoer'; it has: AbsoluteCrossEntropy"):
            sl.discvoer  # noqa: B018

    def test_version(self) -> None:
        from importlib.metadata import version

        assert sl.__version__ == version("symloss")

    def test_a_screen(self) -> None:
        assert (PACKAGE / "__init__.py").read_text().count("\n") <= 70


class TestCost:
    """What is loaded, rather than seconds, which depend on the machine."""

    def test_nothing_at_first(self) -> None:
        assert loaded_by("import symloss") == []
        assert loaded_by("import symloss as sl; sl.errors, sl.Settings, dir(sl)") == []

    def test_formulas_and_losses(self) -> None:
        assert loaded_by("import symloss as sl; sl.SymbolicLoss(sl.parse('abs(log(y*f))')), sl.load") == [
            "torch",
            "numpy",
        ]

    def test_search(self) -> None:
        found = loaded_by("import symloss as sl; sl.discover, sl.load_task('digits')")
        assert not {"matplotlib", "networkx", "sympy"} & set(found)


DRAWING = ("expression/drawing.py", "expression/figure.py")


class TestRooms:
    @pytest.mark.parametrize("path", FILES, ids=name)
    def test_know_only_those_before_them(self, path: Path) -> None:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts == ("__init__",):
            return
        assert parts[0] in ROOMS
        allowed = ROOMS[: ROOMS.index(parts[0]) + 1]
        for full in imports(ast.parse(path.read_text())):
            package, _, rest = full.partition(".")
            if package == "symloss":
                assert rest.split(".")[0] in allowed, full

    @pytest.mark.parametrize("path", FILES, ids=name)
    def test_pictures_and_terminals_have_their_places(self, path: Path) -> None:
        if name(path).startswith(("cli/", "plotting/", "report/")) or name(path) in DRAWING:
            return
        tree = ast.parse(path.read_text())
        typing_only = {n for node in ast.walk(tree) if isinstance(node, ast.If) for n in imports(node)}
        for full in imports(tree):
            assert full.split(".")[0] not in PICTURES_AND_TERMINALS or full in typing_only, full

    @pytest.mark.parametrize("path", FILES, ids=name)
    def test_importing_draws_nothing_and_computes_no_algebra(self, path: Path) -> None:
        """Heavy packages that few need are loaded by those who use them, as is `figure.py` of either room."""
        if name(path) in ("plotting/figure.py", "expression/figure.py"):
            return
        for node in at_runtime(ast.parse(path.read_text())):
            for full in imports(node):
                assert full.split(".")[0] not in ("matplotlib", "sympy", "networkx", "pandas", "sklearn", "mlxtend"), (
                    full
                )

    def test_gplearn_has_one_adapter(self) -> None:
        users = {name(p) for p in FILES if any(f.split(".")[0] == "gplearn" for f in imports(ast.parse(p.read_text())))}
        assert users == {"discovery/genome.py"}


class TestSafety:
    """Nothing that a user writes is executed."""

    @pytest.mark.parametrize("path", FILES, ids=name)
    def test_no_evaluation_of_text(self, path: Path) -> None:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Name):
                assert node.id not in ("eval", "exec", "compile", "__import__", "sympify", "parse_expr", "parse_latex")
            if isinstance(node, ast.Attribute):
                assert node.attr not in ("sympify", "parse_expr", "parse_latex")

    def test_pickle_only_between_own_processes(self) -> None:
        modules = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
        users = {name(p) for p in FILES if any(f.split(".")[0] in modules for f in imports(ast.parse(p.read_text())))}
        assert users <= {"discovery/executor.py", "evaluation/training.py"}

    @pytest.mark.parametrize("path", FILES, ids=name)
    def test_global_random_numbers_are_left_alone(self, path: Path) -> None:
        text = path.read_text()
        for forbidden in ("np.random.seed", "random.seed(", "np.random.rand"):
            assert forbidden not in text
        if "torch.manual_seed(" in text:
            assert "fork_rng(" in text
