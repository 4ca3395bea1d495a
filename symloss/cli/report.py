"""`symloss report`: a page that shows a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from symloss.cli.arguments import Jobs

EXAMPLE = "symloss report runs/digits --evaluate"


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Directory of a run.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The page, .html.", show_default="report.html in RUN")
    ] = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What `symloss evaluate --out` wrote.", show_default="evaluation.json in RUN, if there"
        ),
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Compare the pick with the tuned task loss now; kept in RUN.")
    ] = False,
    jobs: Jobs = 1,
    beside: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Another run of `symloss adapt`, to show beside one; may be repeated."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is no report.")] = False,
) -> None:
    """Write one HTML file that shows a run, to read, print or send.

    It opens without a network. The losses of the front with formulas, curves and trees; the honest comparison with
    tuned cross-entropy, if it was made; how the search went; and how to do it again.

    Of a run of `symloss adapt`: how the model learnt, beside its controls (--beside), and what became of the loss.
    """
    from symloss.report.page import report as write

    place = write(
        run,
        out or run / "report.html",
        evaluation=evaluation,
        evaluate=evaluate,
        n_jobs=jobs,
        beside=beside or (),
        overwrite=overwrite,
    )
    print(f"wrote {place}")
