"""Settings: everything that defines a learner, besides its encoder's sizes, and its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from symloss.errors import LossError, TaskError
from symloss.fewshot.episodes import whole
from symloss.losses import resolve
from symloss.losses.base import Loss
from symloss.losses.symbolic import SymbolicLoss

KINDS = ("multiclass", "regression")
_FLAGS = ("optimiser", "loss", "film", "transductive", "learn_rates", "first_order", "fixed_width", "prototypes")

VARIANTS: dict[str, dict[str, Any]] = {
    "maml": {"optimiser": False, "loss": False, "film": False},
    "meta-sgd": {"optimiser": False, "loss": False, "film": False, "learn_rates": True},
    "prototypes": {"optimiser": False, "loss": False, "film": False, "prototypes": True, "inner_steps": 0},
    "optimiser": {"optimiser": True, "loss": False, "film": False},
    "loss": {"optimiser": False, "loss": True, "film": False},
    "optimiser+loss": {"optimiser": True, "loss": True, "film": False},
    "film": {"optimiser": False, "loss": False, "film": True},
    "npbml": {},
    "npbml-transductive": {"transductive": True},
}
"""Flags of the learner that each ablation is, by name."""


@dataclass(frozen=True)
class Settings:
    """How a learner adapts to a task, and what of that is meta-learned beside the initialisation.

    Args:
        kind: `"multiclass"` or `"regression"`.
        ways: Classes N of a task; outputs, for regression.
        shots: Support samples per class K.
        optimiser: Whether warp layers ω are learned.
        loss: Whether the inner loss is learned, M = L_base + L^S + R (+ L^Q).
        film: Whether FiLM layers ψ are learned, in the encoder and, where there is a learned loss, in that.
        transductive: Whether the inner loss sees the inputs of the queries (L^Q), never their labels.
        learn_rates: Whether every entry of the initialisation has a learned rate of its own (Meta-SGD).
        inner_steps: J, inner steps.
        lr: α, inner learning rate; where rates are learned, their start.
        first_order: Whether the inner gradients count as independent of the initialisation.
        adapted_blocks: How many of the encoder's last blocks are adapted, beside the head; None is all. Those before
            are computed once per task.
        base_loss: L_base as a formula; None is cross-entropy, or the squared error.
        fixed_width: Whether the loss networks take all classes at once, as published; they then depend on their order.
        warp_kernel: Kernel size of warp layers of images, 1 or 3.
        prototypes: Whether predictions are distances to the mean features of the classes, without inner steps.
        seed: Of the initial weights.

    Raises:
        TaskError: If a value cannot be used.
    """

    kind: str = "multiclass"
    ways: int = 5
    shots: int = 1
    optimiser: bool = True
    loss: bool = True
    film: bool = True
    transductive: bool = False
    learn_rates: bool = False
    inner_steps: int = 5
    lr: float = 0.01
    first_order: bool = False
    adapted_blocks: int | None = None
    base_loss: str | None = None
    fixed_width: bool = False
    warp_kernel: int = 1
    prototypes: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise TaskError(f"kind of a few-shot learner is one of {', '.join(KINDS)}; received {self.kind!r:.60}")
        for name, least in (
            ("ways", 1 if self.kind == "regression" else 2), ("shots", 1), ("seed", 0),
            ("inner_steps", 0 if self.prototypes else 1),
        ):  # fmt: skip
            whole(name, getattr(self, name), least)
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise TaskError(f"{name} is True or False; received {getattr(self, name)!r:.60}")
        number("lr", self.lr)
        if self.adapted_blocks is not None:
            whole("adapted_blocks", self.adapted_blocks, 0)
        if self.warp_kernel not in (1, 3) or isinstance(self.warp_kernel, bool):
            raise TaskError(f"warp_kernel is 1 or 3; received {self.warp_kernel!r:.60}")
        self._check_together()

    def _check_together(self) -> None:
        if self.prototypes and (
            self.kind != "multiclass" or self.inner_steps or self.loss or self.optimiser or self.learn_rates
        ):
            raise TaskError(
                "prototypes are for kind 'multiclass' without inner steps: inner_steps=0, optimiser=False, loss=False"
            )
        if self.transductive and not self.loss:
            raise TaskError("transductive=True is about the learned loss; give loss=True, or leave it out")

    @property
    def learned(self) -> bool:
        """Whether the inner gradient depends on more than the initialisation."""
        return self.optimiser or self.loss or self.film

    def to_json(self) -> dict[str, Any]:
        """Every setting by its name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """Settings that `to_json` wrote.

        Raises:
            TaskError: If they are not of this form.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise TaskError(f"settings of a few-shot learner are {', '.join(sorted(names))}; received {values!r:.80}")
        return cls(**values)


def formula(loss: Any, kind: str) -> str | None:
    """The formula of a loss that is a name, a formula, a file, a run directory or a module; None stays None.

    Raises:
        LossError: If it has none, or cannot be found.
        ParseError: If a text is meant as a formula, and is none.
    """
    if loss is None:
        return None
    found = resolve.loss(loss, kind)
    expression = found.expression if isinstance(found, Loss) else None
    if expression is None:
        raise LossError(f"base_loss {loss!r:.60} has no formula ℓ(y, f); give one that has, such as 'focal'")
    return str(SymbolicLoss(expression, kind).expression)


def number(name: str, value: Any, least: float = 1e-12, most: float = 1e6) -> float:
    """A number within bounds.

    Raises:
        TaskError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise TaskError(f"{name} is a number from {least:g} to {most:g}; received {value!r:.60}")
    return float(value)
