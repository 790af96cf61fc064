"""A predictions table that was opened and looks whole, and the passes over it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Self, TypeAlias

import pyarrow as pa

from sublabel.errors import TableError
from sublabel.labels import ConfusionMatrix, Counting, Pairs
from sublabel.labels.alignment import AlignmentLike
from sublabel.tables._chunks import (
    CHUNK_ROWS,
    LARGEST_ROW_GROUP,
    Chunk,
    Part,
    choose_threads,
    count_rows,
    iter_chunks,
    open_parts,
    ordered_map,
    refuse_missing_ids,
)
from sublabel.tables._decode import DECODED, FEW_VALUES, PAIR_COLUMNS, PairDecoder, cast_column
from sublabel.tables._store import PairStore
from sublabel.tables.io import Location, count_statuses
from sublabel.tables.predictions import PredictionsMetadata, read_predictions_metadata, with_sample_ids
from sublabel.tables.schema import OK

LISTED_STATUSES = 5
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage, the rows it is done with, and the rows in all."""


@dataclass(frozen=True)
class OpenPredictions:
    """A predictions table whose footers were read, and how its rows are to be read."""

    path: Location
    parts: list[Part]
    rows: int
    metadata: PredictionsMetadata
    threads: int
    report: Progress

    @classmethod
    def open(cls, path: Location, threads: int | None, report: Progress | None) -> Self:
        """Look at the footers of all files.

        Raises:
            TableError: The table is not one of predictions, or a row has no `sample_id`.
            ConfigError: `threads` is below 1.
        """
        chosen, metadata = choose_threads(threads), read_predictions_metadata(path)
        parts = open_parts(path, ["sample_id", *PAIR_COLUMNS])
        refuse_missing_ids(parts)
        return cls(path, parts, count_rows(parts), metadata, chosen, report or _ignore)

    def require(self, needs: frozenset[str]) -> None:
        """Refuse a table without what is looked at.

        Args:
            needs: What a counting or a label space looks at beside the labels.

        Raises:
            TableError: It has no column of probabilities or features, and they are needed.
        """
        for part, need in itertools.product(self.parts, sorted(needs & DECODED.keys())):
            if DECODED[need] not in part.footer.schema.to_arrow_schema().names:
                raise TableError(
                    f"{part.location} has no column {DECODED[need]}, the teacher's {need}, which the "
                    "strategy looks at: write the predictions with them, or choose a strategy that needs none"
                )

    def count(
        self, counting: Counting, alignment: AlignmentLike, store: PairStore | None = None
    ) -> ConfusionMatrix:
        """Count all rows, as often as the counting needs to see them.

        Args:
            counting: How.
            alignment: Which classes agree.
            store: Keeps the labels of all rows.

        Raises:
            TableError: A file is damaged, lacks what is counted, or no sample was classified.
            LabelError: A label is not in its vocabulary.
        """
        self.require(counting.needs)
        builder = counting.start(self.metadata.weak_vocabulary, self.metadata.teacher_vocabulary, alignment)
        done = voted = 0
        self.report("count", done, self.rows * builder.passes)
        for number in range(builder.passes):
            if number:
                builder.next_pass()
            for decoded in self._decoded(self.decoder(counting.needs, is_checked=number > 0)):
                for first, pairs in decoded:
                    builder.update(pairs)
                    if number == 0:
                        voted += len(pairs) - pairs.abstained
                        if store is not None:
                            store.put(first, pairs)
                    done += len(pairs)
                self.report("count", done, self.rows * builder.passes)
        if voted == 0:
            self._refuse_failures()
        return builder.build()

    def decoder(self, needs: frozenset[str], *, is_checked: bool) -> PairDecoder:
        """What makes pairs of its rows.

        Args:
            needs: What of them is looked at beside the labels.
            is_checked: Whether all rows were decoded before, with as much.
        """
        return PairDecoder(self.metadata.weak_vocabulary, self.metadata.teacher_vocabulary, needs, is_checked)

    def _decoded(self, decoder: PairDecoder) -> Iterator[list[tuple[int, Pairs]]]:
        """The pairs of each chunk, in batches with the row that each begins with."""

        def decode(chunk: Chunk) -> list[tuple[int, Pairs]]:
            found, first = [], chunk.first
            for batch in chunk.batches():
                name = partial(self.sample_id, first)
                found.append((first, decoder.decode(chunk.location, batch, first, name)))
                first += batch.num_rows
            return found

        # A row of probabilities is many times wider than a label.
        largest = CHUNK_ROWS if decoder.needs else LARGEST_ROW_GROUP
        with ordered_map(self.threads) as run:
            yield from run(decode, iter_chunks(self.parts, decoder.columns, FEW_VALUES, largest=largest))

    def sample_id(self, first: int, row: int) -> str:
        """The id of a row of the table, which is counted from the row `first`."""
        row += first
        chunks = iter_chunks(self.parts, ["sample_id"])
        chunk = next(chunk for chunk in chunks if row < chunk.first + chunk.rows)
        ids = pa.chunked_array([batch.column(0) for batch in chunk.batches()])
        return str(ids[row - chunk.first].as_py())

    def _refuse_failures(self) -> None:
        """A table of rows that all failed has nothing to say, or says `ok` in another way."""
        seen = count_statuses(self.path)
        if not seen or OK in seen:
            return
        shown = ", ".join(
            f"{'null' if status is None else repr(status)} {count:,}"
            for status, count in seen.most_common(LISTED_STATUSES)
        )
        more = f" and {len(seen) - LISTED_STATUSES:,} more" if len(seen) > LISTED_STATUSES else ""
        raise TableError(
            f"no sample of {self.path} has the status 'ok', and only those have predictions: "
            f"it has {shown}{more}"
        )


class CountedPairs(NamedTuple):
    """The pairs of a table that was counted, to be read again."""

    table: OpenPredictions
    store: PairStore
    """The labels of all rows."""
    checked: frozenset[str]
    """What else was decoded, and checked, as they were counted."""

    def columns(self, needs: frozenset[str]) -> tuple[str, ...]:
        """The columns of the batches that `read` takes; `status` is always among them."""
        is_decoded = bool(needs & DECODED.keys())
        return ("sample_id", *(self._decoder(needs).columns if is_decoded else ("status",)))

    def read(self, chunk: Chunk, needs: frozenset[str]) -> Iterator[tuple[pa.RecordBatch, Pairs]]:
        """The batches of a chunk, each with its pairs.

        Args:
            chunk: Rows of the table with `columns(needs)`.
            needs: What the pairs must have beside the labels.
        """
        first = chunk.first
        for batch in chunk.batches():
            if needs & DECODED.keys():
                name = partial(self.table.sample_id, first)
                pairs = self._decoder(needs).decode(chunk.location, batch, first, name)
            else:
                pairs = self.store.get(first, batch.num_rows)
            if "sample_ids" in needs:
                ids = cast_column(chunk.location, "sample_id", batch.column("sample_id"))
                pairs = with_sample_ids(pairs, ids)
            yield batch, pairs
            first += batch.num_rows

    def all(self, needs: frozenset[str], stage: str) -> Iterator[Pairs]:
        """All pairs in chunks, reported as a stage."""
        for chunk in iter_chunks(self.table.parts, self.columns(needs), FEW_VALUES, largest=CHUNK_ROWS):
            for _, pairs in self.read(chunk, needs):
                yield pairs
            self.table.report(stage, chunk.first + chunk.rows, self.table.rows)

    def _decoder(self, needs: frozenset[str]) -> PairDecoder:
        return self.table.decoder(needs, is_checked=needs & DECODED.keys() <= self.checked)


def _ignore(stage: str, done: int, rows: int) -> None:
    pass
