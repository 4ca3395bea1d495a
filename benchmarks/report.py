"""Time and size of the page of a run, from the start of the process on.

    python -m benchmarks.report      # about a minute and a half on one idle core

Searches 25 × 50 candidates on digits, makes the page of that run in new processes, and the page of the same run with a
front of 15 losses, the others taken from the best of each size. Writes `benchmarks/results/report.*`.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

import symloss as sl
from benchmarks.record import save
from symloss.discovery.result import SearchResult, load_run
from symloss.report.measured import Measured
from symloss.report.page import page

POPULATION, GENERATIONS, REPEATS, LARGE = 25, 50, 3, 15


def in_a_process(run: Path, place: Path) -> dict[str, Any]:
    """Best wall time of some processes that read the run and write its page."""
    code = "import sys, symloss as sl; sl.report(sys.argv[1], sys.argv[2])"
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, str(run), str(place)], check=True)
        times.append(time.perf_counter() - start)
    return {"process, s": min(times), "page, MB": place.stat().st_size / 1e6}


def in_this_process(result: SearchResult) -> dict[str, Any]:
    """Best wall time of some calls, once everything is imported."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        text = page(result, Measured())
        times.append(time.perf_counter() - start)
    return {"again, s": min(times), "page, MB": len(text.encode()) / 1e6}


def with_large_front(result: SearchResult) -> SearchResult:
    """The run as if its front had held the best loss of each of the smallest sizes, each better than the one before."""
    best = {c.complexity: c for c in sorted(result.candidates, key=lambda c: -c.fitness) if c.stage == "evaluated"}
    chosen = [best[size] for size in sorted(best)[:LARGE]]
    made = [replace(c, id=k, fitness=0.9 * 0.8**k) for k, c in enumerate(chosen)]
    return replace(result, candidates=tuple(made))


def main() -> None:
    """Measure everything."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as top:
        run = Path(top) / "run"
        sl.discover("digits", population_size=POPULATION, generations=GENERATIONS, seed=0, out=run, progress=False)
        result = load_run(run)
        rows: list[dict[str, Any]] = []
        for name, own in (("as found", result), (f"front of {LARGE}", with_large_front(result))):
            row: dict[str, Any] = {"run": name, "losses shown": len(own.front), "candidates": len(own.candidates)}
            row |= in_a_process(run, run / "report.html") if own is result else {"process, s": "-"}
            rows.append(row | in_this_process(own))
    rows[-1]["peak MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    save(
        "report", rows, f"The page of a run of {POPULATION} × {GENERATIONS} candidates on digits, one thread, wall time"
    )


if __name__ == "__main__":
    main()
