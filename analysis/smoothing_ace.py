"""Is the absolute cross-entropy label smoothing? Its optimum and its gradients beside those of LSR.

    python -m analysis.smoothing_ace  # seconds

For every φ1 and C, `symloss.analysis.label_smoothing` measures the ξ of L = φ0 Σ |log(φ1 y f)|; theory says
ξ = (1 − 1/φ1) C/(C − 1). Then the gradients are compared where the optimum is the same. Writes
`figures/smoothing_ace.json` and `.png`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import symloss as sl
from symloss.analysis.fit import fit
from symloss.analysis.gradients import FormulaSide

FIGURE = Path(__file__).parents[1] / "figures" / "smoothing_ace.png"
CLASSES = (2, 3, 10, 100, 1000)
PHI1 = tuple(round(float(x), 4) for x in np.geomspace(1.01, 1.9, 12))
SMOOTHING = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
SHOWN = (10, 0.2)  # classes and ξ of the panel of gradients


def ace(phi1: float, classes: int, phi0: float = 1.0) -> Any:
    """The report on ACE(φ0, φ1)."""
    return sl.analysis.label_smoothing(f"{phi0!r}*abs(log({phi1!r}*y*f))", classes, seconds=0)


def theory(phi1: float, classes: int) -> float:
    """ξ of the optimum p* = 1/φ1."""
    return (1 - 1 / phi1) * classes / (classes - 1)


def optima() -> list[dict[str, Any]]:
    """Measured and expected ξ over φ1 and C."""
    rows = []
    for classes in CLASSES:
        for phi1 in PHI1:
            report = ace(phi1, classes)
            rows.append(
                {
                    "classes": classes, "phi1": phi1, "verdict": report.verdict, "smoothing": report.smoothing,
                    "expected": theory(phi1, classes),
                }
            )  # fmt: skip
    return rows


def gaps() -> list[dict[str, Any]]:
    """Gradients of ACE with the optimum of LSR_ξ against those of s·LSR_ξ, over ξ and C."""
    rows = []
    for classes in CLASSES:
        for smoothing in SMOOTHING:
            optimum = 1 - smoothing * (classes - 1) / classes
            report = ace(1 / optimum, classes)
            plain = fit([FormulaSide(sl.parse("-1.0*y*log(f)"), classes)], smoothing)
            rows.append(
                {
                    "classes": classes, "smoothing": smoothing, "phi1": 1 / optimum, "scale": report.scale,
                    "gap_max": report.gap_max, "gap_rms": report.gap_rms, "gap_at": report.gap_at,
                    "gap_rms of cross-entropy": plain and plain.gap_rms,
                    "change by smoothing": 1 - optimum, "at the null epoch": report.null_gradient,
                    "LSR at the null epoch": 1 / classes - optimum, "as p tends to 1": report.limit_gradient,
                    "LSR as p tends to 1": 1 - optimum,
                }
            )  # fmt: skip
    return rows


def draw(record: dict[str, Any]) -> None:
    """ξ against φ1; gradients at one ξ; gap over ξ."""
    from matplotlib import rc_context

    from symloss.plotting import figure as style

    classes, smoothing = SHOWN
    shown = {"phi0": 1, "gradients at": f"C = {classes}, xi = {smoothing}", "p": "1/C to where 1 - p = 1e-7 (C - 1)"}
    figure, [[relation, gradients, gap]] = style.new("ACE against label smoothing", shown, (9.6, 3.2), 1, 3)
    with rc_context(style.STYLE):
        for count, marker in zip(CLASSES, "osD^v", strict=True):
            rows = [row for row in record["optima"] if row["classes"] == count]
            phi1 = np.linspace(1, max(PHI1), 200)
            (line,) = relation.plot(phi1, [theory(x, count) for x in phi1], lw=1, label=f"C = {count}")
            found = [row["smoothing"] for row in rows]
            relation.plot([row["phi1"] for row in rows], found, marker, ms=3.5, color=line.get_color())
            rows = [row for row in record["gaps"] if row["classes"] == count]
            xi = [row["smoothing"] for row in rows]
            gap.plot(
                xi,
                [row["gap_rms"] / row["change by smoothing"] for row in rows],
                f"{marker}-",
                ms=3.5,
                lw=1,
                label=f"C = {count}",
            )
            if count == SHOWN[0]:
                plain = [row["gap_rms of cross-entropy"] / row["change by smoothing"] for row in rows]
                gap.plot(xi, plain, ":", color="black", lw=1.2, label=f"cross-entropy, C = {count}")
        relation.set_xlabel("φ1 of ACE")
        relation.set_ylabel("equivalent ξ (lines: theory)")
        relation.legend()
        optimum = 1 - smoothing * (classes - 1) / classes
        p = np.linspace(1 / classes, 1, 1001)
        gradients.plot(p, np.where(p < optimum, p - 1, 1 - p), "-", label="ACE")
        gradients.plot(p, p - optimum, "-.", color=style.GREEN, label=f"LSR, ξ = {smoothing}")
        gradients.plot(p, p - 1, "--", color=style.VERMILLION, label="cross-entropy")
        gradients.axvline(optimum, color=style.GREY, ls=":", lw=1, label="p* = 1/φ1 = A")
        gradients.axhline(0, color="black", lw=0.6)
        gradients.set_xlabel("probability of the target, p")
        gradients.set_ylabel("logit gradient of the target, ∂L/∂z")
        gradients.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        gap.set_ylim(0, 1)
        gap.set_xlabel("ξ of the common optimum")
        gap.set_ylabel("rms gap of ∂L/s to ∂LSR\nover that of smoothing, ξ (C − 1)/C")
        gap.legend(loc="upper right", fontsize=7, ncols=2)
    figure.savefig(FIGURE)


def main() -> None:
    """Measure, check, record, draw."""
    record: dict[str, Any] = {
        "settings": {"phi0": 1.0, "phi1": PHI1, "classes": CLASSES, "smoothing": SMOOTHING},
        "optima": optima(), "gaps": gaps(),
    }  # fmt: skip
    error = max(abs(row["smoothing"] / row["expected"] - 1) for row in record["optima"])
    without = {str(phi1): ace(phi1, 10).verdict for phi1 in (0.5, 0.9, 1.0)}
    record["summary"] = {
        "largest relative error of xi": error,
        "verdicts": sorted({row["verdict"] for row in record["optima"]}),
        "verdict for phi1 <= 1": without,
        "statement": "ACE has the optimum of LSR for every phi1 > 1 and its regime on either side, but not its "
        "gradients: it is cross-entropy up to 1/phi1 and the negative of cross-entropy beyond.",
    }
    FIGURE.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draw(record)
    print(json.dumps(record["summary"], indent=1))


if __name__ == "__main__":
    main()
