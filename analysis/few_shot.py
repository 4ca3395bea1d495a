"""What does each part of NPBML bring, and how much of it is tuning of the inner learning rate?

    python -m analysis.few_shot                              # hours on one core; finished cells are kept
    python -m analysis.few_shot --settings sinusoids
    python -m analysis.few_shot --fonts DIR --seeds 3        # fonts elsewhere than /usr/share/fonts

MAML, Meta-SGD, prototypes, each ablation, NPBML inductive and transductive: sinusoids (two layers of 40, 10 shots, one
inner step, mean squared error) and glyphs (4-CONV-32, 5-way 1-shot and 5-shot, 5 inner steps, affine distortion; Latin
letters and digits to learn from, Greek to choose by, Cyrillic and Hebrew to be judged by). Each stands in two columns:
α = 0.01, and its own best α of four, chosen on validation tasks with a seed of its own. All are judged on the same 600
test tasks; differences to MAML at its best α are paired by task, averaged over seeds, with Student's 95 % interval over
tasks; those of single seeds stand beside them. Writes `figures/few_shot.json` and `.png`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis import records
from symloss.fewshot import NPBML, VARIANTS, Distortion, Episodes, Sinusoids, glyphs
from symloss.fewshot.episodes import Source
from symloss.fewshot.result import Scores

RATES, UNTUNED, TUNING_SEED = (0.01, 0.03, 0.1, 0.3), 0.01, 1000
SETTINGS: dict[str, dict[str, Any]] = {
    "sinusoids": {"iterations": 10_000, "meta_batch": 4},
    "glyphs, 1-shot": {"shots": 1, "iterations": 1000, "meta_batch": 4},
    "glyphs, 5-shot": {"shots": 5, "iterations": 1000, "meta_batch": 4},
}
QUERIES, VALID_TASKS = 15, 100
COLUMNS = {"untuned": "α = 0.01", "tuned": "best α"}
REFERENCE = "maml"


@cache
def data(fonts: str | None) -> Any:
    """The glyphs, read once."""
    return glyphs(fonts)


def sources(setting: str, fonts: str | None) -> tuple[Source, Source, Source]:
    """Tasks to learn from, to choose by and to be judged by."""
    if setting == "sinusoids":
        return Sinusoids(10), Sinusoids(10, 100), Sinusoids(10, 100)
    splits, shots = data(fonts), SETTINGS[setting]["shots"]
    parts = [
        Episodes(part, 5, shots, min(QUERIES, 19 - shots), augment=Distortion())
        for part in (splits.train, splits.valid, splits.test)
    ]
    return parts[0], parts[1], parts[2]


def names(setting: str) -> list[str]:
    """Variants of a setting: prototypes are for classes."""
    return [name for name in VARIANTS if setting != "sinusoids" or name != "prototypes"]


def learnt(setting: str, variant: str, rate: float, seed: int, options: argparse.Namespace) -> NPBML:
    """A learner, meta-trained; the parameters that did best on validation tasks."""
    own = SETTINGS[setting]
    train, valid, _ = sources(setting, options.fonts)
    flags: dict[str, Any] = {"lr": rate, "seed": seed, **VARIANTS[variant]}
    if setting == "sinusoids":
        learner = NPBML("mlp", shots=10, kind="regression", **{"inner_steps": 1, **flags})
    else:
        learner = NPBML("conv4", 5, own["shots"], width=32, **{"inner_steps": 5, **flags})
        if options.pretrain:
            assert isinstance(train, Episodes)
            learner.pretrain(train, options.pretrain, progress=False)
    iterations = options.iterations or own["iterations"]
    return learner.fit(
        train, valid, iterations, meta_batch=own["meta_batch"], valid_every=max(1, iterations // 10),
        valid_tasks=min(VALID_TASKS, options.tasks), progress=False,
    )  # fmt: skip


def best_rate(setting: str, variant: str, options: argparse.Namespace) -> tuple[float, list[float]]:
    """The rate that is best on validation tasks, and the metric at each of `RATES`."""
    valid, found = sources(setting, options.fonts)[1], []
    for rate in RATES:
        try:
            learner = learnt(setting, variant, rate, TUNING_SEED, options)
            found.append(learner.scores(valid, range(min(VALID_TASKS, options.tasks)), "valid").mean)
        except ValueError:  # it diverged
            found.append(float("nan"))
    values = np.nan_to_num(found, nan=np.inf if setting == "sinusoids" else -np.inf)
    return RATES[int(values.argmin() if setting == "sinusoids" else values.argmax())], found


def cell(key: str, options: argparse.Namespace) -> dict[str, Any]:
    """The metric of each test task, for every seed, in plain values; accuracies in per cent."""
    setting, variant, column = key.split(": ")
    rate, found = (UNTUNED, []) if column == "untuned" else best_rate(setting, variant, options)
    test, values = sources(setting, options.fonts)[2], []
    for seed in range(options.seeds):
        scores: Scores = learnt(setting, variant, rate, seed, options).evaluate(test, options.tasks)
        factor = 1.0 if setting == "sinusoids" else 100.0
        values.append([float(f"{factor * v:.4g}") for v in scores.values])
    return {"rate": rate, "validation": [v if v == v else None for v in found], "values": values}


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Means, and differences to MAML at its best α, with their intervals; for single seeds in a list."""
    found: dict[str, Any] = {}
    for key, own in record["cells"].items():
        setting, variant, column = key.split(": ")
        values = np.array(own["values"])
        row: dict[str, Any] = {"rate": own["rate"], "mean": records.interval(values.mean(0).tolist())}
        other = record["cells"].get(f"{setting}: {REFERENCE}: tuned")
        if other is not None:
            apart = values - np.array(other["values"])
            row["minus MAML"] = records.interval(apart.mean(0).tolist())
            row["minus MAML, single seeds"] = apart.mean(1).tolist()
        found.setdefault(setting, {}).setdefault(variant, {})[column] = row
    return found


def draw(record: dict[str, Any]) -> None:
    """For each setting the mean of each variant in both columns."""
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    settings = list(record["summary"])
    shown = {k: v for k, v in record["settings"].items() if k != "settings"} | {"intervals": "95 %, over tasks"}
    figure, (panels,) = style.new("Few-shot learning", shown, (3.4 * len(settings) + 1.2, 3.6), 1, len(settings))
    with rc_context(style.STYLE):
        for axes, setting in zip(panels, settings, strict=True):
            _panel(axes, record["summary"][setting], setting, style)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    records.save(figure, "few_shot")


def _panel(axes: Any, rows: dict[str, Any], setting: str, style: Any) -> None:
    looks = {"untuned": ("s", style.VERMILLION, -0.13), "tuned": ("o", style.BLUE, 0.13)}
    for column, (marker, colour, shift) in looks.items():
        for place, variant in enumerate(rows):
            if column in rows[variant]:
                mean, low, high = rows[variant][column]["mean"]
                reach = [[mean - low], [high - mean]]
                axes.errorbar(
                    mean, place + shift, xerr=reach, fmt=marker, color=colour, markersize=4, capsize=2,
                    label=COLUMNS[column] if place == 0 else None,
                )  # fmt: skip
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.set_title(setting, loc="left")
    if setting == "sinusoids":
        axes.set_xscale("log")
    axes.set_xlabel("mean squared error" if setting == "sinusoids" else "test accuracy (%)")


def keys(settings: Sequence[str]) -> list[str]:
    """Names of the cells: MAML first, for the others are compared with it."""
    return [
        f"{setting}: {variant}: {column}"
        for setting in settings
        for variant in names(setting)
        for column in (("untuned",) if variant == "prototypes" else COLUMNS)
    ]


def study(words: Sequence[str] | None = None) -> None:
    """All cells, their summary and the figure; `words` are those of the command line."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=3, help="of weights; tasks are the same")
    parser.add_argument("--tasks", type=int, default=600, help="test tasks")
    parser.add_argument("--iterations", type=int, default=None, help="meta-iterations (default: by setting)")
    parser.add_argument("--pretrain", type=int, default=0, help="steps of pre-training, the same for all variants")
    parser.add_argument("--fonts", default=None, help="directory of fonts")
    options = parser.parse_args(words)
    if options.fonts is not None:
        options.fonts = str(Path(options.fonts).resolve())
    settings = {
        "settings": {name: SETTINGS[name] for name in options.settings}, "seeds": options.seeds, "tasks": options.tasks,
        "iterations": options.iterations or "by setting", "pre-training": options.pretrain, "rates": RATES,
        "queries": QUERIES, "encoder": "4-CONV-32; MLP 40-40 for sinusoids", "distortion": repr(Distortion()),
    }  # fmt: skip
    record = records.computed("few_shot", settings, keys(options.settings), lambda key: cell(key, options), summary)
    draw(record)
    for setting, rows in record["summary"].items():
        print(setting, rows)


def main() -> None:
    """Command line."""
    study()


if __name__ == "__main__":
    main()
