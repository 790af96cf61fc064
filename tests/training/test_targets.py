from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

import sublabel as sl
from sublabel.errors import TableError
from sublabel.labels import HeadTargets
from sublabel.media import MediaTable
from sublabel.tables import read_relabeled, relabel_table, write_predictions
from sublabel.training import LabelDataModule, LabeledDataset, MediaInputs

WEAK = sl.Vocabulary(["cat", "dog", "eel"])
TEACHER = sl.Vocabulary(["cat", "dog", "fox", "gnu"])
SAMPLES = 60


class Numbers:
    """A reader whose media are the numbers in the ids."""

    columns = ("sample_id",)

    def read(self, row):
        return torch.tensor([int(row["sample_id"][1:])], dtype=torch.uint8)


def table_of(samples):
    return MediaTable(pa.table({"sample_id": [f"s{number}" for number in range(samples)]}), Numbers())


def unchanged(media):
    return media


@pytest.fixture(scope="module")
def media():
    return table_of(SAMPLES)


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    """In another order than the media, with samples that could not be read or have no weak label."""
    generator = np.random.default_rng(0)
    order = generator.permutation(SAMPLES)
    weak = [None if number % 13 == 5 else WEAK.names[number % 3] for number in order.tolist()]
    ids = np.stack([generator.permutation(4)[:3] for _ in order])
    probs = np.stack([np.sort(generator.dirichlet(np.full(4, 0.5)))[::-1][:3] for _ in order])
    ids[order % 9 == 0] = -1
    pairs = sl.Pairs(
        weak,
        (ids, probs),
        weak_vocabulary=WEAK,
        teacher_vocabulary=TEACHER,
        sample_ids=[f"s{number}" for number in order.tolist()],
    )
    path = tmp_path_factory.mktemp("targets") / "predictions.parquet"
    write_predictions(path, pairs)
    return path, {number: pairs[[place]] for place, number in enumerate(order.tolist())}


def relabeled(predictions, strategy):
    path, _ = predictions
    out = path.parent / f"{strategy.kind}.parquet"
    relabel_table(path, out, strategy)
    return read_relabeled(out)


def joined(media, table):
    return table.targets.take(media.positions_of(table.sample_ids))


def test_soft_targets_follow_their_sample(media, predictions):
    _, rows = predictions
    table = relabeled(predictions, sl.TopKSPL(k=2, of=sl.RawSPL(min_count=3, rare="drop")))
    targets = joined(media, table)
    assert len(targets) == SAMPLES
    used = []
    for number, pair in rows.items():
        expected = table.space.targets(pair).torch()[0].numpy()
        if not expected.any():
            continue
        used.append(number)
        soft = targets[number]
        found = torch.zeros(len(table.space)).scatter_add_(
            0, torch.from_numpy(soft.ids), torch.from_numpy(soft.weights)
        )
        assert np.allclose(found, expected, atol=1e-6)
        assert set(targets.classes(number)) == set(np.flatnonzero(expected).tolist())
    assert np.flatnonzero(targets.keep).tolist() == sorted(used)
    assert 20 < len(used) < SAMPLES


def test_two_heads_have_the_weak_and_the_teachers_label(media, predictions):
    _, rows = predictions
    targets = joined(media, relabeled(predictions, sl.TwoHead()))
    assert isinstance(targets, HeadTargets)
    hard = joined(media, relabeled(predictions, sl.RawSPL()))
    assert (hard.keep == targets.keep).all()
    for number in np.flatnonzero(targets.keep).tolist():
        pair = rows[number]
        assert targets[number].tolist() == [pair.weak[0], pair.teacher[0]]
        assert targets.classes(number) == [pair.weak[0], len(WEAK) + pair.teacher[0]]


def test_reasons_follow_their_sample(media, predictions):
    targets = joined(media, relabeled(predictions, sl.RawSPL()))
    for number in range(SAMPLES):
        expected = "no weak label" if number % 13 == 5 else "no prediction" if number % 9 == 0 else "kept"
        assert targets.reasons[number].startswith(expected)


@pytest.mark.parametrize("strategy", [sl.RawSPL(), sl.TopKSPL(k=2), sl.TwoHead()], ids=str)
def test_batches_hold_what_their_samples_do(media, predictions, strategy):
    targets = joined(media, relabeled(predictions, strategy))
    data = LabeledDataset(MediaInputs(media, unchanged), targets)
    assert len(data) + data.dropped == SAMPLES
    for numbers, batch in DataLoader(data, batch_size=16):
        for place, number in enumerate(numbers[:, 0].tolist()):
            mine = targets[number]
            if strategy.kind == "top_k_spl":
                assert batch.ids[place].tolist() == mine.ids.tolist()
                assert batch.weights[place].tolist() == mine.weights.tolist()
            else:
                assert torch.equal(batch[place], torch.as_tensor(mine))


def test_samples_may_be_a_subset(media, predictions):
    table = relabeled(predictions, sl.TopKSPL())
    with pytest.raises(TableError, match="10 of 60 labels have no sample"):
        joined(table_of(50), table)
    more = table_of(SAMPLES + 5)
    with pytest.raises(TableError, match="5 of its 65 samples have no label"):
        joined(more, table)
    targets = table.targets.take(more.positions_of(table.sample_ids, subset=True))
    assert np.array_equal(targets.keep[:SAMPLES], joined(media, table).keep)
    assert not targets.keep[SAMPLES:].any()


def test_a_relabeled_table_alone_is_enough_to_train_on(media, predictions):
    for strategy in (sl.RawSPL(), sl.TopKSPL(k=2), sl.TwoHead()):
        table = relabeled(predictions, strategy)
        data = LabelDataModule(
            LabeledDataset(MediaInputs(media, unchanged), joined(media, table)), batch_size=8
        )
        inputs, _ = next(iter(data.train_dataloader()))
        assert inputs.shape == (8, 1)
        assert data.train.targets.heads == table.space.heads
