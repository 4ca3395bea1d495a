"""Is a discovered loss better? Seven searches and the handcrafted losses, beside tuned cross-entropy, on sixteen tasks.

    python -m analysis.comparison --jobs 2                                     # about three hours on two cores
    python -m analysis.comparison --tasks digits diabetes --methods EvoMAL     # a part of it: the same cells
    python -m analysis.comparison --dry-run                                    # what there is to do

Finished cells are kept in `analysis/comparison/cells`, so that the same command goes on where it stopped, also after
Ctrl-C or a kill; the searches beside them are not needed once their cells are finished. Writes comparison.csv, .json
and .tex and costs.csv there, and `figures/comparison.png` and .json.

The budget is one for all methods: `DENSE` on the tasks of perceptrons, and the smaller `DEEP` where training costs
ten times as much; ML3 has two generations, which cost more processor time than ten of EvoMAL. "Warm start" is EvoMAL,
scale-free, begun from the handcrafted losses, with weights inherited and candidates confirmed on other divisions of
the data. Processor seconds as measured: a search takes 4 to 14 on perceptrons, ML3 19, of `DEEP` 5 to 30; tuning and
test take 0.3 on digits, 7 on surnames, 17 on MNIST and 25 on Fashion-MNIST with its 10 000 test images. That makes
about three hours on two cores for all 608 cells.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from analysis.records import FIGURES, write
from symloss.comparison import carry_out, listing, plan

OUT = Path(__file__).with_suffix("")
FIGURE = FIGURES / "comparison.png"

DENSE: dict[str, Any] = {
    "steps": 500, "batch_size": 128, "budget": {"population_size": 25, "generations": 10, "confirmations": 9},
}  # fmt: skip
DEEP: dict[str, Any] = {
    "steps": 150, "batch_size": 32,
    "budget": {
        "population_size": 10, "generations": 4, "fitness_steps": 150, "batch_size": 32, "refinement_steps": 50,
        "rejection_samples": 50, "confirmations": 1,
    },
}  # fmt: skip
SMALL: dict[str, Any] = {"train_samples": 4000, "valid_samples": 1000}  # fixed: drawn with the seed of the split
MANY_CLASSES = {**DEEP, "steps": 300, "budget": {**DEEP["budget"], "fitness_steps": 300}}  # 150 leave it near chance
LENET, CHARCNN = {"model": "lenet5", **DEEP}, {"model": "charcnn", **SMALL, **DEEP}
CLEAN: dict[str, dict[str, Any]] = {
    "digits": {"name": "digits", "model": "mlp", **DENSE},
    "MNIST-5k": {"name": "mnist-5k", **LENET},
    "Fashion-MNIST": {"name": "fashion-mnist", **SMALL, **LENET},
    "glyphs-62": {"name": "glyphs-62", **SMALL, **LENET, **MANY_CLASSES},
    "surnames": {"name": "surnames", **CHARCNN},
    "diabetes": {"name": "diabetes", "model": "mlp", **DENSE},
    "Boston": {"name": "boston", "model": "mlp", **DENSE},
    "California": {"name": "california", "model": "mlp", **SMALL, **DENSE},
}
NOISY = ("digits", "MNIST-5k", "Fashion-MNIST", "surnames")
TASKS = CLEAN | {
    f"{label}, {share:.0%} noise": {**CLEAN[label], "label_noise": share} for share in (0.2, 0.4) for label in NOISY
}
METHODS: dict[str, dict[str, Any]] = {
    "EvoMAL": {"name": "evomal"},
    "EvoMAL, scale-free": {"name": "evomal", "scale_free": True},
    "EvoMAL, warm start": {
        "name": "evomal", "scale_free": True, "inherit_weights": True, "guesses": "catalogue", "resplit": True,
    },
    "GP-LFL": {"name": "gp-lfl"},
    "TaylorGLO": {"name": "taylorglo"},
    "ML3": {"name": "ml3", "generations": 2},  # which cost more processor time than ten of EvoMAL
    "random search": {"name": "random"},
    "best of catalogue": {"name": "catalogue"},
}  # fmt: skip
SEEDS = 5
TRAINING: dict[str, Any] = {
    "training_seeds": 5, "tuning_seeds": 3, "rates": [3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0],
}  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), metavar="LABEL")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS), metavar="LABEL")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args()
    wanted = plan(
        [{"label": label, **TASKS[label]} for label in options.tasks],
        [{"label": label, **METHODS[label]} for label in options.methods],
        seeds=options.seeds, **TRAINING,
    )  # fmt: skip
    if options.dry_run:
        print(listing(wanted, options.out))
        return
    found = carry_out(
        wanted, options.out, n_jobs=options.jobs, progress=lambda line: print(line, file=sys.stderr, flush=True)
    )
    print(found)
    if found.facts:
        figure = FIGURE if options.out == OUT else options.out / FIGURE.name
        found.figure().savefig(figure)
        write(figure.with_suffix(".json"), found.to_json())


if __name__ == "__main__":
    main()
