"""`symloss landscape`: how flat the minima are that a loss leads to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from symloss.cli.arguments import LossArgument
from symloss.cli.output import check_picture, save_figure
from symloss.cli.task_options import TaskOptions, with_task

if TYPE_CHECKING:
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
    steps: Annotated[int, typer.Option(help="Training steps of each model.")] = 500,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of all losses.", show_default="tuned for each loss on validation data")
    ] = None,
    style: Annotated[str, typer.Option(help="contour or surface.")] = "contour",
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Picture to write.", show_default=False)] = None,
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
    import torch.nn.functional as F

    from symloss.analysis import landscape as measure
    from symloss.analysis.landscape import grid_shape
    from symloss.errors import EvaluationError
    from symloss.evaluation import fit
    from symloss.evaluation.entries import NOUNS
    from symloss.evaluation.gradients import TASK_LOSSES
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
    models = {}
    for what in dict.fromkeys([loss, *(against or [TASK_LOSSES[own.kind]])]):
        rate = _tuned(own, what, steps, seed) if learning_rate is None else learning_rate
        models[what] = fit(own, what, seed=seed, steps=steps, learning_rate=rate)
        print(f"trained with {what}, learning rate {rate:.3g}", file=sys.stderr, flush=True)
    task_loss = F.cross_entropy if own.kind == "multiclass" else own.task_loss
    metrics = {NOUNS[own.kind]: task_loss, own.metric_name: lambda o, y: own.sample_metric(o, y).mean()}
    found = measure(
        models, data, metrics, grid=shape,
        span=span, directions=directions, seed=seed, seeds=seeds, out=out,
    )  # fmt: skip
    print(found)
    if plot is not None:
        save_figure(draw(found, style=style), plot)


def _tuned(task: Task, loss: str, steps: int, seed: int) -> float:
    """The learning rate of the lowest mean validation metric, over half-decades."""
    from symloss.evaluation import Protocol
    from symloss.evaluation.training import trial
    from symloss.losses import resolve

    protocol = Protocol(steps=steps, seed=seed)
    module = resolve.loss(loss, task.kind)
    trials = [trial(task, protocol.settings, loss, module, protocol.grid, s, "valid")[0] for s in protocol.rate_seeds]
    return min(zip(map(sum, zip(*trials, strict=True)), protocol.grid, strict=True))[1]
