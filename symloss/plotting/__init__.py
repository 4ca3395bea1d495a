"""Figures: functions that take a loss or a result and return a matplotlib `Figure`; nothing of pyplot is touched."""

from symloss.plotting.curves import loss_curves
from symloss.plotting.landscape import landscape
from symloss.plotting.runs import front, history
from symloss.plotting.smoothing import smoothing

__all__ = ["front", "history", "landscape", "loss_curves", "smoothing"]
