"""Which losses do searches find on several tasks, and which families do they fall in?

    python -m analysis.loss_families            # about ten minutes on one core; finished searches are kept
    python -m analysis.loss_families --seeds 2  # a quick look

Five searches (25 candidates, 20 generations) on each of seven data sets (on MNIST two: each takes minutes). The ten
best losses of each search, by its own validation metric, are grouped by their gradients at the outputs
(`symloss.analysis.families`), the kinds of tasks apart: scale and writing do not matter. A family counts by the
searches that found it, not by its losses. The primitives of the best are compared with those of the first generation,
which is random: by the share of all operations, so that longer formulas do not count for more. What each search picked
is evaluated on test data beside cross-entropy (squared error) with its rate tuned alike. Writes
`figures/loss_families.json` and `.png`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import symloss as sl
from analysis import records
from symloss.analysis.behaviour import PROBABILITIES, RESIDUALS, TARGETS, grid, known
from symloss.expression.primitives import TERMINALS

TASKS = {
    "digits": "multiclass", "mnist-5k": "multiclass", "wine": "multiclass", "iris": "multiclass",
    "breast-cancer": "binary", "diabetes": "regression", "boston": "regression",
}  # fmt: skip
KINDS = {"multiclass": "target's probability", "binary": "probability p, label 1", "regression": "residual f − y"}
COLOURS = ("#0072B2", "#882255", "#009E73", "#E69F00", "#CC79A7", "#D55E00", "#56B4E9")
BUDGET = {"population_size": 25, "generations": 20}
SLOW = {"mnist-5k": 2}  # how many searches at most
BEST, DISTANCE, STEPS, TRAINING_SEEDS, SHOWN = 10, 0.15, 500, 10, 4


def task_of(name: str) -> sl.Task:
    """A task by name, with the perceptron of 64 hidden units."""
    if name == "iris" and name not in sl.tasks.names():
        from sklearn.datasets import load_iris

        sl.tasks.register("iris", lambda: load_iris(return_X_y=True), kind="multiclass")
    return sl.load_task(name, model="mlp")


def cell(key: str) -> dict[str, Any]:
    """One search: its ten best losses, what it picked, evaluated, and the operations before and after."""
    name, number = key.split(" ")
    task = task_of(name)
    result = sl.discover(task, seed=int(number), **BUDGET)
    evaluated = [c for c in result.candidates if c.stage == "evaluated"]
    best = sorted(evaluated, key=lambda c: (c.fitness, c.complexity, c.id))[:BEST]
    found = sl.evaluate(task, {"found": result.best.loss}, seeds=TRAINING_SEEDS, steps=STEPS)
    rows = {row.role: row for row in found.rows}
    own = {
        "pick": rounded(result.best.expression), "validation": result.best.fitness, "form": result.best.loss.form,
        "test": rows["loss"].score.mean, "tuned": rows["tuned reference"].score.mean,
        "untuned": rows["untuned reference"].score.mean, "verdict": rows["loss"].verdict,
        "evaluated": len(evaluated), "candidates": len(result.candidates), "seconds": round(result.seconds, 1),
        "best": [rounded(c.expression) for c in best],
        "first": dict(_operations(c.expression for c in result.candidates if c.generation == 0)),
        "last": dict(_operations(c.expression for c in best)),
    }  # fmt: skip
    if task.kind == "multiclass":
        smoothing = sl.analysis.label_smoothing(result.best.expression, task.outputs, seconds=0)
        own["label smoothing"] = {"verdict": smoothing.verdict, "smoothing": smoothing.smoothing}
    return own


def rounded(expression: sl.Expression) -> str:
    """Its text, weights to six digits."""
    return str(expression.with_weights([float(f"{w:.6g}") for w in expression.weights]))


def _operations(expressions: Any) -> Counter[str]:
    return Counter(node for e in expressions for node in e.nodes if node not in TERMINALS)


def grouped(record: dict[str, Any], kind: str) -> list[tuple[Any, Counter[str]]]:
    """Families of a kind with the number of searches of each task that found them; those of most searches first."""
    losses = {
        f"{key} {place}": formula
        for key, found in record["cells"].items()
        if TASKS[key.split(" ")[0]] == kind
        for place, formula in enumerate(found["best"])
    }
    groups = []
    for family in sl.analysis.families(losses, kind, DISTANCE).families:
        searches = {tuple(member.label.split(" ")[:2]) for member in family.members}
        groups.append((family, Counter(task for task, _ in searches)))
    return sorted(groups, key=lambda g: (-len(g[1]), -g[1].total(), -len(g[0].members)))


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Families of each kind, what the picks are worth, and how the operations changed."""
    found: dict[str, Any] = {}
    for kind in KINDS:
        groups = grouped(record, kind)
        found[kind] = {
            "losses": sum(len(family.members) for family, _ in groups), "families": len(groups),
            "in more than one task": sum(len(count) > 1 for _, count in groups),
            "largest": [
                {
                    "searches": dict(count), "losses": len(family.members), "known": family.name,
                    "nearest": family.nearest, "distance": round(family.nearest_distance, 3),
                    "representative": family.representative.formula,
                }
                for family, count in groups[:8]
            ],
        }  # fmt: skip
    found["picks"] = {}
    for task, kind in TASKS.items():
        cells = [c for key, c in record["cells"].items() if key.startswith(f"{task} ")]
        found["picks"][task] = {
            "test": records.interval([c["test"] for c in cells]),
            "tuned reference": cells[0]["tuned"], "untuned reference": cells[0]["untuned"],
            "minus tuned": records.interval([c["test"] - c["tuned"] for c in cells]),
            "better, same, worse": [
                sum(c["verdict"] == v for c in cells) for v in ("better", "not distinguishable", "worse")
            ],
            "forms": Counter(c["form"] for c in cells),
        }  # fmt: skip
        if kind == "multiclass":
            found["picks"][task]["label smoothing"] = Counter(c["label smoothing"]["verdict"] for c in cells)
    found["operations, percent"] = _shares(list(record["cells"].values()))
    return found


def _shares(cells: list[dict[str, Any]]) -> dict[str, dict[str, list[float]]]:
    """Of each operation its share in the first generation, and among the best; interval over searches."""
    names = sorted({name for c in cells for name in c["first"]})

    def share(when: str, name: str) -> list[float]:
        return records.interval([100 * c[when].get(name, 0) / sum(c[when].values()) for c in cells])

    rows = {name: {"first generation": share("first", name), "best": share("last", name)} for name in names}
    return dict(sorted(rows.items(), key=lambda row: -row[1]["best"][0]))


def draw(record: dict[str, Any]) -> None:
    """A row of families for each kind of task, and the operations."""
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    colours = dict(zip(TASKS, COLOURS, strict=True))
    shown = {k: v for k, v in record["settings"].items() if k != "versions"}
    figure, panels = style.new("Families of losses that searches find", shown, (8.6, 8.4), len(KINDS) + 1, SHOWN)
    with rc_context(style.STYLE):
        for row, (kind, label) in zip(panels, KINDS.items(), strict=False):
            groups = grouped(record, kind)
            total = sum(key.split(" ")[0] in [t for t, k in TASKS.items() if k == kind] for key in record["cells"])
            for axes, (family, count) in zip(row, groups, strict=False):
                _family(axes, family, count, total, kind, colours)
                axes.set_xlabel(label)
            row[0].set_ylabel(f"{kind}\ngradient over mean size")
        for axes in panels[-1][1:]:
            axes.remove()
        spec = panels[-1][0].get_subplotspec()
        assert spec is not None
        panels[-1][0].set_subplotspec(spec.get_gridspec()[len(KINDS), :])
        _operations_panel(panels[-1][0], record["summary"]["operations, percent"], style)
        _legend(figure, colours)
    records.save(figure, "loss_families")


def _family(axes: Any, family: Any, count: Counter[str], total: int, kind: str, colours: dict[str, str]) -> None:
    x, curves = _curves(family.gradients, kind)
    names, references = known(kind)  # type: ignore[arg-type]
    for member, curve in zip(family.members, curves, strict=True):
        axes.plot(x, curve, color=colours[member.label.split(" ")[0]], alpha=0.8, linewidth=0.8)
    axes.plot(x, _curves(references[names.index(family.nearest)][None], kind)[1][0], "k--", linewidth=1.1)
    axes.axhline(0, color="black", linewidth=0.6, zorder=0.5)
    match = family.nearest if family.name else f"nearest {family.nearest}"
    match = match.replace("generalised-cross-entropy", "GCE").replace("sparse-label-smoothing", "SparseLSR")
    match = match.replace("absolute-cross-entropy", "ACE").replace("label-smoothing", "LSR")
    far = "" if family.name else f" ({family.nearest_distance:.2f})"
    where = ", ".join(f"{task} {n}" for task, n in sorted(count.items(), key=lambda p: -p[1]))
    axes.set_title(f"{match}{far}\n{count.total()} of {total} searches\n{where}", fontsize=7)


def _curves(rows: Any, kind: str) -> tuple[Any, Any]:
    """Gradient at the target where the wrong classes are alike, or at the middle target: x **[m]** and **[n, m]**."""
    at = grid(kind)  # type: ignore[arg-type]
    part = (
        slice(TARGETS // 2 * RESIDUALS, (TARGETS // 2 + 1) * RESIDUALS)
        if kind == "regression"
        else slice(PROBABILITIES)
    )
    size = abs(rows[:, part]).mean(1, keepdims=True)
    return (at.f - at.y)[0, part] if kind == "regression" else at.f[0, part], rows[:, part] / (size + (size == 0))


def _operations_panel(axes: Any, shares: dict[str, dict[str, list[float]]], style: Any) -> None:
    for number, (when, colour, label) in enumerate(
        (
            ("first generation", style.GREY, "random formulas of the first generation"),
            ("best", style.BLUE, "ten best losses"),
        )
    ):
        values = [row[when] for row in shares.values()]
        mean, low, high = ([v[k] for v in values] for k in range(3))
        reach = [[m - a for m, a in zip(mean, low, strict=True)], [b - m for m, b in zip(mean, high, strict=True)]]
        places = [place + 0.38 * (number - 0.5) for place in range(len(shares))]
        axes.bar(places, mean, 0.36, yerr=reach, color=colour, label=label, error_kw={"linewidth": 0.8}, capsize=1.5)
    axes.set_xticks(range(len(shares)), list(shares))
    axes.set_ylabel("share of all\noperations (%)")
    axes.set_ylim(0)
    axes.legend()
    axes.grid(visible=False, axis="x")


def _legend(figure: Any, colours: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=colour, label=task) for task, colour in colours.items()]
    handles.append(Line2D([], [], color="black", linestyle="--", label="nearest known loss"))
    figure.legend(handles=handles, loc="outside upper left", ncols=8, fontsize=7.5, columnspacing=1.2)


def main() -> None:
    """Command line."""
    options = records.arguments(__doc__, seeds=5)
    settings = {
        "model": "MLP, 64 hidden units", **BUDGET, "best of each search": BEST, "distance": DISTANCE,
        "training steps": STEPS, "training seeds of a pick": TRAINING_SEEDS, "searches per task": options.seeds,
        **{f"on {task}": n for task, n in SLOW.items()},
    }  # fmt: skip
    searches = {task: min(SLOW.get(task, options.seeds), options.seeds) for task in TASKS}
    keys = [f"{task} {number}" for task in sorted(TASKS, key=SLOW.__contains__) for number in range(searches[task])]
    record = records.computed("loss_families", settings, keys, cell, summary)
    draw(record)
    print(records.lines(record["summary"]))


if __name__ == "__main__":
    main()
