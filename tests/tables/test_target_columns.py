from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from sublabel.labels import ConfidentSPL, LabelSpace, Ragged
from sublabel.tables import (
    RELABELED_SCHEMA,
    count_table,
    read_metadata,
    read_relabeled,
    relabel_table,
    write_predictions,
)
from sublabel.tables._target_columns import from_arrow, target_fields, to_arrow
from tests.tables.records import pairs_of, records, statuses_of, write


class FrequentAgreement(sl.Strategy):
    """One cell at a time: agreed samples, and those of large cells."""

    min_count: int = 2

    def class_of(self, cell):
        if cell.count < self.min_count:
            return None
        return cell.weak if cell.agreed else f"{cell.weak} seen as {cell.teacher}"


class RawWithName(sl.RawSPL):
    """A strategy of ours with one more option."""

    note: str = ""


class AnnouncedElsewhere(sl.Strategy):
    """A class that says a kind of its own, but is in no entry point."""

    kind: ClassVar[str] = "announced_elsewhere"

    def class_of(self, cell):
        return cell.teacher


@pytest.fixture(scope="module")
def table():
    return records(600, seed=1)


@pytest.fixture
def predictions(table, tmp_path):
    return write(tmp_path / "in" / "p.parquet", table, 64)


@pytest.mark.parametrize(
    ("strategy", "kinds"),
    [
        (sl.RawSPL(), {"pretrain_label": pa.int64()}),
        (ConfidentSPL(), {"pretrain_label": pa.int64()}),
        (sl.TwoHead(), {"pretrain_label": pa.list_(pa.int64(), 2)}),
        (
            sl.TopKSPL(k=2),
            {"pretrain_label": pa.list_(pa.int64()), "pretrain_weight": pa.list_(pa.float32())},
        ),
    ],
    ids=lambda entry: getattr(entry, "kind", ""),
)
def test_the_columns_are_what_a_loss_takes(strategy, kinds, predictions, tmp_path):
    relabel_table(predictions, tmp_path / "r.parquet", strategy)
    schema = pq.read_schema(tmp_path / "r.parquet")
    assert schema.names == ["sample_id", *kinds, "status"]
    assert {name: schema.field(name).type for name in kinds} == kinds
    assert schema.field("status").type == RELABELED_SCHEMA.field("status").type
    assert read_metadata(tmp_path / "r.parquet")["teacher_fingerprint"] == "f00d"


def test_one_label_a_sample_is_the_schema_that_is_announced(predictions, tmp_path):
    relabel_table(predictions, tmp_path / "r.parquet", sl.RawSPL())
    assert pq.read_schema(tmp_path / "r.parquet").equals(RELABELED_SCHEMA)


def test_soft_targets_come_back_as_the_distributions_that_they_were(table, predictions, tmp_path):
    strategy = sl.TopKSPL(of=sl.RawSPL(min_count=40, rare="drop"), k=3)
    relabel_table(predictions, tmp_path / "r.parquet", strategy)
    found = read_relabeled(tmp_path / "r.parquet")
    expected = sl.relabel(pairs_of(table), strategy).targets
    assert (found.targets.torch() == expected.torch()).all()
    assert found.targets.torch().sum(1).numpy()[found.targets.keep] == pytest.approx(1)
    columns = pq.read_table(tmp_path / "r.parquet")
    lengths = np.array([len(row) for row in columns["pretrain_label"].to_pylist()])
    assert ((lengths > 0) == found.targets.keep).all()
    assert columns["status"].to_pylist() == statuses_of(table, lengths > 0)


def test_the_labels_of_two_heads_come_back(table, predictions, tmp_path):
    relabel_table(predictions, tmp_path / "r.parquet", sl.TwoHead())
    found, pairs = read_relabeled(tmp_path / "r.parquet"), pairs_of(table)
    both = (pairs.weak >= 0) & (pairs.teacher >= 0)
    expected = np.where(both[:, None], np.stack([pairs.weak, pairs.teacher], axis=1), -1)
    assert (found.targets.labels == expected).all()
    assert found.space.heads == (3, 3)


@pytest.mark.parametrize(
    "strategy",
    [FrequentAgreement(min_count=60), RawWithName(note="mine"), AnnouncedElsewhere()],
    ids=lambda strategy: type(strategy).__name__,
)
def test_a_strategy_of_a_users_own_relabels_and_is_stored_by_its_import_path(
    strategy, table, predictions, tmp_path
):
    summary = relabel_table(predictions, tmp_path / "r.parquet", strategy, threads=2)
    found, expected = read_relabeled(tmp_path / "r.parquet"), sl.relabel(pairs_of(table), strategy)
    assert (found.targets.labels == expected.labels).all()
    assert found.targets.reasons.tolist() == statuses_of(table, expected.labels >= 0)
    assert summary.space == found.space == expected.space
    stored = LabelSpace.from_json(read_metadata(tmp_path / "r.parquet")["label_space"]).strategy
    assert stored["kind"] == f"{__name__}:{type(strategy).__name__}"
    assert sl.Strategy.parse(stored) == strategy


@pytest.mark.parametrize(
    "given_as", ["spl_b", {"kind": "spl_b"}, sl.SPLB, sl.SPLB(), f"{__name__}:FrequentAgreement"]
)
def test_a_strategy_may_be_given_in_any_form(given_as, predictions, tmp_path):
    relabel_table(predictions, tmp_path / "a", given_as)
    relabel_table(predictions, tmp_path / "b", sl.Strategy.parse(given_as))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_is_no_strategy_is_refused_before_anything_is_read(tmp_path):
    with pytest.raises(sl.LabelError, match="no strategy is called 'raw_slp'"):
        relabel_table(tmp_path / "nothing.parquet", tmp_path / "out" / "r", "raw_slp")


def test_a_summary_counts_each_reason_and_says_the_most_frequent(tmp_path):
    names = [f"no {index % 7}" for index in range(28)]
    taken = sl.Pairs(
        ["a"] * 2 + ["b", None] + ["a"] * 28,
        ["a"] * 2 + ["a", "a"] + [None] * 28,
        sample_ids=range(32),
        weak_vocabulary=["a", "b"],
    )
    write_predictions(tmp_path / "p.parquet", taken, status=["ok"] * 4 + names)
    summary = relabel_table(tmp_path / "p.parquet", tmp_path / "r.parquet", sl.AgreementFilter())
    assert summary.statuses == {
        "kept": 2,
        "dropped by the strategy": 1,
        "no weak label": 1,
        **{f"no prediction: no {index}": 4 for index in range(7)},
    }
    assert (summary.kept, summary.dropped, summary.abstained, summary.rows) == (2, 1, 29, 32)
    assert str(summary).startswith("32 samples: 2 kept in 1 classes, 4 no prediction: no 0, 4 no")
    assert str(summary).endswith("and 4 more statuses")


def test_a_table_of_another_space_is_refused(predictions, tmp_path):
    relabel_table(predictions, tmp_path / "two", sl.TwoHead())
    relabel_table(predictions, tmp_path / "one", sl.WeakOnly())
    strings = pq.read_schema(tmp_path / "one").metadata
    pq.write_table(pq.read_table(tmp_path / "two").replace_schema_metadata(strings), tmp_path / "mixed")
    with pytest.raises(sl.TableError, match=r"mixed has columns of the types .* and its label space .*int64"):
        read_relabeled(tmp_path / "mixed")
    labels = pq.read_table(tmp_path / "one")
    far = labels.set_column(1, RELABELED_SCHEMA.field(1), pa.array(np.full(len(labels), 9)))
    pq.write_table(far.replace_schema_metadata(strings), tmp_path / "far")
    with pytest.raises(sl.LabelError, match=r"far: pre-training labels 9–9 are outside this label space"):
        read_relabeled(tmp_path / "far")


def test_the_types_of_other_writers_read_alike(table, predictions, tmp_path):
    relabel_table(predictions, tmp_path / "r", sl.TopKSPL())
    ours = pq.read_table(tmp_path / "r")
    theirs = pa.schema(
        [
            ("sample_id", pa.large_string()),
            ("pretrain_label", pa.large_list(pa.int32())),
            ("pretrain_weight", pa.large_list(pa.float64())),
            ("status", pa.string()),
        ]
    )
    pq.write_table(ours.cast(theirs.with_metadata(ours.schema.metadata)), tmp_path / "theirs")
    first, second = read_relabeled(tmp_path / "r"), read_relabeled(tmp_path / "theirs")
    assert first.sample_ids.equals(second.sample_ids)
    assert (first.targets.torch() == second.targets.torch()).all()
    assert first.targets.reasons.tolist() == second.targets.reasons.tolist()


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=9), st.integers(1, 4))
def test_lists_of_any_chunks_come_back(lists, size):
    offsets = np.cumsum([0, *map(len, lists)])
    values = np.array([value for entry in lists for value in entry], dtype=np.int64)
    whole = pa.table(to_arrow({"lists": Ragged(values, offsets), "pairs": offsets[:-1, None] + [0, 1]}))
    parts = [whole.slice(start, size) for start in range(0, len(whole), size)]
    found = from_arrow(pa.concat_tables(parts or [whole]))
    assert np.array_equal(found["lists"].values, values)
    assert np.array_equal(found["lists"].offsets, offsets)
    assert np.array_equal(found["pairs"], offsets[:-1, None] + [0, 1])


def test_a_space_says_its_columns_without_any_sample(predictions):
    confusion = count_table(predictions)
    fields = target_fields(sl.MatchedControl().fit(confusion))
    assert fields == [RELABELED_SCHEMA.field("pretrain_label")]
