"""`symloss evaluate`: is a loss better?"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from symloss.cli.arguments import Jobs, NumbersFile, Steps
from symloss.cli.output import check_numbers, save_numbers
from symloss.cli.task_options import TaskOption, TaskOptions, with_task

if TYPE_CHECKING:
    from symloss.tasks.task import Task

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
    regression) always runs beside them: beating an untuned one is no result. With --task and --model a loss that was
    found elsewhere is tried on another task; the output says where it was found.
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
    transfers = list(_transfers(losses, own))
    if transfers:
        print("", *transfers, sep="\n")
    if out is not None:
        print()
        save_numbers({**found.to_json(), "transfers": transfers}, out)


def _transfers(losses: list[str], task: Task) -> Iterator[str]:
    """One line for each loss that was found on another task than the one that is trained on."""
    from symloss.cli.output import printable
    from symloss.discovery.run_directory import RunDirectory

    for loss in losses:
        if not os.path.isdir(loss):
            continue
        config = RunDirectory.open(loss).config()
        if config.task["identity"] != task.identity():
            there = _described(config.task["name"], config.task.get("recipe"))
            here = _described(task.name, task.recipe)
            yield printable(f"{loss}: found by {config.method} on {there}, trained with here on {here}: a transfer")


def _described(name: str, recipe: Any) -> str:
    """A task in words: its name, its model with its options, and its split where it is not the first."""
    if not isinstance(recipe, Mapping):
        return f"{name} (a task of your own)"
    options = {**recipe.get("options", {}), **recipe["model_options"]}
    split = [f"split seed {recipe['seed']}"] if recipe["seed"] else []
    return f"{name} ({', '.join([recipe['model'], *(f'{key}={value}' for key, value in options.items()), *split])})"
