from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

import sublabel as sl
from tests.labels.samples import cases, relabeled


@given(case=cases())
def test_two_heads_have_both_labels_as_targets(case):
    alignment, weak, ids, _ = case
    teacher = ids[:, 0]
    result = relabeled(sl.TwoHead(), case)
    both = (weak >= 0) & (teacher >= 0)
    expected = np.where(both[:, None], np.stack([weak, teacher], axis=1), -1)
    assert result.space.heads == (len(alignment.weak_vocabulary), len(alignment.teacher_vocabulary))
    assert (result.targets.labels == expected).all()
    for row, (w, t) in enumerate(expected.tolist()):
        names = [f"weak: {alignment.weak_vocabulary[w]}", f"teacher: {alignment.teacher_vocabulary[t]}"]
        assigned = result.space.assign(result.pairs)[row].tolist()
        if both[row]:
            assert [result.space.names[label] for label in assigned] == names
            assert list(result.targets.classes(row)) == assigned
        else:
            assert assigned == [-1, -1]


@given(case=cases())
def test_other_strategies_have_one_head_as_wide_as_their_classes(case):
    raw = relabeled(sl.RawSPL(), case)
    assert raw.space.heads == (len(raw.space),)
    assert raw.targets.labels.tolist() == raw.labels.tolist()


def test_a_cell_that_was_empty_has_both_labels_too():
    space = sl.relabel(sl.Pairs([0], [1], weak_vocabulary=2), sl.TwoHead()).space
    assert space.targets(sl.Pairs([1], [1], weak_vocabulary=2)).labels.tolist() == [[1, 1]]
    assert space.assign(sl.Pairs([1], [1], weak_vocabulary=2)).tolist() == [[1, 3]]


@pytest.mark.parametrize("labels", [[0], [[0, 2]], [[0, 0, 0]], [[2, 0]]])
def test_labels_of_another_space_are_no_targets(labels):
    space = sl.relabel(sl.Pairs([0], [1], weak_vocabulary=2), sl.TwoHead()).space
    with pytest.raises(sl.LabelError, match=r"not those of two heads of \(2, 2\) classes"):
        space.read_targets({"pretrain_label": np.array(labels)})
