"""`symloss latex`: a formula, its derivation, or all of a run, for a paper."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from symloss.cli.arguments import KindOption, LossArgument, read_formula, read_loss
from symloss.errors import OutputError

EXAMPLE = "symloss latex runs/digits --document --out paper"


def latex(
    loss: LossArgument,
    kind: KindOption = None,
    digits: Annotated[int, typer.Option(min=1, max=17, help="Significant digits of the weights.")] = 4,
    seconds: Annotated[float, typer.Option(min=0, help="Most seconds for the simplification.")] = 5.0,
    derivation: Annotated[bool, typer.Option("--derivation", help="Print how it is simplified, step by step.")] = False,
    front: Annotated[bool, typer.Option("--front", help="Print the Pareto front of a run as a table.")] = False,
    document: Annotated[bool, typer.Option("--document", help="Write a document with figures.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Of the document: FILE.tex or a directory.", show_default="NAME.tex"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of an earlier document.")] = False,
) -> None:
    """Print a formula as LaTeX, for amsmath.

    With --document, write a LaTeX document of a run or a loss that pdflatex compiles as it is: formula, derivation,
    figures, and of a run also its front, settings and versions.
    """
    if derivation + front + document > 1:
        raise OutputError("--derivation, --front and --document ask for different things; give one of them")
    if out is not None and not document:
        raise OutputError("--out is where --document goes; give both, or send what is printed to a file with >")
    if document:
        _write_document(loss, kind, digits, seconds, out, overwrite)
    elif front:
        from symloss.discovery.result import load_run

        print(load_run(loss).latex(digits=digits))
    elif derivation:
        print(read_formula(loss, kind).derivation(kind, digits, seconds).latex())
    else:
        from symloss.expression.latex import to_latex

        print(to_latex(read_formula(loss, kind), digits))


def _write_document(
    loss: str, kind: str | None, digits: int, seconds: float, out: Path | None, overwrite: bool
) -> None:
    from symloss.discovery.result import load_run
    from symloss.report.latex import document, place_of

    name = re.sub(r"[^A-Za-z0-9]+", "-", Path(loss).stem).strip("-")[:40] if os.path.exists(loss) else ""
    place = out or Path(f"{name or 'loss'}.tex")
    place_of(place, overwrite)  # before any work is done
    what = load_run(loss) if os.path.isdir(loss) else read_loss(loss, kind)
    for path in document(what, kind, digits, seconds).write(place, overwrite):
        print(f"wrote {path}")
