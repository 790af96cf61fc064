"""Labelled media for training: rows of a manifest, labels joined by `sample_id`, the data module."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from sublabel.domain import Domain
from sublabel.errors import ConfigError, MediaError, TableError
from sublabel.files import write_atomically
from sublabel.labels import LabelSpace, Vocabulary
from sublabel.media import DecodedMedia, Share
from sublabel.tables import Manifest, read_relabeled
from sublabel.tables.io import Location
from sublabel.training.targets import HardTargets, Targets, join_targets

MEDIA_COLUMNS = ("sample_id", "uri", "image", "start", "end")
# They wait for disks and networks more than they decode.
CHECKING_THREADS = 8
OTHER_COLUMNS = ("source_id", "weak_label", "label")


class MediaTable:
    """Rows of a manifest with random access to their decoded media.

    Args:
        rows: Arrow table with `sample_id`, what the domain reads (`uri`, `image`, …) and the label columns.
        domain: Reads the media; the table pickles with it, so that worker processes can.
        cache_bytes: Keep decoded media in memory up to this size; 0 decodes at every access. Each worker
            process has a cache of its own.
        spool: The Arrow file that `rows` is mapped from, if it is; worker processes then map it too.
        decoded: The media, decoded already (`decode_manifest`); the domain then reads nothing.
    """

    def __init__(
        self,
        rows: pa.Table,
        domain: Domain,
        *,
        cache_bytes: int = 0,
        spool: Path | None = None,
        decoded: DecodedMedia | None = None,
    ) -> None:
        self.rows = rows
        self.spool = spool
        self.domain = domain
        self.decoded = decoded
        self.cache_bytes = cache_bytes
        self._cache: dict[int, Tensor] = {}
        self._cached_bytes = 0

    @classmethod
    def from_manifest(
        cls,
        manifest: Manifest,
        domain: Domain,
        *,
        spool: str | Path | None = None,
        cache_bytes: int = 0,
        decoded: DecodedMedia | None = None,
    ) -> MediaTable:
        """Collect the rows of a manifest (filter it by split first).

        Args:
            manifest: The manifest.
            domain: Reads the media.
            spool: A file to stream the rows to and memory-map, for manifests with image bytes that exceed
                memory. One that exists is taken as it is.
            cache_bytes: As for the class.
            decoded: As for the class; image bytes then stay in the manifest.

        Raises:
            TableError: The manifest has no rows.
        """
        wanted = (*(MEDIA_COLUMNS if decoded is None else MEDIA_COLUMNS[:1]), *OTHER_COLUMNS)
        columns = [name for name in wanted if name in manifest.columns]
        batches = manifest.batches(columns)
        first = next(batches, None)
        if first is None:
            raise TableError(
                f"{manifest} has no rows: nothing to train or evaluate on; is its `split` column right?"
            )
        if spool is None:
            rows = pa.Table.from_batches([first, *batches]).combine_chunks()
            return cls(rows, domain, cache_bytes=cache_bytes, decoded=decoded)
        if not Path(spool).exists():
            with write_atomically(spool) as sink, pa.ipc.new_file(sink, first.schema) as writer:
                writer.write_batch(first)
                for batch in batches:
                    writer.write_batch(batch)
        return cls(_mapped(Path(spool)), domain, cache_bytes=cache_bytes, spool=Path(spool))

    def __len__(self) -> int:
        rows: int = self.rows.num_rows
        return rows

    def __getstate__(self) -> dict[str, Any]:
        rows = None if self.spool else self.rows
        return {**self.__dict__, "rows": rows, "_cache": {}, "_cached_bytes": 0}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self.spool:
            self.rows = _mapped(self.spool)

    def labels(self, column: str, vocabulary: Vocabulary) -> np.ndarray:
        """Encode a label column by name, int64 (N,), -1 where it is null.

        Raises:
            TableError: There is no such column.
            LabelError: A name is not in the vocabulary.
        """
        if column not in self.rows.column_names:
            raise TableError(
                f"the manifest has no column {column!r}; it has {', '.join(self.rows.column_names)}"
            )
        return vocabulary.encode(self.rows[column].to_pylist())

    def join(self, sample_ids: pa.Array, labels: np.ndarray, *, subset: bool = False) -> np.ndarray:
        """Bring labels that belong to `sample_ids` into this table's order, int64 (N,).

        Args:
            sample_ids: string (M,), distinct.
            labels: int (M,).
            subset: Let samples without a label have -1.

        Raises:
            TableError: The two do not hold exactly the same samples; with `subset`, a label has no sample.
        """
        missing = pc.index_in(sample_ids, value_set=self.rows["sample_id"].combine_chunks()).null_count
        positions = pc.index_in(self.rows["sample_id"], value_set=sample_ids)
        if missing or (positions.null_count and not subset):
            raise TableError(
                f"the labels do not belong to this manifest: {positions.null_count} of its {len(self)} "
                f"samples have no label and {missing} of {len(sample_ids)} labels have no sample; run the "
                "teacher pass on this manifest"
            )
        padded = np.append(np.asarray(labels, dtype=np.int64), -1)
        joined: np.ndarray = padded[pc.fill_null(positions, len(labels)).to_numpy()]
        return joined

    def read(self, index: int) -> Tensor:
        """The decoded media of one row, uint8.

        Raises:
            MediaError: The media cannot be read.
        """
        cached = self._cache.get(index)
        if cached is not None:
            return cached
        row = self._row(index)
        if self.decoded is not None:
            return self.decoded.read(row)
        media = self.domain.read(row)
        if self._cached_bytes + media.nbytes <= self.cache_bytes:
            self._cache[index] = media
            self._cached_bytes += media.nbytes
        return media

    def failures(self, *, thorough: bool = False, among: Collection[str] | None = None) -> dict[str, str]:
        """`sample_id` → reason of the rows that cannot be read; several processes of one training share them.

        Args:
            thorough: Decode every sample to its end, and not only what `Domain.check` looks at.
            among: Look at these `sample_id`s only.
        """
        look = self.domain.read if thorough else self.domain.check
        ids = self.rows["sample_id"].to_pylist()
        wanted = [index for index, sample_id in enumerate(ids) if among is None or sample_id in among]
        share = Share.of_process()

        def reason(index: int) -> str | None:
            try:
                look(self._row(index))
            except MediaError as error:
                return error.reason
            return None

        ours = wanted[share.rank :: share.world_size]
        with ThreadPoolExecutor(CHECKING_THREADS) as pool:
            found = [(index, why) for index, why in zip(ours, pool.map(reason, ours), strict=True) if why]
        return {ids[index]: why for index, why in sorted(itertools.chain(*share.gather(found)))}

    def _row(self, index: int) -> dict[str, Any]:
        return {name: self.rows[name][index].as_py() for name in self.rows.column_names}


def _mapped(spool: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(spool))).read_all()


class LabeledDataset(Dataset[tuple[Tensor, Any]]):
    """The rows of a media table that have a target, as `(input, target)`.

    Args:
        media: The media.
        labels: int64 (N,), one for each row of the table, or other `Targets` of it; rows with -1, or without
            a target, are left out and counted in `dropped`.
        transform: From decoded media to an input.
        class_transforms: Class → its own transform, as for classes that must not be flipped; a sample of
            several classes has the first there is.
    """

    def __init__(
        self,
        media: MediaTable,
        labels: np.ndarray | Targets,
        transform: Callable[[Tensor], Tensor],
        class_transforms: Mapping[int, Callable[[Tensor], Tensor]] | None = None,
    ) -> None:
        if len(labels) != len(media):
            raise ConfigError(
                f"got {len(labels)} labels for {len(media)} samples; give one label for each sample"
            )
        self.media = media
        self.targets = labels if isinstance(labels, Targets) else HardTargets(labels)
        self.kept = self.targets.kept
        self.dropped = len(labels) - len(self.kept)
        self.transform = transform
        self.class_transforms = class_transforms or {}

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        row = int(self.kept[index])
        try:
            media = self.media.read(row)
        except MediaError as error:
            sample_id = self.media.rows["sample_id"][row].as_py()
            raise MediaError(
                f"sample {sample_id!r} cannot be read ({error.reason}); a teacher pass over the manifest "
                "lists all such samples: drop them from the manifest, or train on a relabeled table, which "
                "leaves them out. Run a study again with --leave_out_unreadable true: it decodes all target "
                "samples once and goes on without those that fail"
            ) from error
        transform = self.transform
        if self.class_transforms:
            own = (self.class_transforms.get(label) for label in self.targets.classes(row))
            transform = next(filter(None, own), transform)
        return transform(media), self.targets[row]


class LabelDataModule(L.LightningDataModule):
    """Loaders over labelled datasets; any of the three may be None.

    Args:
        train: Training samples, shuffled; the last incomplete batch of an epoch is left out.
        val: Validation samples.
        test: Test samples.
        batch_size: Samples a batch (per device).
        num_workers: Loader processes; 0 loads in the training process.
    """

    def __init__(
        self,
        train: LabeledDataset | None = None,
        *,
        val: LabeledDataset | None = None,
        test: LabeledDataset | None = None,
        batch_size: int = 128,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if train is not None and len(train) == 0:
            raise ConfigError(
                f"no sample is left to train on: all {train.dropped} were dropped by their label (-1)"
            )
        self.train, self.val, self.test = train, val, test
        self.batch_size = batch_size
        self.num_workers = num_workers

    @classmethod
    def from_tables(
        cls,
        manifest: Manifest,
        relabeled: str | Path,
        domain: Domain,
        transform: Callable[[Tensor], Tensor],
        predictions: Location | None = None,
        **options: Any,
    ) -> tuple[LabelDataModule, LabelSpace]:
        """Pre-training data: the `weak` split of a manifest with the targets of a relabeled table.

        Args:
            manifest: The manifest.
            relabeled: The relabeled table.
            domain: Reads the media.
            transform: From decoded media to an input.
            predictions: What was relabeled; soft targets need it.
            **options: As for the class.

        Returns:
            The data module, and the label space whose `heads` are the widths of the student's.
        """
        media = MediaTable.from_manifest(manifest.filter(split="weak"), domain)
        table = read_relabeled(relabeled)
        targets = join_targets(media, table, predictions)
        return cls(LabeledDataset(media, targets, transform), **options), table.space

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Any]]:
        """Shuffled batches of the training samples."""
        return self._loader(self.train, train=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Any]] | list[Any]:
        """The validation samples in order."""
        return [] if self.val is None else self._loader(self.val)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, Any]]:
        """The test samples in order."""
        return self._loader(self.test)

    def _loader(
        self, dataset: LabeledDataset | None, *, train: bool = False
    ) -> DataLoader[tuple[Tensor, Any]]:
        if dataset is None:
            raise ConfigError(
                "this data module was made without that split; give it as `train=`, `val=` or `test=`"
            )
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=train,
            # A last batch of one sample would break batch norm; shuffling leaves out others in the next
            # epoch. But a device that shares the samples with others must have one batch.
            drop_last=train and len(dataset) > (self.batch_size - 1) * Share.of_process().world_size,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
