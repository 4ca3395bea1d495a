"""How much of what a loss gains is step size, and how much is its shape?

    python -m analysis.step_size            # about seven minutes on one core; finished cells are kept
    python -m analysis.step_size --seeds 5

`symloss.analysis.learning_rate` splits the gain over cross-entropy at the untuned rate 0.01 for the losses that five
searches on the digits picked and for losses of the catalogue, on the digits and on 5000 MNIST images. Beside it
stand what cross-entropy gains by tuning its rate alone, and what is left of each gain when both rates are tuned.
Intervals are Student's, 95 %, over seeds, paired by seed. Writes `figures/step_size.json` and `.png`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import symloss as sl
from analysis import records

TASKS = {"digits": "digits, MLP 64-64-10", "mnist-5k": "MNIST-5k, MLP 784-64-10"}
CATALOGUE = {
    "3 × cross-entropy": "-3.0*y*log(f)",
    "LSR, ξ = 0.1": "label-smoothing",
    "ACE, φ₁ = 1.1": "absolute-cross-entropy",
    "focal, γ = 2": "focal",
    "PolyLoss, ε = 2": "poly",
    "generalised CE, q = 0.7": "generalised-cross-entropy",
    "squared error": "squared-error",
}
STEPS, RATE = 500, 0.01
_LINEAR = 12.0  # percentage points up to which the axis of gains is linear
PARTS = ("gain", "step_size", "shape", "share", "tuning_gain", "tuned_gain")


def losses() -> dict[str, str]:
    """Every loss of the study by name: those found first."""
    return {f"found, {name}": formula for name, formula in records.picks().items()} | CATALOGUE


def cell(key: str, seeds: int) -> dict[str, Any]:
    """The split of one loss on one task, in plain values; gains in error rate."""
    task, name = key.split(": ", 1)
    report = sl.analysis.learning_rate(losses()[name], sl.load_task(task), seeds=seeds, steps=STEPS, learning_rate=RATE)
    parts = {part: [value.mean, value.low, value.high] for part in PARTS if (value := getattr(report, part))}
    rate = report.effective_rate
    return {
        "verdict": report.verdict, **{k: [_plain(x) for x in v] for k, v in parts.items()},
        "effective rate at the start, at the end": [rate[0].mean, rate[-1].mean],
        "tuned rate": report.evaluation.rows[0].learning_rate, "errors": asdict(report.measured),
    }  # fmt: skip


def _plain(value: float) -> float | None:
    return value if value == value else None


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Per task: over the five losses that searches found, the mean of each part with its interval over searches."""
    found: dict[str, Any] = {}
    for task in TASKS:
        cells = [record["cells"][f"{task}: {name}"] for name in losses() if name.startswith("found")]
        found[task] = {part: records.interval([c[part][0] for c in cells]) for part in PARTS}
        found[task]["verdicts"] = [c["verdict"] for c in cells]
    return found


def draw(record: dict[str, Any]) -> None:
    """For each task the parts of the gain, and what is left of it where both rates are tuned."""
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    names = list(losses())
    shown = record["settings"] | {"intervals": "95 %, over seeds"}
    shown.pop("losses")
    figure, panels = style.new("Step size and shape", shown, (7.4, 6.6), 2, 2, sharey=True, width_ratios=(1.5, 1.0))
    with rc_context(style.STYLE):
        for row, (task, title) in zip(panels, TASKS.items(), strict=True):
            cells = [record["cells"][f"{task}: {name}"] for name in names]
            _parts(row[0], cells, title, style)
            bars(row[1], range(len(cells)), [c["tuned_gain"] for c in cells], "D", style.BLACK, "")
            row[1].set_title("both rates tuned", loc="left")
            row[0].set_yticks(range(len(names)), names)
            row[0].set_ylim(len(names) - 0.4, -0.6)
            for axes in row:
                axes.axvline(0, color="black", linewidth=0.8, zorder=0.5)
                axes.axhline(4.5, color="black", linewidth=0.6, linestyle=":")
                axes.grid(visible=False, axis="y")
            row[1].set_xlim(-4.5, 1.5)
            row[0].set_xscale("symlog", linthresh=_LINEAR, linscale=1.3)
            row[0].set_xlim(-95, 14)
            row[0].set_xticks([-80, -30, -10, -5, 0, 5, 10], ["−80", "−30", "−10", "−5", "0", "5", "10"])
            row[0].minorticks_off()
        panels[1][0].set_xlabel(
            "lower test error than untuned cross-entropy\n(percentage points; right is better; logarithmic below −12)"
        )
        panels[1][1].set_xlabel("lower test error than tuned\ncross-entropy (percentage points)")
        figure.legend(handles=panels[0][0].get_legend_handles_labels()[0], loc="outside upper left", ncols=4)
    records.save(figure, "step_size")


def _parts(axes: Any, cells: list[dict[str, Any]], title: str, style: Any) -> None:
    low, high = (100 * f(c["tuning_gain"][k] for c in cells) for f, k in ((min, 1), (max, 2)))
    axes.axvspan(low, high, color=style.GREY, alpha=0.25, linewidth=0, label="cross-entropy, rate tuned")
    places = range(len(cells))
    bars(axes, [p - 0.22 for p in places], [c["gain"] for c in cells], "D", style.BLACK, "gain of the loss =")
    bars(axes, places, [c["step_size"] for c in cells], "o", style.BLUE, "step size +")
    bars(axes, [p + 0.22 for p in places], [c["shape"] for c in cells], "s", style.VERMILLION, "shape")
    axes.set_title(title, loc="left")


def bars(axes: Any, places: Any, values: list[list[float]], marker: str, colour: str, label: str) -> None:
    """Means **[n]** with their intervals, in percentage points."""
    mean, low, high = ([100 * v[k] for v in values] for k in range(3))
    reach = [[m - a for m, a in zip(mean, low, strict=True)], [b - m for m, b in zip(mean, high, strict=True)]]
    options: dict[str, Any] = {"markersize": 4, "capsize": 2, "linewidth": 1.2}
    axes.errorbar(mean, list(places), xerr=reach, fmt=marker, color=colour, label=label, **options)


def main() -> None:
    """Command line."""
    options = records.arguments(__doc__)
    settings = {
        "tasks": " and ".join(TASKS.values()), "steps": STEPS, "untuned rate": RATE, "batch": 128,
        "seeds": options.seeds, "tuning": "13 rates per loss, on validation data, 3 other seeds", "losses": losses(),
    }  # fmt: skip
    keys = [f"{task}: {name}" for task in TASKS for name in losses()]
    record = records.computed("step_size", settings, keys, lambda key: cell(key, options.seeds), summary)
    draw(record)
    for task, found in record["summary"].items():
        print(task, found)


if __name__ == "__main__":
    main()
