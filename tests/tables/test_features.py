"""What a network saw in each sample, beside its predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sublabel as sl
from sublabel.errors import LabelError, TableError
from sublabel.labels import Labels
from sublabel.labels.cell_space import CellSpace
from sublabel.tables import (
    iter_pairs,
    predictions_schema,
    relabel_table,
    select_predictions,
    write_predictions,
)

SAMPLES, WIDTH = 300, 5


@pytest.fixture
def pairs():
    generator = np.random.default_rng(0)
    teacher = generator.integers(-1, 3, SAMPLES)
    features = generator.normal(size=(SAMPLES, WIDTH)).astype(np.float32)
    features[teacher < 0] = np.nan
    return sl.Pairs(
        generator.integers(0, 2, SAMPLES),
        teacher,
        weak_vocabulary=["baking", "abseiling"],
        teacher_vocabulary=["abseiling", "baking", "whisking"],
        sample_ids=[f"s{index}" for index in range(SAMPLES)],
        features=features,
    )


@pytest.fixture
def table(pairs, tmp_path):
    write_predictions(tmp_path / "p" / "part-00000.parquet", pairs[:100])
    write_predictions(tmp_path / "p" / "part-00001.parquet", pairs[100:])
    return tmp_path / "p"


def test_features_come_back_as_halves_keep_them_and_missing_rows_as_nan(pairs, table):
    chunks = list(iter_pairs(table, batch_size=64, needs={"features"}))
    found = np.concatenate([chunk.features for chunk in chunks])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, pairs.features.astype(np.float16).astype(np.float32))
    assert next(iter_pairs(table)).features is None
    stored = pq.read_table(table, columns=["features", "status"])
    assert stored["features"].null_count == np.isnan(pairs.features[:, 0]).sum()
    assert pq.read_schema(table / "part-00000.parquet").equals(predictions_schema(WIDTH))


def test_some_of_the_pairs_keep_their_own_features(pairs):
    order = np.random.default_rng(1).permutation(SAMPLES)
    np.testing.assert_array_equal(pairs[order].features, pairs.features[order])
    np.testing.assert_array_equal(pairs[5:9].need_features(), pairs.features[5:9])
    assert not pairs.features.flags.writeable


def test_a_selection_keeps_features(pairs, table, tmp_path):
    chosen = pa.array(["s7", "s250"])
    assert select_predictions(table, tmp_path / "chosen.parquet", chosen) == 2
    chunks = iter_pairs(tmp_path / "chosen.parquet", needs={"features"})
    found = np.concatenate([chunk.features for chunk in chunks])
    expected = pairs.features[[7, 250]].astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(found, expected)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SidedSpace(CellSpace):
    """The cells of the samples whose first feature is positive."""

    kind: ClassVar[str] = "sided"
    needs = frozenset({"features"})

    @property
    def num_features(self):
        return WIDTH

    def assign(self, pairs):
        labels = self.look_up(pairs.weak, pairs.teacher)
        labels[~(pairs.need_features()[:, 0] > 0)] = -1
        return Labels.of(labels, pairs.weak, pairs.teacher)


class Sided(sl.RawSPL):
    def fit(self, confusion, alignment=None):
        return SidedSpace.refining(super().fit(confusion, alignment), strategy=self.to_dict())


def test_a_strategy_may_look_at_features_in_a_table_as_in_memory(pairs, table, tmp_path):
    relabel_table(table, tmp_path / "r.parquet", Sided())
    found = pq.read_table(tmp_path / "r.parquet")["pretrain_label"].to_numpy()
    np.testing.assert_array_equal(found, sl.relabel(pairs, Sided()).labels)
    raw = sl.relabel(pairs).labels
    np.testing.assert_array_equal(found, np.where(pairs.features[:, 0] > 0, raw, -1))


def test_a_table_without_features_says_so(pairs, tmp_path):
    bare = sl.Pairs(
        pairs.weak, pairs.teacher, weak_vocabulary=pairs.weak_vocabulary,
        teacher_vocabulary=pairs.teacher_vocabulary, sample_ids=pairs.sample_ids,
    )  # fmt: skip
    write_predictions(tmp_path / "p.parquet", bare)
    with pytest.raises(TableError, match="no column features, the teacher's features, which the strategy"):
        relabel_table(tmp_path / "p.parquet", tmp_path / "r.parquet", Sided())
    with pytest.raises(TableError, match="no column features"):
        next(iter_pairs(tmp_path / "p.parquet", needs={"features"}))
    with pytest.raises(LabelError, match="this needs features, and these 300 pairs have none"):
        bare.need_features()


@pytest.mark.parametrize("features", [np.zeros(300), np.zeros((299, 2)), [["a"]] * 300, [[1.0], [2.0, 3.0]]])
def test_what_are_no_features_is_refused(features):
    with pytest.raises(LabelError, match="features (have shape|are no array)"):
        sl.Pairs([0] * 300, [0] * 300, features=features)


def test_features_of_changing_length_are_refused(tmp_path, pairs):
    write_predictions(tmp_path / "p.parquet", pairs)
    stored = pq.read_table(tmp_path / "p.parquet")
    lists = pa.array(stored["features"].to_pylist(), pa.list_(pa.float32()))
    place = stored.column_names.index("features")
    pq.write_table(stored.set_column(place, "features", lists), tmp_path / "p.parquet")
    with pytest.raises(TableError, match="the column 'features' is list.*lists of one length"):
        next(iter_pairs(tmp_path / "p.parquet", needs={"features"}))
