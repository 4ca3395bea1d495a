"""`symloss tasks`: the tasks that there are."""

from __future__ import annotations

from symloss.cli.output import table

EXAMPLE = "symloss tasks"


def tasks() -> None:
    """List the tasks, and what brings those that are absent."""
    from symloss.tasks import describe

    rows = []
    for found in describe():
        inputs = "×".join(map(str, found.shape or ()))
        classes = str(found.classes or "") if found.kind != "regression" else ""
        state = "ready" if found.present else f"absent; run: {found.install}"
        rows.append((found.name, found.kind, str(found.samples or ""), inputs, classes, state, found.source))
    print(table(("task", "kind", "samples", "inputs", "classes", "state", "source"), rows))
