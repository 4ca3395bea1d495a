"""`symloss landscape`: how flat the minima are that a loss leads to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symloss.cli.arguments import LossArgument, PlotFile, Steps
from symloss.cli.output import check_picture, save_figure
from symloss.cli.task_options import TaskOptions, with_task

if TYPE_CHECKING:
    from torch import nn

    from symloss.analysis.points import Metric
    from symloss.tasks.task import Task

EXAMPLE = "symloss landscape runs/digits --task digits --against cross-entropy --plot landscape.png"


@with_task
def landscape(
    loss: LossArgument,
    task: Annotated[str, typer.Option(help="Name of a task, or a file.")],
    options: TaskOptions,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LOSS", help="Loss to train a second model with. Repeatable.", show_default="the task loss"
        ),
    ] = None,
    grid: Annotated[int, typer.Option(help="Points along each direction, odd.")] = 41,
    span: Annotated[float, typer.Option(help="How far to go; 1 is as far as the weights are long.")] = 1.0,
    line: Annotated[bool, typer.Option("--line", help="One direction instead of two.")] = False,
    directions: Annotated[str, typer.Option(help="random or hessian.")] = "random",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the models and of the directions.")] = 0,
    seeds: Annotated[int, typer.Option(help="How many random directions, for the spread over them.")] = 1,
    part: Annotated[str, typer.Option(help="Data to measure on: train, valid or test.")] = "train",
    steps: Steps = 500,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of all losses.", show_default="tuned for each loss on validation data")
    ] = None,
    style: Annotated[str, typer.Option(help="contour or surface.")] = "contour",
    plot: PlotFile = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=".npz file for the values; goes on where it was.", show_default=False),
    ] = None,
) -> None:
    """Compare the minima that losses lead to, under the task loss and the task metric.

    A model is trained with each loss from the same weights. All are measured on one scale along the same directions.
    """
    if plot is not None:
        check_picture(plot)
    from symloss.analysis import landscape as measure
    from symloss.analysis.landscape import check_options, grid_shape, spans
    from symloss.errors import EvaluationError
    from symloss.evaluation.gradients import TASK_LOSSES
    from symloss.losses.resolve import loss as resolve
    from symloss.plotting import landscape as draw
    from symloss.plotting.landscape import STYLES

    own = options.load(task)
    data = {"train": own.train, "valid": own.valid, "test": own.test}.get(part)
    if data is None or style not in STYLES or directions not in ("random", "hessian"):
        raise EvaluationError(
            "--part is train, valid or test, --style contour or surface, --directions random or hessian; "
            f"received {part}, {style}, {directions}"
        )
    shape = grid_shape(grid if line else (grid, grid))
    spans(span, directions, None, len(shape))
    check_options(directions, seeds, seed, out)
    losses = [loss, *(against or [TASK_LOSSES[own.kind]])]
    for one in losses:  # before any is trained with
        resolve(one, own.kind)
    models = _trained(own, losses, seed, steps, learning_rate)
    found = measure(
        models, data, _metrics(own), grid=shape, span=span, directions=directions, seed=seed, seeds=seeds, out=out
    )
    print(found)
    if plot is not None:
        save_figure(draw(found, style=style), plot)


def _trained(task: Task, losses: list[str], seed: int, steps: int, rate: float | None) -> dict[str, nn.Module]:
    """A model trained with each loss, at this rate or else at its own."""
    from symloss.evaluation import fit, tuned_rate

    models = {}
    for loss in dict.fromkeys(losses):
        own = tuned_rate(task, loss, steps=steps, seed=seed) if rate is None else rate
        models[loss] = fit(task, loss, seed=seed, steps=steps, learning_rate=own)
        print(f"trained with {loss}, learning rate {own:.3g}", file=sys.stderr, flush=True)
    return models


def _metrics(task: Task) -> dict[str, Metric]:
    """The task loss and the task metric by name."""
    import torch.nn.functional as F

    from symloss.evaluation.entries import NOUNS

    loss = F.cross_entropy if task.kind == "multiclass" else task.task_loss  # by itself, for which planes have a kernel
    return {NOUNS[task.kind]: loss, task.metric_name: lambda o, y: task.sample_metric(o, y).mean()}
