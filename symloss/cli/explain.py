"""`symloss explain`: what is known of one loss, on one page."""

from __future__ import annotations

from typing import Annotated

import typer

from symloss.cli.arguments import Jobs, LossArgument, NumbersFile, PlotFile, Steps
from symloss.cli.output import check_numbers, check_picture, save_figure, save_numbers
from symloss.cli.task_options import TaskOption, TaskOptions, with_task

EXAMPLE = "symloss explain runs/digits --plot explained.png"


@with_task
def explain(
    loss: LossArgument,
    options: TaskOptions,
    task: TaskOption = None,
    seeds: Annotated[int, typer.Option(help="Models trained with each loss, from different seeds.")] = 5,
    steps: Steps = 500,
    jobs: Jobs = 1,
    plot: PlotFile = None,
    out: NumbersFile = None,
) -> None:
    """Explain a loss on one page: formula, step size, label smoothing, flatness.

    What it is, and whether it is a known loss; how much of its gain is step size and how much shape, against
    cross-entropy with its rate tuned (squared error for regression); whether it smooths labels; how flat its minima
    are. Each part opens with a plain sentence.
    """
    if plot is not None:
        check_picture(plot)
    if out is not None:
        check_numbers(out)
    from symloss.analysis import explain as ask
    from symloss.cli.progress import parts

    own = options.load_or_recorded(task, [loss])
    with parts() as listener:
        found = ask(loss, own, seeds=seeds, steps=steps, n_jobs=jobs, progress=listener)
    print(found)
    if plot is not None or out is not None:
        print()
    if plot is not None:
        save_figure(found.figure(), plot)
    if out is not None:
        save_numbers(found.to_json(), out)
