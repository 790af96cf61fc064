"""The expected gain of each strategy, from predictions and frozen features."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sublabel.advice.facts import facts_of
from sublabel.advice.features import checked_features, reduced, standardised
from sublabel.advice.options import AdviceOptions
from sublabel.advice.outcome import Advice, Prospect
from sublabel.advice.reading import looked_at
from sublabel.advice.trials import CleanSamples, Trials
from sublabel.errors import ConfigError, LabelError
from sublabel.evaluation import Difference, Interval, paired_mean
from sublabel.evaluation.compared import correct
from sublabel.labels import Pairs, Relabeling, Strategy, Vocabulary, WeakOnly, relabel
from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.pairs import need_pairs
from sublabel.study import BASELINE, default_strategies

NO_PRETRAINING = "none"
"""The row without pre-training."""


def advise(
    pairs: Pairs,
    weak_features: Any,
    clean_features: Any,
    clean_labels: Any,
    *,
    teacher_features: tuple[Any, Any] | None = None,
    unseen: Any = None,
    strategies: Mapping[str, Any] | None = None,
    alignment: AlignmentLike = None,
    options: AdviceOptions | None = None,
) -> Advice:
    """Try every strategy on small networks over frozen features, in minutes on a CPU (ours).

    For each strategy a network of two hidden layers is pre-trained on the weak samples, gets a new head, and
    is fine-tuned and tested on folds of the clean ones; all strategies take the same number of steps.

    The features should be those that the student starts from: its backbone as it is before any training.
    With the features of a better teacher, the student has nothing left to learn from it, and the ranking is
    the one of a student as good as the teacher.

    A teacher has learned the clean samples by heart, and what follows its predictions would shine on them. So
    only clean samples that it has not seen are tested on, where `unseen` names them. Else each fold gets a
    stand-in: a linear probe on the teacher's features of the other folds.

    Args:
        pairs: Weak labels and the teacher's predictions of N weak samples. Of more than
            `options.samples` some are drawn; what strategies count are these.
        weak_features: Floats (N, D), what the student looks at, in the order of the pairs.
        clean_features: Floats (M, D), the same of the clean samples.
        clean_labels: Names or ids (M,) in the teacher's vocabulary.
        teacher_features: Floats (N, E) and (M, E), what the teacher looks at; default: what the student does.
        unseen: bool (M,), clean samples that the teacher has not learned from; default: none.
        strategies: Row name → strategy, or what `Strategy.parse` takes for one; default: the study's.
        alignment: Which classes agree; default: equal names.
        options: How long is tried.

    Raises:
        LabelError: Features, labels or pairs do not belong together, a value is not finite, or a clean class
            has too few samples for the folds.
        ConfigError: `unseen` marks too few samples.
    """
    options = options or AdviceOptions()
    need_pairs(pairs, "advise")
    labels = _encoded(clean_labels, pairs.teacher_vocabulary)
    sizes = len(pairs), len(labels)
    student = checked_features(weak_features, clean_features, sizes, "the student's")
    teacher = student
    if teacher_features is not None:
        teacher = checked_features(*teacher_features, sizes, "the teacher's")
    clean = _clean_samples(labels, len(pairs.teacher_vocabulary), unseen, options.folds)
    rows = looked_at(pairs, options)
    pairs = _with_ids(pairs[rows])
    seen_by_teacher = standardised(teacher[0][rows], teacher[1])
    seen_by_student = seen_by_teacher if teacher is student else standardised(student[0][rows], student[1])
    trials = Trials(
        pairs,
        reduced(seen_by_student, options.components),
        seen_by_teacher,
        clean,
        unseen is None,
        options,
        alignment,
    )
    relabelings, left_out = _relabelings(pairs, _strategies(strategies), alignment)
    right = trials.run({name: Strategy.parse(result.space.strategy) for name, result in relabelings.items()})
    return Advice(
        prospects=_prospects(right, relabelings),
        baseline=BASELINE,
        facts=facts_of(trials),
        tested=int(clean.tested.sum()),
        seeds=options.seeds,
        stand_ins=trials.stand_ins,
        left_out=left_out,
    )


def _encoded(labels: Any, vocabulary: Vocabulary) -> np.ndarray:
    """Clean labels as int64 (M,)."""
    # The teacher's side of pairs takes every kind of array, and refuses what is outside.
    given = Pairs(labels, labels, weak_vocabulary=vocabulary, teacher_vocabulary=vocabulary).weak
    if (given < 0).any():
        raise LabelError(
            f"the clean sample at position {int((given < 0).argmax())} has no label; expected one for each: "
            "leave it out"
        )
    return given.astype(np.int64)


def _clean_samples(labels: np.ndarray, num_classes: int, unseen: Any, folds: int) -> CleanSamples:
    tested = np.ones(len(labels), dtype=bool) if unseen is None else np.asarray(unseen)
    if tested.dtype != bool or tested.shape != labels.shape:
        raise LabelError(
            f"unseen has shape {tested.shape} and dtype {tested.dtype}; expected bool ({len(labels)},), one "
            "for each clean sample"
        )
    if tested.sum() < folds:
        raise ConfigError(
            f"{int(tested.sum())} clean samples are to be tested on, in {folds} folds; expected more samples"
        )
    return CleanSamples(labels, num_classes, tested)


def _with_ids(pairs: Pairs) -> Pairs:
    """The pairs with ids, which a matched control draws by; positions where there are none."""
    if pairs.sample_ids is not None:
        return pairs
    return Pairs.trusted(
        pairs.weak,
        pairs.teacher,
        pairs.weak_vocabulary,
        pairs.teacher_vocabulary,
        sample_ids=np.arange(len(pairs)),
        top_ids=pairs.top_ids,
        top_probs=pairs.top_probs,
        features=pairs.features,
    )


def _strategies(given: Mapping[str, Any] | None) -> dict[str, Strategy]:
    """The strategies by row name, the baseline first."""
    chosen: Mapping[str, Any] = default_strategies() if given is None else given
    return {BASELINE: WeakOnly(), **{name: Strategy.parse(value) for name, value in chosen.items()}}


def _relabelings(
    pairs: Pairs, strategies: Mapping[str, Strategy], alignment: AlignmentLike
) -> tuple[dict[str, Relabeling], dict[str, str]]:
    """What each strategy makes of the teacher's own predictions, and why some cannot."""
    relabelings, left_out = {}, {}
    for name, strategy in strategies.items():
        try:
            relabelings[name] = relabel(pairs, strategy, alignment)
        except LabelError as error:
            left_out[name] = str(error)
    return relabelings, left_out


def _prospects(
    right: Mapping[str | None, list[np.ndarray]], relabelings: Mapping[str, Relabeling]
) -> tuple[Prospect, ...]:
    """What every row came to, the best first.

    Args:
        right: Row → of each fold bool (S, R), whether its tested samples were told right; None: the row
            without pre-training.
        relabelings: What the strategies make of the teacher's own predictions.
    """
    gains = _gains(right, [name for name in relabelings if name != BASELINE]) | _gains(right, [None])
    prospects = [Prospect(NO_PRETRAINING, _share(right[None]), gains[None])]
    for name, result in relabelings.items():
        used = int(result.targets.keep.sum())
        counted = len(result.space), used, len(result.pairs) - used
        prospects.append(Prospect(name, _share(right[name]), gains.get(name), *counted))
    return tuple(sorted(prospects, key=lambda prospect: -prospect.accuracy))


def _share(blocks: list[np.ndarray]) -> float:
    return float(np.mean([block.mean() for block in blocks]))


def _gains(
    right: Mapping[str | None, list[np.ndarray]], names: Sequence[str | None]
) -> dict[str | None, Interval | None]:
    """The gain over the baseline of rows that are looked at together, with corrected intervals."""
    found = []
    for name in names:
        folds = list(zip(right[name], right[BASELINE], strict=True))
        # Every fold has networks, and tested samples, of its own, as a data set has.
        starts = np.cumsum([0, *(theirs.shape[1] for _, theirs in folds)])
        spread = paired_mean(
            [ours.astype(np.int8) - theirs for ours, theirs in folds],
            [np.arange(start, end) for start, end in itertools.pairwise(starts)],
        )
        found.append(Difference(name or NO_PRETRAINING, BASELINE, spread.mean, spread))
    return {name: looked_at.interval for name, looked_at in zip(names, correct(found), strict=True)}
