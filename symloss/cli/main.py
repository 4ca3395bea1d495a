"""The command `symloss`: the commands under one name, and what becomes of errors.

Exit status: 0 if all went well; 2 after a mistake in what was asked for, told in one line on stderr; 1 after a defect
of symloss, also in one line (SYMLOSS_DEBUG=1 shows the traceback); 130 after Ctrl-C or SIGTERM, even where results were
kept; 141 if the reader of the output went away.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import typer
from rich.markup import escape

from symloss.cli import (
    adapt,
    compare,
    discover,
    draw,
    evaluate,
    explain,
    fewshot,
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
from symloss.errors import ParseError, RunWarning, SymlossError

OK, DEFECT, MISTAKE, INTERRUPTED, NO_READER = 0, 1, 2, 130, 141
DEBUG = "SYMLOSS_DEBUG"

_LONGEST = 1000
# Words that click would take for options: formulas that begin with a minus sign.
_FORMULA = re.compile(r"-\s*([\d.(]|[yf]\b|[a-z]\w*\()")

app = typer.Typer(
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _module in (
    discover, resume, show, evaluate, compare, adapt, explain, simplify, latex, draw, plot, report, smoothing,
    landscape, tasks, losses,
):  # fmt: skip
    _name = _module.__name__.rpartition(".")[2]
    app.command(_name, epilog=f"Example: [bold]{escape(_module.EXAMPLE)}[/bold]")(getattr(_module, _name))
app.add_typer(fewshot.app, name="fewshot")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("symloss"))
        raise typer.Exit


@app.callback(epilog="Wherever a LOSS is wanted: a named loss, a formula in y and f, a .json file, or a run directory.")
def _symloss(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """Discover loss functions as formulas."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows `symloss`; None takes it from `sys.argv`.

    Returns:
        The exit status.
    """
    if sys.stdout is None or sys.stderr is None:  # the caller closed them
        nowhere = open(os.devnull, "w")  # noqa: SIM115 - it is theirs until the process ends
        sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # whatever cannot be written there is written with escapes
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    with warnings.catch_warnings(), _terminated_as_interrupted():
        if not os.environ.get(DEBUG) and threading.excepthook is threading.__excepthook__:
            threading.excepthook = _thread_failed
        if not sys.warnoptions and not os.environ.get(DEBUG):
            warnings.simplefilter("ignore")  # of libraries, to their developers
            warnings.simplefilter("always", RunWarning)
            warnings.showwarning = _warn
        return _run([f" {word}" if _FORMULA.match(word) else word for word in given])


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, which a cluster sends before it kills, does what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _run(words: list[str]) -> int:
    try:
        status = typer.main.get_command(app).main(words, prog_name="symloss", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # the libraries leave with SystemExit when a pipe breaks
        _drop_output()
        return NO_READER
    except Exception as error:
        return _failed(error)
    return status if isinstance(status, int) else OK


def _failed(error: Exception) -> int:
    """Report an error in one line; return the exit status."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    if isinstance(error, SymlossError):
        return _fail(str(error), MISTAKE, error.pointer() if isinstance(error, ParseError) else "")
    if hasattr(error, "format_message"):  # click's, which typer may have under another name
        return _fail(_usage(error), MISTAKE)
    if isinstance(error, OSError):
        _drop_output()
        where = f" {os.fspath(error.filename)!r}" if isinstance(error.filename, str) else ""
        return _fail(f"cannot use the file or stream{where}: {error.strerror or error}", MISTAKE)
    hint = "" if os.environ.get(DEBUG) else f"; {DEBUG}=1 shows where"
    return _fail(f"this is a defect of symloss: {type(error).__name__}: {error}{hint}", DEFECT)


def _thread_failed(error: threading.ExceptHookArgs) -> None:
    """One line; none from the thread that keeps loky's pool, which stumbles if the pool is cut off by Ctrl-C."""
    if not type(error.thread).__module__.startswith("joblib.externals.loky"):
        _warn(f"a thread ended with {error.exc_type.__name__}: {error.exc_value}")


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    with suppress(OSError):  # nobody can be told
        print(f"warning: {_line(str(message))}", file=sys.stderr, flush=True)


def _usage(error: Any) -> str:
    text = str(error.format_message()).strip().rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "symloss"
    return f"{text[:1].lower()}{text[1:]}; see {command} --help"


def _fail(message: str, status: int, pointer: str = "") -> int:
    try:
        print("\n".join(filter(None, (f"error: {_line(message)}", pointer))), file=sys.stderr, flush=True)
    except OSError:  # nobody can be told; the status says it
        _drop_output()
    return status


def _line(message: str) -> str:
    """A message as one line that a terminal shows as it is."""
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST // 2]} … {line[-_LONGEST // 2 :]}"


def _drop_output() -> None:
    """Send what is still to be written nowhere: writing it at the interpreter's end would fail again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            try:
                os.dup2(nowhere, stream.fileno())
            except (OSError, ValueError, AttributeError):
                continue
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
