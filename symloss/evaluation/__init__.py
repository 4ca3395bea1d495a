"""Is a loss better? Training with each over seeds, learning rates tuned alike, measured on test data."""

from symloss.evaluation.protocol import Protocol
from symloss.evaluation.result import Evaluation, Row
from symloss.evaluation.run import evaluate
from symloss.evaluation.statistics import Estimate
from symloss.evaluation.training import fit
from symloss.evaluation.tuning import tuned_rate

__all__ = ["Estimate", "Evaluation", "Protocol", "Row", "evaluate", "fit", "tuned_rate"]
