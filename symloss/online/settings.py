"""Settings: everything that defines a run of `adapt` besides the task and the loss."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import nn

from symloss.errors import SearchError

METHODS = {
    "adalfl": "the loss adapts while the model trains",
    "frozen": "the loss is learnt offline and then kept",
    "learned-rate": "the task loss, and a learning rate that adapts instead",
    "task-loss": "the task loss, its learning rate tuned",
}
"""AdaLFL and its controls."""
OPTIMISERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "linear", "cosine")
OUTPUTS = ("identity", "softplus", "smooth-leaky-relu")


@dataclass(frozen=True)
class AdaptSettings:
    """How a model and its loss are trained.

    Args:
        method: One of `METHODS`.
        offline_steps: Meta-steps from fresh weights before the model's training, for the methods that learn a loss.
        steps: Training steps.
        lr: α, learning rate of the base optimiser.
        offline_lr: That of plain SGD in the offline phase. None takes α/(1 − momentum), the rate of the same step in
            the long run, so that the loss learns the scale that α needs.
        offline_horizon: Steps that each model of the offline phase is trained for, before the next starts from fresh
            weights. A loss that has seen first steps alone makes them so large that predictions saturate, after which
            nothing is learnt; a very long horizon sees few fresh weights.
        meta_lr: η, learning rate of Adam over φ while the model trains; for `"learned-rate"` that of plain gradient
            descent over α.
        offline_meta_lr: Learning rate of Adam over φ at the start of the offline phase, over which it falls linearly to
            0. It is large enough that some hundred steps find the scale that α needs.
        batch_size: Samples in a batch, of training and of validation.
        optimiser: `"sgd"`, `"adam"` or `"adamw"`. The offline phase takes one step of plain SGD in any case: the first
            step of Adam has (almost) no derivative in the gradient.
        momentum: Of SGD.
        nesterov: Whether it is Nesterov's.
        weight_decay: Of the optimiser.
        clip: Bound on the global norm of the gradients; None leaves them.
        schedule: `"constant"`, or the rate falls to 0 in a `"linear"` or `"cosine"` curve.
        inner_steps: K, see `AdaptiveLoss`.
        residual: Whether the loss is L_task + ℓ_φ.
        output: What follows the last layer of the loss network, where no loss is given.
        tune_lr: Whether `"task-loss"` tunes its learning rate (with SGD, around `lr`).
        records: How many times, evenly over training, the model is measured on all validation data.
        seed: Of weights, batches and dropout.

    Raises:
        SearchError: If a value is out of its range.
    """

    method: str = "adalfl"
    offline_steps: int = 2500
    steps: int = 2000
    lr: float = 0.01
    offline_lr: float | None = None
    offline_horizon: int = 20
    meta_lr: float = 1e-4
    offline_meta_lr: float = 1e-2
    batch_size: int = 128
    optimiser: str = "sgd"
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    clip: float | None = None
    schedule: str = "constant"
    inner_steps: int = 1
    residual: bool = False
    output: str = "identity"
    tune_lr: bool = True
    records: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, known in (
            ("method", METHODS), ("optimiser", OPTIMISERS), ("schedule", SCHEDULES), ("output", OUTPUTS),
        ):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, str) or value not in known:
                raise SearchError(f"{name} is one of {', '.join(known)}; received {value!r:.40}")
        for name, least in (
            ("offline_steps", 0), ("offline_horizon", 1), ("steps", 1), ("batch_size", 1), ("inner_steps", 1),
            ("records", 1), ("seed", 0),
        ):  # fmt: skip
            value = getattr(self, name)
            if type(value) is not int or not least <= value < 2**31:
                raise SearchError(f"{name} is a whole number of at least {least}; received {value!r:.40}")
        for name in ("lr", "offline_lr", "meta_lr", "offline_meta_lr"):
            if name != "offline_lr" or self.offline_lr is not None:
                _check_number(name, getattr(self, name), 1e-12, 1e6)
        _check_number("weight_decay", self.weight_decay, 0.0, 1e6)
        _check_number("momentum", self.momentum, 0.0, 0.999999)
        if self.clip is not None:
            _check_number("clip", self.clip, 1e-12, 1e12)
        for name in ("nesterov", "residual", "tune_lr"):
            if not isinstance(getattr(self, name), bool):
                raise SearchError(f"{name} is True or False; received {getattr(self, name)!r:.40}")
        self._check_together()

    def _check_together(self) -> None:
        if self.nesterov and not self.momentum:
            raise SearchError("nesterov needs a momentum, such as momentum=0.9")
        if self.optimiser != "sgd" and (self.momentum or self.nesterov):
            raise SearchError(f"momentum is for sgd; received momentum={self.momentum} for {self.optimiser}")
        if self.method == "learned-rate" and (self.schedule != "constant" or self.inner_steps > 1):
            raise SearchError("a learned rate goes with schedule='constant' and inner_steps=1: it is its own schedule")
        if self.tunes and (self.optimiser != "sgd" or self.clip is not None or self.schedule != "constant"):
            raise SearchError(
                "the rate of the task loss is tuned with sgd at a constant rate and without clip; "
                "use tune_lr=False (--no-tune) with a rate of your own"
            )

    @property
    def tunes(self) -> bool:
        """Whether the learning rate is tuned first."""
        return self.method == "task-loss" and self.tune_lr

    @property
    def learns_offline(self) -> bool:
        """Whether there is an offline phase."""
        return self.method in ("adalfl", "frozen") and self.offline_steps > 0

    @property
    def offline_rate(self) -> float:
        """Learning rate of the offline phase."""
        return self.lr / (1 - self.momentum) if self.offline_lr is None else self.offline_lr

    def rate(self, step: int, base: float) -> float:
        """The learning rate of a step, counted from 0."""
        share = step / self.steps
        if self.schedule == "linear":
            return base * (1 - share)
        return base * (1 + math.cos(math.pi * share)) / 2 if self.schedule == "cosine" else base

    def base_optimiser(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimiser of the model."""
        parameters = [p for p in model.parameters() if p.requires_grad]
        if self.optimiser == "sgd":
            return torch.optim.SGD(
                parameters, self.lr, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay
            )
        kind = torch.optim.Adam if self.optimiser == "adam" else torch.optim.AdamW
        return kind(parameters, self.lr, weight_decay=self.weight_decay)

    def to_json(self) -> dict[str, Any]:
        """Every setting by its name."""
        return asdict(self)

    @classmethod
    def from_options(cls, options: dict[str, Any]) -> AdaptSettings:
        """Settings of these options; others have their defaults.

        Raises:
            SearchError: If there is no setting of such a name, or a value is out of its range.
        """
        known = [field.name for field in fields(cls)]
        for name in options:
            if name not in known:
                raise SearchError(f"there is no setting {name!r:.40}; there is: {', '.join(known)}")
        return cls(**options)


def _check_number(name: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise SearchError(f"{name} is a number from {least:g} to {most:g}; received {value!r:.40}")
