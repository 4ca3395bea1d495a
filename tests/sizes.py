"""The README's snippets and the notebooks at a small size, so that the tests can run them."""

from __future__ import annotations

import re

SMALL = {
    r"(--population )\d+": "8 --set refinement_steps=10 --set fitness_steps=50",
    r"(population_size=)\d+": "8, refinement_steps=10, fitness_steps=50",
    r"(population_size = )\d+": "8, refinement_steps = 10, fitness_steps = 50",
    r"(--jobs )\d+": "1",
    r"(\{ name = \"catalogue\")": ', losses = ["focal"]',
    r"(--seeds |seeds ?= ?)\d+": "2",
    r"(--(?:offline-)?steps |\b(?:offline_)?steps ?= ?)\d+": "20",
    r"(--iterations |\biterations=)\d+": "20",
    r"(--grid )\d+": "5",
    r"(grid=)\(\d+, \d+\)": "(5, 5)",
    r"(grid=)\(\d+,\)": "(5,)",
}


def small(snippet: str) -> str:
    """The snippet with small numbers; a tenth of the generations, so that going on for longer remains so."""
    for pattern, number in SMALL.items():
        snippet = re.sub(pattern, rf"\g<1>{number}", snippet)
    return re.sub(r"(--generations |generations ?= ?)(\d+)", lambda m: m[1] + str(max(int(m[2]) // 10, 1)), snippet)
