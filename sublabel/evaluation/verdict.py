"""What a comparison says, in one sentence that is true, and in a few more that qualify it (ours)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sublabel.evaluation.compared import ComparedRuns, CorrectedDifference, correct
from sublabel.evaluation.paired import MANY_DATA_SETS, MOST_REPLICATES, PairedMean
from sublabel.evaluation.statistics import CONFIDENCE, Interval

WISHED_FOR = 0.01
"""A difference that is worth more seeds: one point."""
ENOUGH_SEEDS = 5
"""What a study of one seed is told to run."""


class Verdict(NamedTuple):
    """What the runs show."""

    sentence: str
    """Whether a strategy helped."""
    remarks: tuple[str, ...]
    """What else a reader must know before believing it, most important first."""

    def __str__(self) -> str:
        return "\n".join([self.sentence, *self.remarks])


def judge(runs: ComparedRuns) -> Verdict:
    """Say what the runs show: whether a strategy helped, and what that is worth.

    A strategy is said to have helped only where its corrected interval is above 0.

    Args:
        runs: Of a study, or of several.

    Raises:
        ConfigError: A row was run on other seeds than the baseline.
    """
    return Verdict(_sentence(runs), tuple(_remarks(runs)))


def points(share: float) -> str:
    """A share in points, with its sign.

    Example:
        >>> points(0.0142)
        '+1.4'
    """
    return f"{100 * share:+.1f}"


def interval_text(interval: Interval) -> str:
    """An interval in points.

    One that leaves out 0 gets as many digits as it takes to see that.

    Example:
        >>> interval_text(Interval(0.014, 0.006, 0.022)), interval_text(Interval(0.014, 0.0002, 0.028))
        ('0.6 to 2.2', '0.02 to 2.80')
    """
    for digits in (1, 2, 3):
        shown = [f"{100 * bound:.{digits}f}" for bound in (interval.low, interval.high)]
        hides_a_side = any(
            bound != 0 and float(text) == 0
            for bound, text in zip((interval.low, interval.high), shown, strict=True)
        )
        if interval.low <= 0 <= interval.high or not hides_a_side:
            break
    return " to ".join("0.0" if text == "-0.0" else text for text in shown)


def seeds_text(runs: ComparedRuns) -> str:
    """How often everything was run: `5 seeds`, `2 data sets × 5 seeds`."""
    seeds, data_sets = runs.seeds(), len(runs.data_sets())
    text = f"{seeds} seed{'s' if seeds > 1 else ''}"
    return text if data_sets == 1 else f"{data_sets} data sets × {text}"


def more_replicates(spread: PairedMean, confidence: float) -> str:
    """How many more seeds, or data sets, would show one point, in words.

    Args:
        spread: Of the difference.
        confidence: That is asked for.
    """
    needed = spread.replicates_to_show(WISHED_FOR, confidence)
    if needed is None:
        return f"even {MOST_REPLICATES} {spread.unit}s would not show 1 point on these test samples"
    more = needed - spread.replicates
    if more == 0:
        return "a difference of 1 point would have been shown"
    of_each = " of each data set" if spread.groups > 1 else ""
    return f"{more} more {spread.unit}{'s' if more > 1 else ''}{of_each} would show 1 point"


def candidates(runs: ComparedRuns) -> dict[str, CorrectedDifference]:
    """The rows that might be said to help: all strategies but the baseline, the oracle and the controls."""
    without = {run.row for run in runs.without_pretraining()}
    aside = {runs.oracle, *runs.controls, *without}
    return {name: found for name, found in runs.corrected.items() if name not in aside}


def winner(runs: ComparedRuns) -> CorrectedDifference | None:
    """The best of the strategies that are shown to be better than the baseline."""
    better = [found for found in candidates(runs).values() if found.is_above]
    return max(better, key=lambda found: found.difference.mean, default=None)


def _sentence(runs: ComparedRuns) -> str:
    rivals, base = candidates(runs), runs.baseline
    if base not in runs.names():
        return f"{base} was not run, so there is nothing to compare the other rows with"
    if not rivals:
        return f"only {base} was run: no strategy was compared with it"
    if runs.is_at_chance(base):
        return (
            f"{base} is at chance after fine-tuning ({100 * runs.top1(base):.1f}% right, and "
            f"{100 * (runs.chance or 0):.1f}% of the test samples are of the largest class): train longer "
            "before comparing anything"
        )
    best = max(rivals.values(), key=lambda found: found.difference.mean)
    if best.difference.spread is None:
        return _of_one_run(runs, best, len(rivals))
    if (shown := winner(runs)) is not None:
        return f"{_claim(runs, shown)}: it helped here{_unless_untrained(runs, shown)}"
    if all(found.is_below for found in rivals.values()):
        is_one = len(rivals) == 1
        all_of_them = "it hurt here" if is_one else f"all {len(rivals)} strategies hurt here, it the least"
        return f"{_claim(runs, best)}: {all_of_them}"
    named = best.difference.row if len(rivals) == 1 else f"the best, {best.difference.row},"
    return (
        f"no gain over {base} that {seeds_text(runs)} can show ({named} {points(best.difference.mean)}, "
        f"{_range(best)}); {more_replicates(best.difference.spread, best.confidence)}"
    )


def _of_one_run(runs: ComparedRuns, best: CorrectedDifference, rivals: int) -> str:
    difference, one_seed = best.difference, "one seed cannot show more than how two models differ"
    advice = f"{one_seed}: run {ENOUGH_SEEDS} or more to see whether a strategy helps"
    gained = f"{points(difference.mean)} over {runs.baseline}"
    if best.p_value is None:
        return f"the best of {rivals} is {difference.row}, {gained}; {advice}"
    tested = f"McNemar's p {p_text(best.p_value)}, Holm-corrected"
    if best.p_value < 1 - CONFIDENCE and difference.mean > 0:
        return (
            f"the model of {difference.row} is right more often than that of {runs.baseline}, {gained} "
            f"({tested}); {advice}"
        )
    return (
        f"no model is shown to be right more often than that of {runs.baseline} on these "
        f"{runs.test_samples:,} test samples (the best, {difference.row}, {gained}, {tested}); {advice}"
    )


def _claim(runs: ComparedRuns, found: CorrectedDifference) -> str:
    difference = found.difference
    gained = f"{difference.row} {points(difference.mean)} over {difference.other}"
    return f"{gained}, {_range(found)}, {seeds_text(runs)}"


def _range(found: CorrectedDifference) -> str:
    corrected = " (Holm-corrected)" if found.confidence > CONFIDENCE else ""
    return f"95% interval {interval_text(_known(found.interval))}{corrected}"


def _known(interval: Interval | None) -> Interval:
    return interval or Interval(0.0, 0.0, 0.0)


def p_text(value: float) -> str:
    """A p value as a table shows it.

    Example:
        >>> p_text(0.0321), p_text(0.00001)
        ('0.032', '<0.001')
    """
    return "<0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def _unless_untrained(runs: ComparedRuns, shown: CorrectedDifference) -> str:
    lazy = [name for name in (runs.baseline, shown.difference.row) if name in runs.undertrained()]
    return f" – but {' and '.join(lazy)} did not learn the pre-training labels, see below" if lazy else ""


def _remarks(runs: ComparedRuns) -> Iterator[str]:
    rivals = candidates(runs)
    yield from _of_training(runs)
    if not rivals or runs.is_at_chance(runs.baseline):
        return
    yield from _of_validation(runs)
    several = runs.corrected and next(iter(rivals.values())).difference.spread is not None
    if several:
        yield from _of_losers(runs)
        yield from _of_controls(runs)
        yield from _of_rivals(runs)
        yield from _of_weak_labels(runs)
        yield from _of_oracle(runs)
        yield from _of_data(runs)


def _of_training(runs: ComparedRuns) -> Iterator[str]:
    for name, run in runs.undertrained().items():
        accuracy, largest = 100 * (run.pretrain_accuracy or 0), 100 * (run.largest_class or 0)
        yield (
            f"{name} has not learned the labels that it was pre-trained on (seed {run.seed}: {accuracy:.1f}% "
            f"right, and their largest class is {largest:.1f}%): train it longer before judging it"
        )


def _of_validation(runs: ComparedRuns) -> Iterator[str]:
    chosen = runs.chosen_by_validation()
    if chosen is None:
        if (best := winner(runs)) is not None and len(candidates(runs)) > 1:
            yield (
                f"{best.difference.row} is the best of {len(candidates(runs))} on the test samples "
                "themselves: expect somewhat less of it on others (a split target_val chooses without that)"
            )
    elif chosen == runs.baseline:
        yield f"target_val chooses {chosen} itself"
    else:
        difference = runs.difference(chosen, runs.baseline)
        interval = difference.interval()
        sure = "" if interval is None else f", 95% interval {interval_text(interval)}"
        yield (
            f"target_val chooses {chosen}: {points(difference.mean)} over {runs.baseline} on the test "
            f"samples{sure} (not corrected, as the test samples did not choose it)"
        )


def _of_losers(runs: ComparedRuns) -> Iterator[str]:
    worse = [found for found in candidates(runs).values() if found.is_below]
    if worse and (len(worse) < len(candidates(runs))):
        listed = ", ".join(f"{found.difference.row} {points(found.difference.mean)}" for found in worse)
        yield f"shown to be worse than {runs.baseline}: {listed}"


def _of_controls(runs: ComparedRuns) -> Iterator[str]:
    """Whether the cells matter, or only the number of classes."""
    for control, row in runs.controls.items():
        found = candidates(runs).get(row)
        if found is None or control not in runs.names() or not (found.is_above or found is _best(runs)):
            continue
        difference = runs.difference(row, control)
        interval = _known(difference.interval())
        shown = f"{row} {points(difference.mean)} over its {control}, 95% interval {interval_text(interval)}"
        if interval.low > 0:
            yield f"{shown}: its gain is not that of so many classes alone"
        elif interval.high < 0:
            yield f"{shown}: as many classes with shuffled samples do better"
        else:
            yield f"{shown}: as many classes with shuffled samples may do as well"


def _of_rivals(runs: ComparedRuns) -> Iterator[str]:
    """Which of the other strategies the best one beats too."""
    best = winner(runs)
    if best is None:
        return
    row = best.difference.row
    others = [name for name in candidates(runs) if name != row]
    found = correct([runs.difference(row, name) for name in others])
    beaten = [each.difference.other for each in found if each.is_above]
    unbeaten = [each.difference.other for each in found if not each.is_above]
    if beaten:
        yield f"{row} is also shown to be better than {', '.join(beaten)} (Holm-corrected)"
    if unbeaten:
        yield f"{row} is not shown to be better than {', '.join(unbeaten)}"


def _of_weak_labels(runs: ComparedRuns) -> Iterator[str]:
    """Whether the baseline itself is of use."""
    for name in dict.fromkeys(run.row for run in runs.without_pretraining()):
        if (found := runs.corrected.get(name)) is None or found.is_below:
            continue
        interval = interval_text(_known(found.interval))
        shown = f"{name} {points(found.difference.mean)} over {runs.baseline}, {interval}"
        if found.is_above:
            yield f"no weak pre-training at all is better than {runs.baseline} ({shown})"
        else:
            yield f"{runs.baseline} itself is not shown to be better than no weak pre-training ({shown})"


def _of_oracle(runs: ComparedRuns) -> Iterator[str]:
    ceiling = None if runs.oracle is None else runs.corrected.get(runs.oracle)
    best = winner(runs) or _best(runs)
    if ceiling is None or best is None:
        return
    gained = f"{points(ceiling.difference.mean)} over {runs.baseline}"
    top = f"{runs.oracle}, pre-trained on the true classes, is {gained}"
    closed = runs.closed.get(best.difference.row)
    if closed is None:
        yield f"{top}, which is not shown to be above it: better labels may have nothing to gain here"
    else:
        yield f"{top}; {best.difference.row} closes {share_text(closed)} of that distance"


def share_text(share: Interval) -> str:
    """A share of a distance in percent, with its interval.

    Example:
        >>> share_text(Interval(0.52, 0.31, 0.7))
        '52% (31 to 70)'
    """
    mean, low, high = (round(100 * value) for value in share)
    return f"{mean}% ({low} to {high})"


def _of_data(runs: ComparedRuns) -> Iterator[str]:
    """What the data sets say one by one, where there are too few to say what others would."""
    best = winner(runs) or _best(runs)
    number = len(runs.data_sets())
    if best is None or number == 1:
        return
    row = best.difference.row
    by_data = ", ".join(f"{points(mean)} on {data}" for data, mean in runs.of_each_data_set(row).items())
    scope = (
        "intervals are about other data sets of their kind too"
        if number >= MANY_DATA_SETS or runs.seeds() == 1
        else f"intervals are about these {number} data sets, with other seeds and test samples"
    )
    yield f"{row} by data set: {by_data}; {scope}"


def _best(runs: ComparedRuns) -> CorrectedDifference | None:
    return max(candidates(runs).values(), key=lambda found: found.difference.mean, default=None)
