"""`symloss draw`: the tree of a formula."""

from __future__ import annotations

from symloss.cli.arguments import KindOption, LossArgument, read_formula
from symloss.cli.output import FigureFile, check_picture, save_figure

EXAMPLE = "symloss draw 'abs(log(1.2*y*f))' --out tree.png"


def draw(loss: LossArgument, out: FigureFile, kind: KindOption = None) -> None:
    """Draw the tree of a formula."""
    check_picture(out)
    expression = read_formula(loss, kind)
    save_figure(expression.draw(), out, Title="Expression tree", Description=str(expression))
