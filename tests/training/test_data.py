from __future__ import annotations

import lightning as L
import numpy as np
import pyarrow as pa
import pytest
import torch

import sublabel as sl
from sublabel import distributed
from sublabel.errors import ConfigError, LabelError, MediaError
from sublabel.labels import HardTargets, SoftLabels
from sublabel.media import MediaTable
from sublabel.training import EvaluationSampler, LabelDataModule, LabeledDataset, MediaInputs, as_targets
from tests.media.numbers import Numbers


def media(rows, broken=()):
    table = pa.table({"sample_id": [str(number) for number in range(rows)]})
    return MediaTable(table, Numbers(broken))


def first_rows(clip):
    return clip[:1]


def inputs(rows):
    return MediaInputs(media(rows), first_rows)


def test_a_sample_that_cannot_be_read_is_named():
    dataset = LabeledDataset(MediaInputs(media(3, broken={1}), first_rows), np.array([0, 1, -1]))
    assert len(dataset) == 2
    dataset[0]
    with pytest.raises(MediaError, match="sample '1' cannot be read .*: drop it from the manifest"):
        dataset[1]


def test_rows_that_are_exceptions_have_a_transform_of_their_own():
    chosen = np.array([False, True, False])
    dataset = MediaInputs(media(3), lambda _: 0, exceptions=chosen, exceptional_transform=lambda _: 1)
    assert [dataset[row] for row in range(3)] == [0, 1, 0]


def test_an_input_may_come_in_a_tuple():
    dataset = LabeledDataset([(10, "a"), (20, "b"), 30], np.array([1, -1, 0]))
    assert [dataset[index] for index in range(len(dataset))] == [(10, 1), (30, 0)]
    assert dataset.dropped == 1
    with pytest.raises(ConfigError, match="got 2 targets for 3 samples"):
        LabeledDataset([1, 2, 3], np.array([0, 1]))


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("samples", [1, 7, 8, 15, 16, 22, 23, 64])
def test_a_device_whose_share_is_less_than_a_batch_has_one_all_the_same(monkeypatch, samples, devices):
    monkeypatch.setattr(distributed, "world_size", lambda: devices)
    dataset = LabeledDataset(inputs(samples), np.zeros(samples, np.int64))
    loader = LabelDataModule(dataset, batch_size=8).train_dataloader()
    share = -(-samples // devices)
    assert loader.drop_last == (share >= 8)
    sampler = torch.utils.data.DistributedSampler(dataset, num_replicas=devices, rank=0)
    batches = torch.utils.data.BatchSampler(sampler, 8, drop_last=loader.drop_last)
    assert len(list(batches)) == max(1, share // 8)


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("samples", [0, 1, 7, 8, 23])
def test_each_sample_is_evaluated_on_one_device_and_once(monkeypatch, samples, devices):
    monkeypatch.setattr(distributed, "world_size", lambda: devices)
    shares = []
    for rank in range(devices):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        dataset = LabeledDataset(inputs(samples), np.arange(samples))
        for loader in (
            LabelDataModule(test=dataset, batch_size=4).test_dataloader(),
            LabelDataModule(val=dataset, batch_size=4).val_dataloader(),
        ):
            assert isinstance(loader.sampler, EvaluationSampler)
            share = list(loader.sampler)
            assert len(loader.sampler) == len(share)
            assert share == sorted(share)
        shares.append(share)
    assert sorted(position for share in shares for position in share) == list(range(samples))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


class Recording(L.LightningModule):
    """Writes the labels that each process tests."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def test_step(self, batch, index):
        path = self.folder / f"{self.global_rank}-{index}.txt"
        path.write_text(" ".join(map(str, batch[1].tolist())))


@pytest.mark.slow
def test_lightning_tests_each_sample_once_on_several_devices(tmp_path):
    dataset = LabeledDataset(inputs(7), np.arange(7))
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy="ddp_fork", logger=False, enable_progress_bar=False
    )
    trainer.test(Recording(tmp_path), datamodule=LabelDataModule(test=dataset, batch_size=2), verbose=False)
    tested = {path.name[0]: [] for path in tmp_path.iterdir()}
    for path in sorted(tmp_path.iterdir()):
        tested[path.name[0]] += map(int, path.read_text().split())
    assert tested == {"0": [0, 2, 4, 6], "1": [1, 3, 5]}


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([0.0, 1.0], "have dtype float64; expected integers"),
        ([[0, 1], [1, 0]], r"have shape \(2, 2\); expected one label for each sample"),
        ([0, -100], "are outside this label space of 1 classes"),
    ],
)
def test_what_are_no_labels_are_no_targets(targets, message):
    with pytest.raises(LabelError, match=message):
        as_targets(targets)


def test_plain_labels_are_of_as_many_classes_as_is_said():
    assert as_targets(torch.tensor([0, 2])).heads == (3,)
    assert as_targets([0, 2], num_classes=5).heads == (5,)
    with pytest.raises(LabelError, match="outside this label space of 2 classes"):
        as_targets([0, 2], num_classes=2)
    targets = HardTargets(np.array([0]), 4)
    assert as_targets(targets) is targets


def test_labels_of_a_space_keep_their_reasons_as_targets():
    labels = sl.relabel(sl.Pairs(["cat", None], ["cat", "cat"])).labels
    assert as_targets(labels).reasons.tolist() == ["kept", "no weak label"]


def test_a_split_that_is_not_there_or_empty_is_refused():
    with pytest.raises(ConfigError, match="made without that split"):
        LabelDataModule(LabeledDataset(inputs(3), [0, 0, 0])).test_dataloader()
    with pytest.raises(ConfigError, match="no sample is left to train on: 3 were dropped"):
        LabelDataModule(LabeledDataset(inputs(3), [-1, -1, -1]))


@pytest.mark.parametrize(
    ("heads", "targets", "label"),
    [
        ((5,), torch.tensor([0, 5]), 5),
        ((5,), torch.tensor([0, -2]), -2),
        ((2, 3), torch.tensor([[1, 2], [2, 0]]), 2),
        ((5,), SoftLabels(torch.tensor([[0, 7]]), torch.tensor([[0.5, 0.5]])), 7),
    ],
)
def test_a_label_outside_the_heads_is_named_before_a_device_sees_it(heads, targets, label):
    batch = (torch.zeros(2, 3), targets)
    with pytest.raises(LabelError, match=f"a batch has the label {label}, and there are .* classes"):
        LabelDataModule(heads=heads).on_before_batch_transfer(batch, 0)
    assert LabelDataModule().on_before_batch_transfer(batch, 0) is batch


@pytest.mark.parametrize(
    ("heads", "targets"),
    [
        ((5,), torch.tensor([0, 4, -1])),
        ((2, 3), torch.tensor([[1, 2], [-1, -1]])),
        ((5,), SoftLabels(torch.tensor([[0, 4]]), torch.tensor([[0.5, 0.5]]))),
    ],
)
def test_labels_of_the_heads_and_samples_without_one_pass(heads, targets):
    batch = (torch.zeros(2, 3), targets)
    assert LabelDataModule(heads=heads).on_before_batch_transfer(batch, 0) is batch
