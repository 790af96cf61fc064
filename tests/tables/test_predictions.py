from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import sublabel as sl
from sublabel.tables import (
    PREDICTIONS_SCHEMA,
    PredictionsMetadata,
    TableWriter,
    count_table,
    iter_pairs,
    read_metadata,
    read_predictions_metadata,
    read_relabeled,
    relabel_table,
)


class SoftOfHardCounts(sl.TopKSPL):
    """Looks at probabilities only where targets are made."""

    @property
    def counting(self):
        return sl.HardCounts()


WEAK, TEACHER = sl.Vocabulary(["baking", "abseiling"]), sl.Vocabulary(["abseiling", "baking", "whisking"])
METADATA = PredictionsMetadata(WEAK, TEACHER, "f00d")


def rows(weak, teacher, prefix="s"):
    return pa.Table.from_pylist(
        [
            {
                "sample_id": f"{prefix}{index}",
                "weak_label": None if w < 0 else WEAK[w],
                "top_ids": None if t < 0 else [t, (t + 1) % 3],
                "top_probs": None if t < 0 else [0.75, 0.25],
                "status": "unreadable: cut off" if t < 0 else "ok",
            }
            for index, (w, t) in enumerate(zip(weak, teacher, strict=True))
        ],
        schema=PREDICTIONS_SCHEMA,
    )


def write(path, table, metadata=None):
    with TableWriter(path, PREDICTIONS_SCHEMA, (metadata or METADATA).to_strings()) as writer:
        writer.write(table)
    return path


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    return generator.integers(-1, 2, 500), generator.integers(-1, 3, 500)


@pytest.fixture
def predictions(tmp_path, arrays):
    """Two shards."""
    for part, (weak, teacher) in enumerate(zip(*(np.split(a, [300]) for a in arrays), strict=True)):
        write(tmp_path / f"p/part-{part:05d}.parquet", rows(weak, teacher, f"{part}-"))
    return tmp_path / "p"


@pytest.mark.parametrize("needs", [frozenset(), {"probabilities"}])
def test_pairs_come_back_with_their_ids_and_what_is_needed(needs, predictions, arrays):
    chunks = list(iter_pairs(predictions, batch_size=64, needs=needs))
    assert len(chunks) > 4
    weak, teacher, ids = (
        np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in ("weak", "teacher", "sample_ids")
    )
    assert (weak == arrays[0]).all()
    assert (teacher == arrays[1]).all()
    assert ids.tolist() == [f"{row // 300}-{row % 300}" for row in range(500)]
    assert (chunks[0].weak_vocabulary, chunks[0].teacher_vocabulary) == (WEAK, TEACHER)
    for chunk in chunks:
        if not needs:
            assert chunk.top_ids is chunk.top_probs is None
            continue
        predicted = chunk.teacher >= 0
        assert (chunk.top_ids[:, 1] == np.where(predicted, (chunk.teacher + 1) % 3, -1)).all()
        assert (chunk.top_probs == np.where(predicted[:, None], [[0.75, 0.25]], 0)).all()


def test_metadata_survive(predictions):
    assert read_predictions_metadata(predictions) == METADATA
    assert read_metadata(predictions)["weak_fingerprint"] == WEAK.fingerprint


@pytest.mark.parametrize(
    "strategy", [sl.RawSPL(min_count=20), sl.SPLB(), sl.AgreementFilter(), sl.MatchedControl()]
)
def test_a_relabeled_table_equals_relabel_on_arrays(strategy, predictions, arrays, tmp_path):
    summary = relabel_table(predictions, tmp_path / "r.parquet", strategy)
    table = read_relabeled(tmp_path / "r.parquet")
    pairs = sl.Pairs(
        *arrays,
        weak_vocabulary=WEAK,
        teacher_vocabulary=TEACHER,
        sample_ids=table.sample_ids.to_pylist(),
    )
    expected = sl.relabel(pairs, strategy)
    assert (table.targets.labels == expected.labels).all()
    assert table.space == expected.space
    assert count_table(predictions) == expected.confusion
    assert summary.rows == 500 == summary.kept + summary.dropped + summary.abstained
    assert summary.kept == (expected.labels >= 0).sum()


def test_relabeling_twice_gives_the_same_bytes(predictions, tmp_path):
    for name in ("a", "b"):
        relabel_table(predictions, tmp_path / name, sl.RawSPL())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_tables_are_refused_by_name(tmp_path, predictions):
    with TableWriter(tmp_path / "m.parquet", pa.schema([("sample_id", pa.string())])) as writer:
        writer.write(pa.table({"sample_id": ["a"]}))
    with pytest.raises(sl.TableError, match="m.parquet is not a predictions table"):
        count_table(tmp_path / "m.parquet")
    with pytest.raises(sl.TableError, match="is not a relabeled table"):
        read_relabeled(predictions)
    with pytest.raises(sl.TableError, match="there is no file or folder"):
        count_table(tmp_path / "nothing")


def test_shards_of_two_teachers_are_not_one_table(predictions):
    # The same ids, in another order: counted together, they would be wrong without a word.
    other = PredictionsMetadata(WEAK, sl.Vocabulary(reversed(TEACHER.names)), "beef")
    write(predictions / "part-00002.parquet", rows([0], [1]), other)
    with pytest.raises(
        sl.TableError, match="part-00002.*teacher_vocabulary, teacher_fingerprint.*part-00000"
    ):
        count_table(predictions)


@pytest.mark.parametrize(
    ("vocabulary", "reason"), [("[oops", "Expecting"), ('["a", "a"]', "a"), ("5", "int")]
)
def test_damaged_metadata_are_named(vocabulary, reason, tmp_path):
    strings = {**METADATA.to_strings(), "weak_vocabulary": vocabulary}
    with TableWriter(tmp_path / "p.parquet", PREDICTIONS_SCHEMA, strings):
        pass
    with pytest.raises(sl.TableError, match=f"p.parquet has damaged metadata .*{reason}"):
        read_predictions_metadata(tmp_path / "p.parquet")


def test_the_types_of_other_writers_read_alike(tmp_path, arrays):
    ours = rows(*arrays)
    theirs = pa.schema(
        [
            ("sample_id", pa.large_string()),
            ("weak_label", pa.dictionary(pa.int32(), pa.string())),
            ("top_ids", pa.large_list(pa.int64())),
            ("top_probs", pa.large_list(pa.float64())),
            ("status", pa.large_string()),
        ]
    )
    with TableWriter(tmp_path / "theirs.parquet", theirs, METADATA.to_strings()) as writer:
        writer.write(ours.cast(theirs))
    for name, path in (("a", write(tmp_path / "ours.parquet", ours)), ("b", tmp_path / "theirs.parquet")):
        relabel_table(path, tmp_path / name, sl.RawSPL())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("top_ids", [None, [], [None]])
def test_ok_without_a_prediction_is_refused(top_ids, tmp_path):
    table = pa.Table.from_pylist(
        [
            {"sample_id": "a", "weak_label": "baking", "top_ids": [1], "top_probs": [0.9], "status": "ok"},
            {
                "sample_id": "b",
                "weak_label": "baking",
                "top_ids": None,
                "top_probs": None,
                "status": "missing",
            },
            {"sample_id": "c", "weak_label": "baking", "top_ids": top_ids, "top_probs": None, "status": "ok"},
        ],
        schema=PREDICTIONS_SCHEMA,
    )
    with pytest.raises(sl.TableError, match="sample 'c' has the status 'ok' but no id in top_ids"):
        count_table(write(tmp_path / "p.parquet", table))
    pairs = next(iter_pairs(write(tmp_path / "p.parquet", table.slice(0, 2))))
    assert pairs.teacher.tolist() == [1, -1]


def test_a_row_without_sample_id_is_refused(tmp_path):
    table = rows([0], [1]).set_column(0, "sample_id", pa.array([None], pa.string()))
    with pytest.raises(sl.TableError, match="p.parquet has a row without sample_id"):
        count_table(write(tmp_path / "p.parquet", table))


def test_labels_of_a_repeated_id_are_refused(tmp_path):
    table = pa.concat_tables([rows([0, 1], [1, 1]), rows([1], [0])])
    relabel_table(write(tmp_path / "p.parquet", table), tmp_path / "r.parquet", sl.RawSPL())
    with pytest.raises(sl.TableError, match=r"r.parquet has sample_id 's0' \(2 times\)"):
        read_relabeled(tmp_path / "r.parquet")


def test_a_truncated_shard_is_named(predictions, tmp_path):
    shard = predictions / "part-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(sl.TableError, match="part-00001.parquet is not a Parquet file, or it was cut off"):
        relabel_table(predictions, tmp_path / "r.parquet", sl.SPLB())
    assert not (tmp_path / "r.parquet").exists()


def test_a_weak_label_outside_its_vocabulary_is_named(tmp_path):
    metadata = PredictionsMetadata(sl.Vocabulary(["baking"]), TEACHER, "f00d")
    path = write(tmp_path / "p.parquet", rows([0, 1], [0, 0]), metadata)
    message = "p.parquet: the weak_label of sample 's1': 'abseiling' is not in the vocabulary of 1 classes"
    with pytest.raises(sl.LabelError, match=message):
        count_table(path)
    with pytest.raises(sl.LabelError, match=message):
        list(iter_pairs(tmp_path))


def test_an_empty_weak_label_is_named(tmp_path):
    table = rows([0, 0, 0], [0, 0, 0]).set_column(1, "weak_label", pa.array(["baking", "", "baking"]))
    message = "p.parquet: the weak_label of sample 's1': '' is not .*a sample without one has null"
    with pytest.raises(sl.LabelError, match=message):
        count_table(write(tmp_path / "p.parquet", table))


@pytest.mark.parametrize(
    ("statuses", "seen"),
    [
        (["OK", None, "OK"], "'OK' 2, null 1"),
        (["missing", "missing", "missing"], "'missing' 3"),
        ([f"no {index}" for index in range(12)], "'no 0' 1, .*, 'no 4' 1 and 7 more"),
    ],
)
def test_a_table_in_which_no_sample_is_ok_is_refused_with_its_statuses(statuses, seen, tmp_path):
    labels = [0] * len(statuses)
    table = rows(labels, labels).set_column(4, "status", pa.array(statuses, pa.string()))
    path = write(tmp_path / "p.parquet", table)
    message = f"no sample of .*p.parquet has the status 'ok'.* it has {seen}"
    with pytest.raises(sl.TableError, match=message):
        count_table(path)
    with pytest.raises(sl.TableError, match=message):
        relabel_table(path, tmp_path / "r.parquet", sl.SPLB())
    assert not (tmp_path / "r.parquet").exists()


def test_a_table_without_weak_labels_is_not_one_of_failures(tmp_path):
    assert count_table(write(tmp_path / "p.parquet", rows([-1, -1], [0, 1]))).abstained == 2


def test_a_prediction_outside_the_vocabulary_is_named(tmp_path):
    metadata = PredictionsMetadata(WEAK, sl.Vocabulary(["x"]), "f00d")
    with pytest.raises(
        sl.LabelError,
        match="p.parquet: rows from 0 on: teacher label 2 at position 1 is outside the vocabulary of 1 cl",
    ):
        count_table(write(tmp_path / "p.parquet", rows([0, 1], [0, 2]), metadata))


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([0.25, 0.75], "expected the most probable class first"),
        ([3.0, 1.0], "is outside 0–1; are they logits"),
        ([0.9, 0.8], "sum to 1.7; expected at most 1"),
    ],
)
def test_what_are_no_probabilities_is_refused_where_they_are_looked_at(probabilities, message, tmp_path):
    table = rows([0, 1], [1, 1])
    lists = pa.array([[0.75, 0.25], probabilities], pa.list_(pa.float32()))
    path = write(tmp_path / "p.parquet", table.set_column(3, "top_probs", lists))
    assert count_table(path).total == 2
    message = f"p.parquet: rows from 0 on: the teacher's .*{message}"
    with pytest.raises(sl.LabelError, match=message):
        count_table(path, sl.ProbabilityMass())
    with pytest.raises(sl.LabelError, match=message):
        list(iter_pairs(path, needs={"probabilities"}))


def test_an_id_of_minus_one_is_no_prediction(tmp_path):
    lists = pa.array([[1], [-1]], pa.list_(pa.int32()))
    path = write(tmp_path / "p.parquet", rows([0, 1], [1, 1]).set_column(2, "top_ids", lists))
    with pytest.raises(sl.TableError, match="sample 's1' has the status 'ok' but no id in top_ids"):
        count_table(path)


def test_probabilities_are_checked_once_and_no_less_where_only_the_space_looks_at_them(tmp_path):
    lists = pa.array([[0.75, 0.25], [0.25, 0.75]], pa.list_(pa.float32()))
    path = write(tmp_path / "p.parquet", rows([0, 1], [1, 1]).set_column(3, "top_probs", lists))
    with pytest.raises(sl.LabelError, match="expected the most probable class first"):
        relabel_table(path, tmp_path / "r.parquet", SoftOfHardCounts())
    assert not (tmp_path / "r.parquet").exists()
