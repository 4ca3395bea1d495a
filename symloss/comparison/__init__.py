"""Which way to a loss is better? Methods on tasks over search seeds, beside tuned references, measured on test data."""

from symloss.comparison.plan import Plan, plan, read_options
from symloss.comparison.result import Comparison, Overall, Score
from symloss.comparison.run import carry_out, compare, listing

__all__ = ["Comparison", "Overall", "Plan", "Score", "carry_out", "compare", "listing", "plan", "read_options"]
