"""What a loss does to a model: functions that return numbers, and the statement that follows from them."""

from symloss.analysis.landscape import landscape
from symloss.analysis.report import SmoothingReport
from symloss.analysis.sharpness import Sharpness, sharpness
from symloss.analysis.smoothing import label_smoothing
from symloss.analysis.surface import Landscape, load_landscape

__all__ = [
    "Landscape", "Sharpness", "SmoothingReport", "label_smoothing", "landscape", "load_landscape", "sharpness",
]  # fmt: skip
