"""`symloss compare`: which way to a loss is better, over tasks and search seeds?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from symloss.cli.arguments import Jobs

EXAMPLE = "symloss compare --config comparison.toml --out comparisons/first --jobs 2"


def compare(
    config: Annotated[Path, typer.Option(metavar="FILE", help="What to compare, as TOML; see above.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Directory of the finished cells, searches and tables.")],
    jobs: Jobs = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what there is to do, and do nothing.")] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw differences and mean ranks there.")] = None,
) -> None:
    r"""Compare ways to a loss on tasks, over search seeds, beside tuned cross-entropy (squared error for regression).

    FILE has a table \[\[tasks]] for each task (name, label, model and other options), a table \[\[methods]] for each
    method (the name of a search and its settings, "catalogue", or a named loss; label), a table \[budget] of settings
    of all searches, and seeds, training_seeds, steps and other options of training.

    What is finished is kept: the same command goes on after Ctrl-C (exit status 130) or a kill.
    """
    from symloss.cli.output import check_picture, save_figure
    from symloss.comparison import carry_out, listing, plan, read_options

    if plot is not None:
        check_picture(plot)
    wanted = plan(**read_options(config))
    if dry_run:
        print(listing(wanted, out))
        return
    found = carry_out(wanted, out, n_jobs=jobs, progress=lambda line: print(line, file=sys.stderr, flush=True))
    print(found)
    print(f"\nkept in {out}: comparison.csv, comparison.json, comparison.tex, costs.csv")
    if plot is not None:
        save_figure(found.figure(), plot)
    if found.interrupted:
        raise typer.Exit(130)
