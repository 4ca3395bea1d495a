"""`symloss discover`: search for a loss."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from symloss.cli.arguments import Jobs, read_settings
from symloss.cli.task_options import TaskArgument, TaskOptions, with_task
from symloss.discovery.settings import Settings

EXAMPLE = "symloss discover digits --population 25 --generations 20 --jobs 2 --out runs/digits"

_D = Settings()


def _option(panel: str, help: str, *names: str, **options: Any) -> Any:
    return Option(*names, help=help, rich_help_panel=panel, **options)


_run, _search, _training = (partial(_option, panel) for panel in ("Run", "Search", "Training"))


@with_task
def discover(
    task: TaskArgument,
    options: TaskOptions,
    out: Annotated[
        Path | None, _run("Directory of the run.", metavar="DIR", show_default="runs/TASK, or runs/TASK-2, ...")
    ] = None,
    overwrite: Annotated[bool, _run("Replace an earlier run there.", "--overwrite")] = False,
    jobs: Jobs = 1,
    time_limit: Annotated[float | None, _run("Stop then, keeping what was found.", metavar="SECONDS")] = None,
    target_fitness: Annotated[float | None, _run("Stop once a loss is at least this good.")] = None,
    device: Annotated[str, _run("Torch device, such as cpu or cuda.")] = _D.device,
    method: Annotated[str, _search("evomal, or a baseline: random, gp-lfl, taylorglo, ml3.")] = "evomal",
    population: Annotated[int, _search("Candidates per generation.")] = _D.population_size,
    generations: Annotated[int, _search("Generations, the first included.")] = _D.generations,
    seed: Annotated[int, _search("Every random number follows from it.")] = _D.seed,
    guess: Annotated[list[str] | None, _search("Loss to start from, or catalogue. Repeatable.", metavar="LOSS")] = None,
    inherit_weights: Annotated[bool, _search("Keep weights of surviving subtrees.", "--inherit-weights")] = False,
    chunk_size: Annotated[int, _search("Most candidates trained together.")] = _D.chunk_size,
    no_refine: Annotated[bool, _training("Leave every weight as it was born.", "--no-refine")] = False,
    inner_steps: Annotated[int, _training("Steps that refinement looks ahead.", metavar="K")] = _D.inner_steps,
    learning_rate: Annotated[float, _training("Step size of the base optimiser (SGD).")] = _D.learning_rate,
    momentum: Annotated[float, _training("Momentum of the base optimiser.")] = _D.momentum,
    scale_free: Annotated[bool, _training("Equal gradient norms: step size wins nothing.", "--scale-free")] = False,
    set_: Annotated[
        list[str] | None, _training("Any other setting of sl.Settings. Repeatable.", "--set", metavar="NAME=VALUE")
    ] = None,
) -> None:
    """Search for a loss that trains models of a task well.

    Ctrl-C stops the search and keeps what was found (exit status 130); `symloss resume` goes on with it.
    """
    settings = {
        "population_size": population, "generations": generations, "seed": seed, "inherit_weights": inherit_weights,
        "refine": not no_refine, "inner_steps": inner_steps, "learning_rate": learning_rate, "momentum": momentum,
        "scale_free": scale_free, "chunk_size": chunk_size, "target_fitness": target_fitness,
        "time_limit": time_limit, "device": device,
    } | read_settings(set_)  # fmt: skip
    from symloss.cli.output import end_search
    from symloss.cli.progress import progress
    from symloss.discovery import runs

    own = options.load(task)
    place = out or _free(Path("runs") / own.name.partition(",")[0])
    with progress() as listener:
        result = runs.discover(
            own, method=method, out=place, guesses=guess or (), n_jobs=jobs, overwrite=overwrite, progress=listener,
            **settings,
        )  # fmt: skip
    end_search(result)


def _free(path: Path) -> Path:
    """The path, or the first of path-2, path-3, ... that does not exist."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free
