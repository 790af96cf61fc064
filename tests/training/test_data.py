from __future__ import annotations

import lightning as L
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import sublabel as sl
from sublabel import distributed
from sublabel.errors import ConfigError, LabelError, MediaError, TableError
from sublabel.labels import HardTargets, SoftLabels
from sublabel.media import MediaTable
from sublabel.tables import (
    PREDICTIONS_SCHEMA,
    PredictionsMetadata,
    TableWriter,
    open_manifest,
    relabel_table,
)
from sublabel.training import EvaluationSampler, LabelDataModule, LabeledDataset, MediaInputs, as_targets
from tests.media.numbers import Numbers

WEAK = sl.Vocabulary(["cat", "dog", "eel"])
TEACHER = sl.Vocabulary(["cat", "dog", "fox", "gnu"])
SAMPLES = 60


def media(rows, broken=()):
    table = pa.table({"sample_id": [str(number) for number in range(rows)]})
    return MediaTable(table, Numbers(broken))


def number_of(clip):
    return clip[:1, :1]


def numbers(rows, targets):
    return LabeledDataset(MediaInputs(media(rows), number_of), targets)


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("samples", [1, 7, 8, 15, 16, 22, 23, 64])
def test_a_device_whose_share_is_less_than_a_batch_has_one_all_the_same(monkeypatch, samples, devices):
    monkeypatch.setattr(distributed, "world_size", lambda: devices)
    dataset = numbers(samples, np.zeros(samples, np.int64))
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
        dataset = numbers(samples, np.arange(samples))
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
    dataset = numbers(7, np.arange(7))
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy="ddp_fork", logger=False, enable_progress_bar=False
    )
    trainer.test(Recording(tmp_path), datamodule=LabelDataModule(test=dataset, batch_size=2), verbose=False)
    tested = {path.name[0]: [] for path in tmp_path.iterdir()}
    for path in sorted(tmp_path.iterdir()):
        tested[path.name[0]] += map(int, path.read_text().split())
    assert tested == {"0": [0, 2, 4, 6], "1": [1, 3, 5]}


def test_samples_without_a_target_are_left_out_and_counted():
    data = numbers(6, np.array([3, -1, 0, -1, -1, 2]))
    assert (len(data), data.dropped) == (3, 3)
    assert [(int(number), label) for number, label in data] == [(0, 3), (2, 0), (5, 2)]


def test_the_label_of_a_data_set_gives_way_to_its_target():
    inputs = torch.arange(4.0)
    both = TensorDataset(inputs, torch.full((4,), 7))
    assert list(LabeledDataset(both, [1, -1, 0, 1])) == [(inputs[0], 1), (inputs[2], 0), (inputs[3], 1)]
    assert list(LabeledDataset(inputs, [1, -1, -1, -1])) == [(inputs[0], 1)]


def test_targets_of_other_samples_are_refused():
    with pytest.raises(ConfigError, match="got 5 targets for 6 samples; expected one for each"):
        numbers(6, np.zeros(5, np.int64))


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


def test_some_samples_have_a_transform_of_their_own():
    inputs = MediaInputs(
        media(5),
        number_of,
        exceptions=np.array([False, True, False, False, True]),
        exceptional_transform=lambda clip: number_of(clip) + 100,
    )
    assert [int(entry) for entry in inputs] == [0, 101, 2, 3, 104]


def test_media_that_cannot_be_read_name_their_sample():
    data = LabeledDataset(MediaInputs(media(3, broken={1}), number_of), [0, 0, 0])
    with pytest.raises(MediaError, match="sample '1' cannot be read .*broken.*give it no target"):
        data[1]


def test_a_loader_of_a_split_that_was_not_given_says_so():
    with pytest.raises(ConfigError, match="made without that split"):
        LabelDataModule(numbers(3, [0, 0, 0])).test_dataloader()
    with pytest.raises(ConfigError, match="no sample is left to train on: 3 were dropped"):
        LabelDataModule(numbers(3, [-1, -1, -1]))


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    """In another order than the manifest, with samples that could not be read or have no weak label."""
    generator = np.random.default_rng(0)
    rows = []
    for number in generator.permutation(SAMPLES).tolist():
        probs = np.sort(generator.dirichlet(np.full(4, 0.5)))[::-1][:3]
        ok = number % 9 != 0
        rows.append(
            {
                "sample_id": str(number),
                "weak_label": None if number % 13 == 5 else WEAK.names[number % 3],
                "top_ids": generator.permutation(4)[:3].tolist() if ok else None,
                "top_probs": probs.tolist() if ok else None,
                "status": "ok" if ok else "unreadable",
            }
        )
    folder = tmp_path_factory.mktemp("targets")
    metadata = PredictionsMetadata(WEAK, TEACHER, "teacher").to_strings()
    with TableWriter(folder / "predictions.parquet", PREDICTIONS_SCHEMA, metadata) as writer:
        for part in (rows[:25], rows[25:]):
            writer.write(pa.Table.from_pylist(part, schema=PREDICTIONS_SCHEMA))
    listed = pa.table({"sample_id": [str(number) for number in range(SAMPLES)], "split": ["weak"] * SAMPLES})
    pq.write_table(listed, folder / "manifest.parquet")
    return folder, {int(row["sample_id"]): row for row in rows}


FREQUENT = sl.RawSPL(min_count=3, rare="drop")
STRATEGIES = [FREQUENT, sl.TopKSPL(k=2, of=FREQUENT), sl.TwoHead()]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.kind)
def test_targets_of_a_table_follow_their_sample_into_batches(strategy, predictions, tmp_path):
    folder, rows = predictions
    relabel_table(folder / "predictions.parquet", tmp_path / "labels.parquet", strategy)
    manifest = open_manifest(folder / "manifest.parquet")
    data, space = LabelDataModule.from_tables(
        manifest, tmp_path / "labels.parquet", Numbers(), number_of, batch_size=16
    )
    seen = {}
    for numbers_, batch in DataLoader(data.train, batch_size=16):
        for place, number in enumerate(numbers_.flatten().tolist()):
            seen[number] = [part[place] for part in batch] if isinstance(batch, SoftLabels) else batch[place]
    for number, row in rows.items():
        alone = sl.Pairs(
            [row["weak_label"]],
            ([row["top_ids"] or [-1]], [row["top_probs"] or [0.0]]),
            weak_vocabulary=WEAK,
            teacher_vocabulary=TEACHER,
        )
        expected = space.targets(alone)
        assert expected.keep[0] == (number in seen)
        if number not in seen:
            continue
        if strategy.kind == "top_k_spl":
            ids, weights = seen[number]
            found = torch.zeros(len(space)).scatter_add_(0, ids, weights)
            assert torch.allclose(found, expected.torch()[0], atol=1e-6)
        else:
            assert torch.equal(torch.as_tensor(seen[number]), expected.torch()[0])
    assert 20 < len(seen) < SAMPLES


def test_a_table_of_other_samples_is_refused(predictions, tmp_path):
    folder, _ = predictions
    relabel_table(folder / "predictions.parquet", tmp_path / "labels.parquet", sl.RawSPL())
    fewer = pq.read_table(folder / "manifest.parquet").slice(0, 50)
    pq.write_table(fewer, tmp_path / "fewer.parquet")
    with pytest.raises(TableError, match="10 of 60 labels have no sample"):
        LabelDataModule.from_tables(
            open_manifest(tmp_path / "fewer.parquet"), tmp_path / "labels.parquet", Numbers(), number_of
        )
