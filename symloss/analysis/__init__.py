"""What a loss does to a model: functions that return numbers, and the statement that follows from them."""

from symloss.analysis.adaptation import AdaptationReport, adaptation
from symloss.analysis.calibration import Calibration, calibration
from symloss.analysis.explain import explain
from symloss.analysis.explanation import Explanation
from symloss.analysis.families import families
from symloss.analysis.families_report import FamiliesReport
from symloss.analysis.landscape import landscape
from symloss.analysis.learning_rate import learning_rate
from symloss.analysis.learning_rate_report import LearningRateReport
from symloss.analysis.report import SmoothingReport
from symloss.analysis.sharpness import Sharpness, sharpness
from symloss.analysis.sharpness_comparison import compare_sharpness
from symloss.analysis.sharpness_report import SharpnessComparison
from symloss.analysis.smoothing import label_smoothing
from symloss.analysis.surface import Landscape, load_landscape
from symloss.analysis.training import TrainingCurves, training_curves

__all__ = [
    "AdaptationReport", "Calibration", "Explanation", "FamiliesReport", "Landscape", "LearningRateReport", "Sharpness",
    "SharpnessComparison", "SmoothingReport", "TrainingCurves", "adaptation", "calibration", "compare_sharpness",
    "explain", "families", "label_smoothing", "landscape", "learning_rate", "load_landscape", "sharpness",
    "training_curves",
]  # fmt: skip
