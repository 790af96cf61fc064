"""Looking at a confusion matrix, and what to expect of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from sublabel.errors import ConfigError
from sublabel.inspection._costs import Recount, strategy_costs
from sublabel.inspection._similar import similar_pairs
from sublabel.inspection._view import View
from sublabel.inspection.findings import Advice, DisagreedCell, Inspection, WeakClass
from sublabel.labels import Alignment, ConfusionMatrix
from sublabel.labels.alignment import AlignmentLike

RARE = 10
"""Cells with fewer samples are rare."""
FEATURE_WIDTH = 2048
"""Features of a ResNet50, 2D or 3D."""
CHANCE_KAPPA = 0.05
"""Cohen's kappa below which the teacher is as good as guessing."""
PERMUTED_KAPPA = 0.3
"""Its least value after pairing the classes anew, from which names are in the wrong order, not at chance."""
NEAR_TOTAL_AGREEMENT = 0.95
"""From this agreement on, sub-concepts would hold too few samples to matter."""
RARE_CELLS, RARE_SAMPLES = 0.9, 0.5
"""Shares of the disagreed cells, and of the samples in them, from which rare cells are all there is."""


def inspect_confusion(
    confusion: ConfusionMatrix,
    alignment: AlignmentLike = None,
    *,
    rare: int = RARE,
    feature_width: int = FEATURE_WIDTH,
    largest: int = 10,
    count: Recount | None = None,
    further_strategies: Iterable[Any] = (),
) -> Inspection:
    """Say what a confusion matrix shows and what each strategy would make of it (ours).

    Nothing of the size W × T is made.

    Args:
        confusion: Counts over all samples, one for each.
        alignment: Which classes agree; default: those of equal names.
        rare: Cells with fewer samples are rare, 1 or more.
        feature_width: Features that the pre-training head sees, 1 or more.
        largest: How many of the largest cells to name.
        count: Counts the same samples as a strategy needs it, such as `partial(count_table, predictions)`;
            without it the costs of strategies that look at probabilities are not known. Where targets are
            soft, it is called once more, for the samples that have one.
        further_strategies: What to cost beside all that `sublabel.strategies` lists, such as your own, or
            ours with other options: strategies, or what `Strategy.parse` takes for one.

    Raises:
        LabelError: The alignment does not fit, or a further strategy is none.
        ConfigError: A number is out of range.

    Example:
        >>> from sublabel import Pairs, count
        >>> confusion = count(Pairs([0, 0, 0, 1], [0, 0, 1, 1], weak_vocabulary=["a", "b"]))
        >>> found = inspect_confusion(confusion)
        >>> found.agreement, found.occupancy, [(entry.name, entry.agreement) for entry in found.classes]
        (0.75, 0.75, [('a', 0.6666666666666666), ('b', 1.0)])
        >>> [(cost.strategy["kind"], cost.head_parameters) for cost in found.strategies][:2]
        [('weak_only', 4098), ('teacher_only', 4098)]
    """
    if rare < 1 or feature_width < 1:
        raise ConfigError(f"rare is {rare} and feature_width {feature_width}; expected 1 or more of each")
    aligned = Alignment.of(alignment, confusion.weak_vocabulary, confusion.teacher_vocabulary)
    view = View.of(confusion, aligned, rare)
    rare_disagreed = view.is_rare & ~view.cells.agreed
    weak_names, teacher_names = confusion.weak_vocabulary, confusion.teacher_vocabulary
    found = Inspection(
        weak_classes=len(weak_names),
        teacher_classes=len(teacher_names),
        samples=int(view.samples.sum()),
        abstained=confusion.abstained,
        cells=len(view.cells),
        rare=rare,
        rare_cells=int(np.count_nonzero(view.is_rare)),
        rare_samples=int(view.cells.count[view.is_rare].sum()),
        agreed=int(view.cells.count[view.cells.agreed].sum()),
        agreed_cells=int(np.count_nonzero(view.cells.agreed)),
        rare_disagreed_cells=int(np.count_nonzero(rare_disagreed)),
        rare_disagreed_samples=int(view.cells.count[rare_disagreed].sum()),
        chance_agreement=_chance(view, *aligned.pairs.T),
        classes=_weak_classes(view, confusion),
        without_samples=tuple(weak_names[row] for row in np.flatnonzero(view.samples == 0).tolist()),
        without_counterpart=tuple(weak_names[row] for row in np.flatnonzero(~view.has_counterpart).tolist()),
        never_predicted=tuple(
            teacher_names[column] for column in np.flatnonzero(view.predicted == 0).tolist()
        ),
        similar=similar_pairs(view, confusion, aligned),
        largest_cells=_largest_cells(view, confusion, largest),
        feature_width=feature_width,
        strategies=tuple(strategy_costs(confusion, aligned, rare, feature_width, count, further_strategies)),
    )
    return replace(found, warnings=tuple(_warnings(found, len(aligned), _permuted_kappa(view))))


def _chance(view: View, weak: np.ndarray, teacher: np.ndarray) -> float:
    """Share of the samples in these cells, if the labels were independent."""
    total = float(view.samples.sum())
    return float((view.samples[weak] / total) @ (view.predicted[teacher] / total)) if total else 0.0


def _permuted_kappa(view: View) -> float:
    """Cohen's kappa, if a weak and a teacher class agreed that are each the other's most frequent one."""
    best_of_row = _first_of_each(view.cells.weak, view.cells.count)
    pairs = np.intersect1d(best_of_row, _first_of_each(view.cells.teacher, view.cells.count))
    chance = _chance(view, view.cells.weak[pairs], view.cells.teacher[pairs])
    agreement = view.cells.count[pairs].sum() / max(view.samples.sum(), 1)
    return float((agreement - chance) / (1 - chance)) if chance < 1 else 0.0


def _first_of_each(group: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The position of the largest count in each group, the first of equals."""
    order = np.lexsort((-count, group))
    _, first = np.unique(group[order], return_index=True)
    return np.asarray(order[first])


def _weak_classes(view: View, confusion: ConfusionMatrix) -> tuple[WeakClass, ...]:
    agreed = view.by_row(view.cells.agreed, view.cells.count)
    cells = view.by_row(np.ones(len(view.cells), dtype=bool))
    rare_cells, rare_samples = view.by_row(view.is_rare), view.by_row(view.is_rare, view.cells.count)
    present = np.flatnonzero(view.samples)
    share = np.where(view.has_counterpart, agreed / np.maximum(view.samples, 1), np.inf)[present]
    ordered = present[np.lexsort((-view.samples[present], share))]
    return tuple(
        WeakClass(
            confusion.weak_vocabulary[row],
            int(view.samples[row]),
            int(agreed[row]) if view.has_counterpart[row] else None,
            int(cells[row]),
            int(rare_cells[row]),
            int(rare_samples[row]),
        )
        for row in ordered.tolist()
    )


def _largest_cells(view: View, confusion: ConfusionMatrix, number: int) -> tuple[DisagreedCell, ...]:
    cells = np.flatnonzero(~view.cells.agreed)
    cells = cells[np.argsort(-view.cells.count[cells], kind="stable")[: max(number, 0)]]
    return tuple(
        DisagreedCell(
            confusion.weak_vocabulary[view.cells.weak[cell]],
            confusion.teacher_vocabulary[view.cells.teacher[cell]],
            int(view.cells.count[cell]),
        )
        for cell in cells
    )


def _warnings(found: Inspection, pairs: int, permuted_kappa: float) -> Iterator[Advice]:
    if not found.samples:
        yield Advice("no_samples", "There is no sample with both a weak label and a prediction.")
        return
    if not pairs:
        yield Advice(
            "no_alignment",
            "No weak class has the name of a teacher class, so nothing can agree: give an alignment.",
        )
    elif found.kappa < CHANCE_KAPPA and permuted_kappa >= PERMUTED_KAPPA:
        yield Advice(
            "permuted_vocabulary",
            f"The teacher agrees with {found.agreement:.1%} of the weak labels, and yet says much about "
            "them: most weak classes have a teacher class of another name that is theirs. The names of one "
            "vocabulary are probably in another order than its labels: check both, or give an alignment.",
        )
    elif found.kappa < CHANCE_KAPPA:
        yield Advice(
            "teacher_at_chance",
            f"The teacher agrees with {found.agreement:.1%} of the weak labels, and independent labels would "
            f"agree in {found.chance_agreement:.1%}: its predictions say nothing about the weak classes, and "
            "cells of such a matrix are not sub-concepts. Check the teacher, the vocabularies and the "
            "alignment.",
        )
    elif found.agreement >= NEAR_TOTAL_AGREEMENT:
        yield Advice(
            "near_total_agreement",
            f"The teacher agrees with {found.agreement:.1%} of the weak labels: SPL would split off "
            f"{found.samples - found.agreed:,} samples only, and do much the same as the weak labels.",
        )
    disagreed_cells = found.cells - found.agreed_cells
    if (
        disagreed_cells
        and found.rare_disagreed_cells >= RARE_CELLS * disagreed_cells
        and found.rare_disagreed_samples >= RARE_SAMPLES * (found.samples - found.agreed)
    ):
        share = found.rare_disagreed_samples / (found.samples - found.agreed)
        yield Advice(
            "rare_cells",
            f"{found.rare_disagreed_cells:,} of {disagreed_cells:,} cells in which the labels disagree hold "
            f"fewer than {found.rare} samples, together {share:.1%} of the samples there: too few "
            "to learn a sub-concept from. SPL-B, a larger data set, or fewer teacher classes suit it better.",
        )
