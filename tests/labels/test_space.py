from __future__ import annotations

import json

import numpy as np
import pytest

import sublabel as sl
from sublabel.labels import space as space_module

STRATEGIES = [
    sl.WeakOnly(),
    sl.TeacherOnly(),
    sl.AgreementFilter(),
    sl.RawSPL(min_count=4),
    sl.RawSPL(min_count=4, rare="weak"),
    sl.RawSPL(rare="drop"),
    sl.SPLB(),
]


def grid(width, height):
    return np.repeat(np.arange(-1, width), height + 1), np.tile(np.arange(-1, height), width + 1)


def fitted(strategy, width=7, height=5):
    generator = np.random.default_rng(0)
    weak, teacher = generator.integers(0, width, 90), generator.integers(0, height, 90)
    return sl.relabel(
        weak, teacher, strategy=strategy, weak_vocabulary=width, teacher_vocabulary=height
    ).space


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_a_round_trip_assigns_every_cell_the_same(strategy, tmp_path):
    space = fitted(strategy)
    space.save(tmp_path / "space.json")
    loaded = sl.LabelSpace.load(tmp_path / "space.json")
    assert (loaded.assign(*grid(7, 5)) == space.assign(*grid(7, 5))).all()
    assert loaded == space
    assert loaded.fingerprint == space.fingerprint
    assert [loaded.describe(i) for i in range(len(loaded))] == [space.describe(i) for i in range(len(space))]
    assert loaded.strategy == strategy.model_dump(mode="json")


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_the_sparse_path_assigns_as_the_dense_one(strategy, monkeypatch):
    dense = fitted(strategy).assign(*grid(7, 5))
    monkeypatch.setattr(space_module, "DENSE_CELLS", 0)
    assert (fitted(strategy).assign(*grid(7, 5)) == dense).all()


def test_large_spaces_stay_small():
    space = sl.relabel([0, 19_999], [5, 19_999], strategy=sl.SPLB(), weak_vocabulary=20_000).space
    assert space.assign([0, 0, 19_999, 19_999], [7, 0, 19_999, 3]).tolist() == [0, -1, 1, -1]


def test_a_class_is_described_in_words():
    space = sl.relabel([0, 0], [0, 1], weak_vocabulary=["baking", "whisking"]).space
    assert str(space.describe(1)) == "1: baking × whisking (disagreed, 1 samples)"
    assert space.describe(1).teacher == "whisking"
    with pytest.raises(sl.LabelError, match="label 2 is outside this space of 2 classes"):
        space.describe(2)


def test_labels_of_another_vocabulary_are_refused():
    space = fitted(sl.SPLB())
    with pytest.raises(sl.LabelError, match="outside the vocabulary of 7 classes"):
        space.assign([8], [0])
    with pytest.raises(sl.LabelError, match="over the teacher vocabulary"):
        space.check_vocabularies(sl.Vocabulary.of(7), sl.Vocabulary.of(6))
    space.check_vocabularies(sl.Vocabulary.of(7), sl.Vocabulary.of(5))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:40], "the text is not JSON"),
        (lambda text: "[]", "not a label space"),
        (lambda text: text.replace('"version":3', '"version":9'), "format version 9"),
        (lambda text: text.replace('"version":3', '"version":2'), "format version 2; this release reads 3"),
        (lambda text: json.dumps({**json.loads(text), "row_default": [0] * 7}), "edited or damaged"),
        (lambda text: json.dumps({**json.loads(text), "strategy": {}}), "edited or damaged"),
        (lambda text: json.dumps({**json.loads(text), "classes": []}), "edited or damaged"),
        (lambda text: json.dumps({**json.loads(text), "cells": {"dtype": "O"}}), "edited or damaged"),
    ],
)
def test_a_changed_file_is_refused_by_name(change, message, tmp_path):
    path = tmp_path / "space.json"
    path.write_text(change(fitted(sl.SPLB()).to_json()), encoding="utf-8")
    with pytest.raises(sl.LabelError, match=f"space.json.*{message}"):
        sl.LabelSpace.load(path)


def test_spaces_of_different_strategies_have_different_fingerprints():
    prints = {fitted(strategy).fingerprint for strategy in STRATEGIES}
    assert len(prints) == len(STRATEGIES)
