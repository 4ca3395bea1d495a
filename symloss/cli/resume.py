"""`symloss resume`: go on with a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from symloss.cli.arguments import Jobs

EXAMPLE = "symloss resume runs/digits --generations 40"


def resume(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of the run.")],
    jobs: Jobs = 1,
    generations: Annotated[int | None, typer.Option(help="Go on to this many.", show_default="as it was")] = None,
    time_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="From now.", show_default="as it was")
    ] = None,
    target_fitness: Annotated[float | None, typer.Option(help="Another target.", show_default="as it was")] = None,
) -> None:
    """Go on with a run that was stopped, cut off or killed.

    It ends as if it had not been: the result is the same, bit for bit.
    """
    from symloss.cli.output import end_search
    from symloss.cli.progress import progress
    from symloss.discovery import runs

    wanted: dict[str, Any] = {"generations": generations, "time_limit": time_limit, "target_fitness": target_fitness}
    changes = {name: value for name, value in wanted.items() if value is not None}
    with progress() as listener:
        result = runs.resume(directory, n_jobs=jobs, progress=listener, **changes)
    end_search(result)
