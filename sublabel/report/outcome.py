"""What became of the samples under a strategy: how many each class has, and whose were dropped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from sublabel.errors import TableError
from sublabel.labels import Alignment, ConfusionMatrix, LabelSpace, Pairs
from sublabel.tables import Relabeled, iter_batches, iter_pairs, read_metadata, read_predictions_metadata


@dataclass(frozen=True, eq=False)
class Outcome:
    """The samples with a weak label and a prediction, counted by what a strategy makes of them."""

    size: np.ndarray
    """int64 (K,), samples of each class; a sample is in one of each head, its heaviest if it has more."""
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
        classes = space.targets(pairs).main_classes
        counted = cls.none(space).with_samples(classes, alignment, pairs, cells.count)
        return replace(counted, size=space.sizes) if space.needs else counted

    @classmethod
    def of_table(cls, relabeled: Relabeled, alignment: Alignment, predictions: Path) -> Outcome:
        """The outcome as a study assigned its samples: what stands in its relabeled table, nothing anew.

        Args:
            relabeled: The table of N samples, in memory.
            alignment: Which classes agree.
            predictions: What it was made of, in the same order.
        """
        found, classes = cls.none(relabeled.space), relabeled.targets.main_classes
        for pairs in iter_pairs(predictions):
            part, classes = np.split(classes, [len(pairs)])
            known = (pairs.weak >= 0) & (pairs.teacher >= 0)
            ones = np.ones(np.count_nonzero(known), dtype=np.int64)
            found = found.with_samples(part[known], alignment, pairs[known], ones)
        return found

    def with_samples(
        self, classes: np.ndarray, alignment: Alignment, pairs: Pairs, count: np.ndarray
    ) -> Outcome:
        """This outcome with more samples.

        Args:
            classes: The class of each pair in each head, int64 (N, H), -1 where it is dropped.
            alignment: Which classes agree.
            pairs: N pairs, all with both labels.
            count: Samples of each pair, int64 (N,).
        """
        size, dropped = self.size.copy(), self.dropped.copy()
        kept = (classes >= 0).all(axis=1)
        for column in classes.T:
            np.add.at(size, column[kept], count[kept])
        np.add.at(dropped, pairs.weak[~kept], count[~kept])
        agrees = alignment.aligned(pairs.weak.astype(np.int64), pairs.teacher)
        agreed, disagreed = (int(count[kept & same].sum()) for same in (agrees, ~agrees))
        return Outcome(size, self.agreed + agreed, self.disagreed + disagreed, dropped)


def refuse_other_relabeled(predictions: Path, relabeled: Path) -> None:
    """Refuse a relabeled table that was not made of these predictions.

    Args:
        predictions: A file or a folder of shards.
        relabeled: The table.

    Raises:
        TableError: It has another teacher, or other samples or another order.
    """
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
