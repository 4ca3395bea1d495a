"""`symloss plot`: curves of a loss, history and front of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from symloss.cli.arguments import KindOption, LossArgument, read_loss
from symloss.cli.output import FigureFile, check_picture, save_figure

EXAMPLE = "symloss plot runs/digits --out loss.png"


def plot(
    loss: LossArgument,
    out: FigureFile,
    kind: KindOption = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(metavar="LOSS", help="Loss to draw beside it. Repeatable.", show_default="the task loss"),
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="No scaling to equal slopes, no shift to zero.")] = False,
) -> None:
    """Plot a loss; of a run also its history and front.

    A run gives three pictures: FILE for its best loss, and beside it FILE-history and FILE-front.
    """
    check_picture(out)
    from symloss import plotting
    from symloss.discovery.result import load_run

    result = load_run(loss) if os.path.isdir(loss) else None  # before anything is written
    module = read_loss(loss, kind)
    save_figure(plotting.loss_curves(module, reference, kind, raw), out)
    if result is not None:
        save_figure(plotting.history(result), _beside(out, "history"))
        save_figure(plotting.front(result), _beside(out, "front"))


def _beside(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}{path.suffix}")
