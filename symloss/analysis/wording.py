"""What a report says in words."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from symloss.analysis.fit import EXACT, last_margin, weight
from symloss.analysis.rests import Slice

if TYPE_CHECKING:
    from symloss.analysis.report import SmoothingReport

_MANY = 6  # turns that a sentence can tell one by one


def number(value: float | None) -> str:
    """A number to six digits."""
    return "none" if value is None else f"{value:.6g}".replace("-", "−")


def probability(p: float | None) -> str:
    """A probability to six digits; near 1, its distance from 1."""
    return number(p) if p is None or not 0.9999 < p < 1 else f"1 − {1 - p:.4g}".replace("e-", "e−")


def statement(report: SmoothingReport) -> str:
    """The finding in one sentence."""
    start = f"For {report.classes} classes this loss " if report.kind == "multiclass" else "This binary loss "
    if report.smoothing is not None and report.fit is not None:
        xi = f"ξ = {number(report.smoothing)}"
        rest = f"p* = {probability(1 - report.smoothing * (report.classes - 1) / report.classes)}"
        smoothing = f"{number(report.scale)} × label smoothing with {xi}"
        gap = f"{number(report.gap_max)} (at p = {probability(report.gap_at)})"
        if report.verdict == "exact":
            by = "proved by algebra" if report.proof == "algebra" else f"measured, to {report.gap_max:.1g}"
            return f"{start}is {smoothing}, with the optimum {rest}: its gradient is the same ({by})."
        if report.verdict == "approximate":
            return f"{start}is nearly {smoothing}, with the optimum {rest}: gradients differ by at most {gap}."
        return (
            f"{start}has the optimum of label smoothing with {xi}, {rest}, and pulls and pushes where that does, "
            f"but it is not label smoothing: its gradient over s = {number(report.scale)} is off by up to {gap}."
        )
    if report.fit is not None and report.fit.gap_max <= EXACT:
        return f"{start}is {number(report.scale)} × cross-entropy: it raises p everywhere, without any smoothing."
    told = [_regimes(part) for part in report.slices]
    if len(set(told)) > 1:
        told = [f"for label {label} it {text}" for label, text in zip((1, 0), told, strict=True)]
        return f"{start}is equivalent to label smoothing with no ξ below 1: {' and '.join(told)}."
    return f"{start}is equivalent to label smoothing with no ξ below 1: it {told[0]}."


def _regimes(part: Slice) -> str:
    """What the loss does to p from 1/C to 1."""
    if np.isnan(part.signs).any():
        bad = part.p[np.isnan(part.signs)]
        return f"has no finite gradient between p = {probability(bad.min())} and p = {probability(bad.max())}"
    turns = sorted({*part.attractors, *part.repellers, *(end for ends in part.plateaus for end in ends)})
    edges = [part.margin[0], *(m for m in turns if part.margin[0] < m < part.margin[-1]), part.margin[-1]]
    pieces: list[tuple[int, float]] = []  # (what g does, up to which margin)
    for low, high in itertools.pairwise(edges):
        if high - low > 1e-8:
            sign = _sign(part, low, high)
            pieces = [*(pieces[:-1] if pieces and pieces[-1][0] == sign else pieces), (sign, high)]
    verbs = {-1: "raises p", 0: "leaves p alone", 1: "lowers p"}
    if len(pieces) == 1:
        return f"{verbs[pieces[0][0]]} everywhere"
    if len(pieces) > _MANY:
        rests = ", ".join(probability(float(expit(m))) for m in part.attractors[:_MANY])
        return f"turns {len(pieces) - 1} times; p is attracted by {rests or 'no single point'}"
    texts = [f"{verbs[sign]} up to {probability(float(expit(m)))}" for sign, m in pieces[:-1]]
    return f"{', '.join(texts)} and {verbs[pieces[-1][0]]} from there to 1"


def _sign(part: Slice, low: float, high: float) -> int:
    inside = part.signs[(part.margin > low + 1e-9) & (part.margin < high - 1e-9)]
    return int(np.sign(inside.sum()))


def notes(report: SmoothingReport) -> Iterator[str]:
    """What else follows, a sentence each."""
    part, c = report.slices[0], report.classes
    if report.smoothing is not None and report.verdict != "exact" and report.scale is not None:
        yield from _against_smoothing(report, part)
    if report.smoothing is None and len(report.attractors) > 1:
        yield "Where p comes to rest depends on where it starts."
    if report.smoothing is None and report.limit_gradient < -1e-4 * np.abs(part.gradient).max() and _lasts(part, c):
        yield f"As p → 1 it still pulls, with g = {number(report.limit_gradient)}: it has no minimum there."
    last = last_margin(c)
    tail = [m for m in part.repellers if m >= last and (report.smoothing is not None)]
    if tail:
        rest = probability(float(expit(tail[0])))
        yield (
            f"Above p = {rest} some probabilities are below 1e−7, where protected logarithms are flat: as written, the "
            "formula raises p again there; a SymbolicLoss does not where it has the logarithm from the logits."
        )


def _lasts(part: Slice, classes: int) -> bool:
    """Whether g does not fade where 1 − p is halved for the last time."""
    before, end = np.interp(last_margin(classes) - np.log([2.0, 1.0]), part.margin, part.gradient)
    return bool(abs(end) > 0.99 * abs(before))


def _against_smoothing(report: SmoothingReport, part: Slice) -> Iterator[str]:
    c, s, share = report.classes, report.scale or 1.0, (report.smoothing or 0.0) * (report.classes - 1) / report.classes
    rest = part.attractors[0]
    margin, w = weight(part, c)
    sides = w[margin < rest - 1e-6], -w[margin > rest + 1e-6]
    if report.target_only and len(sides[1]) and np.ptp(np.concatenate(sides)) <= 1e-6 * sides[0][0]:
        yield (
            f"Up to p* it is {number(float(sides[0][0]))} × cross-entropy, beyond it exactly the negative of that; "
            f"the factor {number(float(sides[0][0]))} is only a learning rate."
        )
    if report.gap_on_slice is not None and report.gap_on_slice <= EXACT:
        yield "Where wrong classes are alike its gradient is that of label smoothing; where they are not, it differs."
    else:
        yield (
            f"At the null epoch it pulls with g = {number(report.null_gradient)} and label smoothing with "
            f"{number(s * (1 / c - 1 + share))}; as p → 1 it pushes with {number(report.limit_gradient)} and "
            f"label smoothing with {number(s * share)}."
        )
    below, above = part.steps[0]
    if above - below > 1e-5 * np.abs(part.gradient).max():
        yield (
            f"At p* the gradient jumps from {number(below)} to {number(above)}: "
            "with a constant learning rate, SGD does not settle there but chatters around it."
        )
