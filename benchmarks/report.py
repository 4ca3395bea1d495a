"""Time and size of the page of a run of 25 × 50 on the digits.

    python -m benchmarks.report      # about two minutes on one idle core

The search is that of `symloss discover digits --population 25 --generations 50 --seed 0`. Each page is made in a
process of its own, so that its time has the imports in it, as a user's has; given are the median and, in brackets, the
range. The limits that a page must keep to are 3 MB and 10 s. Writes `benchmarks/results/report.*`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import save

REPEATS = 5
SEARCH = ("discover", "digits", "--population", "25", "--generations", "50", "--seed", "0")


def symloss(*words: str) -> float:
    """Seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "symloss.cli.main", *words], check=True, capture_output=True)
    return time.perf_counter() - start


def row(name: str, run: Path, page: Path, *options: str) -> dict[str, Any]:
    """Times of one kind of page, and its size."""
    spent = [symloss("report", str(run), "--out", str(page), *options) for _ in range(REPEATS)]
    return {
        "page": name,
        "seconds": f"{statistics.median(spent):.2f} [{min(spent):.2f}, {max(spent):.2f}]",
        "limit, s": 10,
        "kB": round(page.stat().st_size / 1000),
        "limit, kB": 3000,
    }


def main() -> None:
    """Search once, then make its pages."""
    with tempfile.TemporaryDirectory() as place:
        run, page = Path(place) / "run", Path(place) / "page.html"
        searched = symloss(*SEARCH, "--out", str(run))
        rows = [row("without an evaluation", run, page)]
        symloss("report", str(run), "--out", str(page), "--evaluate")
        rows.append(row("with an evaluation that is there", run, page))
    save("report", rows, f"Pages of `symloss {' '.join(SEARCH)}`, a search of {searched:.0f} s")


if __name__ == "__main__":
    main()
