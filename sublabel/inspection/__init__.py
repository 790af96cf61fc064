"""What a confusion matrix tells before anything is trained: agreement, tails, similar classes, costs.

All of this is ours, the thresholds too: rules of thumb that no paper states.
"""

from sublabel.inspection._inspect import FEATURE_WIDTH, RARE, inspect_confusion
from sublabel.inspection.findings import (
    Advice,
    DisagreedCell,
    Inspection,
    SimilarPair,
    StrategyCost,
    WeakClass,
)

__all__ = [
    "FEATURE_WIDTH",
    "RARE",
    "Advice",
    "DisagreedCell",
    "Inspection",
    "SimilarPair",
    "StrategyCost",
    "WeakClass",
    "inspect_confusion",
]
