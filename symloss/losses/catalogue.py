"""The named handcrafted losses: formulas wherever they can be written so, torch's own where it has one."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from symloss.errors import LossError
from symloss.expression.parsing import parse
from symloss.losses.base import Loss
from symloss.losses.plain import TorchLoss, binary_label_smoothing
from symloss.losses.smoothing import LabelSmoothing, SparseLabelSmoothing
from symloss.losses.symbolic import SymbolicLoss
from symloss.losses.targets import KINDS


@dataclass(frozen=True)
class Parameter:
    """A number that a named loss takes: default, smallest and largest value, and what it is."""

    default: float
    low: float
    high: float
    meaning: str


@dataclass(frozen=True)
class Entry:
    """A named loss.

    Args:
        name: Name, lower case with hyphens.
        equation: The equation, summed over the outputs of a sample.
        source: Where it comes from.
        formulas: Per kind, its ℓ(y, f) as text with `{parameter!r}` fields.
        functions: Per kind, torch's own function for it, which is then what computes it.
        module: The class that computes it for the kind `"multiclass"`, taking the parameters as keywords.
        parameters: Its parameters by name.
        aliases: Other names.
    """

    name: str
    equation: str
    source: str
    formulas: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, Callable[..., Tensor]] = field(default_factory=dict)
    module: Callable[..., Loss] | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that it is for, the usual one first."""
        own = {"multiclass": self.module} if self.module else {}
        return tuple({**own, **self.formulas, **self.functions})


def _classification(formula: str) -> dict[str, str]:
    """A formula summed over classes, and the same for one probability: ℓ(y, f) + ℓ(1 − y, 1 − f)."""
    other = re.sub(r"\b1 - ([yf])\b|\b([yf])\b", lambda found: found[1] or f"(1 - {found[2]})", formula)
    return {"multiclass": formula, "binary": f"{formula} + ({other})"}


def _of_residual(formula: str, *kinds: str) -> dict[str, str]:
    return dict.fromkeys(kinds or ("regression",), formula)


_ENTRIES = (
    Entry(
        "cross-entropy",
        "−Σ y log f",
        "Good, Rational Decisions, J. R. Stat. Soc. B 14, 1952; torch.nn.CrossEntropyLoss, BCEWithLogitsLoss",
        formulas=_classification("-1.0*y*log(f)"),
        functions={"multiclass": F.cross_entropy, "binary": F.binary_cross_entropy_with_logits},
        aliases=("ce", "bce"),
    ),
    Entry(
        "squared-error",
        "Σ (y − f)²; of probabilities, the Brier score",
        "Legendre 1805; Brier, Monthly Weather Review 78, 1950; torch.nn.MSELoss",
        formulas=_of_residual("square(y - f)", "regression", "multiclass", "binary"),
        functions={"regression": F.mse_loss},
        aliases=("mse", "brier"),
    ),
    Entry(
        "absolute-error",
        "Σ |y − f|",
        "Laplace 1774; for classification Ghosh et al., arXiv 1712.09482; torch.nn.L1Loss",
        formulas=_of_residual("abs(y - f)", "regression", "multiclass", "binary"),
        functions={"regression": F.l1_loss},
        aliases=("mae",),
    ),
    Entry(
        "huber",
        "Σ ½ m² + δ (|y − f| − m), m = min(|y − f|, δ)",
        "Huber, Robust Estimation of a Location Parameter, Ann. Math. Stat. 35, 1964",
        formulas=_of_residual(
            "0.5*square(min(abs(y - f), {delta!r})) + {delta!r}*(abs(y - f) - min(abs(y - f), {delta!r}))"
        ),
        parameters={"delta": Parameter(1.0, 1e-6, 1e6, "residual from which it grows linearly")},
    ),
    Entry(
        "log-cosh",
        "Σ log cosh(y − f) = Σ |r| + log((1 + exp(−2|r|)) / 2), r = y − f",
        "Green, On Use of the EM Algorithm for Penalized Likelihood Estimation, J. R. Stat. Soc. B 52, 1990",
        formulas=_of_residual("abs(y - f) + log(0.5 + 0.5*exp(-2.0*abs(y - f)))"),
    ),
    Entry(
        "focal",
        "−Σ y (1 − f)^γ log f",
        "Lin et al., Focal Loss for Dense Object Detection, arXiv 1708.02002",
        formulas=_classification("-1.0*y*pow(1 - f, {gamma!r})*log(f)"),
        parameters={"gamma": Parameter(2.0, 0.0, 50.0, "focusing: 0 is cross-entropy")},
    ),
    Entry(
        "generalised-cross-entropy",
        "Σ y (1 − f^q) / q",
        "Zhang and Sabuncu, Generalized Cross Entropy Loss for Training DNNs with Noisy Labels, arXiv 1805.07836",
        formulas=_classification("truediv(y*(1 - pow(f, {q!r})), {q!r})"),
        parameters={"q": Parameter(0.7, 1e-3, 1.0, "0 tends to cross-entropy, 1 is half the absolute error")},
        aliases=("generalized-cross-entropy", "gce"),
    ),
    Entry(
        "symmetric-cross-entropy",
        "−Σ α y log f + β f max(log y, A)",
        "Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, arXiv 1908.06112",
        formulas=_classification("-{alpha!r}*y*log(f) - {beta!r}*f*max(log(y), {log_zero!r})"),
        parameters={
            "alpha": Parameter(0.1, 0.0, 1e6, "weight of the cross-entropy"),
            "beta": Parameter(1.0, 0.0, 1e6, "weight of the reverse cross-entropy"),
            "log_zero": Parameter(-4.0, -16.0, -1e-6, "A, what log 0 is taken to be"),
        },
        aliases=("sce",),
    ),
    Entry(
        "poly",
        "Σ −y log f + ε y (1 − f)",
        "Leng et al., PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions, arXiv 2204.12511",
        formulas=_classification("-1.0*y*log(f) + {epsilon!r}*y*(1 - f)"),
        parameters={"epsilon": Parameter(2.0, -1.0, 1e6, "added to the first polynomial coefficient")},
        aliases=("polyloss", "poly-1"),
    ),
    Entry(
        "baikal",
        "Σ y/f − log f",
        "Gonzalez and Miikkulainen, Improved Training Speed, Accuracy, and Data Utilization Through Loss Function "
        "Optimization, arXiv 1905.11528",
        formulas=_classification("truediv(y, f) - log(f)"),
    ),
    Entry(
        "label-smoothing",
        "−Σ (y (1 − ξ) + ξ/C) log f",
        "Szegedy et al., Rethinking the Inception Architecture, arXiv 1512.00567; torch.nn.CrossEntropyLoss",
        functions={"binary": binary_label_smoothing},
        module=LabelSmoothing,
        parameters={"smoothing": Parameter(0.1, 0.0, 1.0, "ξ, the share of the target spread over all classes")},
        aliases=("lsr",),
    ),
    Entry(
        "sparse-label-smoothing",
        "−A log p − B log((1 − p)/(C − 1)), p the probability of the target, A = 1 − ξ + ξ/C, B = 1 − A",
        "Raymond, Meta-Learning Loss Functions for Deep Neural Networks, arXiv 2406.09713",
        functions={"binary": binary_label_smoothing},
        module=SparseLabelSmoothing,
        parameters={"smoothing": Parameter(0.1, 0.0, 1.0, "ξ, the share of the target spread over all classes")},
        aliases=("sparse-lsr", "sparselsr"),
    ),
    Entry(
        "confidence-penalty",
        "Σ β f log f − y log f",
        "Pereyra et al., Regularizing Neural Networks by Penalizing Confident Output Distributions, arXiv 1701.06548",
        formulas=_classification("{beta!r}*f*log(f) - y*log(f)"),
        parameters={"beta": Parameter(0.1, 0.0, 1e6, "weight of the negative entropy")},
    ),
    Entry(
        "absolute-cross-entropy",
        "φ₀ Σ y |log(φ₁ f)|",
        "Raymond, Meta-Learning Loss Functions for Deep Neural Networks, arXiv 2406.09713",
        formulas=_classification("{phi0!r}*y*abs(log({phi1!r}*f))"),
        parameters={
            "phi0": Parameter(1.0, 1e-6, 1e6, "scale, a learning rate"),
            "phi1": Parameter(1.1, 1e-6, 1e6, "the confidence aimed at is 1/φ₁"),
        },
        aliases=("ace",),
    ),
)

_TABLE = {entry.name: entry for entry in _ENTRIES}
_NAMES = {alias: entry.name for entry in _ENTRIES for alias in (entry.name, *entry.aliases)}


def names(kind: str | None = None) -> tuple[str, ...]:
    """Names of the handcrafted losses, of one kind only if it is given."""
    return tuple(entry.name for entry in _ENTRIES if kind is None or kind in entry.kinds)


def find(name: str) -> str | None:
    """The name in the table that is meant by `name` (aliases, capitals and underscores are fine), or None."""
    return _NAMES.get(name.strip().lower().replace("_", "-"))


def entry(name: str) -> Entry:
    """Equation, source, kinds and parameters of a named loss.

    Raises:
        LossError: If there is none of that name.
    """
    known = find(name)
    if known is None:
        raise LossError(f"unknown loss {name[:80]!r}; {suggestion(name)}")
    return _TABLE[known]


def suggestion(name: str) -> str:
    """What may have been meant, as the end of an error line."""
    close = difflib.get_close_matches(name[:80].strip().lower().replace("_", "-"), _NAMES, n=1)
    return f"did you mean {_NAMES[close[0]]!r}?" if close else f"known: {', '.join(_TABLE)}"


def get(
    name: str,
    kind: str | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    weight: Tensor | None = None,
    **parameters: float,
) -> Loss:
    """A named loss as a module.

    Args:
        name: One of `names()`, or an alias.
        kind: `"multiclass"`, `"binary"` or `"regression"`; by default the usual one of the loss.
        reduction: `"mean"`, `"sum"` or `"none"`.
        ignore_index: Class index of the samples to leave out (multiclass).
        weight: Weight of each class **[C]** (multiclass); see `Loss`.
        parameters: Numbers that the loss takes; see `entry(name).parameters`.

    Returns:
        A SymbolicLoss, torch's own loss as a TorchLoss where torch has it, or a class of `smoothing`; with its `name`.

    Raises:
        LossError: If the name, the kind or a parameter is unknown, or a parameter out of range.
    """
    row = entry(name)
    kind = row.kinds[0] if kind is None else kind
    if kind not in row.kinds:
        wanted = f"losses for {kind}: {', '.join(names(kind))}" if kind in KINDS else f"kinds: {', '.join(KINDS)}"
        raise LossError(f"{row.name} is for {' and '.join(row.kinds)}; received kind {kind!r}; {wanted}")
    values = _values(row, parameters)
    loss: Loss
    if kind == "multiclass" and row.module is not None:
        loss = row.module(**values, weight=weight, reduction=reduction, ignore_index=ignore_index)
        loss.name = row.name
        return loss
    expression = parse(row.formulas[kind].format(**values)) if kind in row.formulas else None
    if kind in row.functions:
        loss = TorchLoss(row.functions[kind], kind, reduction, ignore_index, values, expression, weight)
    else:
        assert expression is not None
        loss = SymbolicLoss(expression, kind, reduction, ignore_index, weight=weight)
    loss.name = row.name
    return loss


def _values(row: Entry, given: Mapping[str, float]) -> dict[str, float]:
    """Defaults overwritten by what is given, every value checked."""
    for name, value in given.items():
        if name not in row.parameters:
            takes = f"it takes {', '.join(row.parameters)}" if row.parameters else "it takes none"
            raise LossError(f"{row.name} has no parameter {name!r}; {takes}")
        known = row.parameters[name]
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or not known.low <= value <= known.high:
            raise LossError(
                f"{row.name}: {name} must lie between {known.low:g} and {known.high:g}; received {value!r:.80}"
            )
    return {name: float(given.get(name, known.default)) for name, known in row.parameters.items()}
