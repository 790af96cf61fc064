from __future__ import annotations

import json

import numpy as np
import pytest

import sublabel as sl
import sublabel.labels
from sublabel.labels import cell_space

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
    weak, teacher = np.repeat(np.arange(-1, width), height + 1), np.tile(np.arange(-1, height), width + 1)
    return sl.Pairs(weak, teacher, weak_vocabulary=width, teacher_vocabulary=height)


def fitted(strategy, width=7, height=5):
    generator = np.random.default_rng(0)
    weak, teacher = generator.integers(0, width, 90), generator.integers(0, height, 90)
    return sl.relabel(
        sl.Pairs(weak, teacher, weak_vocabulary=width, teacher_vocabulary=height), strategy
    ).space


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_a_round_trip_assigns_every_cell_the_same(strategy, tmp_path):
    space = fitted(strategy)
    space.save(tmp_path / "space.json")
    loaded = sl.LabelSpace.load(tmp_path / "space.json")
    assert (loaded.assign(grid(7, 5)) == space.assign(grid(7, 5))).all()
    assert loaded == space
    assert loaded.fingerprint == space.fingerprint
    assert [loaded.describe(i) for i in range(len(loaded))] == [space.describe(i) for i in range(len(space))]
    assert loaded.strategy == strategy.to_dict()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_the_sparse_path_assigns_as_the_dense_one(strategy, monkeypatch):
    dense = fitted(strategy).assign(grid(7, 5))
    monkeypatch.setattr(cell_space, "DENSE_CELLS", 0)
    assert (fitted(strategy).assign(grid(7, 5)) == dense).all()


def test_large_spaces_stay_small():
    space = sl.relabel(sl.Pairs([0, 19_999], [5, 19_999], weak_vocabulary=20_000), sl.SPLB()).space
    pairs = sl.Pairs([0, 0, 19_999, 19_999], [7, 0, 19_999, 3], weak_vocabulary=20_000)
    assert space.assign(pairs).tolist() == [0, -1, 1, -1]
    assert len(space.to_json()) < 2_000_000


def test_a_class_is_described_in_words():
    space = sl.relabel(sl.Pairs([0, 0], [0, 1], weak_vocabulary=["baking", "whisking"])).space
    assert str(space.describe(1)) == "1: baking × whisking (disagreed, 1 samples)"
    assert space.describe(1).teacher == "whisking"
    with pytest.raises(sl.LabelError, match="label 2 is outside this space of 2 classes"):
        space.describe(2)


def test_labels_of_another_vocabulary_are_refused():
    space = fitted(sl.SPLB())
    for height, width, axis in ((7, 6, "teacher"), (8, 5, "weak")):
        with pytest.raises(
            sl.LabelError, match=f"this label space is over the {axis} vocabulary.*make both with"
        ):
            space.check(grid(height, width))
    space.check(grid(7, 5))


def edited(text, part, **arrays):
    content = json.loads(text)
    return json.dumps({**content, part: {**content[part], **arrays}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:40], "the text is not JSON"),
        (lambda text: "[]", "not a label space"),
        (lambda text: text.replace('"version":4', '"version":9'), "format version 9"),
        (lambda text: text.replace('"version":4', '"version":2'), "format version 2; this release reads 4"),
        (lambda text: edited(text, "arrays", row_default=[0] * 7), "edited or damaged"),
        (lambda text: edited(text, "arrays", row_default=[0] * 6), "edited or damaged.*another size"),
        (lambda text: edited(text, "arrays", row_default=[99] * 7), "edited or damaged.*outside its"),
        (lambda text: edited(text, "arrays", cells=[7, 3], cell_labels=[0, 1]), "edited or damaged.*sorted"),
        (lambda text: edited(text, "classes", size=[1]), "edited or damaged.*incomplete"),
        (lambda text: edited(text, "classes", kind=[99] * 14), "edited or damaged"),
        (lambda text: json.dumps({**json.loads(text), "kind": "confident"}), "edited or damaged"),
        (
            lambda text: json.dumps({**json.loads(text), "kind": "another"}),
            "kind 'another', which is not known",
        ),
        (
            lambda text: json.dumps({**json.loads(text), "kind": "no.module:Space"}),
            "import the module that has",
        ),
        (lambda text: json.dumps({**json.loads(text), "strategy": {}}), "edited or damaged"),
        (lambda text: json.dumps({**json.loads(text), "classes": []}), "edited or damaged"),
        (lambda text: edited(text, "arrays", cells={"dtype": "O"}), "edited or damaged"),
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


def test_classes_are_found_by_the_names_they_touch():
    pairs = sl.Pairs(["a", "a", "b"], ["x", "y", "y"])
    space = sl.relabel(pairs).space
    assert space.classes_touching(["x"]) == [0]
    assert space.classes_touching(["y", "nothing"]) == [1, 2]
    assert space.classes_touching(["a"]) == [0, 1]
    merged = sl.relabel(pairs, sl.MergedSPL(num_classes=1, within="all")).space
    assert merged.classes_touching(["x"]) == [0]
    assert sl.relabel(pairs, sl.TwoHead()).space.classes_touching(["x", "b"]) == [1, 2]


def test_a_dropped_cell_touches_no_class():
    """Also where the last class is a merged one."""

    class Mixed(sl.Strategy):
        def class_of(self, cell):
            return None if cell.teacher == "x" else "all"

    space = sl.relabel(sl.Pairs(["a", "a", "b"], ["x", "y", "z"]), Mixed()).space
    assert space.kinds == ("merged",)
    assert space.classes_touching(["x"]) == []
    assert space.classes_touching(["y"]) == [0]


def test_a_space_of_ones_own_comes_back_as_what_it_is():
    class Mine(sl.labels.CellSpace):
        pass

    kind = Mine.kind
    space = Mine.refining(fitted(sl.SPLB()))
    assert kind.endswith(":test_a_space_of_ones_own_comes_back_as_what_it_is.<locals>.Mine")
    assert type(sl.LabelSpace.from_json(space.to_json())) is Mine
    assert type(sl.LabelSpace.from_json(fitted(sl.SPLB()).to_json())) is sl.labels.CellSpace


@pytest.mark.parametrize("kind", [[], {}, None, 3])
def test_a_kind_that_is_no_text_is_refused(kind):
    content = json.loads(sl.relabel(sl.Pairs(["a"], ["a"])).space.to_json())
    with pytest.raises(sl.LabelError, match="not known here"):
        sl.LabelSpace.from_json(json.dumps(content | {"kind": kind}))


def test_what_is_no_pairs_is_said_so():
    space = sl.relabel(sl.Pairs(["a"], ["a"])).space
    for call in (space.assign, space.targets, sl.count):
        with pytest.raises(sl.LabelError, match="takes Pairs and got list"):
            call(["a"])
