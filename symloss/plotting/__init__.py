"""Figures: functions that take a loss or a result and return a matplotlib `Figure`; nothing of pyplot is touched."""

from symloss.plotting.adaptation import adaptation, animation
from symloss.plotting.calibration import calibration
from symloss.plotting.comparison import comparison
from symloss.plotting.curves import loss_curves
from symloss.plotting.explanation import explanation
from symloss.plotting.families import families
from symloss.plotting.fewshot import fewshot_curves, fewshot_loss, fewshot_scores, fewshot_steps
from symloss.plotting.landscape import landscape
from symloss.plotting.learning_rate import learning_rate
from symloss.plotting.runs import front, history
from symloss.plotting.sharpness import sharpness, spectral_density
from symloss.plotting.smoothing import smoothing
from symloss.plotting.training import training_curves

__all__ = [
    "adaptation", "animation", "calibration", "comparison", "explanation", "families", "fewshot_curves", "fewshot_loss",
    "fewshot_scores", "fewshot_steps", "front", "history", "landscape", "learning_rate", "loss_curves", "sharpness",
    "smoothing", "spectral_density", "training_curves",
]  # fmt: skip
