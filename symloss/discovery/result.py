"""SearchResult: what a search found, in every form a person may want it in; and the events it sends while it runs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from symloss.discovery.archive import STAGES, Candidate, pareto_front
from symloss.discovery.record import Checkpoint, Generation, RunConfig
from symloss.discovery.run_directory import RunDirectory
from symloss.discovery.settings import Settings
from symloss.errors import SearchError
from symloss.expression.expression import Expression
from symloss.expression.showing import data_frame
from symloss.losses.network import LossFunction

if TYPE_CHECKING:
    import pandas as pd

RULE = "lowest {metric} on validation data; of equals the fewest nodes, of those the first found"
"""How the pick is made."""
_WIDTH = 100


@dataclass(frozen=True)
class GenerationEvent:
    """Sent to callbacks after each generation, when everything about it is on disk.

    Args:
        generation: What it brought.
        generations: How many there are to be.
        best: The pick so far; None while nothing was evaluated.
        front: The Pareto front so far, by complexity.
        elapsed: Computing time of the run so far, in seconds.
        metric: Name of the fitness.
    """

    generation: Generation
    generations: int
    best: Candidate | None
    front: tuple[Candidate, ...]
    elapsed: float
    metric: str

    def __str__(self) -> str:
        """One plain line."""
        counts = self.generation.counts
        rejected = sum(counts.values()) - counts.get("evaluated", 0) - counts.get("duplicate", 0)
        best, formula = "none yet", ""
        if self.best is not None:
            best = f"{self.best.fitness:.4g} ({self.best.complexity} {self.best.unit})"
            formula = f"  {readable(self.best.expression)}"
        return (
            f"generation {self.generation.number + 1}/{self.generations}  best {best}  "
            f"evaluated {counts.get('evaluated', 0)} rejected {rejected} duplicate {counts.get('duplicate', 0)}  "
            f"{sum(self.generation.seconds.values()):.1f} s{formula}"
        )


@dataclass(frozen=True)
class SearchResult:
    """Everything a search found; `print` shows the Pareto front with the pick marked.

    Args:
        config: What defined the search: method, settings, task, guesses.
        candidates: Every candidate ever seen, in the order of proposal, rejected ones included.
        history: One record per generation done.
        stopped: Why the search ended: `"all generations done"`, `"target fitness reached"`, `"time limit reached"`,
            `"interrupted"`; `"not finished"` for a run that was read while it goes on, or after it was killed.
        seconds: Computing time.
        learning_rate: Step size of the base optimiser that was used; with `scale_free` the one tuned for the task loss.
        directory: Where the run is kept, if it is.
        versions: What computed it: symloss, python and the packages on which bits depend; empty where that is unknown.
    """

    config: RunConfig
    candidates: tuple[Candidate, ...]
    history: tuple[Generation, ...]
    stopped: str
    seconds: float
    learning_rate: float | None = None
    directory: Path | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """All settings of the search."""
        return self.config.settings

    @property
    def kind(self) -> str:
        """`"multiclass"`, `"binary"` or `"regression"`."""
        return str(self.config.task["kind"])

    @property
    def metric_name(self) -> str:
        """What fitness measures; lower is better."""
        return str(self.config.task["metric"])

    @cached_property
    def front(self) -> list[Candidate]:
        """The Pareto front of (complexity, fitness), by complexity: fitness falls strictly from member to member."""
        return pareto_front(self.candidates)

    @property
    def best(self) -> Candidate:
        """The pick: lowest fitness; of equals the fewest nodes, of those the first found."""
        return self.pick()

    def pick(self, tolerance: float = 0.0) -> Candidate:
        """The member of the front with the fewest nodes whose fitness is at most best + tolerance · |best|.

        Args:
            tolerance: Relative loss of fitness that a simpler formula may cost. 0 gives the best fitness of all.

        Raises:
            SearchError: If nothing was evaluated before the search stopped.
        """
        if not self.front:
            raise SearchError(
                f"no candidate was evaluated before the search stopped ({self.stopped}); let it run for longer"
            )
        lowest = self.front[-1].fitness
        return next(c for c in self.front if c.fitness <= lowest + tolerance * abs(lowest))

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many candidates ended at each of `STAGES`."""
        found = Counter(c.stage for c in self.candidates)
        return {stage: found[stage] for stage in STAGES}

    def __str__(self) -> str:
        """The front as a table, the pick marked, and what became of the other candidates."""
        heading = (
            f"{self.config.method} on {self.config.task['name']}: {len(self.history)} generations, "
            f"{len(self.candidates)} candidates, {self.seconds:.1f} s ({self.stopped})"
        )
        ended = "candidates: " + ", ".join(f"{count} {stage}" for stage, count in self.counts.items() if count)
        if not self.front:
            return f"{heading}\n\nno candidate was evaluated\n\n{ended if self.candidates else ''}".rstrip()
        width = max(len(self.metric_name), 10)
        unit = self.best.unit
        lines = [f"  {unit}  {self.metric_name:>{width}}  formula"]
        for c in self.front:
            mark = ">" if c is self.best else " "
            lines.append(f"{mark} {c.complexity:>{len(unit)}}  {c.fitness:>{width}.6g}  {readable(c.expression)}")
        rule = f"> pick: {RULE.format(metric=self.metric_name)}"
        return "\n".join([heading, "", *lines, "", rule, ended])

    def latex(self, environment: str = "tabular", digits: int = 4) -> str:
        r"""The front as a LaTeX table, the pick in bold; it needs amsmath and booktabs.

        Args:
            environment: `"tabular"`, or `"longtable"` for a front that may go over several pages.
            digits: Significant digits of the weights.

        Returns:
            Complexity, fitness and formula of each member; long formulas go over several lines, networks are in words.

        Raises:
            SearchError: If there is no such table, or digits is not from 1 to 17.
        """
        if environment not in ("tabular", "longtable"):
            raise SearchError(f"a front is a 'tabular' or a 'longtable'; received environment={environment!r:.80}")
        if type(digits) is not int or not 1 <= digits <= 17:
            raise SearchError(f"a float has 1 to 17 significant digits; received digits={digits!r:.80}")
        from symloss.expression.latex import to_cell
        from symloss.expression.latex_text import escape

        rows = []
        for c in self.front:
            numbers = [str(c.complexity), f"{c.fitness:.4g}"]
            if c is self.best:
                numbers = [rf"\textbf{{{number}}}" for number in numbers]
            own = c.expression
            formula = to_cell(own, digits) if isinstance(own, Expression) else escape(str(own))
            rows.append(" & ".join([*numbers, formula]) + r" \\")
        unit = self.front[-1].unit if self.front else "nodes"
        head = rf"{unit} & {escape(self.metric_name)} & loss $\ell(y, f)$ \\"
        table = [r"\toprule", head, r"\midrule", "\n\\addlinespace\n".join(rows), r"\bottomrule"]
        return "\n".join([rf"\begin{{{environment}}}{{rrl}}", *table, rf"\end{{{environment}}}"])

    def document(
        self, path: str | os.PathLike[str], overwrite: bool = False, digits: int = 4, seconds: float = 5.0
    ) -> list[Path]:
        """Write a LaTeX document about the run, and its figures beside it; see `symloss.report.latex.document`.

        Args:
            path: A file that ends in `.tex`, or a directory.
            overwrite: Whether files that are there are replaced.
            digits: Significant digits of the weights.
            seconds: Most seconds for the derivation.

        Returns:
            The files, the source first.

        Raises:
            SearchError: If nothing was evaluated before the search stopped.
            OutputError: If a file is there already and `overwrite` is false, or cannot be written.
        """
        # the one look upwards, at the moment of writing: the room of reports knows this one
        report = import_module("symloss.report.latex")
        report.place_of(path, overwrite)  # before any work is done
        files: list[Path] = report.document(self, None, digits, seconds).write(path, overwrite)
        return files

    def to_dataframe(self) -> pd.DataFrame:
        """All candidates as a table: one row each, with columns `front` and `pick` beside their properties.

        Raises:
            SearchError: If pandas is not installed.
        """
        front, pick = {c.id for c in self.front}, self.front[-1].id if self.front else None
        rows = [
            {
                "id": c.id, "generation": c.generation, "complexity": c.complexity, "fitness": c.fitness,
                "stage": c.stage, "reason": c.reason, "duplicate_of": c.duplicate_of, "seconds": c.seconds,
                "front": c.id in front, "pick": c.id == pick, "expression": str(c.expression),
            }
            for c in self.candidates
        ]  # fmt: skip
        columns = (
            "id", "generation", "complexity", "fitness", "stage", "reason", "duplicate_of", "seconds", "front", "pick",
            "expression",
        )  # fmt: skip
        return data_frame(rows, SearchError, columns).astype({"duplicate_of": "Int64"})


def load_run(directory: str | os.PathLike[str]) -> SearchResult:
    """The result of a run from its directory, finished or not; nothing is executed or changed.

    Raises:
        RunError: If it is no run directory, or a file in it is damaged or from a newer version.
    """
    run = RunDirectory.open(directory)
    config, saved, candidates = run.contents()
    checkpoint = saved or Checkpoint()
    return SearchResult(
        config=config,
        candidates=tuple(candidates),
        history=checkpoint.history,
        stopped=checkpoint.stopped or "not finished",
        seconds=checkpoint.seconds,
        learning_rate=checkpoint.learning_rate,
        directory=run.path,
        versions=saved.versions if saved else {},
    )


def readable(expression: LossFunction, width: int = _WIDTH) -> str:
    """Text of a formula for people: weights to four digits, cut off at `width` characters; a network in words."""
    text = str(_rounded(expression) if isinstance(expression, Expression) else expression)
    return text if len(text) <= width else text[: width - 1] + "…"


def _rounded(expression: Expression) -> Expression:
    return expression.with_weights([float(f"{w:.4g}") for w in expression.weights])
