"""The options of every command that takes a task."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from symloss.errors import TaskError

if TYPE_CHECKING:
    from symloss.tasks.task import Task

TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="Task (`symloss tasks` lists them), or a .csv, .tsv or .npz file.")
]


TaskOption = Annotated[
    str | None,
    typer.Option(help="Name of a task, or a file.", show_default="that of the first run directory, with its model"),
]


def _option(help: str, *names: str, **settings: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel="Task", **settings)


@dataclass(frozen=True)
class TaskOptions:
    """How a task is loaded: the options of `load_task`, as the command line has them."""

    model: Annotated[
        str | None,
        _option(
            "linear, mlp, lenet5, allcnnc, resnet18, wideresnet; charcnn or gru for text.",
            show_default="mlp, charcnn for text",
        ),
    ] = None
    model_option: Annotated[
        list[str] | None, _option("Option of the model, such as hidden=64,64. Repeatable.", metavar="NAME=VALUE")
    ] = None
    split_seed: Annotated[int, _option("Seed of the split of the data.", min=0)] = 0
    data: Annotated[Path | None, _option("Directory that holds the data.", metavar="DIR")] = None
    target: Annotated[
        str | None, _option("Column of a file with the targets.", metavar="NAME", show_default="the last")
    ] = None
    kind: Annotated[
        str | None, _option("Of a file: multiclass, binary or regression.", show_default="by its targets")
    ] = None
    image_size: Annotated[int | None, _option("Resize the images of folders.", show_default="32")] = None
    train_samples: Annotated[int | None, _option("Use so many training samples.", metavar="N")] = None
    valid_samples: Annotated[int | None, _option("Use so many validation samples.", metavar="N")] = None
    imbalance: Annotated[
        float | None, _option("Long tail: so many times fewer of the last class.", metavar="RATIO")
    ] = None
    label_noise: Annotated[float, _option("Share of wrong training and validation labels.", metavar="SHARE")] = 0.0
    clean_validation: Annotated[bool, _option("Spare validation labels the noise.", "--clean-validation")] = False
    augment: Annotated[str | None, _option("Change training images: crop, flip or crop,flip.", metavar="WAYS")] = None

    def load(self, name: str) -> Task:
        """The task of this name, or of this file."""
        from symloss.tasks import load_task

        return load_task(
            name, self.model, self.split_seed, root=self.data, target=self.target, kind=self.kind,
            image_size=self.image_size, train_samples=self.train_samples, valid_samples=self.valid_samples,
            imbalance=self.imbalance, label_noise=self.label_noise, clean_validation=self.clean_validation,
            augment=self.augment or False, **dict(_model_option(word) for word in self.model_option or ()),
        )  # fmt: skip

    def load_or_recorded(self, name: str | None, losses: Iterable[str]) -> Task:
        """The task of this name; without one that of the first run directory among the losses, with its model.

        Raises:
            TaskError: If there is neither.
            LossError: If one of the losses is none.
        """
        from symloss.cli.arguments import read_loss
        from symloss.discovery.run_directory import RunDirectory
        from symloss.discovery.runs import recorded_task

        if name is not None:
            return self.load(name)
        for loss in losses:
            if os.path.isdir(loss):
                return recorded_task(RunDirectory.open(loss).config(), loss)
            read_loss(loss)  # a run that is misspelt is told as that
        raise TaskError("there is no task to train on; give one with --task, such as --task digits")


def with_task(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every field of `TaskOptions` as an option; it gets them together, as its argument `options`."""
    own = inspect.signature(command, eval_str=True)
    hints = get_type_hints(TaskOptions, include_extras=True)
    added = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(TaskOptions)
    ]

    @functools.wraps(command)
    def run(**words: Any) -> None:
        options = TaskOptions(**{field.name: words.pop(field.name) for field in fields(TaskOptions)})
        command(options=options, **words)

    kept = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.parameters.items()
        if name != "options"
    ]
    run.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
    return run


def _model_option(word: str) -> tuple[str, Any]:
    from symloss.tasks.loading import TASK_OPTIONS

    name, equals, value = word.partition("=")
    if not equals or not name or not value or name in TASK_OPTIONS:
        raise TaskError(f"--model-option takes NAME=VALUE, such as hidden=64,64; received {word!r}")
    entries = [_number(entry) for entry in value.split(",")]
    return name, tuple(entries) if len(entries) > 1 else entries[0]


def _number(text: str) -> int | float | str:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text
