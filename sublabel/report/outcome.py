"""What became of the samples under a strategy: how many each class has, and whose were dropped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from sublabel.errors import TableError
from sublabel.labels import Alignment, ConfusionMatrix, LabelSpace, Pairs
from sublabel.tables import iter_batches, iter_pairs, read_metadata, read_predictions_metadata


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
        return cls(np.zeros(len(space), dtype=np.int64), 0, 0, np.zeros(len(space.weak_vocabulary), np.int64))

    @classmethod
    def of_counts(cls, space: LabelSpace, confusion: ConfusionMatrix, alignment: Alignment) -> Outcome:
        """The outcome as far as counts tell.

        Where classes depend on more than the cell, they are of the sizes that the space expects, and each
        cell stands for a sample that the teacher is sure of. Which cells a control drops does not depend on
        its draws, so that any ids will do.

        Args:
            space: The strategy's.
            confusion: The counts that it was fitted to.
            alignment: Which classes agree.
        """
        cells = confusion.cells(alignment)
        pairs = Pairs.trusted(
            cells.weak,
            cells.teacher,
            confusion.weak_vocabulary,
            confusion.teacher_vocabulary,
            sample_ids=np.arange(len(cells)),
            top_ids=cells.teacher[:, None],
            top_probs=np.ones((len(cells), 1)),
        )
        counted = cls.none(space).with_samples(space, alignment, pairs, cells.count)
        return replace(counted, size=space.sizes) if space.needs else counted

    @classmethod
    def of_table(cls, space: LabelSpace, alignment: Alignment, predictions: Path, relabeled: Path) -> Outcome:
        """The outcome as a study assigned its samples, in constant memory.

        Args:
            space: The relabeled table's.
            alignment: Which classes agree.
            predictions: What was relabeled.
            relabeled: The table that was made of it.

        Raises:
            TableError: The table was made of other predictions, or is damaged.
        """
        _refuse_others(predictions, relabeled)
        found = cls.none(space)
        for pairs in iter_pairs(predictions, needs=space.needs):
            known = pairs[(pairs.weak >= 0) & (pairs.teacher >= 0)]
            found = found.with_samples(space, alignment, known, np.ones(len(known), dtype=np.int64))
        return found

    def with_samples(
        self, space: LabelSpace, alignment: Alignment, pairs: Pairs, count: np.ndarray
    ) -> Outcome:
        """This outcome with more samples.

        Args:
            space: The strategy's.
            alignment: Which classes agree.
            pairs: N pairs, all with both labels.
            count: Samples of each pair, int64 (N,).
        """
        size, dropped = self.size.copy(), self.dropped.copy()
        labels = space.assign(pairs)
        kept = labels.keep
        for column in np.asarray(labels).reshape(len(pairs), -1).T:
            np.add.at(size, column[kept], count[kept])
        np.add.at(dropped, pairs.weak[~kept], count[~kept])
        agrees = alignment.aligned(pairs.weak.astype(np.int64), pairs.teacher)
        agreed, disagreed = (int(count[kept & same].sum()) for same in (agrees, ~agrees))
        return Outcome(size, self.agreed + agreed, self.disagreed + disagreed, dropped)


def _refuse_others(predictions: Path, relabeled: Path) -> None:
    teacher = read_predictions_metadata(predictions).teacher_fingerprint
    same_teacher = read_metadata(relabeled).get("teacher_fingerprint") == teacher
    batches = (iter_batches(path, ["sample_id"]) for path in (predictions, relabeled))
    ids = [
        pa.chunked_array([batch.column(0).cast(pa.string()) for batch in of], pa.string()) for of in batches
    ]
    if not same_teacher or not ids[0].equals(ids[1]):
        raise TableError(
            f"{relabeled} does not hold the samples of {predictions} in their order, so it was not made from "
            f"them: delete {relabeled.parent}, and run the study again"
        )
