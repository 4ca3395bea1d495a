"""What commands leave behind: aligned tables, files, and the end of a search."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symloss.errors import OutputError
from symloss.report.files import write

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from symloss.discovery.result import SearchResult
    from symloss.online import Adaptation

PICTURES = (".png", ".svg", ".pdf", ".eps", ".jpg")
"""What figures can be written as."""

FigureFile = Annotated[Path, typer.Option("--out", metavar="FILE", help=f"Picture to write: {', '.join(PICTURES)}.")]


def printable(text: str) -> str:
    """A text of several lines without what a terminal would take for orders."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned with spaces, under a heading."""
    from symloss.expression.showing import aligned

    return "\n".join(aligned([head, *rows]))


def check_picture(path: Path) -> None:
    """Raise an OutputError unless a figure can be written there, before any work is done for it."""
    if path.is_dir():
        raise OutputError(f"{str(path)!r} is a directory; give the name of a file in it")
    if path.suffix.lower() not in PICTURES:
        raise OutputError(f"a picture's name ends in {', '.join(PICTURES)}; received {str(path)!r}")
    if not path.parent.is_dir():
        raise OutputError(f"there is no directory {str(path.parent)!r} for {path.name!r}; make it first")


def check_numbers(path: Path) -> None:
    """Raise an OutputError unless a file can be written there, before any work is done for it."""
    if path.is_dir() or not path.parent.is_dir():
        raise OutputError(f"{str(path)!r} is not a file that can be written; give one in a directory that exists")


def save_numbers(values: dict[str, Any], path: Path) -> None:
    """Write plain values as JSON."""
    write(path, (json.dumps(values, indent=2) + "\n").encode())
    print(f"wrote {path}")


def save_figure(figure: Figure, path: Path, **metadata: str) -> None:
    """Write a figure, whole or not at all; what was there before a failure is still there after it.

    Args:
        figure: The figure.
        path: Where; the suffix is the format.
        metadata: Entries for PNG files.
    """
    kind = path.suffix[1:].lower()
    options: dict[str, Any] = {"metadata": metadata} if metadata and kind == "png" else {}
    content = io.BytesIO()
    figure.savefig(content, format=kind, **options)
    write(path, content.getvalue())
    print(f"wrote {path}")


def save_animation(found: Adaptation, path: Path) -> None:
    """Write the shape of an adaptive loss over training as a GIF, whole or not at all."""
    from symloss.plotting import animation

    write(path, animation(found))
    print(f"wrote {path}")


def end_search(result: SearchResult) -> None:
    """Print what was found, where it is, and what can be done next; after Ctrl-C leave with its exit status."""
    print(result)
    if result.directory is not None:
        where = shlex.quote(str(result.directory))
        steps = [f"resume {where}"] if result.stopped in ("interrupted", "time limit reached") else []
        if result.front:
            steps += [f"show {where}", f"plot {where} --out loss.png", f"evaluate {where}", f"report {where}"]
        print(f"\nkept in {result.directory}")
        for number, step in enumerate(steps):
            print("next:" if number == 0 else "     ", "symloss", step)
    if result.stopped == "interrupted":
        raise typer.Exit(130)
