"""What does a discovered loss look like? The picture in the README.

Runs the search of `make discover` and draws its pick beside cross-entropy: figures/readme_loss.png, and the numbers
behind it in figures/readme_loss.json. Run: python -m analysis.readme_loss
"""

from __future__ import annotations

import json
from pathlib import Path

import symloss as sl

FIGURES = Path(__file__).resolve().parent.parent / "figures"


def main() -> None:
    """Search, draw, record."""
    result = sl.discover("digits", population_size=25, generations=20, seed=0)
    pick = result.best
    sl.plotting.loss_curves(pick.loss).savefig(FIGURES / "readme_loss.png")
    record = {
        "task": result.config.task,
        "settings": result.settings.to_dict(),
        "expression": str(pick.expression),
        "complexity": pick.complexity,
        "validation": {result.metric_name: pick.fitness},
        "candidates": result.counts,
    }
    (FIGURES / "readme_loss.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(result)


if __name__ == "__main__":
    main()
