"""`symloss losses`: the named losses."""

from __future__ import annotations

from symloss.cli.arguments import KindOption
from symloss.cli.output import table

EXAMPLE = "symloss losses --kind regression"


def losses(kind: KindOption = None) -> None:
    """List the named losses and their equations."""
    from symloss.losses import catalogue
    from symloss.losses.targets import check_options

    if kind is not None:
        check_options(kind, "mean", -100)
    rows = []
    for name in catalogue.names(kind):
        entry = catalogue.entry(name)
        numbers = ", ".join(f"{parameter} {value.default:g}" for parameter, value in entry.parameters.items())
        rows.append((name, ", ".join(entry.kinds), entry.equation, numbers, ", ".join(entry.aliases)))
    print(table(("loss", "kinds", "equation", "parameters", "other names"), rows))
