"""Do discovered losses lead to flatter minima?

    python -m analysis.flatness            # about twenty minutes on one core; finished cells are kept
    python -m analysis.flatness --seeds 5

Models are trained on the digits with cross-entropy, with label smoothing, with the absolute cross-entropy and with the
losses that five searches picked, none left out, each at its own tuned rate. All are measured on the training data under
one metric, cross-entropy: the largest eigenvalue and the trace of its Hessian and the sharpness of SAM and adaptive
SAM, as they are and with normalised logits; and by how much the error rate, which no scale of the logits changes, rises
along random filter-normalised directions. Shown are ratios to the models trained with cross-entropy from the same
seeds: geometric means, with Student's 95 % intervals of the logarithms over training seeds. Writes
`figures/flatness.json` and `.png`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import nn

import symloss as sl
from analysis import records
from symloss.evaluation import Evaluation, fit

STEPS, GRID, SPAN, DIRECTIONS = 500, 31, 1.0, 10
CROSS_ENTROPY = "cross-entropy"
KNOWN = {CROSS_ENTROPY: "cross-entropy", "LSR, ξ = 0.1": "label-smoothing", "ACE, φ₁ = 1.2": "abs(log(1.2*y*f))"}
PLANES = (CROSS_ENTROPY, "LSR, ξ = 0.1", "found, search 1")
MEASURES = ("eigenvalue", "trace", "SAM", "adaptive SAM")
SHOWN = {
    "eigenvalue": ("largest eigenvalue", "o", "#0072B2"),
    "eigenvalue, normalised": ("the same, logits normalised", "s", "#56B4E9"),
    "adaptive SAM, normalised": ("adaptive SAM, logits normalised", "D", "#D55E00"),
    "rise of the error": ("rise of the error rate along random directions", "^", "#009E73"),
}


def convolutional() -> nn.Module:
    """Two convolutions 3 × 3 of 8 and 16 channels, each with max pooling, then one linear layer."""
    layers: list[nn.Module] = []
    for before, after in ((1, 8), (8, 16)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 10))


SETTINGS: dict[str, tuple[str | Callable[[], nn.Module], int]] = {
    "MLP, 500 steps": ("mlp", STEPS), "MLP, 2000 steps": ("mlp", 4 * STEPS),
    "convolutional, 500 steps": (convolutional, STEPS),
}  # fmt: skip


def losses() -> dict[str, str]:
    """Cross-entropy, the other known losses, then those found."""
    return KNOWN | {f"found, {name}": formula for name, formula in records.picks().items()}


def models(key: str, seeds: int) -> tuple[sl.Task, Evaluation, dict[int, nn.Module]]:
    """One loss, tuned and evaluated, and the models of its evaluation by seed."""
    setting, name = key.split(": ", 1)
    model, steps = SETTINGS[setting]
    task, loss = sl.load_task("digits", model=model), losses()[name]
    table = sl.evaluate(task, {name: loss}, seeds=seeds, steps=steps)
    row = table.rows[0]
    options: dict[str, Any] = {"steps": steps, "learning_rate": row.learning_rate}
    trained = {s: fit(task, loss, seed=s, **options) for s in table.protocol.reported_seeds}
    return task, table, trained


def cell(key: str, seeds: int) -> dict[str, Any]:
    """Of one loss every measure, a list over seeds; for some also the plane of the first seed."""
    task, table, trained = models(key, seeds)
    data, found = task.train, []
    for model in trained.values():
        own = sl.analysis.sharpness(model, data, F.cross_entropy, top_k=1)
        line = sl.analysis.landscape(
            model, data, lambda o, y: task.sample_metric(o, y).mean(), grid=21, span=SPAN, seeds=DIRECTIONS
        )
        assert own.normalised is not None
        values = {"cross-entropy": own.value, "rise of the error": float(line.rises().mean())}
        for suffix, sharp in (("", own), (", normalised", own.normalised)):
            measured = (sharp.eigenvalues[0], sharp.trace, sharp.sam, sharp.adaptive_sam)
            values |= {f"{m}{suffix}": float(v) for m, v in zip(MEASURES, measured, strict=True)}
        found.append(values)
    row = table.rows[0]
    columns = {name: [float(f"{v[name]:.6g}") for v in found] for name in found[0]}
    own_cell = {"rate": row.learning_rate, "at an end": row.at_edge, "test error": list(row.counted), **columns}
    setting, name = key.split(": ", 1)
    if setting == next(iter(SETTINGS)) and name in PLANES:
        plane = sl.analysis.landscape(next(iter(trained.values())), data, F.cross_entropy, grid=(GRID, GRID), span=SPAN)
        own_cell["plane"] = [[float(f"{v:.4g}") for v in line] for line in plane.values]
    return own_cell


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Ratios to cross-entropy per loss, and over the losses that searches found, with their intervals."""
    found: dict[str, Any] = {}
    measures = [f"{m}{suffix}" for m in MEASURES for suffix in ("", ", normalised")] + ["rise of the error"]
    for setting in SETTINGS:
        cells = {name: record["cells"][f"{setting}: {name}"] for name in losses()}
        plain, rows = cells[CROSS_ENTROPY], {}
        for name, own in cells.items():
            rows[name] = {m: ratio(own[m], plain[m]) for m in measures} if name != CROSS_ENTROPY else {}
            rows[name]["test error"] = records.interval(own["test error"])
            pairs = zip(own["test error"], plain["test error"], strict=True)
            rows[name]["test error, minus cross-entropy"] = records.interval([a - b for a, b in pairs])
        searches = [row for name, row in rows.items() if name.startswith("found")]
        over = {m: geometric([r[m][0] for r in searches]) for m in measures}
        flat = {m: [sum(r[m][2] < 1 for r in searches), sum(r[m][1] > 1 for r in searches)] for m in measures}
        found[setting] = {"losses": rows, "found, over searches": over, "found: flatter, sharper": flat}
    return found


def ratio(values: list[float], reference: list[float]) -> list[float]:
    """Geometric mean of the ratios, paired by seed, and its bounds."""
    return geometric([a / b for a, b in zip(values, reference, strict=True)])


def geometric(values: list[float]) -> list[float]:
    """Geometric mean and bounds."""
    return [math.exp(v) for v in records.interval([math.log(v) for v in values])]


def draw(record: dict[str, Any]) -> None:
    """Three planes on one scale; below, for each setting, the ratios of all losses."""
    import numpy as np
    from matplotlib import rc_context
    from matplotlib.colors import LogNorm

    from symloss.plotting import figure as style

    shown = {k: v for k, v in record["settings"].items() if k != "losses"}
    figure, panels = style.new("Flatness of minima", shown, (9.0, 7.2), 2, 3, height_ratios=(1.0, 1.3))
    setting = next(iter(SETTINGS))
    planes = {name: np.array(record["cells"][f"{setting}: {name}"]["plane"]) for name in PLANES}
    every = np.stack(list(planes.values()))
    low, high = float(every.min()), float(np.quantile(every, 0.98))
    levels, axis = np.geomspace(low, high, 22), np.linspace(-SPAN, SPAN, GRID)
    with rc_context(style.STYLE):
        for axes, (name, plane) in zip(panels[0], planes.items(), strict=True):
            drawn = axes.contourf(axis, axis, plane.T, levels, cmap="cividis", norm=LogNorm(low, high), extend="max")
            axes.contour(axis, axis, plane.T, levels[::3], colors="white", linewidths=0.4)
            axes.plot(0, 0, "+", color="white", markersize=7)
            axes.grid(visible=False)
            axes.set_title(f"trained with {name}")
            axes.set_xlabel("random direction 1")
        panels[0][0].set_ylabel(f"{setting}\nrandom direction 2")
        ticks = [t for t in (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10) if low <= t <= high]
        figure.colorbar(drawn, ax=panels[0], label="cross-entropy,\ntraining data", ticks=ticks, format="%g", pad=0.02)
        for axes, name in zip(panels[1], SETTINGS, strict=True):
            _ratios(axes, record["summary"][name]["losses"])
            axes.set_title(name)
        for axes in panels[1][1:]:
            axes.tick_params(labelleft=False)
        panels[1][1].set_xlabel("ratio to models trained with cross-entropy (below 1: flatter, above 1: sharper)")
        figure.legend(handles=panels[1][0].get_legend_handles_labels()[0], loc="outside upper left", ncols=4)
    records.save(figure, "flatness")


def _ratios(axes: Any, rows: dict[str, Any]) -> None:
    names = [name for name in rows if name != CROSS_ENTROPY]
    for number, (measure, (label, marker, colour)) in enumerate(SHOWN.items()):
        mean, low, high = ([rows[name][measure][k] for name in names] for k in range(3))
        reach = [[m - a for m, a in zip(mean, low, strict=True)], [b - m for m, b in zip(mean, high, strict=True)]]
        places = [place + 0.2 * (number - 1.5) for place in range(len(names))]
        axes.errorbar(
            mean, places, xerr=reach, fmt=marker, ms=3.5, capsize=1.5, linewidth=1.2, color=colour, label=label
        )
    axes.axvline(1, color="black", linewidth=0.8, zorder=0.5)
    axes.axhline(1.5, color="black", linewidth=0.6, linestyle=":")
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [t for t in (1, 2, 5, 10, 20, 50) if low <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def main() -> None:
    """Command line."""
    options = records.arguments(__doc__, seeds=8)
    settings = {
        "data": "digits, 1079 training samples", "batch": 128, "seeds": options.seeds,
        "rates": "best of 13 for each loss, on validation data", "metric": "cross-entropy on the training data",
        "directions": f"random, filter-normalised, span {SPAN:g}, {DIRECTIONS} for the rise",
        "intervals": "95 %, over training seeds", "losses": losses(),
    }  # fmt: skip
    keys = [f"{setting}: {name}" for setting in SETTINGS for name in losses()]
    record = records.computed("flatness", settings, keys, lambda key: cell(key, options.seeds), summary)
    draw(record)
    for setting, found in record["summary"].items():
        print(setting, records.lines(found, 1))


if __name__ == "__main__":
    main()
