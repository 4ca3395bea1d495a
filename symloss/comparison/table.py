"""A comparison as text, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from symloss.comparison.cells import replace
from symloss.comparison.plan import REFERENCES, SEARCH, TUNED
from symloss.comparison.result import Comparison, Overall, Score
from symloss.comparison.statistics import FEWEST_SEARCHES
from symloss.evaluation.entries import NOUNS
from symloss.evaluation.statistics import Estimate
from symloss.expression import showing
from symloss.expression.latex_text import escape

_TIMES = ("search_seconds", "evaluation_seconds")
_REASON = 100


def save(found: Comparison, directory: str | os.PathLike[str]) -> None:
    """Write comparison.csv, .json and .tex, which depend on the cells alone, and costs.csv with the times.

    Raises:
        RunError: If they cannot be written.
    """
    path = Path(directory)
    replace(path / "comparison.csv", _csv(_rows(found)))
    replace(path / "comparison.json", json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n")
    replace(path / "comparison.tex", found.latex() + "\n")
    replace(path / "costs.csv", _csv(_costs(found)))


def text(found: Comparison) -> str:
    """Tables for people: each task, the methods over all tasks, what a search costs, and what the numbers mean."""
    blocks = [_task_block(found, choice.label) for choice in found.plan.tasks]
    blocks += [_overall_block(found), _cost_block(found), list(_notes(found))]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def latex(found: Comparison) -> str:
    """Two booktabs tabulars: every task and method, and the methods over all tasks."""
    lines = [r"\begin{tabular}{llllll}", r"\toprule"]
    lines.append(r"task & method & test metric [95\,\%] & minus tuned task loss [95\,\%] & $p$ (Holm) & searches \\")
    for choice in found.plan.tasks:
        lines.append(r"\midrule")
        for place, score in enumerate(_of(found, choice.label)):
            task = escape(choice.label) if place == 0 else ""
            *numbers, count = _cells(found, score)
            formulas = [f"${number}$" if number[:1] in tuple("+-0123456789") else number for number in numbers]
            lines.append(" & ".join((task, escape(shown(found, score.method)), *formulas, count)) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\begin{tabular}{lrrrr}", r"\toprule"]
    lines.append(r"method & mean rank & lower on & higher on & $p$ (Holm) \\")
    lines.append(r"\midrule")
    for row in found.overall:
        lines.append(" & ".join((escape(shown(found, row.method)), *_counts(row))) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def plain(found: Comparison) -> dict[str, Any]:
    """Every number as plain values, times left out."""
    scores = []
    for score in found.scores:
        method = next(m for m in found.plan.methods if m.label == score.method)
        own = [found.outcomes.get(c) for c in found.plan.cells if (c.task, c.method) == (score.task, method)]
        cells = [
            {"formula": o.formula, "validation": o.validation, "rate": o.rate, "values": o.values, "failed": o.failed}
            for o in own if o is not None
        ]  # fmt: skip
        scores.append(
            {**{k: v for k, v in asdict(score).items() if k not in _TIMES}, "verdict": score.verdict, "cells": cells}
        )
    protocol = found.plan.protocol
    values = {
        "tasks": {c.label: {**c.definition, **c.training, "budget": c.budget} for c in found.plan.tasks},
        "methods": {m.label: {"name": m.name, "kind": m.kind, **m.settings} for m in found.plan.methods},
        "budget": found.plan.budget, "seeds": found.plan.seeds,
        "protocol": {**asdict(protocol), "rates": protocol.grid},
        "missing": dict(found.missing), "pending": found.pending, "scores": scores,
        "ranks": asdict(found.ranks), "overall": [asdict(row) for row in found.overall],
    }  # fmt: skip
    result: dict[str, Any] = showing.plain(values)
    return result


def _task_block(found: Comparison, task: str) -> list[str]:
    facts = found.facts.get(task)
    heading = f"{task}: {found.missing.get(task, 'nothing yet')}"
    if facts:
        training = next(c.definition["protocol"] for c in found.plan.cells if c.task == task)
        heading = (
            f"{task}: {facts.metric} on {facts.test_samples} test samples after {training['steps']} steps of batch "
            f"{training['batch_size']}"
        )
    head = ("method", f"{facts.metric if facts else 'metric'} [95 %]", "minus tuned [95 %]", "p (Holm)", "searches")
    scores = _of(found, task)
    lines = _aligned([head, *((shown(found, score.method, task), *_cells(found, score)) for score in scores)])
    lost = [score for score in scores if score.reasons and facts]
    return [heading, *lines, *(f"missing of {s.method}: {_cut('; '.join(s.reasons))}" for s in lost)]


def _of(found: Comparison, task: str) -> list[Score]:
    return [score for score in found.scores if score.task == task]


def _cells(found: Comparison, score: Score) -> tuple[str, str, str, str]:
    """Metric, difference, p and count of one row."""
    kind = found.facts[score.task].kind if score.task in found.facts else ""
    method = next(m for m in found.plan.methods if m.label == score.method)
    count = f"{score.finished} of {score.wanted}" if method.kind == SEARCH or not score.complete else ""
    if score.mean is None:
        return "missing", "", "", count
    difference = "reference" if method.kind == TUNED else ""
    if score.difference is not None:
        difference = _interval(score.difference, kind, signed=True)
    return _interval(score.mean, kind), difference, _p(score.corrected), count


def _overall_block(found: Comparison) -> list[str]:
    ranks, rows = found.ranks, []
    for row in sorted(found.overall, key=lambda row: (math.isnan(row.rank), row.rank)):
        rows.append((shown(found, row.method), *_counts(row)))
    heading = (
        f"over tasks: mean ranks on the {len(ranks.tasks)} of {len(found.plan.tasks)} tasks where nothing is missing"
    )
    if not math.isnan(ranks.p):
        heading += (
            f" (Friedman p = {_p(ranks.p)}; ranks less than {ranks.distance:.2f} apart are not told apart, Nemenyi)"
        )
    return [heading, *_aligned([("method", "mean rank", "lower on", "higher on", "p (Holm)"), *rows])]


def _cost_block(found: Comparison) -> list[str]:
    rows = []
    for method in found.plan.methods:
        own = [s for s in found.scores if s.method == method.label and s.finished]
        if own and method not in REFERENCES:
            means = (sum(getattr(s, name) for s in own) / len(own) for name in ("candidates", *_TIMES))
            rows.append((method.label, *(f"{mean:.0f}" if mean >= 10 else f"{mean:.2g}" for mean in means)))
    head = ("method", "candidates", "search", "tuning and test")
    return (
        ["cost of one cell (mean): losses looked at, and processor seconds", *_aligned([head, *rows])] if rows else []
    )


def _notes(found: Comparison) -> Iterator[str]:
    p, seeds = found.plan.protocol, len(found.plan.seeds)
    kinds = {facts.kind for facts in found.facts.values()}
    if len(kinds) != 1:
        yield "task loss: cross-entropy for classification, mean squared error for regression"
    yield (
        f"every loss: {len(p.grid)} learning rates tried on validation data (tuning seeds: {p.tuning_seeds}), then "
        f"measured on test data (training seeds: {p.seeds})"
    )
    several = any(m.kind == SEARCH for m in found.plan.methods)
    over = "searches and training seeds" if several and seeds > 1 else "training seeds"
    yield f"intervals: bootstrap over {over} (expanded percentiles), on one split of the data; each by itself"
    if several and seeds == 1:
        yield "one search seed: the intervals hold for what these searches found, not for the method"
    elif several and seeds < FEWEST_SEARCHES:
        yield f"{seeds} search seeds are few: the intervals of searches are too narrow; take {FEWEST_SEARCHES} or more"
    yield (
        "p: Wilcoxon's signed-rank test against the tuned task loss, after Holm's correction; pairs are searches "
        "(training seeds where nothing is searched), over tasks the tasks"
    )
    pairs = [seeds if m.kind == SEARCH and seeds > 1 else p.seeds for m in found.plan.methods if m not in REFERENCES]
    if 2.0 ** (1 - min(pairs)) >= 0.05:
        least = f"{2.0 ** (1 - min(pairs)):.3g}"
        yield f"{min(pairs)} pairs cannot give a p below {least}, however large the difference: read the intervals"
    diverged, at_edge = (sum(getattr(s, name) for s in found.scores) for name in ("diverged", "at_edge"))
    if diverged:
        yield f"{diverged} trainings diverged; each counts as the worst outcome of its task"
    if at_edge:
        yield f"{at_edge} learning rates were chosen at an end of those tried: better ones may lie beyond"
    if found.pending:
        yield f"{found.pending} of {len(found.plan.cells)} cells are not computed yet"


def shown(found: Comparison, method: str, task: str | None = None) -> str:
    """What a method is called: its label; the task loss by its usual name where it is the same on all tasks."""
    reference = next((m for m in REFERENCES if m.label == method), None)
    facts = [f for label, f in found.facts.items() if task in (None, label)]
    nouns = {NOUNS[f.kind] for f in facts}
    return f"{reference.kind} {nouns.pop()}" if reference is not None and len(nouns) == 1 else method


def _rows(found: Comparison) -> Iterable[dict[str, Any]]:
    overall = {row.method: row for row in found.overall}
    for s in found.scores:
        nothing = Estimate(math.nan, math.nan, math.nan)
        mean, difference = s.mean or nothing, s.difference or nothing
        yield {
            "task": s.task, "method": s.method, "metric": found.facts[s.task].metric if s.task in found.facts else "",
            "mean": mean.mean, "low": mean.low, "high": mean.high, "difference": difference.mean,
            "difference low": difference.low, "difference high": difference.high, "p": s.p, "p holm": s.corrected,
            "verdict": s.verdict, "finished": s.finished, "wanted": s.wanted, "diverged": s.diverged,
            "at edge": s.at_edge, "candidates": s.candidates, "mean rank over tasks": overall[s.method].rank,
            "missing": "; ".join(s.reasons),
        }  # fmt: skip


def _costs(found: Comparison) -> Iterable[dict[str, Any]]:
    for cell in found.plan.cells:
        outcome = found.outcomes.get(cell)
        if outcome is not None:
            yield {
                "task": cell.task, "method": cell.method.label, "search seed": "" if cell.seed is None else cell.seed,
                "candidates": outcome.candidates, "search processor seconds": outcome.search_seconds,
                "evaluation processor seconds": outcome.evaluation_seconds,
            }  # fmt: skip


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    """The rows under their names; what is NaN is empty."""
    file, writer = io.StringIO(), None
    for row in rows:
        writer = writer or csv.writer(file, lineterminator="\n")
        if not file.tell():
            writer.writerow(row)
        writer.writerow("" if isinstance(v, float) and math.isnan(v) else v for v in row.values())
    return file.getvalue()


def _cut(reason: str) -> str:
    return reason if len(reason) <= _REASON else reason[: _REASON - 1] + "…"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _interval(value: Estimate, kind: str, signed: bool = False) -> str:
    sign, digits = "+" if signed else "", "#.4g" if kind == "regression" else ".4f"
    numbers = [f"{v:{sign if v else ''}{digits}}" for v in (value.mean, value.low, value.high)]
    return f"{numbers[0]} [{numbers[1]}, {numbers[2]}]" if value.bounded else numbers[0]


def _p(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2g}"


def _counts(row: Overall) -> tuple[str, str, str, str]:
    """Mean rank, on how many tasks it is lower and higher, and p."""
    rank = "" if math.isnan(row.rank) else f"{row.rank:.2f}"
    return rank, f"{row.lower} of {row.tasks}", f"{row.higher} of {row.tasks}", _p(row.corrected)
