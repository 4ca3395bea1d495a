"""What a search shows while it runs: a live view at a terminal, one plain line per generation elsewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from symloss.discovery.result import GenerationEvent

_ELSEWHERE = 10  # lines that are not rows of the front


@contextmanager
def progress() -> Iterator[Callable[[GenerationEvent], None]]:
    """What to call with each `GenerationEvent`."""
    if not sys.stderr.isatty():
        yield lambda event: print(event, file=sys.stderr, flush=True)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    view = View(console)
    # the view goes when the search ends: what was found is then printed on stdout
    with Live(view, console=console, refresh_per_second=4, transient=True, vertical_overflow="ellipsis"):
        yield view.update


@contextmanager
def parts() -> Iterator[Callable[[str, str], None]]:
    """What to call with the name of a part and a line: at a terminal the latest, elsewhere the first one of a part."""
    seen: set[str] = set()

    def line(part: str, text: str) -> None:
        if part not in seen:
            print(f"{part}: {text}", file=sys.stderr, flush=True)
        seen.add(part)

    if not sys.stderr.isatty():
        yield line
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status("") as status:
        yield lambda part, text: status.update(Text(f"{part}: {text}", overflow="ellipsis", no_wrap=True))


class View:
    """A bar over the generations, the best loss, the front, and what became of the candidates.

    Args:
        console: Where it is shown.
    """

    def __init__(self, console: Console) -> None:
        from rich import progress as bars

        self._console = console
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}"), bars.BarColumn(), bars.TimeElapsedColumn(),
            bars.TextColumn("left"), bars.TimeRemainingColumn(), console=console,
        )  # fmt: skip
        self._task = self._bar.add_task("first generation", total=None)
        self._event: GenerationEvent | None = None
        self._counts: Counter[str] = Counter()

    def update(self, event: GenerationEvent) -> None:
        """Take in a generation."""
        done = event.generation.number + 1
        self._event = event
        self._counts.update(event.generation.counts)
        self._bar.update(
            self._task, description=f"generation {done}/{event.generations}", completed=done, total=event.generations
        )

    def __rich__(self) -> RenderableType:
        from rich.console import Group

        if self._event is None:
            return self._bar
        return Group(self._bar, *self._state(self._event))

    def _state(self, event: GenerationEvent) -> Iterator[RenderableType]:
        from rich.table import Table
        from rich.text import Text

        from symloss.discovery.result import readable

        front = Table(box=None, pad_edge=False, expand=True)
        unit = event.best.unit if event.best else "nodes"
        for heading, width in (("", 1), (unit, len(unit)), (event.metric, max(len(event.metric), 10))):
            front.add_column(heading, justify="right", width=width)
        front.add_column("formula", no_wrap=True, overflow="ellipsis", ratio=1)
        room = max(self._console.height - _ELSEWHERE, 3)
        for candidate in event.front[-room:]:
            best = candidate is event.best
            cells = (">" if best else "", str(candidate.complexity), f"{candidate.fitness:.6g}")
            formula = readable(candidate.expression, self._console.width)
            front.add_row(*map(Text, (*cells, formula)), style="bold" if best else None)
        yield front
        counts = Table(box=None, pad_edge=False)
        counts.add_column("candidates")
        counts.add_column("this generation", justify="right")
        counts.add_column("since started", justify="right")
        for stage, count in event.generation.counts.items():
            counts.add_row(stage, str(count), str(self._counts[stage]))
        yield counts
