"""`symloss latex`: a formula for a paper."""

from __future__ import annotations

from typing import Annotated

import typer

from symloss.cli.arguments import KindOption, LossArgument, read_formula

EXAMPLE = "symloss latex 'abs(log(1.2*y*f))'"


def latex(
    loss: LossArgument,
    kind: KindOption = None,
    digits: Annotated[int, typer.Option(min=1, max=17, help="Significant digits of the weights.")] = 4,
) -> None:
    """Print a formula as LaTeX, for amsmath."""
    from symloss.expression.latex import to_latex

    print(to_latex(read_formula(loss, kind), digits))
