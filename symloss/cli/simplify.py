"""`symloss simplify`: a smaller formula of the same value."""

from __future__ import annotations

from typing import Annotated

import typer

from symloss.cli.arguments import KindOption, LossArgument, read_formula

EXAMPLE = "symloss simplify 'log(y*f) - log(y*f)*2 + 0*f'"


def simplify(
    loss: LossArgument,
    kind: KindOption = None,
    seconds: Annotated[float, typer.Option(min=0, help="Most seconds to take.")] = 5.0,
) -> None:
    """Print a smaller formula of the same value.

    If none is found within the time, the formula itself.
    With --kind multiclass or binary also identities count that hold only for y in {0, 1} and f in (0, 1).
    """
    from symloss.expression.simplification import simplify as smaller

    print(smaller(read_formula(loss, kind), seconds=seconds, kind=kind))
