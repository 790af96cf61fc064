"""Labelled media for training: inputs, inputs with targets, the data module, and who evaluates what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any

import lightning as L
import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from sublabel import distributed
from sublabel.errors import ConfigError, LabelError, MediaError
from sublabel.labels import HardTargets, SoftLabels, Targets
from sublabel.labels.targets import check_labels
from sublabel.media.table import MediaTable

Transform = Callable[[Tensor], Tensor]


class MediaInputs(Dataset[Tensor]):
    """The rows of a media table as inputs of a network.

    Args:
        media: The media.
        transform: From decoded media to an input.
        exceptions: bool (N,), rows that have another transform, such as those of classes that must not be
            flipped.
        exceptional_transform: The transform of those rows.
    """

    def __init__(
        self,
        media: MediaTable,
        transform: Transform,
        *,
        exceptions: np.ndarray | None = None,
        exceptional_transform: Transform | None = None,
    ) -> None:
        self.media = media
        self.transform = transform
        self.exceptions = exceptions
        self.exceptional_transform = exceptional_transform

    def __len__(self) -> int:
        return len(self.media)

    def __getitem__(self, row: int) -> Tensor:
        try:
            media = self.media.read(row)
        except MediaError as error:
            sample_id = self.media.rows["sample_id"][row].as_py()
            raise MediaError(
                f"sample {sample_id!r} cannot be read ({error.reason}): drop it from the manifest, or give "
                "it no target; a teacher pass over the manifest lists all such samples"
            ) from error
        is_exception = self.exceptions is not None and self.exceptions[row]
        transform = self.exceptional_transform if is_exception else self.transform
        return (transform or self.transform)(media)


def as_targets(targets: Targets | ArrayLike, num_classes: int | None = None) -> Targets:
    """Make targets of plain labels; targets stay as they are.

    Args:
        targets: As `LabelSpace.targets` gives them, or integer labels (N,), -1 where there is none.
        num_classes: K of plain labels; default: one class for each number up to the largest label.

    Raises:
        LabelError: The labels are no integers (N,), or one is outside -1..K-1.

    Example:
        >>> as_targets([2, -1, 0]).heads, as_targets([2, -1, 0], num_classes=5).heads
        ((3,), (5,))
    """
    if isinstance(targets, Targets):
        return targets
    labels = np.asanyarray(targets)
    if labels.ndim != 1:
        raise LabelError(
            f"the targets have shape {labels.shape}; expected one label for each sample, (N,): for several "
            "heads or distributions give what `LabelSpace.targets` returns"
        )
    width = int(labels.max(initial=-1)) + 1 if num_classes is None else num_classes
    return HardTargets(check_labels(labels, width), width)


class LabeledDataset(Dataset[tuple[Any, Any]]):
    """The inputs of a data set that have a target, as `(input, target)`.

    Args:
        inputs: A map-style data set of N inputs, or of tuples that begin with one.
        targets: As `as_targets` takes them; inputs without one are left out.

    Raises:
        ConfigError: There are more or fewer targets than inputs.
        LabelError: As `as_targets`.
    """

    def __init__(self, inputs: Any, targets: Targets | ArrayLike) -> None:
        targets = as_targets(targets)
        if len(targets) != len(inputs):
            raise ConfigError(
                f"got {len(targets)} targets for {len(inputs)} samples; expected one for each, in the order "
                "of the data set: join them on their sample ids first (`Targets.take` orders them)"
            )
        self.inputs = inputs
        self.targets = targets
        self.kept = np.flatnonzero(self.targets.keep)
        """int64 (M,), positions of the inputs that have a target."""

    @property
    def dropped(self) -> int:
        """How many inputs have no target."""
        return len(self.targets) - len(self.kept)

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = int(self.kept[index])
        item = self.inputs[row]
        return item[0] if isinstance(item, tuple | list) else item, self.targets[row]


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
    """Loaders over data sets of `(input, target)`; any of the three may be None.

    Args:
        train: Training samples, shuffled; the last incomplete batch of an epoch is left out.
        val: Validation samples.
        test: Test samples.
        batch_size: Samples a batch (per device).
        num_workers: Loader processes; 0 loads in the training process.
        heads: Widths of the model's heads, (K,) of one, as `Targets.heads`: a batch with a label that they
            have no class for is refused here, where a device would only say that an assertion failed.

    Raises:
        ConfigError: There is no training sample.
    """

    def __init__(
        self,
        train: Any = None,
        *,
        val: Any = None,
        test: Any = None,
        batch_size: int = 128,
        num_workers: int = 0,
        heads: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if train is not None and len(train) == 0:
            dropped = getattr(train, "dropped", 0)
            raise ConfigError(f"no sample is left to train on: {dropped} were dropped, having no target (-1)")
        self.train, self.val, self.test = train, val, test
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.heads = None if heads is None else tuple(heads)

    def train_dataloader(self) -> DataLoader[Any]:
        """Shuffled batches of the training samples."""
        return self._loader(self.train, train=True)

    def val_dataloader(self) -> DataLoader[Any] | list[Any]:
        """The validation samples in order, each on one device."""
        return [] if self.val is None else self._loader(self.val)

    def test_dataloader(self) -> DataLoader[Any]:
        """The test samples in order, each on one device."""
        return self._loader(self.test)

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Refuse labels outside the heads.

        Raises:
            LabelError: There is one.
        """
        if self.heads is not None:
            targets = batch[1]
            _refuse_outside(targets.ids if isinstance(targets, SoftLabels) else targets, self.heads)
        return batch

    def _loader(self, dataset: Any, *, train: bool = False) -> DataLoader[Any]:
        if dataset is None:
            raise ConfigError(
                "this data module was made without that split; give it as `train=`, `val=` or `test=`"
            )
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=train,
            sampler=None if train else EvaluationSampler(dataset),
            # Of its own, so that an evaluation draws nothing from what the training goes on with.
            generator=None if train else torch.Generator(),
            # A last batch of one sample would break batch norm; shuffling leaves out others in the next
            # epoch. But a device that shares the samples with others must have one batch.
            drop_last=train and len(dataset) > (self.batch_size - 1) * distributed.world_size(),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )


def _refuse_outside(labels: Tensor, heads: tuple[int, ...]) -> None:
    # Of H heads, (B, H), each column has its own width; of one, (B,) or soft (B, k), all have the same.
    widths = torch.tensor(heads if len(heads) > 1 else heads[0])
    outside = labels[(labels < -1) | (labels >= widths)]
    if len(outside):
        raise LabelError(
            f"a batch has the label {int(outside[0])}, and there are {' + '.join(map(str, heads))} classes, "
            "counted from 0 (-1: not used): are all classes listed?"
        )
