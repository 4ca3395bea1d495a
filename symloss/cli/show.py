"""`symloss show`: what a run found, or what a loss is."""

from __future__ import annotations

import json
import os
import textwrap

from symloss.cli.arguments import LossArgument, read_loss
from symloss.cli.output import printable

EXAMPLE = "symloss show runs/digits"


def show(what: LossArgument) -> None:
    """Show what a run found, or what a loss is."""
    if os.path.isdir(what):
        _show_run(what)
    else:
        _show_loss(what)


def _show_run(directory: str) -> None:
    from symloss.discovery.result import load_run

    result = load_run(directory)
    print(printable(str(result)))
    if result.front:
        print(f"\npick in full: {result.best.expression}")
        if result.best.unit == "weights":
            print("its weights are in best.json")
    if result.settings.scale_free and result.learning_rate is not None:
        print(f"\nlearning rate tuned for the task loss: {result.learning_rate:.4g}")
    settings = ", ".join(f"{name} {value}" for name, value in result.settings.to_dict().items())
    print(f"\n{textwrap.fill(f'settings: {settings}', 100, subsequent_indent='  ')}")


def _show_loss(what: str) -> None:
    module = read_loss(what)
    expression = getattr(module, "expression", None)
    network = getattr(module, "network", None)
    print(f"formula: {expression or (f'none; it is a {network}' if network else 'none; it is computed by torch')}")
    print(f"kind: {getattr(module, 'kind', 'unknown')}")
    if expression is not None:
        print(f"size: {expression.size} nodes, depth {expression.depth}")
    elif network is not None:
        print(f"size: {network.size} weights")
    if os.path.isfile(what):
        with open(what, encoding="utf-8") as file:
            notes = json.load(file).get("notes", {})  # the loss was read from it, so it is a record
        for name, value in notes.items() if isinstance(notes, dict) else ():
            print(printable(" ".join(f"{name}: {value}".split())))
