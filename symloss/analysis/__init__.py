"""What a loss does to a model: functions that return numbers, and the statement that follows from them."""

from symloss.analysis.report import SmoothingReport
from symloss.analysis.smoothing import label_smoothing

__all__ = ["SmoothingReport", "label_smoothing"]
