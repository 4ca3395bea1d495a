"""What does SparseLSR change against LSR? Values, gradients, and trained accuracy and calibration.

    python -m analysis.smoothing_sparse                    # about seven minutes on one core
    python -m analysis.smoothing_sparse --data DIR --seeds 2

Values: LSR − SparseLSR = B·KL(uniform ‖ softmax of the wrong classes), B = ξ(C − 1)/C, on random logits whose wrong
classes differ more and more. Training: Fashion-MNIST, test error, expected calibration error (15 bins of equal width)
and negative log-likelihood for ξ in {0, .05, .1, .2}, the same seeds for both, the learning rate of each loss tuned in
the same way on held-out training images. Intervals are Student's, 95 %.
Writes `figures/smoothing_sparse.json` and `.png`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from analysis import fashion, records

FIGURE = Path(__file__).parents[1] / "figures" / "smoothing_sparse.png"
SMOOTHING = (0.0, 0.05, 0.1, 0.2)
SPREADS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
CLASSES = (10, 100, 1000)
SAMPLES, BINS, XI = 1000, 15, 0.1
METRICS = {"error": "test error (%)", "ece": "calibration error, ECE (%)", "nll": "negative log-likelihood"}


def on_random_logits(classes: int, spread: float) -> dict[str, float]:
    """Differences of values and gradients where the logits of the wrong classes have this standard deviation."""
    generator = torch.Generator().manual_seed(0)
    z = spread * torch.randn(SAMPLES, classes, generator=generator, dtype=torch.float64)
    p = torch.empty(SAMPLES, dtype=torch.float64).uniform_(1 / classes, 0.999, generator=generator)
    z[:, 0] = torch.logit(p) + z[:, 1:].logsumexp(1)
    y = torch.zeros(SAMPLES, dtype=torch.int64)
    values, gradients = [], []
    for loss in (fashion.smoothed(XI, "none"), fashion.sparse(XI, "none")):
        leaf = z.clone().requires_grad_()
        each = loss(leaf, y)
        values.append(each.detach())
        gradients.append(torch.autograd.grad(each.sum(), leaf)[0])
    divergence = XI * (classes - 1) / classes * fashion.equalising(z, y)
    gap = (gradients[0] - gradients[1]).norm(dim=1)
    return {
        "classes": classes, "spread": spread, "difference": float((values[0] - values[1]).mean()),
        "largest deviation from B KL": float((values[0] - values[1] - divergence).abs().max()),
        "gradient difference": float(gap.mean()), "gradient of LSR": float(gradients[0].norm(dim=1).mean()),
        "target gradient difference": float((gradients[0] - gradients[1])[:, 0].abs().max()),
    }  # fmt: skip


def metrics(logits: Tensor, y: Tensor) -> dict[str, float]:
    """Test error and ECE in percent, negative log-likelihood, and how unlike the wrong classes are."""
    confidence, guess = logits.softmax(1).max(1)
    right = (guess == y).double()
    bins = (confidence * BINS).ceil().clamp(1, BINS) - 1
    apart = [float((right - confidence)[bins == b].sum().abs()) for b in range(BINS)]
    return {
        "error": 100 * (1 - float(right.mean())), "ece": 100 * sum(apart) / len(y),
        "nll": float(F.cross_entropy(logits, y)), "inequality": float(fashion.equalising(logits, y).mean()),
    }  # fmt: skip


def trained(folder: Path, seeds: int) -> list[dict[str, Any]]:
    """One row per loss, ξ and seed."""
    x, y, test_x, test_y = fashion.load(folder)
    rows = []
    for smoothing in SMOOTHING:
        for name, make in {"LSR": fashion.smoothed, "SparseLSR": fashion.sparse}.items():
            if smoothing == 0 and name == "SparseLSR":
                continue  # the same loss
            rate, tried = fashion.tuned_rate(make(smoothing), x, y)
            print(f"{name} {smoothing}: rate {rate}, held-out errors {tried}", flush=True)
            for seed in range(seeds):
                model = fashion.train(make(smoothing), x, y, seed, rate)
                with torch.no_grad():
                    found = metrics(model(test_x).double(), test_y)
                rows.append({"loss": name, "smoothing": smoothing, "rate": rate, "seed": seed, **found})
                print(json.dumps(rows[-1]), flush=True)
    return rows


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means with intervals, and paired differences SparseLSR − LSR and loss − cross-entropy."""
    table: list[dict[str, Any]] = []
    for name in ("LSR", "SparseLSR"):
        for smoothing in SMOOTHING:
            mine = [r for r in rows if r["smoothing"] == smoothing and (r["loss"] == name or smoothing == 0)]
            dense = [r for r in rows if r["smoothing"] == smoothing and r["loss"] == "LSR"]
            plain = [r for r in rows if r["smoothing"] == 0]
            row: dict[str, Any] = {"loss": name, "smoothing": smoothing}
            for metric in (*METRICS, "inequality"):
                row[metric] = records.interval([r[metric] for r in mine])
                row[f"{metric} minus LSR"] = records.interval(
                    [a[metric] - b[metric] for a, b in zip(mine, dense, strict=True)]
                )
                row[f"{metric} minus cross-entropy"] = records.interval(
                    [a[metric] - b[metric] for a, b in zip(mine, plain, strict=True)]
                )
            table.append(row)
    return table


def draw(record: dict[str, Any]) -> None:
    """Differences on random logits; the three metrics over ξ."""
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    shown = {**record["settings"], "random logits": f"ξ {XI}, {SAMPLES} samples, p uniform in (1/C, 0.999)"}
    figure, [[values, gradients, *panels]] = style.new("SparseLSR against LSR", shown, (12.5, 2.9), 1, 5)
    with rc_context(style.STYLE):
        for classes, marker in zip(CLASSES, "osD", strict=True):
            rows = [row for row in record["random logits"] if row["classes"] == classes]
            spread = [row["spread"] for row in rows]
            ratio = [row["gradient difference"] / row["gradient of LSR"] for row in rows]
            values.plot(spread, [row["difference"] for row in rows], f"{marker}-", ms=3, label=f"C = {classes}")
            gradients.plot(spread, ratio, f"{marker}-", ms=3, label=f"C = {classes}")
        for axes in (values, gradients):
            axes.set_xlabel("deviation of the logits\nof the wrong classes")
        values.set_ylabel("LSR − SparseLSR (nats)")
        gradients.set_ylabel("‖difference of gradients‖\nover ‖gradient of LSR‖")
        values.legend()
        for axes, (metric, title) in zip(panels, METRICS.items(), strict=True):
            for number, name in enumerate(("LSR", "SparseLSR")):
                rows = [row for row in record["summary"] if row["loss"] == name]
                place = [row["smoothing"] + 0.003 * (2 * number - 1) for row in rows]
                mean, low, high = (torch.tensor([row[metric][i] for row in rows]) for i in range(3))
                bars = [(mean - low).tolist(), (high - mean).tolist()]
                axes.errorbar(
                    place, mean.tolist(), bars, fmt="os"[number] + ("-", "--")[number], ms=4, capsize=3, label=name
                )
            axes.set_xlabel("smoothing ξ")
            axes.set_ylabel(title)
            axes.set_xticks(SMOOTHING)
        panels[1].legend()
    records.save(figure, "smoothing_sparse")


def main() -> None:
    """Command line."""
    options = fashion.arguments(__doc__)
    torch.set_num_threads(1)
    if options.draw:
        draw(json.loads(FIGURE.with_suffix(".json").read_text(encoding="utf-8")))
        return
    random = [on_random_logits(classes, spread) for classes in CLASSES for spread in SPREADS]
    rows = trained(options.data, options.seeds)
    record = {
        "settings": fashion.settings(options.seeds, tuned=True), "smoothing": SMOOTHING, "bins of ECE": BINS,
        "intervals": "95 %, Student, over seeds", "summary": summary(rows), "random logits": random, "cells": rows,
    }  # fmt: skip
    FIGURE.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draw(record)


if __name__ == "__main__":
    main()
