"""Recorded tables: what was measured, where, with which versions."""

from __future__ import annotations

import json
import platform
from datetime import date
from pathlib import Path
from typing import Any

import numpy
import torch

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, str]:
    """Processor and versions, for the head of a table."""
    model = "unknown processor"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or model
    return {
        "date": date.today().isoformat(), "processor": model, "threads": str(torch.get_num_threads()),
        "python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__,
    }  # fmt: skip


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    columns = list(dict.fromkeys(key for row in rows for key in row))

    def cell(value: Any) -> str:
        return (
            f"{value:.3g}"
            if isinstance(value, float) and abs(value) < 1000
            else f"{value:.0f}"
            if isinstance(value, float)
            else str(value)
        )

    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(c, "")) for c in columns) + " |" for row in rows]
    return "\n".join(lines)


def save(name: str, rows: list[dict[str, Any]], what: str) -> None:
    """Write `results/NAME.json` and `results/NAME.md`, and print the table."""
    RESULTS.mkdir(exist_ok=True)
    where = machine()
    (RESULTS / f"{name}.json").write_text(json.dumps({"what": what, "machine": where, "rows": rows}, indent=1) + "\n")
    head = ", ".join(f"{k} {v}" for k, v in where.items())
    text = f"{what}\n\n{table(rows)}\n\n{head}\n"
    (RESULTS / f"{name}.md").write_text(text)
    print(text)
