"""`symloss tasks`: the tasks that there are."""

from __future__ import annotations

from symloss.cli.output import table

EXAMPLE = "symloss tasks"


def tasks() -> None:
    """List the tasks, what brings those that are absent, and what is read from files of your own."""
    from symloss.tasks import describe

    found = describe()
    rows = []
    for task in found:
        inputs = "×".join(map(str, task.shape or ()))
        classes = str(task.classes or "") if task.kind != "regression" else ""
        state = "ready" if task.present else "on your disk" if task.folder == "" else "absent"
        rows.append((task.name, task.kind, str(task.samples or ""), inputs, classes, task.source, state))
    print(table(("task", "kind", "samples", "inputs", "classes", "source", "state"), rows))
    own = [task for task in found if task.folder == ""]
    absent = [task for task in found if not task.present and task.folder != ""]
    if absent:
        print("\nAbsent; what brings them:")
        print(table(("task", "command"), [(task.name, task.install) for task in absent]))
    if own:
        print("\nOn your disk, given with --data DIR; what the directory holds:")
        print(table(("task", "files"), [(task.name, task.install) for task in own]))
    print("\nA .csv, .tsv or .npz file is a task too: symloss discover data.csv --target y")
