"""The command that makes a run again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from symloss.discovery.record import RunConfig
from symloss.discovery.settings import Settings

_FLAGS = {"population_size": "--population", "generations": "--generations", "seed": "--seed"}
_USUAL_METHOD = "evomal"


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
        words += ["--split-seed", str(recipe["seed"]), *_conditions(recipe.get("options", {}))]
    except (AttributeError, KeyError, TypeError, ValueError):  # none, or a damaged one
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
