"""Every mistake: one line on stderr (two more point into a formula), status 2, nothing on stdout, no traceback."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import symloss as sl
from symloss.cli import main as module
from symloss.errors import OutputError
from symloss.report.files import write
from tests.cli.conftest import SMALL, Cli

BAD = {
    "unknown command": ("discvoer digits", "did you mean 'discover'"),
    "unknown option": ("discover digits --popluation 3", "--population"),
    "missing argument": ("simplify", "missing argument 'LOSS'"),
    "missing option": ("plot focal", "missing option '--out'"),
    "extra argument": ("latex focal more", "unexpected extra argument"),
    "option of the wrong type": ("discover digits --population x", "--population"),
    "option out of range": ("discover digits --population 0", "population_size is a whole number"),
    "misspelt run": ("explain runs/digts", "there is no file or run directory 'runs/digts'"),
    "unknown task": ("discover digitz", "did you mean 'digits'"),
    "unknown model": ("discover wine --model nlp", "did you mean 'mlp'"),
    "unknown option of a model": ("discover wine --model-option hiden=3", "did you mean 'hidden'"),
    "malformed option of a model": ("discover wine --model-option hidden", "NAME=VALUE"),
    "model that the data do not fit": ("discover wine --model lenet5", "lenet5 takes images"),
    "no such file": ("discover no/where.csv", "there is no file"),
    "no directory": ("discover cifar10", "give it with root=... (--data DIR)"),
    "directory that is not there": ("discover cifar10 --data nowhere", "there is no directory"),
    "target of a task": ("discover wine --target y", "target and kind are for files"),
    "too much noise": ("discover wine --label-noise 1.5", "label_noise is a share"),
    "more samples than there are": ("evaluate focal --task wine --train-samples 999", "there are 106 samples"),
    "tail of a regression": ("discover diabetes --imbalance 3", "imbalance needs class labels"),
    "augmented table": ("discover wine --augment crop", "augment is for images"),
    "model for tokens": ("discover wine --model gru", "whose inputs are numbers"),
    "task option as an option of the model": ("discover wine --model-option label_noise=0.5", "NAME=VALUE"),
    "unknown setting": ("discover wine --set max_dept=3", "did you mean 'max_depth'"),
    "malformed setting": ("discover wine --set max_depth", "NAME=VALUE"),
    "setting of the wrong type": ("discover wine --set max_depth=deep", "max_depth is a whole number"),
    "setting that is no pair": ("discover wine --set initial_depth=2", "initial_depth is two whole numbers"),
    "setting that is no switch": ("discover wine --set nesterov=2", "nesterov is true or false"),
    "unusable device": ("discover wine --device nonsense", "device 'nonsense'"),
    "device without data": ("discover wine --device meta", "device 'meta' cannot be used"),
    "option of a model of the wrong type": ("discover wine --model-option hidden=1.5", "positive whole numbers"),
    "option of a model that is no name": ("discover wine --model-option activation=3", "unknown activation"),
    "no processes": ("discover wine --jobs 0", "n_jobs"),
    "unknown method": ("discover wine --method cma", "unknown method 'cma'; there is: evomal, random"),
    "guess where none is taken": ("discover wine --method ml3 --guess y*f", "takes no guesses"),
    "method without what it is": ("discover wine --method ml3 --no-refine", "needs refine=True"),
    "guess without f": ("discover wine --guess y+y", "must contain y and f"),
    "unknown loss": ("show focall", "did you mean 'focal'"),
    "unknown file": ("latex nowhere/best.json", "there is no file"),
    "unknown directory": ("show no/where", "there is no file or run directory"),
    "no run": ("resume nowhere", "is not a directory"),
    "loss without a formula": ("draw label-smoothing --out t.png", "has no formula"),
    "loss of another kind": ("plot focal --kind regression --out t.png", "focal is for"),
    "unknown kind": ("losses --kind ternary", "kind must be one of"),
    "unknown picture": ("draw f --out t.doc", "ends in .png"),
    "picture into no directory": ("draw f --out nowhere/t.png", "there is no directory 'nowhere'"),
    "picture over a directory": ("draw f --out .", "is a directory"),
    "document into no directory": ("latex f --document --out nowhere/a.tex", "there is no directory 'nowhere'"),
    "document that cannot be written": ("latex f --document --out /proc/symloss", "cannot write '/proc/symloss'"),
    "document of a loss without a formula": ("latex label-smoothing --document", "has no formula"),
    "document of a formula without f": ("latex y --document", "must contain the prediction f"),
    "a place without a document": ("latex f --out a.tex", "--out is where --document goes"),
    "two parts at once": ("latex f --derivation --document", "give one of them"),
    "front of a formula": ("latex y*f --front", "is not a directory"),
    "smoothing of too few classes": ("smoothing focal --classes 1", "classes is a whole number from 2"),
    "smoothing of a loss for regression": ("smoothing huber", "kind 'multiclass' or 'binary'"),
    "smoothing of an unknown loss": ("smoothing focall", "did you mean 'focal'"),
    "smoothing into an unknown picture": ("smoothing focal --plot t.doc", "ends in .png"),
    "landscape of an even grid": ("landscape focal --task wine --steps 1 --grid 4 --learning-rate 1", "odd numbers"),
    "landscape without a task": ("landscape focal", "missing option '--task'"),
    "landscape of an unknown part": ("landscape focal --task wine --part all", "train, valid or test"),
    "landscape of an unknown loss": ("landscape focall --task wine", "did you mean 'focal'"),
    "landscape along no direction": ("landscape focal --task wine --span 0", "span is"),
    "landscape of too many points": ("landscape focal --task wine --grid 1000001", "no room in memory"),
    "landscape over no seeds": ("landscape focal --task wine --seeds 0", "seeds is a whole number"),
    "seeds of eigenvectors": ("landscape focal --task wine --seeds 2 --directions hessian", "only random directions"),
    "landscape into no directory": ("landscape focal --task wine --out nowhere/l.npz", "a directory that exists"),
    "landscape into an unknown file": ("landscape focal --task wine --out l.npy", "an .npz file"),
    "landscape against an unknown loss": ("landscape focal --task wine --against focall", "did you mean 'focal'"),
    "landscape at no rate": ("landscape focal --task wine --learning-rate -1", "learning rate"),
    "explanation without a task": ("explain focal", "--task digits"),
    "explanation on an unknown task": ("explain focal --task digitz", "did you mean 'digits'"),
    "explanation of an unknown loss": ("explain focall --task wine", "did you mean 'focal'"),
    "explanation of a loss of another kind": ("explain huber --task wine", "huber is for regression"),
    "explanation into an unknown picture": ("explain focal --task wine --plot t.doc", "ends in .png"),
    "explanation into no directory": ("explain focal --task wine --plot nowhere/t.png", "there is no directory"),
    "explanation over a directory": ("explain focal --task wine --out .", "is not a file"),
    "explanation over no seeds": ("explain focal --task wine --seeds 0", "seeds is a whole number"),
    "no task": ("evaluate focal", "--task digits"),
    "no seeds": ("evaluate focal --task wine --seeds 0", "seeds"),
    "evaluation over a directory": ("evaluate focal --task wine --out .", "is not a file"),
    "transfer to another kind": ("evaluate run --task diabetes", "is a loss of kind 'multiclass'; wanted 'regression'"),
    "transfer to a model that does not fit": ("evaluate run --task digits --model lenet", "did you mean 'lenet5'"),
    "comparison of nothing": ("compare --out kept", "missing option '--config'"),
    "comparison without a file": ("compare --config nowhere.toml --out kept", "cannot read 'nowhere.toml'"),
    "comparison into an unknown picture": ("compare --config nowhere.toml --out kept --plot c.doc", "ends in .png"),
    "adaptation by an unknown method": ("adapt wine --method ada", "method is one of adalfl, frozen"),
    "adaptation of what has no weights": ("adapt wine --loss label-smoothing", "has no weights to adapt"),
    "adaptation into something else": ("adapt wine --out run", "files that are not this run's"),
    "adaptation into an unknown picture": ("adapt wine --plot t.doc", "ends in .png"),
    "adaptation with no such rate": ("adapt wine --learning-rate -1", "lr is a number from"),
    "adaptation with Nesterov alone": ("adapt wine --nesterov", "nesterov needs a momentum"),
    "unwritable run": ("discover wine --out /proc/symloss", "/proc/symloss"),
}  # fmt: skip

BAD_FORMULAS = {
    "unknown variable": ("log(y*q)", "unknown variable 'q'", 6),
    "unknown operation": ("lgo(y*f)", "unknown operation 'lgo'", 0),
    "code": ("__import__('os').system('x')", "unknown operation '__import__'", 0),
    "attribute": ("f.__class__", "'.' has no meaning here", 1),
    "unbalanced": ("abs(log(y*f)", "never closed", 0),
    "nothing": ("", "the text ends", 0),
    "control characters": ("f\x1b[31m\n+q", "has no meaning here", 1),
    "not text": ("f\udcff", "has no meaning here", 1),
    "minus first": ("-y*log(q)", "unknown variable 'q'", 8),
}


def assert_one_line(err: str, lines: int = 1) -> None:
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == lines
    assert "Traceback" not in err
    assert all(c.isprintable() or c == "\n" for c in err)


@pytest.mark.parametrize(("words", "said"), BAD.values(), ids=BAD)
def test_mistakes(cli: Cli, run: Path, words: str, said: str) -> None:
    status, out, err = cli(*words.split())
    assert (status, out) == (2, "")
    assert_one_line(err)
    assert said.lower() in err.lower()


@pytest.mark.parametrize(("text", "said", "column"), BAD_FORMULAS.values(), ids=BAD_FORMULAS)
@pytest.mark.parametrize("command", ["simplify", "latex", "discover wine --guess"])
def test_formulas_are_pointed_into(cli: Cli, command: str, text: str, said: str, column: int) -> None:
    status, out, err = cli(*command.split(), text)
    assert (status, out) == (2, "")
    assert_one_line(err, lines=3)
    assert said in err
    shown, caret = err.splitlines()[1:]
    assert caret.strip() == "^"
    assert caret.index("^") == column
    assert shown.strip()[:5] == "".join(c if c.isprintable() else "?" for c in text)[:5]


@pytest.mark.parametrize(
    "text", ["abs(" * 10_000 + "f" + ")" * 10_000, "(" * 10_000, "-" * 10_000 + "f", "f+" * 30_000]
)
def test_enormous_formulas(cli: Cli, text: str) -> None:
    status, out, err = cli("simplify", text)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") <= 3
    assert len(err) < 2000


def test_ten_megabytes(cli: Cli, tmp_path: Path) -> None:
    text = "f + " * 2_500_000 + "f"
    with pytest.raises(sl.errors.ParseError) as caught:
        sl.parse(text)
    assert len(str(caught.value)) < 200
    (tmp_path / "big.json").write_text(json.dumps({"format": "symloss-loss", "version": 1, "expression": text}))
    status, _, err = cli("latex", "big.json")
    assert status == 2
    assert_one_line(err)


def test_code_is_not_executed(cli: Cli, tmp_path: Path) -> None:
    for text in ("__import__('os').system('touch x')", "open('x', 'w')", "exec(\"open('x','w')\")"):
        assert cli("simplify", text).status == 2
        assert cli("evaluate", text, "--task", "wine").status == 2
    assert list(tmp_path.iterdir()) == []


def test_all_candidates_rejected(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "symloss.discovery.stages.passes_rejection", lambda _, __, expressions: [False] * len(expressions)
    )
    status, out, err = cli("discover", "wine", "--population", "2", "--out", "r")
    assert (status, out) == (2, "")
    assert_one_line(err)
    assert "were rejected" in err
    assert (tmp_path / "r" / "candidates.jsonl").read_text().count('"rejected"') > 10


def _bad_data() -> dict[str, tuple[np.ndarray, np.ndarray, str]]:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), np.arange(60) % 3
    hole = x.copy()
    hole[7, 1] = np.nan
    return {
        "nan": (hole, y, "NaN"),
        "one-class": (x, np.zeros(60, int), "class"),
        "empty": (x[:0], y[:0], "no samples"),
        "out-of-range": (x, y - 1, "labels must be"),
        "few": (x[:2], y[:2], ""),
    }


@pytest.mark.parametrize("name", _bad_data())
def test_bad_data(cli: Cli, name: str) -> None:
    x, y, said = _bad_data()[name]
    sl.tasks.register(f"bad-{name}", lambda: (x, y), kind="multiclass")
    try:
        status, out, err = cli("discover", f"bad-{name}", "--generations", "1")
    finally:
        sl.tasks.unregister(f"bad-{name}")
    assert (status, out) == (2, "")
    assert_one_line(err)
    assert said in err


class TestRuns:
    """A run directory that exists, is empty, truncated, damaged, or from a newer version."""

    def check(self, cli: Cli, path: Path, said: str, commands: tuple[str, ...] = ("show", "resume")) -> None:
        for command in commands:
            name, *options = command.split()
            status, out, err = cli(name, str(path), *options)
            assert (status, out) == (2, ""), command
            assert_one_line(err)
            assert said in err

    def test_exists(self, cli: Cli, run: Path) -> None:
        before = (run / "candidates.jsonl").read_bytes()
        status, _, err = cli("discover", "wine", "--out", str(run))
        assert status == 2
        assert_one_line(err)
        assert "holds a run already" in err
        assert (run / "candidates.jsonl").read_bytes() == before

    def test_foreign_directory_is_not_overwritten(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "thesis.tex").write_text("x")
        status, _, err = cli("discover", "wine", "--out", "mine", "--overwrite")
        assert status == 2
        assert_one_line(err)
        assert (tmp_path / "mine" / "thesis.tex").read_text() == "x"

    def test_empty(self, cli: Cli, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        self.check(cli, tmp_path / "empty", "empty", ("show", "resume", "latex --document", "latex --front"))

    def test_nothing_evaluated(self, cli: Cli, run: Path) -> None:
        for name in ("checkpoint.json", "best.json", "front.csv"):
            (run / name).unlink()
        (run / "candidates.jsonl").write_text("")
        self.check(cli, run, "no candidate was evaluated", ("latex --document",))
        assert list(Path().glob("*.tex")) == []

    def test_recipe_that_is_no_table(self, cli: Cli, run: Path) -> None:
        text = (run / "config.toml").read_text()
        start, end = text.index("[task.recipe]"), text.index("[settings]")
        text = text[:start] + text[end:]
        (run / "config.toml").write_text(text.replace("[task]\n", "[task]\nrecipe = 'wine'\n"))
        self.check(cli, run, "recipe is a table", ("show", "resume", "latex --document", "plot --out a.png"))

    def test_truncated(self, cli: Cli, run: Path) -> None:
        text = (run / "candidates.jsonl").read_text()
        (run / "candidates.jsonl").write_text(text[: len(text) // 2])
        self.check(cli, run, "truncated")

    def test_damaged(self, cli: Cli, run: Path) -> None:
        (run / "checkpoint.json").write_text('{"format": 1, "gener')
        self.check(cli, run, "damaged")

    def test_newer(self, cli: Cli, run: Path) -> None:
        config = (run / "config.toml").read_text()
        (run / "config.toml").write_text(re.sub(r"^format = \d+", "format = 999", config, flags=re.MULTILINE))
        self.check(cli, run, "upgrade symloss", ("show", "resume", "evaluate"))

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("[task.recipe.model_options]", ""),
            ("[task.recipe.model_options]", "[task.recipe.model_options]\nname = 'wine'"),
            ("[task.recipe.model_options]", "[task.recipe.model_options]\nhidden = 1.5"),
            ("[task.recipe.model_options]", "[task.recipe.model_options]\nhidden = [{a = 1}]"),
            ("[task.recipe.model_options]", "[task.recipe.model_options]\nactivation = []"),
            ("[task.recipe.model_options]", "[task.recipe.model_options]\nwidth = 3"),
            ("[task.recipe.model_options]", "[task.recipe.model_option]"),
            ("[task.recipe]", "[task.recipes]"),
            ("[task.recipe]\nname", "[task.recipe]\nnom"),
            ("[task.recipe]\nname =", "[task.recipe]\nname = 3 #"),
            ("[task.recipe]\nname =", "[task.recipe]\nname = ['wine'] #"),
            ("[task.recipe]\nname =", "[task.recipe]\nname = 'wein' #"),
            ('model = "mlp"', "model = 3"),
            ('model = "mlp"', "model = 'nlp'"),
            ("seed = 0\n", "seed = -1\n"),
            ("seed = 0\n", "seed = 1e3\n"),
            ("seed = 0\n", "seed = 10000000000000000000000\n"),
            ("seed = 0\n", "seed = 0\nsplit = 1\n"),
            ("seed = 0\n", "seed = 0\noptions = 3\n"),
            ("seed = 0\n", "seed = 0\noptions = {seed = 1}\n"),
            ("seed = 0\n", "seed = 0\noptions = {hidden = 4}\n"),
            ("seed = 0\n", "seed = 0\noptions = {root = 3}\n"),
            ("seed = 0\n", "seed = 0\noptions = {target = 3}\n"),
            ("seed = 0\n", "seed = 0\noptions = {label_noise = 'much'}\n"),
            ("seed = 0\n", "seed = 0\noptions = {augment = [1]}\n"),
            ("[task.recipe.model_options]", "[task.recipe.model_options]\nlabel_noise = 0.5"),
        ],
    )
    def test_damaged_recipe(self, cli: Cli, run: Path, old: str, new: str) -> None:
        text = (run / "config.toml").read_text()
        assert old in text
        (run / "config.toml").write_text(text.replace(old, new, 1))
        self.check(cli, run, "", ("resume", "evaluate"))

    @pytest.mark.parametrize(("old", "new"), [('method = "evomal"', 'method = "nope"'), ("outputs = 3", "outputs = 1")])
    def test_damaged_configuration(self, cli: Cli, run: Path, old: str, new: str) -> None:
        text = (run / "config.toml").read_text()
        (run / "config.toml").write_text(text.replace(old, new, 1))
        self.check(cli, run, "config.toml is damaged", ("show", "resume", "evaluate", "plot --out a.png"))
        assert not Path("a.png").exists()

    def test_without_a_loss(self, cli: Cli, run: Path) -> None:
        (run / "best.json").unlink()
        self.check(cli, run, "best.json", ("latex", "simplify", "evaluate"))

    def test_other_versions(self, cli: Cli, run: Path) -> None:
        saved = json.loads((run / "checkpoint.json").read_text())
        saved["versions"]["torch"] = "1.0\x1b[31m"
        (run / "checkpoint.json").write_text(json.dumps(saved))
        status, _, err = cli("resume", str(run))
        assert status == 0
        assert err.count("\n") == 1
        assert re.match(r"warning: .* was computed with torch 1\.0 \[31m, now .*: what follows may differ", err)

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "symloss-loss", "version": 99}', "\x00"])
    def test_damaged_loss(self, cli: Cli, tmp_path: Path, text: str) -> None:
        (tmp_path / "loss.json").write_text(text)
        self.check(cli, tmp_path / "loss.json", "loss.json", ("show", "latex", "resume", "explain --task wine"))

    def test_loss_of_another_kind(self, cli: Cli, tmp_path: Path) -> None:
        sl.SymbolicLoss("square(y - f)", "regression").save("loss.json")
        self.check(cli, tmp_path / "loss.json", "of kind 'regression'", ("explain --task wine", "evaluate --task wine"))


class TestDefects:
    """Errors that no user can cause."""

    def break_tasks(self, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
        def fail() -> None:
            raise error

        monkeypatch.setattr("symloss.tasks.describe", fail)

    def test_one_line(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        self.break_tasks(monkeypatch, ZeroDivisionError("seven\nlines"))
        status, out, err = cli("tasks")
        assert (status, out) == (1, "")
        assert_one_line(err)
        assert "ZeroDivisionError: seven lines; SYMLOSS_DEBUG=1" in err

    def test_traceback_on_request(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        self.break_tasks(monkeypatch, ZeroDivisionError("why"))
        monkeypatch.setenv("SYMLOSS_DEBUG", "1")
        status, _, err = cli("tasks")
        assert status == 1
        assert "Traceback" in err

    def test_long_messages_keep_both_ends(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        self.break_tasks(monkeypatch, sl.errors.TaskError("start " + "x" * 50_000 + " end"))
        status, _, err = cli("tasks")
        assert status == 2
        assert_one_line(err)
        assert len(err) < 1100
        assert err.startswith("error: start x")
        assert err.endswith("x end\n")

    def test_interrupt(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        self.break_tasks(monkeypatch, KeyboardInterrupt())
        assert cli("tasks") == (130, "", "")


class TestFiles:
    """A file is written whole or not at all, and what was there stays."""

    def test_kept_when_writing_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(b"old")

        def full(temporary: Path, target: Path) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "replace", full)
        with pytest.raises(OutputError, match="No space left on device"):
            write(path, b"new")
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]
        assert path.read_bytes() == b"old"

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
    def test_devices_are_written_to_and_not_replaced(self) -> None:
        with pytest.raises(OutputError, match="cannot write"):
            write(Path("/dev/full"), b"x")
        assert not Path("/dev/full").is_file()

    def test_links_are_followed(self, tmp_path: Path) -> None:
        (tmp_path / "real.png").write_bytes(b"old")
        (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
        write(tmp_path / "link.png", b"new")
        assert (tmp_path / "link.png").is_symlink()
        assert (tmp_path / "real.png").read_bytes() == b"new"


def _process(words: str, **streams: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "symloss.cli.main", *words.split()]
    return subprocess.run(command, text=True, timeout=60, check=False, **streams)  # type: ignore[call-overload, no-any-return]


class TestStreams:
    """Readers that go away, and full disks behind a redirection."""

    def test_broken_pipe(self) -> None:
        for words in ("--help", "tasks"):
            read, written = os.pipe()
            os.close(read)
            done = _process(words, stdout=written, stderr=subprocess.PIPE)
            os.close(written)
            assert (done.returncode, done.stderr) == (module.NO_READER, "")

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
    def test_full_disk(self) -> None:
        with open("/dev/full", "w") as full:
            done = _process("--version", stdout=full, stderr=subprocess.PIPE)
            assert done.returncode == 2
            assert done.stderr == "error: cannot use the file or stream: No space left on device\n"
            assert _process("nonsense", stderr=full).returncode == 2

    @pytest.mark.skipif(os.name != "posix", reason="shells differ")
    def test_closed_streams(self) -> None:
        for words, closed, status in (("--version", ">&-", 0), ("nonsense", "2>&-", 2), ("nonsense", ">&- 2>&-", 2)):
            line = f"{shlex.quote(sys.executable)} -m symloss.cli.main {words} {closed}"
            done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (status, "", "")

    def test_narrow_encodings(self) -> None:
        environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
        done = _process("losses", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\\u2212" in done.stdout


@pytest.mark.parametrize(("home", "lines"), [("joblib.externals.loky.process_executor", 0), ("a.module", 1)])
def test_failures_of_threads(home: str, lines: int) -> None:
    """In a process of its own: the hook for failures of threads belongs to the whole process."""
    script = (
        "import threading; from symloss.cli.main import main; main(['losses'])\n"
        f"class Own(threading.Thread): __module__ = {home!r}\n"
        "thread = Own(target={}.pop, args=(3,)); thread.start(); thread.join()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stderr.count("KeyError"), done.stderr.count("\n")) == (lines, lines)


def test_small_is_valid(cli: Cli) -> None:
    """What other tests build on."""
    assert cli("discover", "wine", "--generations", "1", "--seed", "1", *SMALL).status == 0
