"""What a comparison of pre-trainings says: the table over seeds, and paired differences."""

from sublabel.evaluation.comparison import Comparison, ComparisonRow, RunMetrics
from sublabel.evaluation.statistics import PairedDifference, paired_difference, wilson_interval

__all__ = [
    "Comparison",
    "ComparisonRow",
    "PairedDifference",
    "RunMetrics",
    "paired_difference",
    "wilson_interval",
]
