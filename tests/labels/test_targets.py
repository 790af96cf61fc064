from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import sublabel as sl
from sublabel.labels import HardTargets, HeadTargets, Labels, SoftLabels, SoftTargets
from tests.labels.samples import EVERY, cases, relabeled

torch = pytest.importorskip("torch")
LABELS = np.array([2, -1, 0, 1])
HEADS = np.array([[1, 2], [-1, -1], [0, 0], [1, 1]])
SOFT = np.float32([[0.25, 0, 0.75], [0, 0, 0], [0, 1, 0], [0.5, 0.5, 0]])
REASONS = np.array(["kept", "no prediction", "kept", "kept"])


def every_kind():
    return {
        "hard": HardTargets(LABELS, 3, REASONS),
        "heads": HeadTargets(HEADS, (2, 3), REASONS),
        "soft": SoftTargets(sparse.csr_array(SOFT), REASONS),
    }


KINDS = list(every_kind())


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_knows_which_samples_are_used_and_why(kind):
    targets = every_kind()[kind]
    assert len(targets) == 4
    assert targets.keep.tolist() == [True, False, True, True]
    assert targets.reasons.tolist() == REASONS.tolist()
    assert HardTargets(LABELS).reasons is None
    heads = {"hard": (3,), "heads": (2, 3), "soft": (3,)}
    assert targets.heads == heads[kind]
    assert targets.take(np.array([1])).heads == targets.concatenate([targets, targets]).heads == heads[kind]


def test_classes_are_those_of_the_label_space():
    kinds = every_kind()
    assert [list(kinds["hard"].classes(row)) for row in (0, 2, 3)] == [[2], [0], [1]]
    # The second head's classes follow the two of the first.
    assert [list(kinds["heads"].classes(row)) for row in (0, 2, 3)] == [[1, 4], [0, 2], [1, 3]]
    assert [list(kinds["soft"].classes(row)) for row in (0, 2, 3)] == [[2, 0], [1], [0, 1]]


def test_tensors_are_what_pytorchs_losses_take():
    kinds = every_kind()
    hard = kinds["hard"].torch()
    assert hard.dtype == torch.int64
    assert hard.tolist() == [2, -100, 0, 1]
    assert kinds["hard"].torch(ignore_index=-1).tolist() == LABELS.tolist()
    assert kinds["heads"].torch().tolist() == np.where(HEADS < 0, -100, HEADS).tolist()
    soft = kinds["soft"].torch()
    assert (soft.dtype, soft.tolist()) == (torch.float32, SOFT.tolist())
    for rows in (slice(1, 3), np.array([3, 0])):
        assert kinds["hard"].torch(rows=rows).tolist() == np.where(LABELS < 0, -100, LABELS)[rows].tolist()
        assert kinds["soft"].torch(rows=rows).tolist() == SOFT[rows].tolist()


def test_cross_entropy_over_them_is_that_over_the_kept_samples():
    logits = torch.randn(4, 3)
    kept = torch.tensor(LABELS >= 0)
    loss = torch.nn.functional.cross_entropy(logits, every_kind()["hard"].torch())
    expected = torch.nn.functional.cross_entropy(logits[kept], torch.tensor(LABELS)[kept])
    assert loss.item() == pytest.approx(expected.item())
    soft = torch.nn.functional.cross_entropy(logits, every_kind()["soft"].torch(), reduction="sum")
    by_hand = -(torch.tensor(SOFT) * logits.log_softmax(1)).sum()
    assert soft.item() == pytest.approx(by_hand.item(), abs=1e-5)


def test_batches_collate():
    from torch.utils.data import default_collate

    kinds = every_kind()
    assert default_collate([kinds["hard"][row] for row in (0, 2)]).tolist() == [2, 0]
    assert default_collate([kinds["heads"][row] for row in (0, 2)]).tolist() == [[1, 2], [0, 0]]
    batch = default_collate([kinds["soft"][row] for row in (0, 2, 3)])
    assert isinstance(batch, SoftLabels)
    dense = torch.zeros(3, 3).scatter_add(1, batch.ids, batch.weights)
    assert dense.tolist() == SOFT[[0, 2, 3]].tolist()


@pytest.mark.parametrize("kind", KINDS)
@given(positions=st.lists(st.integers(-1, 3), max_size=8))
def test_other_rows_are_taken_with_their_reasons(kind, positions):
    targets = every_kind()[kind]
    rows = np.array(positions, dtype=np.int64)
    taken = targets.take(rows)
    assert type(taken) is type(targets)
    assert len(taken) == len(rows)
    whole = targets.torch(ignore_index=-1)
    for position, row, reason in zip(positions, taken.torch(ignore_index=-1), taken.reasons, strict=True):
        if position < 0:
            assert reason == "no sample"
            assert (
                row.tolist() == (torch.zeros(3) if kind == "soft" else torch.full_like(whole[0], -1)).tolist()
            )
        else:
            assert reason == REASONS[position]
            assert row.tolist() == whole[position].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_joined_in_their_order(kind):
    targets = every_kind()[kind]
    parts = [targets.take(np.array(rows)) for rows in ([3, 1], [0], [2, 2])]
    joined = parts[0].concatenate(parts)
    expected = targets.take(np.array([3, 1, 0, 2, 2]))
    assert joined.torch().tolist() == expected.torch().tolist()
    assert joined.reasons.tolist() == expected.reasons.tolist()


@pytest.mark.parametrize("strategy", EVERY, ids=str)
@given(case=cases())
def test_what_a_table_holds_is_read_as_it_was(strategy, case):
    result = relabeled(strategy, case)
    columns = result.targets.columns()
    assert set(columns) <= {"pretrain_label", "pretrain_weight"}
    again = result.space.read_targets(columns, result.targets.reasons)
    assert type(again) is type(result.targets)
    assert again.torch().tolist() == result.targets.torch().tolist()
    assert again.reasons.tolist() == result.targets.reasons.tolist()


@pytest.mark.parametrize("labels", [[0, 9], [-2, 0], [0.5, 1.0]])
def test_labels_that_are_no_classes_are_refused(labels):
    space = sl.relabel(sl.Pairs([0, 1], [0, 1])).space
    with pytest.raises(sl.LabelError, match="pre-training labels"):
        space.read_targets({"pretrain_label": np.array(labels)})


def test_labels_say_why_and_their_parts_do_not():
    class Some(sl.Strategy):
        def class_of(self, cell):
            return cell.weak if cell.agreed else None

    result = sl.relabel(sl.Pairs(["a", "b", None, "a", "a"], ["a", "a", "a", None, "a"]), Some())
    labels = result.labels
    assert isinstance(labels, Labels)
    assert labels.tolist() == [0, -1, -1, -1, 0]
    assert labels.keep.tolist() == [True, False, False, False, True]
    assert labels.reasons.tolist() == [
        "kept", "dropped by the strategy", "no weak label", "no prediction", "kept",
    ]  # fmt: skip
    assert labels.codes.dtype == np.uint8
    sent = pickle.loads(pickle.dumps(labels))
    assert sent.tolist() == labels.tolist()
    assert sent.reasons.tolist() == labels.reasons.tolist()
    for part in (labels[labels.keep], labels[::-1], labels.copy(), pickle.loads(pickle.dumps(labels[1:]))):
        with pytest.raises(sl.LabelError, match="no longer know their samples"):
            _ = part.reasons
    for computed in (
        labels + 1,
        labels == 0,
        np.where(labels < 0, 9, labels),
        np.bincount(labels[labels.keep]),
    ):
        assert type(computed) is np.ndarray
    assert type(labels.max()) is np.int64


def test_of_parts_some_of_which_know_no_reasons_nobody_knows():
    joined = HardTargets.concatenate([HardTargets(LABELS, 3, REASONS), HardTargets(LABELS)])
    assert joined.reasons is None
    assert joined.torch().tolist() == 2 * HardTargets(LABELS).torch().tolist()
