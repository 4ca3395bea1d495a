"""`symloss adapt`: a loss that adapts while a model trains under it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from symloss.cli.arguments import NumbersFile, PlotFile
from symloss.cli.task_options import TaskArgument, TaskOptions, with_task

EXAMPLE = "symloss adapt digits --out adapted/digits --plot adapted.png"


@with_task
def adapt(
    task: TaskArgument,
    options: TaskOptions,
    loss: Annotated[
        str | None,
        typer.Option(
            metavar="LOSS", help="Where the loss starts: formula, file or run directory.", show_default="a loss network"
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="adalfl, or a control: frozen, learned-rate or task-loss (its rate tuned).")
    ] = "adalfl",
    offline_steps: Annotated[int, typer.Option(help="Meta-steps beforehand, on other models.")] = 2500,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 2000,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of the model.")] = 0.01,
    offline_learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate of the steps beforehand.", show_default="that of the model")
    ] = None,
    offline_horizon: Annotated[int, typer.Option(help="Such steps on each model from fresh weights.")] = 20,
    meta_learning_rate: Annotated[float, typer.Option(help="Learning rate of the loss.")] = 1e-4,
    batch_size: Annotated[int, typer.Option(help="Samples in a batch.")] = 128,
    optimiser: Annotated[str, typer.Option(help="sgd, adam or adamw.")] = "sgd",
    momentum: Annotated[float, typer.Option(help="Momentum of SGD.")] = 0.0,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="Nesterov's momentum.")] = False,
    weight_decay: Annotated[float, typer.Option(help="Weight decay.")] = 0.0,
    clip: Annotated[float | None, typer.Option(help="Bound on the norm of the gradients.", show_default="none")] = None,
    schedule: Annotated[str, typer.Option(help="constant, linear or cosine.")] = "constant",
    inner_steps: Annotated[int, typer.Option(help="Training steps that each update of the loss looks back on.")] = 1,
    residual: Annotated[bool, typer.Option("--residual", help="Learn what is added to the task loss.")] = False,
    tune: Annotated[bool, typer.Option("--tune/--no-tune", help="Tune the rate of method task-loss.")] = True,
    seed: Annotated[int, typer.Option(help="Of weights, batches and dropout.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory of the run.", show_default="not kept")
    ] = None,
    plot: PlotFile = None,
    numbers: NumbersFile = None,
) -> None:
    """Train a model under a loss that adapts while it trains (AdaLFL), or under a control.

    First the loss learns from fresh models, then it trains one and goes on learning from validation data: judge the
    model by the test data, and beside --method task-loss.

    --plot writes a picture, and beside it an animation (.gif) of the loss's shape over training.

    With --out the same command goes on after Ctrl-C (exit status 130) or a kill, with the same result.
    """
    from symloss.cli.output import check_numbers, check_picture, save_animation, save_figure, save_numbers

    if plot is not None:
        check_picture(plot)
    if numbers is not None:
        check_numbers(numbers)
    from symloss.online import adapt as train

    found = train(
        options.load(task), loss, offline_steps=offline_steps, steps=steps, lr=learning_rate,
        offline_lr=offline_learning_rate, offline_horizon=offline_horizon,
        meta_lr=meta_learning_rate, seed=seed, out=out, method=method, batch_size=batch_size, optimiser=optimiser,
        momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, clip=clip, schedule=schedule,
        inner_steps=inner_steps, residual=residual, tune_lr=tune,
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    print(found)
    if out is not None:
        print(f"\nkept in {out}")
    if plot is not None and found.records:
        save_figure(found.figure(), plot)
        if found.snapshots:
            save_animation(found, plot.with_suffix(".gif"))
    if numbers is not None:
        save_numbers(found.to_json(), numbers)
    if found.stopped == "interrupted":
        raise typer.Exit(130)
