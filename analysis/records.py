"""What studies share: where figures lie, cells that are computed once, intervals, and the losses that were found."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from symloss.discovery.record import current_versions
from symloss.evaluation.statistics import estimate

FIGURES = Path(__file__).resolve().parents[1] / "figures"
Record = dict[str, Any]


def computed(
    name: str, settings: Record, keys: Iterable[str], cell: Callable[[str], Any], summary: Callable[[Record], Any],
    jobs: int = 1, others: bool = False,
) -> Record:  # fmt: skip
    """The record figures/NAME.json, its cells computed where they are not on disk, written after each of them.

    Args:
        name: Of the study.
        settings: What defines the cells; with other settings on disk all are computed anew.
        keys: Names of the cells.
        cell: From its name to plain values.
        summary: From the record with all cells to plain values, kept as `"summary"`.
        jobs: Processes that compute cells.
        others: Whether finished cells that are not among the keys stay.
    """
    path, keys = FIGURES / f"{name}.json", list(keys)
    settings = json.loads(json.dumps(settings))
    record: Record = {"settings": settings, "versions": current_versions(), "summary": {}, "cells": {}}
    kept = finished(name, settings)
    record["cells"] = {key: _rounded(kept[key]) for key in (kept if others else [k for k in keys if k in kept])}
    left = [key for key in keys if key not in kept]
    for key, value in zip(left, _mapped(cell, left, jobs), strict=True):
        record["cells"][key] = _rounded(value)
        print(key, json.dumps(record["cells"][key], ensure_ascii=False)[:300], flush=True)
        write(path, record)
    record["summary"] = summary(record)
    write(path, record)
    return record


def finished(name: str, settings: Record) -> Record:
    """The cells in figures/NAME.json, if they were computed with these settings."""
    path = FIGURES / f"{name}.json"
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    cells: Record = old["cells"] if old.get("settings") == json.loads(json.dumps(settings)) else {}
    return cells


def _mapped(cell: Callable[[str], Any], keys: Sequence[str], jobs: int) -> Iterator[Any]:
    if jobs == 1:
        yield from map(cell, keys)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        yield from pool.map(cell, keys)


def _rounded(value: Any) -> Any:
    """Plain values, numbers to six digits."""
    return json.loads(json.dumps(value), parse_float=lambda text: float(f"{float(text):.6g}"))


def write(path: Path, record: Record) -> None:
    """The record as text: one line for each entry and cell."""
    path.write_text(lines(record), encoding="utf-8")


def lines(value: Any, depth: int = 2) -> str:
    """JSON, the two outermost levels one line for each entry."""
    if not isinstance(value, dict) or not value or not depth:
        return json.dumps(value, ensure_ascii=False)
    pad = " " * (3 - depth)
    inside = (f"{pad}{json.dumps(k, ensure_ascii=False)}: {lines(v, depth - 1)}" for k, v in value.items())
    return "{\n" + ",\n".join(inside) + f"\n{pad[:-1]}}}" + ("\n" if depth == 2 else "")


def save(figure: Any, name: str) -> None:
    """The picture figures/NAME.png, in 256 colours so that it stays small; what it records is kept."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    path, kept = FIGURES / f"{name}.png", PngInfo()
    figure.savefig(path, dpi=150)
    with Image.open(path) as picture:
        for key, text in picture.text.items():  # type: ignore[attr-defined]
            kept.add_itxt(key, text)
        few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(path, optimize=True, dpi=(150, 150), pnginfo=kept)


def interval(values: Sequence[float]) -> list[float]:
    """Mean and 95 % bounds, Student's."""
    found = estimate(values)
    return [found.mean, found.low, found.high]


def picks(variant: str = "EvoMAL") -> dict[str, str]:
    """Formulas that five searches on the digits picked, none left out; see `analysis.discovered_losses`."""
    record = json.loads((FIGURES / "discovered_losses.json").read_text(encoding="utf-8"))
    return {f"search {c['seed'] + 1}": c["formula"] for c in record["cells"] if c["variant"] == variant}


def arguments(description: str | None, seeds: int = 10) -> argparse.Namespace:
    """The command line of a study, which runs on one thread."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=seeds, help="what intervals are over")
    return parser.parse_args()
