"""Is a discovered loss better? Searches on digits, then an honest comparison with tuned and untuned cross-entropy.

    python -m analysis.discovered_losses            # about 15 minutes on one core; finished cells are kept
    python -m analysis.discovered_losses --seeds 1  # a quick look

For every variant of the search and every search seed, the loss that the search picks is evaluated on the test data over
ten training seeds, at the step budget of the search, with its learning rate tuned on validation data exactly as
cross-entropy's is. The interval of a variant is Student's over the search seeds. Writes
`figures/discovered_losses.json` and `.png`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from symloss.discovery.runs import discover
from symloss.evaluation import evaluate
from symloss.evaluation.statistics import estimate
from symloss.losses import SymbolicLoss
from symloss.tasks import load_task

FIGURES = Path(__file__).parents[1] / "figures"
CELLS = FIGURES / "discovered_losses.json"
BUDGET: dict[str, Any] = {"population_size": 25, "generations": 20}
VARIANTS: dict[str, dict[str, Any]] = {
    "EvoMAL": BUDGET,
    "EvoMAL, scale-free": BUDGET | {"scale_free": True},
    "EvoMAL, inherited weights": BUDGET | {"inherit_weights": True},
    "without refinement": BUDGET | {"refine": False},
    "random search": {"population_size": 500, "generations": 1},
}
STEPS, TRAINING_SEEDS = 500, 10


def cell(variant: str, seed: int) -> dict[str, Any]:
    """Search once, evaluate what it picked."""
    task = load_task("digits", model="mlp")
    result = discover(task, seed=seed, **VARIANTS[variant])
    loss = result.best.loss
    table = evaluate(task, {"found": loss}, seeds=TRAINING_SEEDS, steps=STEPS)
    rows = {row.role: row for row in table.rows}
    found, tuned, untuned = rows["loss"], rows["tuned reference"], rows["untuned reference"]
    return {
        "variant": variant,
        "seed": seed,
        "formula": str(loss.expression),
        "complexity": result.best.complexity,
        "validation": result.best.fitness,
        "candidates": len(result.candidates),
        "search seconds": result.seconds,
        "rate": found.learning_rate,
        "rate of the search": result.learning_rate,
        "test": found.score.mean,
        "tuned": tuned.score.mean,
        "untuned": untuned.score.mean,
        "at the rate of the search": _untuned_test(task, loss, result.learning_rate),
        "verdict": found.verdict,
    }


def _untuned_test(task: Any, loss: SymbolicLoss, rate: float) -> float:
    """Test error of the loss at the rate of its own search, nothing tuned."""
    table = evaluate(task, {"found": loss}, seeds=TRAINING_SEEDS, steps=STEPS, tune_lr=False, learning_rate=rate)
    return table["found"].score.mean


def finished() -> list[dict[str, Any]]:
    """Cells that are on disk."""
    return json.loads(CELLS.read_text())["cells"] if CELLS.exists() else []


def summary(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per variant: means over the search seeds, and the paired differences to cross-entropy with their intervals."""
    rows = []
    for variant in VARIANTS:
        mine = [c for c in cells if c["variant"] == variant]
        if not mine:
            continue
        to_tuned = estimate([c["test"] - c["tuned"] for c in mine])
        to_untuned = estimate([c["at the rate of the search"] - c["untuned"] for c in mine])
        rows.append(
            {
                "variant": variant, "searches": len(mine), "test": estimate([c["test"] for c in mine]).mean,
                "tuned cross-entropy": mine[0]["tuned"], "minus tuned": [to_tuned.mean, to_tuned.low, to_tuned.high],
                "minus untuned": [to_untuned.mean, to_untuned.low, to_untuned.high],
                "better, same, worse": [
                    sum(c["verdict"] == v for c in mine) for v in ("better", "not distinguishable", "worse")
                ],
                "search seconds": estimate([c["search seconds"] for c in mine]).mean,
            }
        )  # fmt: skip
    return rows


def draw(cells: list[dict[str, Any]]) -> None:
    """Every search as a point: its loss's test error against tuned cross-entropy's, per variant with the interval."""
    from symloss.plotting import figure as style

    rows = summary(cells)
    record = {
        "task": "digits, MLP 64-64-10", "steps": STEPS, "candidates per search": 500, "searches": rows[0]["searches"],
        "training seeds": TRAINING_SEEDS, "learning rates": "13 per loss, chosen on validation data",
    }  # fmt: skip
    figure, [[axes]] = style.new("Test error against tuned cross-entropy", record, (6.4, 0.5 * len(rows) + 1.4))
    figure.suptitle(
        "each circle: the loss that one search picked; diamonds: mean over searches, 95 % interval", fontsize=8
    )
    colours = (style.BLUE, style.VERMILLION, style.GREEN, style.ORANGE, style.PURPLE)
    for place, (row, colour) in enumerate(zip(rows, colours, strict=False)):
        mine = [100 * (c["test"] - c["tuned"]) for c in cells if c["variant"] == row["variant"]]
        mean, low, high = (100 * v for v in row["minus tuned"])
        axes.plot(mine, [place - 0.2] * len(mine), "o", ms=4, color=colour, alpha=0.5)
        axes.errorbar(mean, place + 0.1, xerr=[[mean - low], [high - mean]], fmt="D", ms=5, capsize=3, color=colour)
    axes.axvline(0, color="black", lw=1)
    axes.set_yticks(range(len(rows)), [row["variant"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("test error minus that of tuned cross-entropy (percentage points)", fontsize=8)
    axes.tick_params(labelsize=8)
    figure.savefig(CELLS.with_suffix(".png"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells = finished()
    for seed in range(options.seeds):
        for variant in VARIANTS:
            if not any((c["variant"], c["seed"]) == (variant, seed) for c in cells):
                cells.append(cell(variant, seed))
                print(json.dumps(cells[-1]), flush=True)
                settings = {
                    "task": "digits, mlp",
                    "steps": STEPS,
                    "training seeds": TRAINING_SEEDS,
                    "variants": VARIANTS,
                }
                CELLS.write_text(
                    json.dumps({"settings": settings, "summary": summary(cells), "cells": cells}, indent=1)
                )
    for row in summary(cells):
        print(json.dumps(row))
    draw(cells)


if __name__ == "__main__":
    main()
