"""What a comparison of pre-trainings says: the table over seeds, and intervals."""

from sublabel.evaluation.columns import COLUMNS, TableColumn, metric_column
from sublabel.evaluation.comparison import Comparison, teacher_accuracy_text
from sublabel.evaluation.runs import PRIMARY_METRIC, RunMetrics
from sublabel.evaluation.statistics import Interval, mean_interval, paired_difference, wilson_interval
from sublabel.evaluation.text_table import TextTable

__all__ = [
    "COLUMNS",
    "PRIMARY_METRIC",
    "Comparison",
    "Interval",
    "RunMetrics",
    "TableColumn",
    "TextTable",
    "mean_interval",
    "metric_column",
    "paired_difference",
    "teacher_accuracy_text",
    "wilson_interval",
]
