"""What the page says, as plain values for its template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from symloss.discovery.archive import STAGES, Candidate
from symloss.discovery.methods import METHODS
from symloss.discovery.result import SearchResult, readable
from symloss.errors import LossError, SymlossError
from symloss.evaluation.entries import LOSS, NOUNS, TUNED
from symloss.expression import primitives
from symloss.expression.drawing import MAX_DRAWN, draw
from symloss.expression.expression import Expression
from symloss.report import figures, mathml, repeat
from symloss.report.charts import Chart, Series
from symloss.report.measured import Measured

if TYPE_CHECKING:
    from symloss.analysis.report import SmoothingReport
    from symloss.evaluation import Estimate, Evaluation

SYMBOLS = {
    "multiclass": (
        "y is 1 for the true class and 0 for every other class, and f is the probability that the model gives to the "
        "class (the softmax of its outputs). The loss of a sample is the sum of ℓ over its classes, that of a batch "
        "the mean over its samples."
    ),
    "binary": (
        "y is the label, 0 or 1, and f is the probability that the model gives to label 1 (the sigmoid of its output). "
        "The loss of a batch is the mean of ℓ over its samples."
    ),
    "regression": (
        "y is the target and f is the prediction of the model. The loss of a batch is the mean of ℓ over its samples."
    ),
}
WHY = {
    "zero gradient": (
        "∂ℓ/∂f is zero, or not finite, on a grid of predictions and targets: nothing can be learnt from such a loss. "
        "Seen in microseconds."
    ),
    "duplicate": (
        "The same gradient as an earlier candidate, up to a factor, which is only a step size. The earlier result was "
        "used again; nothing was trained."
    ),
    "rejected": (
        "Minimising it over the predictions themselves, without a model in between, did not improve the metric, so "
        "that no model was trained with it. Seen in milliseconds."
    ),
    "rejected after refinement": "The same test, failed after the weights of the formula were refined.",
    "diverged": "Its weights in refinement, or a model trained with it, became infinite or NaN.",
    "evaluated": ("A model was trained with it and measured on validation data. Only these can be on the front."),
}
WORK = {
    "propose": "making new formulas by crossover and mutation",
    "fingerprint": "looking for zero gradients and duplicates",
    "screen": "rejecting what does not improve predictions",
    "develop": "refining weights, and training models to measure fitness",
}
MODELS = {"mlp": "a multilayer perceptron", "linear": "a linear model", "lenet5": "a LeNet-5"}
_SHORT = 84  # characters of a formula in the table
_LINE = 42.0  # em of a formula on the page


def contents(result: SearchResult, found: Measured) -> dict[str, Any]:
    """Everything that the template needs; `charts` are all charts of the page by identity."""
    charts: dict[str, Chart] = {}
    losses = [_loss(result, candidate, found, charts) for candidate in reversed(result.front)]
    history = figures.history_charts(result) if result.history else []
    overview = [_shown("front", figures.front_chart(result), charts)] if losses else []
    smoothing = _smoothing(result) if losses and result.kind != "regression" else None
    return {
        "task": result.config.task["name"],
        "metric": result.metric_name,
        "noun": NOUNS[result.kind],
        "kind": result.kind,
        "lead": _lead(result),
        "symbols": SYMBOLS[result.kind],
        "losses": losses,
        "pick": losses[0] if losses else None,
        "front": overview,
        "history": [_shown(f"history-{k}", chart, charts) for k, chart in enumerate(history)],
        "work": _work(result),
        "stages": _stages(result),
        "measured": _measured(result, found, charts),
        "evaluation_command": repeat.evaluation(result),
        "smoothing": smoothing,
        "facts": _facts(result),
        "settings": {name: _plain(value) for name, value in result.settings.to_dict().items()},
        "command": repeat.command(result),
        "python": repeat.python(result),
        "use": repeat.use(result),
        "source": _source(result) if losses else "",
        "charts": charts,
    }


def _lead(result: SearchResult) -> dict[str, Any]:
    """Numbers of the first sentences."""
    recipe = repeat.recipe(result)
    return {
        "model": MODELS.get(recipe["model"], f"a model {recipe['model']}") if recipe else "a model of the user's own",
        "method": f"{result.config.method}: {METHODS[result.config.method].summary}",
        "unit": result.front[-1].unit if result.front else "nodes",
        "candidates": _count(len(result.candidates)),
        "trained": _count(result.counts["evaluated"]),
        "generations": len(result.history),
        "planned": result.settings.generations,
        "time": _time(result.seconds),
        "steps": result.settings.fitness_steps,
        "batch": result.settings.batch_size,
        "stopped": result.stopped,
        "finished": result.stopped in ("all generations done", "target fitness reached"),
    }


def _loss(result: SearchResult, c: Candidate, found: Measured, charts: dict[str, Chart]) -> dict[str, Any]:
    """A member of the front, in every form in which the page shows it."""
    expression, row = c.loss.expression, found.of(c)
    formula = expression if isinstance(expression, Expression) else None
    tree = ""
    if formula is not None and formula.size <= MAX_DRAWN:
        tree = figures.embedded(draw(formula, title=False), f"tree-{c.id}", f"tree of {readable(formula)}")
    return {
        "id": c.id,
        "pick": c is result.best,
        "size": c.complexity,
        "fitness": c.fitness,
        "shown": _metric(c.fitness, result.kind),
        "exact_fitness": repr(c.fitness),
        "math": mathml.formula(formula, line=_LINE) if formula is not None else "",
        "text": str(formula or c.expression),
        "short": readable(formula or c.expression, _SHORT),
        "generation": c.generation + 1,
        "seconds": f"{c.seconds:.2g} s",
        "weights": ", ".join(f"{w:.4g}".replace("-", "−") for w in formula.weights) if formula is not None else "",
        "scale": f"{c.scale:.4g}" if c.scale != 1 else "",
        "protected": _protected(formula) if formula is not None else [],
        "tested": _interval(found.evaluation, row.score) if found.evaluation and row else "",
        "test_mean": repr(row.score.mean) if row else "inf",
        "charts": [_shown(f"loss-{c.id}-{k}", chart, charts) for k, chart in enumerate(figures.loss_charts(c))],
        "tree": tree,
    }


def _protected(formula: Expression) -> list[str]:
    """Where operations of the formula differ from the textbook, in words."""
    used = [primitives.get(name) for name in dict.fromkeys(formula.nodes) if name not in primitives.TERMINALS]
    return [f"{row.name} is {row.protected}" for row in used if row.protected]


def _shown(identity: str, chart: Chart, charts: dict[str, Chart]) -> dict[str, Any]:
    """A chart with its legend, entered into all charts of the page."""
    charts[identity] = chart
    key = {"bars": "b", "points": "p"}
    named: list[Series] = [series for series in chart.series if series.name]
    ordered = named if any(s.form == "bars" for s in named) else named[::-1]
    legend = [(f"{key.get(series.form, 's')}{series.style}", series.name) for series in ordered]
    return {"title": chart.title, "svg": chart.svg(identity), "legend": legend}


def _work(result: SearchResult) -> list[tuple[str, str, str]]:
    """Each kind of work, what it is, and the time it took."""
    spent = {name: sum(g.seconds.get(name, 0.0) for g in result.history) for name in WORK}
    total = sum(spent.values()) or 1.0
    return [(name, why, f"{_time(spent[name])} ({100 * spent[name] / total:.0f} %)") for name, why in WORK.items()]


def _stages(result: SearchResult) -> list[dict[str, Any]]:
    """How many candidates ended at each stage, and why."""
    total = max(len(result.candidates), 1)
    return [
        {"name": stage, "why": WHY[stage], "count": _count(count), "share": 100 * count / total}
        for stage, count in ((stage, result.counts[stage]) for stage in STAGES)
    ]


def _measured(result: SearchResult, found: Measured, charts: dict[str, Chart]) -> dict[str, Any]:
    """The comparison with the tuned task loss, or why there is none."""
    evaluation = found.evaluation
    if evaluation is None:
        return {"there": False, "problem": found.problem}
    row = found.of(result.best)
    drawn = [figures.difference_chart(evaluation)] if any(r.role == LOSS for r in evaluation.rows) else []
    if (rates := figures.rates_chart(evaluation)) is not None:
        drawn.append(rates)
    return {
        "there": True,
        "problem": "",
        "heading": evaluation.heading,
        "verdict": evaluation.verdicts.get(row.name, "") if row else "",
        "word": row.verdict if row else "",
        "verdicts": evaluation.verdicts,
        "notes": evaluation.notes,
        "metric": evaluation.metric_name,
        "charts": [_shown(f"evaluation-{k}", chart, charts) for k, chart in enumerate(drawn)],
        "rows": [
            {
                "name": r.name, "pick": r is row, "rate": f"{r.learning_rate:.3g}{'*' if r.at_edge else ''}",
                "tuned": r.tuned, "score": _interval(evaluation, r.score), "verdict": r.verdict, "role": r.role,
                "difference": "reference" if r.role == TUNED else _interval(evaluation, r.difference, True),
                "diverged": f"{r.diverged} of {len(r.values)}", "seconds": f"{r.seconds:.1f}",
            }
            for r in evaluation.rows
        ],
    }  # fmt: skip


def _smoothing(result: SearchResult) -> dict[str, Any]:
    """Whether the pick acts as label smoothing, as measured: how far algebra gets in seconds differs by machine."""
    from symloss.analysis import label_smoothing

    classes = int(result.config.task["outputs"]) if result.kind == "multiclass" else 2
    try:
        report: SmoothingReport = label_smoothing(result.best.loss, classes, seconds=0.0)
    except SymlossError as error:
        return {
            "statement": f"This cannot be told for the pick: {error}.",
            "notes": (),
            "text": "",
            "figure": "",
            "command": "",
        }
    figure = figures.embedded(report.figure(), "smoothing", "value and logit gradient beside label smoothing")
    return {
        "statement": report.statement, "notes": report.notes, "text": str(report), "figure": figure,
        "command": repeat.smoothing(result),
    }  # fmt: skip


def _facts(result: SearchResult) -> dict[str, str]:
    """What the run was, by name."""
    task, recipe = result.config.task, repeat.recipe(result)
    outputs = f", {task['outputs']} classes" if result.kind == "multiclass" else ""
    facts = {
        "task": f"{task['name']} ({result.kind}{outputs})",
        "identity of data and model": str(task["identity"]),
        "metric": f"{task['metric']} on validation data; lower is better",
        "method": f"{result.config.method}: {METHODS[result.config.method].summary}",
        "seed": str(result.settings.seed),
        "learning rate of the base optimiser": f"{result.learning_rate or result.settings.learning_rate:.4g}",
        "primitives": ", ".join(result.config.primitives),
    }
    if recipe:
        options = "".join(f", {name} {_plain(value)}" for name, value in recipe["options"].items())
        facts["model"] = f"{recipe['model']}{options}; split of the data with seed {recipe['seed']}"
    if result.config.guesses:
        facts["guesses"] = "; ".join(map(str, result.config.guesses))
    if result.directory is not None:
        facts["directory"] = str(result.directory)
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return facts | {"versions": versions or "unknown: the run ended before its first checkpoint"}


def _source(result: SearchResult) -> str:
    try:
        return result.best.loss.source()
    except LossError as error:
        return f"# {error}\n"


def _interval(evaluation: Evaluation, value: Estimate, signed: bool = False) -> str:
    """A mean with its interval, with real minus signs."""
    return evaluation.interval(value, signed).replace("-", "−")


def _metric(value: float, kind: str) -> str:
    return f"{value:.4g}" if kind == "regression" else f"{100 * value:.2f}\u00a0%"


def _count(number: int) -> str:
    """A number with thin spaces between thousands."""
    return f"{number:,}".replace(",", "\u202f")


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f}\u00a0s"
    return f"{seconds / 60:.0f}\u00a0min" if seconds < 7200 else f"{seconds / 3600:.1f}\u00a0h"


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
