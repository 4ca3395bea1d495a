"""The command that makes a run again."""

from __future__ import annotations

import shlex
from typing import Any

from symloss.discovery.record import RunConfig
from symloss.discovery.settings import Settings

_FLAGS = {"population_size": "--population", "generations": "--generations", "seed": "--seed"}


def discover_command(config: RunConfig) -> str | None:
    """The `symloss discover` with which a run of this configuration begins anew, on one line for a shell.

    Args:
        config: Of a run.

    Returns:
        The command without an `--out`; None if the run does not tell how `load_task` makes its task.
    """
    try:
        recipe = config.task["recipe"]
        words = ["symloss", "discover", str(recipe["name"]), "--model", str(recipe["model"])]
        for name, value in dict(recipe["model_options"]).items():
            words += ["--model-option", f"{name}={_value(value)}"]
        words += ["--split-seed", str(recipe["seed"])]
    except (KeyError, TypeError, ValueError):  # none, or a damaged one
        return None
    settings, usual = config.settings.to_dict(), Settings().to_dict()
    for name, flag in _FLAGS.items():
        words += [flag, str(settings.pop(name))]
    for name, value in settings.items():
        if value != usual.get(name):
            words += ["--set", f"{name}={_value(value)}"]
    words += [f"--guess={guess}" for guess in config.guesses]
    return shlex.join(words)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_value, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
