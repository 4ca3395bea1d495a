"""Guard: notices that an adaptive loss has collapsed, or that training diverges under it."""

from __future__ import annotations

import math
import warnings

from symloss.errors import RunWarning

WINDOW = 50
"""Steps in a row before anything is said."""
FLAT = 1e-4
"""A loss whose gradient is so many times smaller than the task loss's is flat."""
GROWN = 10.0
"""Training whose task loss is so many times that of its first step diverges."""


class Guard:
    """Watches the gradient of the loss at the outputs, and the task loss under which it is to be judged.

    Attributes:
        trouble: What is wrong, in a sentence; empty while nothing is.
    """

    def __init__(self) -> None:
        self.trouble = ""
        self.first = math.nan
        self.flat = self.grown = 0

    def watch(self, step: int, ratio: float, task_loss: float) -> None:
        """Take in a step.

        Args:
            step: Its number, from 1.
            ratio: ‖∂M/∂z‖ / ‖∂L_task/∂z‖ at the outputs z of its batch.
            task_loss: L_task of its batch.
        """
        if math.isnan(self.first):
            self.first = task_loss
        self.flat = self.flat + 1 if ratio < FLAT else 0
        self.grown = self.grown + 1 if task_loss > GROWN * max(self.first, 0.1) else 0
        if self.trouble:
            return
        if self.flat == WINDOW:
            self.trouble = (
                f"the loss has collapsed at step {step}: its gradient is below {FLAT:g} of the task loss's "
                f"for {WINDOW} steps; use a smaller meta_lr or residual=True"
            )
        elif self.grown == WINDOW:
            self.trouble = (
                f"training diverges under the loss at step {step}: the task loss is above {GROWN:g} times its first "
                f"value for {WINDOW} steps; use more offline_steps, a smaller lr or residual=True"
            )
        if self.trouble:
            warnings.warn(self.trouble, RunWarning, stacklevel=3)

    def state(self) -> dict[str, float | int | str]:
        """Everything that it remembers, as plain values."""
        return dict(vars(self))

    def restore(self, state: dict[str, float | int | str]) -> None:
        """Remember this instead."""
        vars(self).update(state)
