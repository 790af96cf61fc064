"""What a comparison of pre-trainings says: its table, intervals, and a verdict."""

from sublabel.evaluation.columns import COLUMNS, DifferenceColumn, TableColumn, metric_column
from sublabel.evaluation.compared import ComparedRuns, CorrectedDifference, Difference
from sublabel.evaluation.comparison import COMPARISON_FILE, Comparison
from sublabel.evaluation.notes import teacher_accuracy_text
from sublabel.evaluation.outcomes import Outcomes, RunKey
from sublabel.evaluation.paired import PairedMean, paired_mean, ratio_interval
from sublabel.evaluation.runs import PRIMARY_METRIC, RunMetrics
from sublabel.evaluation.statistics import Interval, holm, mcnemar, mean_interval, wilson_interval
from sublabel.evaluation.text_table import TextTable
from sublabel.evaluation.verdict import Verdict

__all__ = [
    "COLUMNS",
    "COMPARISON_FILE",
    "PRIMARY_METRIC",
    "ComparedRuns",
    "Comparison",
    "CorrectedDifference",
    "Difference",
    "DifferenceColumn",
    "Interval",
    "Outcomes",
    "PairedMean",
    "RunKey",
    "RunMetrics",
    "TableColumn",
    "TextTable",
    "Verdict",
    "holm",
    "mcnemar",
    "mean_interval",
    "metric_column",
    "paired_mean",
    "ratio_interval",
    "teacher_accuracy_text",
    "wilson_interval",
]
