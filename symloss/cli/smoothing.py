"""`symloss smoothing`: whether a loss acts as label smoothing."""

from __future__ import annotations

from typing import Annotated

import typer

from symloss.cli.arguments import KindOption, LossArgument, PlotFile, read_loss
from symloss.cli.output import check_picture, save_figure

EXAMPLE = "symloss smoothing 'abs(log(1.1*y*f))' --classes 10"


def smoothing(
    loss: LossArgument,
    classes: Annotated[int, typer.Option(help="Number of classes, for multiclass losses.")] = 10,
    kind: KindOption = None,
    plot: PlotFile = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print verdict and derivation as LaTeX.")] = False,
) -> None:
    """Tell whether a loss acts as label smoothing, and with which strength."""
    if plot is not None:
        check_picture(plot)
    from symloss.analysis import label_smoothing

    report = label_smoothing(read_loss(loss, kind), classes)
    print(report.latex() if latex else report)
    if plot is not None:
        save_figure(report.figure(), plot)
