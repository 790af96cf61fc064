"""What a reader must know to read the figures of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter

from sublabel.evaluation.columns import percent
from sublabel.evaluation.compared import ComparedRuns
from sublabel.evaluation.paired import POWER
from sublabel.evaluation.statistics import CONFIDENCE
from sublabel.evaluation.verdict import candidates, more_replicates, seeds_text, share_text

UNDERTRAINED = "†"
"""Marks a row that has not learned its own labels."""


def notes_of(runs: ComparedRuns) -> Iterator[str]:
    """What a reader must know to read the figures.

    Args:
        runs: Of the table.
    """
    best = max((run.primary for run in runs.runs), default=0.0)
    error = 100 * (best * (1 - best) / max(1, runs.test_samples)) ** 0.5
    yield (
        f"{seeds_text(runs)}, {runs.test_samples:,} test samples; "
        f"the binomial standard error of one top-1 is about {error:.1f} points"
    )
    yield f"Δ is the difference to {runs.baseline} in points; {_intervals(runs)}"
    yield from _power(runs)
    if runs.closed:
        shares = ", ".join(f"{name} {share_text(share)}" for name, share in runs.closed.items())
        yield f"of the distance from {runs.baseline} to {runs.oracle}, in percent (95% interval): {shares}"
    if runs.undertrained():
        yield f"{UNDERTRAINED} has not learned the labels that it was pre-trained on"
    validated = {
        name: [found.validation["top1"] for found in runs.runs_of(name) if found.validation]
        for name in runs.names()
    }
    if all(validated.values()) and validated:
        listed = ", ".join(f"{name} {percent(values)}" for name, values in validated.items())
        yield f"top-1 on target_val, which is for choosing: {listed}"
    if runs.teacher_accuracy:
        yield f"the teacher is right on {teacher_accuracy_text(runs.teacher_accuracy)}"
    steps = sorted(run.steps for run in runs.runs if run.steps is not None)
    if steps and steps[0] < steps[-1]:
        yield (
            f"pre-training took from {steps[0]:,} to {steps[-1]:,} steps: the same epochs on fewer "
            "samples are fewer steps (give steps instead of epochs to train all equally long)"
        )


def _intervals(runs: ComparedRuns) -> str:
    rows = [found for name, found in runs.corrected.items() if name != runs.oracle]
    spread = rows[0].difference.spread if rows else None
    if spread is None:
        return (
            "one seed says nothing about the spread, and p (McNemar's exact test, Holm-corrected) only "
            "whether two models differ on these test samples"
        )
    over = "seeds and test samples" if runs.outcomes is not None else "seeds"
    if spread.unit == "data set":
        over = f"data sets, {over}"
    return (
        f"± is the standard deviation over runs, [ ] the 95% interval over {over}, paired by run, and p "
        f"that of no difference, both Holm-corrected for {len(rows)} rows"
    )


def _power(runs: ComparedRuns) -> Iterator[str]:
    """The smallest difference that would have been shown, and what would show one point."""
    tests = sum(name != runs.oracle for name in runs.corrected)
    strictest = 1 - (1 - CONFIDENCE) / max(1, tests)
    spreads = [each.difference.spread for each in candidates(runs).values()]
    found = [(spread.detectable(strictest), spread) for spread in spreads if spread is not None]
    if not found:
        return
    least, most = (choose(found, key=itemgetter(0)) for choose in (min, max))
    low, high = (f"{100 * shown:.1f}" for shown, _ in (least, most))
    yield (
        f"the smallest difference that these runs could have shown ({POWER:.0%} power, corrected) is "
        f"{low if low == high else f'{low} to {high}'} points, by row; {more_replicates(most[1], strictest)}"
    )


def teacher_accuracy_text(accuracy: Mapping[str, Sequence[float]]) -> str:
    """How often a teacher is right, in words.

    Args:
        accuracy: Target split → shares, 0–1, one for each seed where they have other teachers.

    Example:
        >>> teacher_accuracy_text({"target_test": (0.81, 0.80), "target_val": (0.79, 0.83)})
        '80.5 ± 0.7% of target_test and 81.0 ± 2.8% of target_val'
    """
    return " and ".join(f"{percent(shares)}% of {split}" for split, shares in accuracy.items())
