"""Labelled media for training: a data set of media and targets, the data module, and who evaluates what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sized
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from sublabel import distributed
from sublabel.errors import ConfigError, MediaError
from sublabel.labels import LabelSpace
from sublabel.media.reader import Reader
from sublabel.media.table import MediaTable
from sublabel.tables import Manifest, read_relabeled
from sublabel.tables.io import Location
from sublabel.training.targets import HardTargets, Targets, join_targets


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


class EvaluationSampler(DistributedSampler[Any]):
    """Each device's own samples of an evaluation, in order, every sample on one device and once.

    Lightning's own sampler fills up the shares until all are equal, and so would count some samples twice.
    Lightning leaves this one as it is because it is a `DistributedSampler`.

    Args:
        dataset: What is evaluated.
    """

    def __init__(self, dataset: Sized) -> None:
        super().__init__(
            dataset,  # type: ignore[arg-type]
            num_replicas=distributed.world_size(),
            rank=distributed.rank(),
            shuffle=False,
        )
        self.positions = distributed.share_of(range(len(dataset)))

    def __iter__(self) -> Iterator[int]:
        return iter(self.positions)

    def __len__(self) -> int:
        return len(self.positions)


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
        reader: Reader,
        transform: Callable[[Tensor], Tensor],
        predictions: Location | None = None,
        **options: Any,
    ) -> tuple[LabelDataModule, LabelSpace]:
        """Pre-training data: the `weak` split of a manifest with the targets of a relabeled table.

        Args:
            manifest: The manifest.
            relabeled: The relabeled table.
            reader: Reads the media, as a domain does.
            transform: From decoded media to an input.
            predictions: What was relabeled; soft targets need it.
            **options: As for the class.

        Returns:
            The data module, and the label space whose `heads` are the widths of the student's.
        """
        media = MediaTable.from_manifest(manifest.filter(split="weak"), reader)
        table = read_relabeled(relabeled)
        targets = join_targets(media, table, predictions)
        return cls(LabeledDataset(media, targets, transform), **options), table.space

    def train_dataloader(self) -> DataLoader[tuple[Tensor, Any]]:
        """Shuffled batches of the training samples."""
        return self._loader(self.train, train=True)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, Any]] | list[Any]:
        """The validation samples in order, each on one device."""
        return [] if self.val is None else self._loader(self.val)

    def test_dataloader(self) -> DataLoader[tuple[Tensor, Any]]:
        """The test samples in order, each on one device."""
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
            sampler=None if train else EvaluationSampler(dataset),
            # A last batch of one sample would break batch norm; shuffling leaves out others in the next
            # epoch. But a device that shares the samples with others must have one batch.
            drop_last=train and len(dataset) > (self.batch_size - 1) * distributed.world_size(),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
