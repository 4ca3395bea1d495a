"""What the page of a run of `adapt` says, as plain values for its template."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symloss.discovery.values import number, text, whole
from symloss.errors import RunError
from symloss.evaluation.entries import NOUNS
from symloss.online.checkpoint import CONFIG, HISTORY, RESULT
from symloss.online.result import FORMAT
from symloss.online.settings import METHODS
from symloss.report.charts import Axis, Chart, Series, span, wide
from symloss.report.command import adapt_command

Run = dict[str, Any]
_CONTROLS = ("task-loss", "frozen", "learned-rate")


def read(directory: str | os.PathLike[str]) -> Run | None:
    """The numbers of a run of `adapt`; None if the directory is none.

    Raises:
        RunError: If it is one, but has not ended a call yet, or is damaged.
    """
    place = Path(directory)
    if not (place / RESULT).is_file():
        if (place / CONFIG).is_file() and (place / HISTORY).is_file():
            raise RunError(f"the run in {str(place)!r} has no {RESULT} yet; go on with it by the same symloss adapt")
        return None
    try:
        found: Run = json.loads((place / RESULT).read_bytes())
        if found["format"] != FORMAT:
            raise ValueError("it is of another format")
        _check(found)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        said = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise RunError(f"{place / RESULT} is damaged ({said:.120}); the same symloss adapt writes it again") from None
    return {**found, "directory": str(place)}


def _check(run: Run) -> None:
    """Raise ValueError, TypeError or KeyError unless what the page shows has its form."""
    for name in ("task", "kind", "metric", "stopped", "trouble"):
        text(run[name])
    if run["kind"] not in NOUNS or run["settings"]["method"] not in METHODS:
        raise ValueError("its kind or method is unknown")
    whole(run["steps_done"]), whole(run["offline_steps_done"]), number(run["learning_rate"], 0)
    for record in run["records"]:
        whole(record["step"])
        for name in ("learning_rate", "effective_rate", "valid_metric", "task_loss"):
            _value(record[name])
    looks = run["snapshots"]
    for curve in looks["curves"]:
        whole(curve["step"])
        if len(curve["values"]) != len(looks["targets"]):
            raise ValueError("a curve is missing")
        for row in curve["values"]:
            if len(list(map(float, row))) != len(looks["predictions"]):
                raise ValueError("a point of a curve is missing")
    for place in looks["shown"]:
        looks["curves"][whole(place)]
    for value in run["metrics"].values():
        _value(value)
    for look in (run["analysis"] or {"looks": ()})["looks"]:
        list(map(float, look["rests"])), float(look["pull"]), whole(look["step"])


def beside(run: Run, directory: str | os.PathLike[str]) -> Run:
    """Another run, to stand beside this one.

    Raises:
        RunError: If it is no run of `adapt`, or was on another task.
    """
    other = read(directory)
    if other is None:
        raise RunError(f"{str(directory)!r} is no directory of a run of adapt; give what symloss adapt --out made")
    if other["task"] != run["task"]:
        raise RunError(f"the run in {str(directory)!r} is on another task ({other['task']:.80}); give one on the same")
    return other


def contents(run: Run, others: Sequence[Run]) -> dict[str, Any]:
    """Everything that the template needs; `charts` are all charts of the page by identity."""
    charts: dict[str, Chart] = {}
    runs = [run, *others]

    def shown(identity: str, chart: Chart) -> dict[str, Any]:
        charts[identity] = chart
        legend = [(f"s{series.style}", series.name) for series in chart.series if series.name]
        return {"title": chart.title, "svg": chart.svg(identity), "legend": legend}

    learning = [shown("learning", _learning(runs)), shown("rate", _effective(runs))] if run["records"] else []
    names = {method: METHODS[method] for method in dict.fromkeys(r["settings"]["method"] for r in runs)}
    return {
        "task": run["task"].partition(":")[0], "summary": run["task"], "noun": NOUNS[run["kind"]],
        "metric": run["metric"], "method": run["settings"]["method"], "what": METHODS[run["settings"]["method"]],
        "methods": names, "steps": run["steps_done"], "offline": run["offline_steps_done"],
        "finished": run["steps_done"] == run["settings"].get("steps"), "stopped": run["stopped"],
        "trouble": run["trouble"], "rows": [_row(one, run["kind"]) for one in runs],
        "against": any(one["settings"]["method"] == "task-loss" for one in others),
        "validated": run["settings"]["method"] in ("adalfl", "learned-rate"), "learning": learning,
        "shapes": [shown(f"shape-{k}", chart) for k, chart in enumerate(_shapes(run))],
        "analysis": run["analysis"], "looks": _looks(run),
        "settings": {name: "none" if value is None else str(value) for name, value in run["settings"].items()},
        "versions": ", ".join(f"{name} {version}" for name, version in dict(run["versions"]).items()),
        "command": _command(run, None), "control_commands": _controls(run, others), "charts": charts,
    }  # fmt: skip


def _command(run: Run, method: str | None) -> str | None:
    line = adapt_command(run["recipe"], run["settings"], method)
    if line is None:
        return None
    where = run["directory"] if method is None else f"{run['directory']}-{method}"
    return f"{line} --out {shlex.quote(where)}"


def _controls(run: Run, others: Sequence[Run]) -> str:
    """Commands that train what is not beside the run yet, and make the page with it."""
    there = {one["settings"]["method"] for one in (run, *others)}
    missing = [method for method in _CONTROLS if method not in there]
    lines = [_command(run, method) for method in missing]
    if not missing or None in lines:
        return ""
    where = [one["directory"] for one in others] + [f"{run['directory']}-{method}" for method in missing]
    words = ["symloss", "report", run["directory"], *(word for place in where for word in ("--beside", place))]
    return "\n".join([*map(str, lines), shlex.join(words)])


def _row(run: Run, kind: str) -> dict[str, str]:
    metrics = {name: _shown(value, kind) for name, value in run["metrics"].items()}
    return {
        "method": run["settings"]["method"], "rate": f"{run['learning_rate']:.3g}",
        "steps": f"{run['offline_steps_done']} + {run['steps_done']}", "directory": run["directory"],
        **{name: metrics.get(name, "–") for name in ("training", "validation", "test")},
    }  # fmt: skip


def _learning(runs: Sequence[Run]) -> Chart:
    """The validation metric over training, of each run."""
    series = tuple(_series(k, run, "valid_metric") for k, run in enumerate(runs))
    return _over_steps("Learning", f"{runs[0]['metric']} (validation)", series)


def _effective(runs: Sequence[Run]) -> Chart:
    """α ‖∇M‖ / ‖∇L_task‖ over training."""
    series = tuple(_series(k, run, "effective_rate", "learning_rate") for k, run in enumerate(runs))
    return _over_steps("Effective learning rate", "α ‖∇M‖ / ‖∇L task‖", series)


def _series(place: int, run: Run, *names: str) -> Series:
    rows = run["records"]
    values = [math.prod(_value(record[name]) for name in names) for record in rows]
    name = f"{run['settings']['method']}, rate {run['learning_rate']:.3g}"
    return Series(name, [record["step"] for record in rows], values, style=place % 7)


def _over_steps(title: str, label: str, series: tuple[Series, ...]) -> Chart:
    values = [v for one in series for v in one.y]
    last = max(step for one in series for step in one.x)
    log = wide(values)
    return Chart(title, Axis("training step", 0.0, float(last)), Axis(label, *span(values, log), log=log), series)


def _shapes(run: Run) -> list[Chart]:
    """The loss at each moment that is shown, over what it was before training."""
    looks, curves = run["snapshots"], run["snapshots"]["curves"]
    raised = [[[v - min(row) for v in row] for row in curve["values"]] for curve in curves]
    if not raised:
        return []
    x = Axis("prediction f", float(looks["predictions"][0]), float(looks["predictions"][-1]))
    y = Axis("loss, lowest at 0", *span([v for place in looks["shown"] for row in raised[place] for v in row]))
    rests = {look["step"]: tuple(look["rests"]) for look in (run["analysis"] or {"looks": ()})["looks"]}
    charts = []
    for place in looks["shown"]:
        step = curves[place]["step"]
        first = [
            Series(f"y = {target:g}, before", looks["predictions"], row, style=7)
            for target, row in zip(looks["targets"] if place else (), raised[0], strict=False)
        ]
        own = [
            Series(f"target y = {target:g}", looks["predictions"], row, style=k)
            for k, (target, row) in enumerate(zip(looks["targets"], raised[place], strict=True))
        ]
        title = f"after {step} steps" if step else "before training"
        charts.append(Chart(title, x, y, (*first, *own), rests.get(step, ())))
    return charts


def _looks(run: Run) -> list[dict[str, str]]:
    """What the tools say of each moment, as texts."""
    return [
        {
            "step": str(look["step"]), "rests": ", ".join(f"{p:.4g}" for p in look["rests"]) or "–",
            "smoothing": _text(look.get("smoothing")), "pull": _text(look["pull"]),
            "rate": _text(look.get("effective_rate")),
        }
        for look in (run["analysis"] or {"looks": ()})["looks"]
    ]  # fmt: skip


def _text(value: Any) -> str:
    return "–" if value is None else f"{float(value):.4g}".replace("-", "−")


def _shown(value: float | None, kind: str) -> str:
    if value is None:
        return "diverged"
    return f"{value:.4g}" if kind == "regression" else f"{100 * value:.2f}\u00a0%"


def _value(value: Any) -> float:
    """A number; what was not finite is kept as null."""
    return math.nan if value is None else float(value)
