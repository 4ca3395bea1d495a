"""`report`: one self-contained HTML page for a run, to open from a disk, to print, or to send."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from symloss.discovery.result import SearchResult, load_run
from symloss.errors import EvaluationError, OutputError
from symloss.report import adaptation, contents, measured
from symloss.report.files import write
from symloss.tasks.task import Task

GENERATOR = '<meta name="generator" content="symloss report">'
"""By this a page is known as a report."""
_HERE = Path(__file__).parent
_NEITHER = "base-uri 'none'; form-action 'none'"
_HEAD = 2000  # bytes of a file in which that is looked for


def report(
    run: str | os.PathLike[str] | SearchResult,
    path: str | os.PathLike[str],
    *,
    evaluation: str | os.PathLike[str] | None = None,
    evaluate: bool = False,
    task: Task | None = None,
    n_jobs: int = 1,
    beside: Sequence[str | os.PathLike[str]] = (),
    overwrite: bool = False,
) -> Path:
    """Write one HTML file that shows a run: it opens without a network, prints, and holds every number that it shows.

    The pick and the front with formulas, curves and trees; the comparison with the tuned task loss, where one was made;
    what acts as label smoothing; how the search went; and how to do it again. Equal runs give equal files.

    Of a run of `adapt`: learning curves beside those of its controls, the effective rate, the loss's shape over
    training, when it smooths labels and when it flattens, and the settings.

    Args:
        run: The directory of a run, finished or not, or what `discover` returned; or the directory of a run of `adapt`.
        path: The HTML file to write.
        evaluation: JSON file of `symloss evaluate --out` with losses of this run. Default: `evaluation.json` in the
            directory of the run, if it is there.
        evaluate: Measure the pick now: ten training seeds of the run's own training steps, every learning rate tuned.
            The numbers are kept as `evaluation.json` in the directory of the run.
        task: The task to evaluate on, where the run was on one of your own.
        n_jobs: Workers of the evaluation.
        beside: For a run of `adapt`, directories of others on the same task, such as its controls.
        overwrite: Whether a file that is no report may be replaced; an earlier report always is.

    Returns:
        Where the page is.

    Raises:
        RunError: If it is no run directory, or a file of it is damaged.
        OutputError: If the page cannot be written.
        EvaluationError: If an evaluation cannot be made or read, or does not belong to the run.
    """
    adapted = None if isinstance(run, SearchResult) else adaptation.read(run)
    if adapted is not None:
        if evaluate or evaluation is not None:
            raise EvaluationError("a run of adapt has no evaluation; give its controls as beside (--beside DIR)")
        place = check_place(path, overwrite)
        told = adaptation.contents(adapted, [adaptation.beside(adapted, other) for other in beside])
        write(place, rendered("adaptation.html", told).encode("utf-8", "replace"))
        return place
    if beside:
        raise EvaluationError("runs stand beside a run of adapt; this one is a search")
    if evaluate and evaluation is not None:
        raise EvaluationError("an evaluation is either made or read: give evaluate or evaluation, not both")
    result = run if isinstance(run, SearchResult) else load_run(run)
    place = check_place(path, overwrite)
    found = measured.make(result, task, n_jobs) if evaluate else measured.read(result, evaluation)
    write(place, page(result, found).encode("utf-8", "replace"))
    return place


def check_place(path: str | os.PathLike[str], overwrite: bool = False) -> Path:
    """The place of a page, once it is known that one may be written there.

    Raises:
        OutputError: If it may not.
    """
    place = Path(path)
    if place.is_dir() or "\0" in str(place):
        raise OutputError(f"{str(path)!r} is a directory; give the name of a file in it, such as report.html")
    if not place.parent.is_dir():
        raise OutputError(f"there is no directory {str(place.parent)!r} for {place.name!r}; make it first")
    if place.exists() and not overwrite:
        try:
            with place.open("rb") as file:
                earlier = GENERATOR.encode() in file.read(_HEAD)
        except OSError as error:
            raise OutputError(f"cannot read {str(path)!r}: {error.strerror}; give another file") from None
        if not earlier:
            raise OutputError(f"{str(path)!r} is there and is no report; give another name, or overwrite it")
    return place


def page(result: SearchResult, found: measured.Measured) -> str:
    """The text of the page of a search."""
    return rendered("page.html", contents.contents(result, found))


def rendered(template: str, told: dict[str, Any]) -> str:
    """The text of a page.

    Args:
        template: Its name.
        told: What it needs; `charts` are all charts of the page by identity.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    numbers = {identity: chart.numbers() for identity, chart in told["charts"].items()}
    return environment.get_template(template).render(
        told,
        generator=Markup(GENERATOR),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; {_NEITHER}",
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        numbers=Markup(embedded_json(numbers)),
    )


def embedded_json(value: Any) -> str:
    """JSON that may stand inside `<script type="application/json">`: no character in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
