"""What became of the samples under a strategy: how many each class has, and whose were dropped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from sublabel._outputs import output_labels
from sublabel.errors import TableError
from sublabel.labels import Alignment, ConfusionMatrix, LabelSpace
from sublabel.tables import RELABELED_SCHEMA, LabelPairs, iter_batches, iter_pairs


@dataclass(frozen=True, eq=False)
class Outcome:
    """The samples with a weak label and a prediction, counted by what a strategy makes of them."""

    size: np.ndarray
    """int64 (K,), samples of each output of the student: of a two-head space each sample is in two."""
    agreed: int
    """Kept samples whose labels agree."""
    disagreed: int
    dropped: np.ndarray
    """int64 (W,), by weak class."""

    @classmethod
    def none(cls, space: LabelSpace) -> Outcome:
        """The outcome of no sample.

        Args:
            space: The strategy's.
        """
        return cls(
            np.zeros(sum(space.heads), dtype=np.int64), 0, 0, np.zeros(len(space.weak_vocabulary), np.int64)
        )

    @classmethod
    def of_counts(cls, space: LabelSpace, confusion: ConfusionMatrix, alignment: Alignment) -> Outcome:
        """The outcome as far as counts tell.

        The classes of a control and of unsure samples are of the expected sizes. Which cells a control drops
        does not depend on its draws, so that any ids will do. Where a space has thresholds, the counts hold
        the sure samples.

        Args:
            space: The strategy's.
            confusion: The counts that it was fitted to.
            alignment: Which classes agree.
        """
        entries = confusion.counts.tocoo()
        weak, teacher = entries.row.astype(np.int64), entries.col.astype(np.int64)
        ids = np.arange(len(weak)) if space.needs_sample_ids else None
        sure = np.ones(len(weak)) if space.needs_confidence else None
        labels = space.assign(weak, teacher, ids, sure)
        counted = cls.none(space).with_samples(space, alignment, weak, teacher, labels, entries.data)
        is_expected = space.needs_sample_ids or space.needs_confidence
        return replace(counted, size=space.sizes) if is_expected else counted

    @classmethod
    def of_table(cls, space: LabelSpace, alignment: Alignment, predictions: Path, relabeled: Path) -> Outcome:
        """The outcome as a study assigned its samples, in constant memory.

        Args:
            space: The relabeled table's.
            alignment: Which classes agree.
            predictions: What was relabeled.
            relabeled: The classes that it was given.

        Raises:
            TableError: The tables do not hold the same samples in the same order, or are damaged.
        """
        found = cls.none(space)
        for pairs, labels in _joined(predictions, relabeled):
            is_pair = (pairs.weak >= 0) & (pairs.teacher >= 0)
            ones = np.ones(int(is_pair.sum()), dtype=np.int64)
            found = found.with_samples(
                space, alignment, pairs.weak[is_pair], pairs.teacher[is_pair], labels[is_pair], ones
            )
        return found

    def with_samples(
        self,
        space: LabelSpace,
        alignment: Alignment,
        weak: np.ndarray,
        teacher: np.ndarray,
        labels: np.ndarray,
        count: np.ndarray,
    ) -> Outcome:
        """This outcome with more samples, given as N pairs of labels.

        Args:
            space: The strategy's.
            alignment: Which classes agree.
            weak: int64 (N,).
            teacher: int64 (N,).
            labels: The class of each pair, or -1.
            count: Samples of each pair, int64 (N,).
        """
        size, dropped = self.size.copy(), self.dropped.copy()
        kept = labels >= 0
        for column in output_labels(space, labels[kept]).T:
            np.add.at(size, column, count[kept])
        np.add.at(dropped, weak[~kept], count[~kept])
        agrees = alignment.agrees(weak, teacher)
        agreed, disagreed = (int(count[kept & same].sum()) for same in (agrees, ~agrees))
        return Outcome(size, self.agreed + agreed, self.disagreed + disagreed, dropped)


def _joined(predictions: Path, relabeled: Path) -> Iterator[tuple[LabelPairs, np.ndarray]]:
    """The pairs of a predictions table with their classes; the batches of both are cut alike."""
    batches = iter_batches(relabeled, RELABELED_SCHEMA.names)
    rest = RELABELED_SCHEMA.empty_table()
    for pairs in iter_pairs(predictions):
        rows = len(pairs.weak)
        while len(rest) < rows and (batch := next(batches, None)) is not None:
            rest = pa.concat_tables([rest, pa.Table.from_batches([batch], RELABELED_SCHEMA)])
        own, rest = rest.slice(0, rows), rest.slice(rows)
        if not own["sample_id"].equals(pa.chunked_array([pairs.sample_ids])):
            break
        yield pairs, own["label"].to_numpy()
    else:
        if len(rest) == 0 and next(batches, None) is None:
            return
    raise TableError(
        f"{relabeled} does not hold the samples of {predictions} in their order, so it was not made from "
        f"them: delete {relabeled.parent}, and run the study again"
    )
