"""`symloss evaluate`: is a loss better?"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symloss.cli.arguments import Jobs
from symloss.cli.task_options import TaskOptions, with_task
from symloss.errors import TaskError

if TYPE_CHECKING:
    from symloss.tasks.task import Task

EXAMPLE = "symloss evaluate runs/digits focal --task digits --seeds 10 --steps 500"


@with_task
def evaluate(
    losses: Annotated[
        list[str], typer.Argument(metavar="LOSS...", help="Named losses, formulas, .json files or run directories.")
    ],
    options: TaskOptions,
    task: Annotated[
        str | None,
        typer.Option(help="Name of a task, or a file.", show_default="that of the first run directory, with its model"),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Models trained with each loss, from different seeds.")] = 10,
    steps: Annotated[int, typer.Option(help="Training steps of each model.")] = 500,
    learning_rate: Annotated[float, typer.Option(help="Untuned rate, and the middle of the rates tried.")] = 0.01,
    momentum: Annotated[float, typer.Option(help="Momentum of SGD.")] = 0.0,
    tune: Annotated[bool, typer.Option("--tune/--no-tune", help="Tune the learning rate of each loss.")] = True,
    jobs: Jobs = 1,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write every number there, as JSON.")] = None,
) -> None:
    """Is a loss better? Test errors with 95 % intervals.

    Models are trained with each loss over seeds, its learning rate tuned. Tuned cross-entropy (squared error for
    regression) always runs beside them: beating an untuned one is no result.
    """
    from symloss.cli.output import OutputError, write
    from symloss.evaluation import evaluate as measure

    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise OutputError(f"{str(out)!r} is not a file that can be written; give one in a directory that exists")
    own = _task_of_run(losses) if task is None else options.load(task)
    listener = (lambda line: print(line, file=sys.stderr, flush=True)) if sys.stderr.isatty() else None
    found = measure(
        own, losses, seeds=seeds, tune_lr=tune, steps=steps, learning_rate=learning_rate, momentum=momentum,
        n_jobs=jobs, progress=listener,
    )  # fmt: skip
    print(found)
    if out is not None:
        write(out, (json.dumps(found.to_json(), indent=2) + "\n").encode())
        print(f"\nwrote {out}")


def _task_of_run(losses: list[str]) -> Task:
    """The task of the first run directory among the losses."""
    from symloss.discovery.run_directory import RunDirectory
    from symloss.discovery.runs import recorded_task

    for loss in losses:
        if os.path.isdir(loss):
            return recorded_task(RunDirectory.open(loss).config(), loss)
    raise TaskError("there is no task to train on; give one with --task, such as --task digits")
