"""What a loss does to a model: functions that return numbers, and the statement that follows from them."""

from symloss.analysis.families import families
from symloss.analysis.families_report import FamiliesReport
from symloss.analysis.learning_rate import learning_rate
from symloss.analysis.learning_rate_report import LearningRateReport
from symloss.analysis.report import SmoothingReport
from symloss.analysis.smoothing import label_smoothing

__all__ = ["FamiliesReport", "LearningRateReport", "SmoothingReport", "families", "label_smoothing", "learning_rate"]
