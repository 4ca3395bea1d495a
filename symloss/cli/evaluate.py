"""`symloss evaluate`: is a loss better?"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from symloss.cli.arguments import Jobs, NumbersFile, Steps
from symloss.cli.output import check_numbers, save_numbers
from symloss.cli.task_options import TaskOption, TaskOptions, with_task

EXAMPLE = "symloss evaluate runs/digits focal --task digits --seeds 10 --steps 500"


@with_task
def evaluate(
    losses: Annotated[
        list[str], typer.Argument(metavar="LOSS...", help="Named losses, formulas, .json files or run directories.")
    ],
    options: TaskOptions,
    task: TaskOption = None,
    seeds: Annotated[int, typer.Option(help="Models trained with each loss, from different seeds.")] = 10,
    steps: Steps = 500,
    learning_rate: Annotated[float, typer.Option(help="Untuned rate, and the middle of the rates tried.")] = 0.01,
    momentum: Annotated[float, typer.Option(help="Momentum of SGD.")] = 0.0,
    tune: Annotated[bool, typer.Option("--tune/--no-tune", help="Tune the learning rate of each loss.")] = True,
    jobs: Jobs = 1,
    out: NumbersFile = None,
) -> None:
    """Is a loss better? Test errors with 95 % intervals.

    Models are trained with each loss over seeds, its learning rate tuned. Tuned cross-entropy (squared error for
    regression) always runs beside them: beating an untuned one is no result.
    """
    if out is not None:
        check_numbers(out)
    from symloss.evaluation import evaluate as measure

    own = options.load_or_recorded(task, losses)
    listener = (lambda line: print(line, file=sys.stderr, flush=True)) if sys.stderr.isatty() else None
    found = measure(
        own, losses, seeds=seeds, tune_lr=tune, steps=steps, learning_rate=learning_rate, momentum=momentum,
        n_jobs=jobs, progress=listener,
    )  # fmt: skip
    print(found)
    if out is not None:
        print()
        save_numbers(found.to_json(), out)
