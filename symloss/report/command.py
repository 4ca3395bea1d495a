"""The command that makes a run again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from symloss.discovery.record import RunConfig
from symloss.discovery.settings import Settings
from symloss.online.settings import AdaptSettings

_FLAGS = {"population_size": "--population", "generations": "--generations", "seed": "--seed"}
_USUAL_METHOD = "evomal"
_ADAPT_FLAGS = {
    "lr": "--learning-rate", "offline_lr": "--offline-learning-rate", "meta_lr": "--meta-learning-rate",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in (
            "method", "offline_steps", "offline_horizon", "steps", "batch_size", "optimiser", "momentum",
            "weight_decay", "clip", "schedule", "inner_steps", "seed",
        )
    },
}  # fmt: skip
_ADAPT_SWITCHES = {"nesterov": "--nesterov", "residual": "--residual", "tune_lr": "--no-tune"}


def discover_command(config: RunConfig) -> str | None:
    """The `symloss discover` with which a run of this configuration begins anew, on one line for a shell.

    Args:
        config: Of a run.

    Returns:
        The command without an `--out`; None if the run does not tell how `load_task` makes its task.
    """
    words = _task_words("discover", config.task.get("recipe"))
    if words is None:
        return None
    if config.method != _USUAL_METHOD:
        words += ["--method", config.method]
    settings, usual = config.settings.to_dict(), Settings().to_dict()
    for name, flag in _FLAGS.items():
        words += [flag, str(settings.pop(name))]
    for name, value in settings.items():
        if value != usual.get(name):
            words += ["--set", f"{name}={_value(value)}"]
    words += [f"--guess={guess}" for guess in config.guesses]
    return shlex.join(words)


def adapt_command(recipe: object, settings: Mapping[str, Any], method: str | None = None) -> str | None:
    """The `symloss adapt` of these settings, on one line for a shell.

    Args:
        recipe: Arguments of `load_task`.
        settings: Of the run, as `AdaptSettings.to_json` writes them.
        method: Another method instead.

    Returns:
        The command without loss and `--out`; None if the recipe tells no task, or the settings have no options.
    """
    words = _task_words("adapt", recipe)
    own = {**settings, "method": method or settings.get("method")}
    usual = AdaptSettings().to_json()
    changed = [name for name, value in usual.items() if own.get(name, value) != value]
    if words is None or not set(changed) <= {*_ADAPT_FLAGS, *_ADAPT_SWITCHES}:
        return None
    for name in changed:
        flag = _ADAPT_SWITCHES.get(name)
        words += [flag] if flag else [_ADAPT_FLAGS[name], _value(own[name])]
    return shlex.join(words)


def _task_words(verb: str, recipe: Any) -> list[str] | None:
    """The command and its options of the task; None if the recipe is missing or damaged."""
    try:
        words = ["symloss", verb, str(recipe["name"]), "--model", str(recipe["model"])]
        for name, value in dict(recipe["model_options"]).items():
            words += ["--model-option", f"{name}={_value(value)}"]
        return [*words, "--split-seed", str(recipe["seed"]), *_conditions(recipe.get("options", {}))]
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _conditions(options: Mapping[str, Any]) -> Iterator[str]:
    """The options of the command line for those of `load_task`."""
    for name, value in options.items():
        flag = f"--{'data' if name == 'root' else name.replace('_', '-')}"
        if name == "augment" and value is True:
            yield from (flag, "crop,flip")
        elif value is True:
            yield flag
        else:
            yield from (flag, _value(value))


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_value, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
