"""Does SparseLSR lose the pull of LSR on the wrong classes? Clusters in the last hidden layer.

    python -m analysis.smoothing_clusters                  # about two minutes on one core
    python -m analysis.smoothing_clusters --data DIR --seeds 2

Cross-entropy, LSR and SparseLSR (ξ = 0.1) on Fashion-MNIST. Two numbers per model, on test images: tightness
tr Σ_W / tr Σ_B of the activations of the last hidden layer (within classes over between classes; small is tight), and
inequality KL(uniform ‖ softmax of the wrong classes), 0 where the wrong classes are level. The picture projects the
activations of three classes on the plane of their output weights. Intervals are Student's, 95 %, over seeds.
Writes `figures/smoothing_clusters.json` and `.png`.

Source: Müller, Kornblith and Hinton, *When Does Label Smoothing Help?*, arXiv 1906.02629.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analysis import fashion, records

FIGURE = Path(__file__).parents[1] / "figures" / "smoothing_clusters.png"
XI, SHOWN, PER_CLASS = 0.1, (0, 2, 6), 150  # T-shirt, pullover, shirt: alike, so that the wrong classes matter
NAMES = {0: "T-shirt", 2: "pullover", 6: "shirt"}
LOSSES = {
    "cross-entropy": fashion.smoothed(0.0), f"LSR, ξ = {XI}": fashion.smoothed(XI),
    f"SparseLSR, ξ = {XI}": fashion.sparse(XI),
}  # fmt: skip


def tightness(hidden: Tensor, y: Tensor) -> float:
    """tr Σ_W / tr Σ_B of activations **[N, D]**."""
    means = torch.stack([hidden[y == label].mean(0) for label in range(fashion.CLASSES)])
    within = (hidden - means[y]).square().sum(1).mean()
    between = (means - means.mean(0)).square().sum(1).mean()
    return float(within / between)


def project(hidden: Tensor, weight: Tensor) -> Tensor:
    """Activations **[N, D]** on the plane through the output weights of the three classes **[3, D]**, as **[N, 2]**."""
    first, second = weight[1] - weight[0], weight[2] - weight[0]
    first = first / first.norm()
    second = second - (second @ first) * first
    return (hidden - weight.mean(0)) @ torch.stack([first, second / second.norm()], 1)


def cell(model: nn.Sequential, x: Tensor, y: Tensor) -> tuple[dict[str, float], Tensor]:
    """The numbers of one model, and its activations."""
    with torch.no_grad():
        hidden = model[:-1](x)
        logits = model[-1](hidden).double()
    right = logits.argmax(1) == y
    return {
        "tightness": tightness(hidden, y), "inequality": float(fashion.equalising(logits, y).mean()),
        "error": 100 * (1 - float(right.double().mean())),
    }, hidden  # fmt: skip


def draw(record: dict[str, Any]) -> None:
    """Three projections of the first seed, and the two numbers with their intervals."""
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    shown = {**record["settings"], "pictures": f"seed 0, {PER_CLASS} test images of each of three classes"}
    figure, [row] = style.new("Clusters in the last hidden layer", shown, (11.0, 3.0), 1, 5)
    colours = (style.BLUE, style.VERMILLION, style.GREEN)
    with rc_context(style.STYLE):
        for axes, (name, clusters) in zip(row, record["points"].items(), strict=False):
            for (label, places), colour, marker in zip(clusters.items(), colours, "os^", strict=True):
                x, y = zip(*places, strict=True)
                axes.scatter(x, y, s=5, color=colour, marker=marker, linewidths=0, alpha=0.7, label=label)
            axes.set_title(name)
            axes.set_xlabel("activation, first direction")
        row[0].set_ylabel("activation, second direction")
        figure.legend(handles=row[0].get_legend_handles_labels()[0], loc="outside upper left", ncols=3, markerscale=2)
        for axes, metric, title in (
            (row[3], "tightness", "tightness, tr Σ_W / tr Σ_B"),
            (row[4], "inequality", "KL(uniform ‖ wrong classes)"),
        ):  # fmt: skip
            for number, (name, found) in enumerate(record["summary"].items()):
                mean, low, high = found[metric]
                style_of = {"fmt": "osD"[number], "color": (style.BLACK, style.PURPLE, style.ORANGE)[number]}
                axes.errorbar(number, mean, [[mean - low], [high - mean]], ms=5, capsize=4, label=name, **style_of)
            axes.set_xticks(range(3), ["CE", "LSR", "SparseLSR"])
            axes.set_xlim(-0.5, 2.5)
            axes.set_ylim(0)
            axes.set_ylabel(title)
    records.save(figure, "smoothing_clusters")


def statement(summary: dict[str, Any], pairs: dict[str, list[float]]) -> str:
    """What the numbers say, in words."""
    plain, dense, sparse = (summary[name]["inequality"][0] for name in LOSSES)
    lost = pairs["inequality"][1] > 0
    says = "loses" if lost and sparse > 0.5 * plain else "weakens" if lost else "keeps"
    tight = [summary[name]["tightness"][0] for name in LOSSES]
    return (
        f"SparseLSR {says} the equalising pull on the wrong classes: their inequality is {sparse:.2f} nats, "
        f"that of LSR {dense:.2f}, of cross-entropy {plain:.2f}; within-class over between-class variance is "
        f"{tight[2]:.3f}, {tight[1]:.3f} and {tight[0]:.3f} (SparseLSR minus LSR {pairs['tightness'][0]:+.3f}, 95 % "
        f"[{pairs['tightness'][1]:+.3f}, {pairs['tightness'][2]:+.3f}])."
    )


def main() -> None:
    """Command line."""
    options = fashion.arguments(__doc__)
    torch.set_num_threads(1)
    if options.draw:
        draw(json.loads(FIGURE.with_suffix(".json").read_text(encoding="utf-8")))
        return
    x, y, test_x, test_y = fashion.load(options.data)
    cells: list[dict[str, Any]] = []
    points: dict[str, dict[str, list[list[float]]]] = {}
    for name, loss in LOSSES.items():
        for seed in range(options.seeds):
            model = fashion.train(loss, x, y, seed)
            found, hidden = cell(model, test_x, test_y)
            cells.append({"loss": name, "seed": seed, **found})
            print(json.dumps(cells[-1], ensure_ascii=False), flush=True)
            if seed == 0:
                weight = model[-1].weight.detach()[list(SHOWN)]
                place = project(hidden, weight)
                points[name] = {NAMES[i]: _rounded(place[test_y == i][:PER_CLASS]) for i in SHOWN}
    metrics = ("tightness", "inequality", "error")
    summary = {
        name: {m: records.interval([c[m] for c in cells if c["loss"] == name]) for m in metrics} for name in LOSSES
    }
    dense, sparse = ([c for c in cells if c["loss"] == name] for name in list(LOSSES)[1:])
    pairs = {m: records.interval([b[m] - a[m] for a, b in zip(dense, sparse, strict=True)]) for m in metrics}
    record = {
        "settings": {**fashion.settings(options.seeds), "xi": XI}, "intervals": "95 %, Student, over seeds",
        "statement": statement(summary, pairs), "summary": summary, "SparseLSR minus LSR": pairs, "cells": cells,
        "points": points,
    }  # fmt: skip
    FIGURE.with_suffix(".json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(record)
    print(record["statement"])


def _rounded(places: Tensor) -> list[list[float]]:
    return [[round(value, 3) for value in place] for place in places.tolist()]


if __name__ == "__main__":
    main()
