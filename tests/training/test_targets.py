from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

import sublabel as sl
from sublabel.errors import ConfigError, LabelError, TableError
from sublabel.media import MediaTable
from sublabel.tables import (
    PREDICTIONS_SCHEMA,
    PredictionsMetadata,
    TableWriter,
    read_relabeled,
    relabel_table,
)
from sublabel.training import (
    HardTargets,
    HeadTargets,
    LabeledDataset,
    SoftTargets,
    join_targets,
    read_soft_targets,
)

WEAK = sl.Vocabulary(["cat", "dog", "eel"])
TEACHER = sl.Vocabulary(["cat", "dog", "fox", "gnu"])
SAMPLES = 60


class Numbers:
    """A domain whose media are the numbers in the ids."""

    def read(self, row):
        return torch.tensor([int(row["sample_id"][1:])], dtype=torch.uint8)


@pytest.fixture(scope="module")
def media():
    ids = [f"s{number}" for number in range(SAMPLES)]
    return MediaTable(pa.table({"sample_id": ids}), Numbers())


@pytest.fixture(scope="module")
def predictions(tmp_path_factory):
    """In another order than the media, with samples that could not be read or have no weak label."""
    generator = np.random.default_rng(0)
    rows = []
    for number in generator.permutation(SAMPLES).tolist():
        probs = np.sort(generator.dirichlet(np.full(4, 0.5)))[::-1][:3]
        ok = number % 9 != 0
        rows.append(
            {
                "sample_id": f"s{number}",
                "weak_label": None if number % 13 == 5 else WEAK.names[number % 3],
                "top_ids": generator.permutation(4)[:3].tolist() if ok else None,
                "top_probs": probs.tolist() if ok else None,
                "status": "ok" if ok else "unreadable",
            }
        )
    path = tmp_path_factory.mktemp("targets") / "predictions.parquet"
    metadata = PredictionsMetadata(WEAK, TEACHER, "teacher").to_strings()
    with TableWriter(path, PREDICTIONS_SCHEMA, metadata) as writer:
        for part in (rows[:25], rows[25:]):
            writer.write(pa.Table.from_pylist(part, schema=PREDICTIONS_SCHEMA))
    return path, {int(row["sample_id"][1:]): row for row in rows}


def relabeled(predictions, strategy):
    path, _ = predictions
    out = path.parent / f"{strategy.kind}.parquet"
    relabel_table(path, out, strategy)
    return read_relabeled(out)


def test_soft_targets_follow_their_sample(media, predictions):
    path, rows = predictions
    table = relabeled(predictions, sl.TopKSPL(k=2, of=sl.RawSPL(min_count=3, rare="drop")))
    targets = join_targets(media, table, path)
    assert isinstance(targets, SoftTargets)
    assert len(targets) == SAMPLES
    used = []
    for number, row in rows.items():
        if row["weak_label"] is None or row["top_ids"] is None:
            continue
        weak = WEAK.encode([row["weak_label"]])
        expected = table.space.soft_targets(weak, [row["top_ids"]], [row["top_probs"]]).toarray()[0]
        if not expected.any():
            continue
        used.append(number)
        soft = targets[number]
        found = torch.zeros(len(table.space)).scatter_add_(0, soft.ids, soft.weights)
        assert np.allclose(found, expected, atol=1e-6)
        assert set(targets.classes(number)) == set(np.flatnonzero(expected).tolist())
    assert targets.kept.tolist() == sorted(used)
    assert 20 < len(used) < SAMPLES


def test_two_heads_have_the_weak_and_the_teachers_label(media, predictions):
    _, rows = predictions
    table = relabeled(predictions, sl.TwoHead())
    targets = join_targets(media, table)
    assert isinstance(targets, HeadTargets)
    for number in targets.kept.tolist():
        row = rows[number]
        assert targets[number].tolist() == [WEAK.index(row["weak_label"]), row["top_ids"][0]]
    hard = join_targets(media, relabeled(predictions, sl.RawSPL()))
    assert type(hard) is HardTargets
    assert hard.kept.tolist() == targets.kept.tolist()
    assert [targets.classes(number) for number in targets.kept] == [
        (hard[row],) for row in hard.kept.tolist()
    ]


@pytest.mark.parametrize("strategy", [sl.RawSPL(), sl.TopKSPL(k=2), sl.TwoHead()], ids=str)
def test_batches_hold_what_their_samples_do(media, predictions, strategy):
    table = relabeled(predictions, strategy)
    targets = join_targets(media, table, predictions[0])
    data = LabeledDataset(media, targets, lambda media: media)
    assert len(data) + data.dropped == SAMPLES
    for numbers, batch in DataLoader(data, batch_size=16):
        for place, number in enumerate(numbers[:, 0].tolist()):
            mine = targets[number]
            if strategy.kind == "top_k_spl":
                assert torch.equal(batch.ids[place], mine.ids)
                assert torch.equal(batch.weights[place], mine.weights)
            else:
                assert torch.equal(batch[place], torch.as_tensor(mine))


def test_a_sample_has_the_transform_of_any_of_its_classes(media, predictions):
    table = relabeled(predictions, sl.TopKSPL(k=2))
    targets = join_targets(media, table, predictions[0])
    special = targets.classes(int(targets.kept[0]))[1]
    data = LabeledDataset(media, targets, lambda _: 0, {special: lambda _: 1})
    expected = [int(special in targets.classes(row)) for row in targets.kept.tolist()]
    assert [data[index][0] for index in range(len(data))] == expected
    assert 0 < sum(expected) < len(expected)


def test_samples_may_be_a_subset(media, predictions):
    path, _ = predictions
    table = relabeled(predictions, sl.TopKSPL())
    fewer = MediaTable(media.rows.slice(0, 50), Numbers())
    with pytest.raises(TableError, match="10 of 60 labels have no sample"):
        join_targets(fewer, table, path)
    more = MediaTable(pa.table({"sample_id": [f"s{number}" for number in range(SAMPLES + 5)]}), Numbers())
    with pytest.raises(TableError, match="5 of its 65 samples have no label"):
        join_targets(more, table, path)
    targets = join_targets(more, table, path, subset=True)
    assert targets.kept.tolist() == join_targets(media, table, path).kept.tolist()


def test_soft_targets_need_predictions_of_the_same_vocabularies(media, predictions):
    with pytest.raises(ConfigError, match="top_k_spl trains on soft targets.*give the predictions"):
        join_targets(media, relabeled(predictions, sl.TopKSPL()))
    table = relabeled(predictions, sl.TopKSPL())
    other = table._replace(sample_ids=table.sample_ids.slice(1))
    with pytest.raises(TableError, match="holds 60 samples.* not those of the relabeled table .59"):
        join_targets(media, other, predictions[0])
    with pytest.raises(LabelError, match="this label space is over the weak vocabulary"):
        read_soft_targets(predictions[0], sl.relabel([0], [0], weak_vocabulary=3).space)
