"""Is a loss better? Training with each over seeds, learning rates tuned alike, measured on test data."""

from symloss.evaluation.protocol import Protocol
from symloss.evaluation.result import Evaluation, Row
from symloss.evaluation.run import evaluate
from symloss.evaluation.statistics import Estimate
from symloss.evaluation.training import fit

__all__ = ["Estimate", "Evaluation", "Protocol", "Row", "evaluate", "fit"]
