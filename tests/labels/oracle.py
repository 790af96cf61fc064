"""A slow, independent reading of METHOD's label spaces: names of classes for each sample, one Python loop."""

from __future__ import annotations

from collections import Counter


def expected_classes(kind, pairs, counts, agrees, width, height, min_count=1, rare="disagreed"):
    """The class of each pair as a tuple that identifies it, or None where the sample is dropped.

    `counts` is a Counter of the pairs that the strategy was fitted on; `pairs` may hold others.
    """
    classes = []
    for weak, teacher in pairs:
        if weak < 0 or teacher < 0:
            classes.append(None)
        elif kind == "weak_only":
            classes.append(("weak", weak))
        elif kind == "teacher_only":
            classes.append(("teacher", teacher))
        elif kind == "agreement_filter":
            classes.append(("agreed", weak) if (weak, teacher) in agrees else None)
        elif kind == "spl_b":
            classes.append(("agreed", weak) if (weak, teacher) in agrees else ("disagreed", weak))
        else:
            classes.append(_raw_class(weak, teacher, counts, agrees, height, min_count, rare))
    if kind in ("weak_only", "teacher_only"):
        return classes
    populated = _populated(kind, counts, agrees, height, min_count, rare)
    return [entry if entry in populated else None for entry in classes]


def _raw_class(weak, teacher, counts, agrees, height, min_count, rare):
    if counts[weak, teacher] >= min_count:
        return ("cell", weak, teacher)
    if rare == "drop":
        return None
    if rare == "disagreed":
        return ("other", weak)
    agreed = [other for other in range(height) if (weak, other) in agrees and counts[weak, other] > 0]
    if not agreed:
        return None
    most = max(counts[weak, other] for other in agreed)
    return ("cell", weak, min(other for other in agreed if counts[weak, other] == most))


def _populated(kind, counts, agrees, height, min_count, rare):
    """Classes that at least one fitted sample falls into: empty ones do not exist."""
    fitted = list(counts.elements())
    if kind == "raw_spl":
        return Counter(
            _raw_class(w, t, counts, agrees, height, min_count, rare) for w, t in fitted
        ) - Counter([None])
    if kind == "agreement_filter":
        return Counter(("agreed", w) for w, t in fitted if (w, t) in agrees)
    return Counter(("agreed", w) if (w, t) in agrees else ("disagreed", w) for w, t in fitted)
