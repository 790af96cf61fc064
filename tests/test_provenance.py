from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sublabel.errors import ArtifactError, ConfigError
from sublabel.provenance import (
    RECORD_FILE,
    claim_folder,
    differences,
    digest,
    fingerprint,
    refuse_others,
)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", min_size=1), inner, max_size=3),
    max_leaves=8,
)
records = st.dictionaries(st.text("abc", min_size=1, max_size=2), values, max_size=4)


def without_none(value):
    """A key whose value is None says as much as one that is not there."""
    if isinstance(value, dict):
        return {key: without_none(inner) for key, inner in value.items() if inner is not None}
    return value


@given(theirs=records, mine=records)
def test_records_differ_where_their_json_does(theirs, mine):
    same = json.dumps(without_none(theirs), sort_keys=True) == json.dumps(without_none(mine), sort_keys=True)
    found = differences(theirs, mine)
    if same:
        assert found == ()
    for key, theirs_value, mine_value in found:
        looked_up = []
        for value in (theirs, mine):
            for name in key.split("."):
                value = value.get(name) if isinstance(value, dict) else None
            looked_up.append(value)
        assert looked_up == [theirs_value, mine_value]


@given(record=records)
def test_a_record_is_the_same_after_it_was_stored(record):
    assert differences(json.loads(json.dumps(record)), record) == ()
    assert differences(record, record) == ()


def test_tuples_are_the_lists_that_json_keeps():
    assert differences({"size": [3, 8]}, {"size": (3, 8)}) == ()


def test_nested_keys_have_dots_and_free_ones_may_differ_with_all_below():
    theirs = {"seed": 0, "trainer": {"devices": 1, "precision": "32"}, "jobs": 1}
    mine = {"seed": 1, "trainer": {"devices": 2, "precision": "16"}, "jobs": 4}
    keys = [found.key for found in differences(theirs, mine)]
    assert keys == ["seed", "trainer.devices", "trainer.precision", "jobs"]
    assert [found.key for found in differences(theirs, mine, free={"trainer", "jobs"})] == ["seed"]
    assert [found.key for found in differences(theirs, mine, free={"trainer.devices", "seed", "jobs"})] == [
        "trainer.precision"
    ]


def test_a_key_that_came_later_has_its_default_in_older_records():
    defaults = {"head": "linear", "pretrain": {"warmup": 0.1}}
    older = {"seed": 0, "pretrain": {"epochs": 3}}
    newer = {"seed": 0, "pretrain": {"epochs": 3, "warmup": 0.1}, "head": "linear"}
    assert differences(older, newer, defaults=defaults) == ()
    assert [found.key for found in differences(older, newer)] == ["pretrain.warmup", "head"]
    changed = {**newer, "head": "cosine", "pretrain": {"epochs": 3, "warmup": 0.5}}
    assert {tuple(found) for found in differences(older, changed, defaults=defaults)} == {
        ("pretrain.warmup", 0.1, 0.5),
        ("head", "linear", "cosine"),
    }
    # What a record does say is never replaced by a default.
    assert differences({**older, "head": "cosine"}, newer, defaults=defaults)


def test_a_refusal_says_which_keys_both_values_and_what_to_do():
    with pytest.raises(ConfigError) as raised:
        refuse_others("runs/demo", {"seed": 0, "clip": {"frames": 8}}, {"seed": 1, "clip": {"frames": 16}})
    assert str(raised.value) == (
        "runs/demo was made with another seed, clip.frames: seed (0 there, 1 here), clip.frames (8 there, "
        "16 here); choose another folder, give what it was made with, or delete it to start over"
    )


def test_a_refusal_of_long_values_shows_where_they_differ():
    theirs = [f"class {number}" for number in range(400)]
    mine = [*theirs[:300], "another", *theirs[301:]]
    with pytest.raises(ConfigError) as raised:
        refuse_others("p", {"vocabulary": theirs}, {"vocabulary": mine})
    assert re.search(r"\(….*class 300.* there, ….*another.* here\)", str(raised.value))
    assert len(str(raised.value)) < 400


def test_a_refusal_of_many_keys_lists_some_values_and_counts_the_others():
    theirs, mine = ({f"k{number}": value for number in range(8)} for value in (0, 1))
    with pytest.raises(ConfigError, match=r"another k0, k1, .*k7: .*k4 \(0 there, 1 here\) and 3 more;"):
        refuse_others("p", theirs, mine)


def test_a_claimed_folder_takes_the_same_record_only(tmp_path):
    folder = tmp_path / "out"
    claim_folder(folder, {"seed": 0, "sizes": (1, 2)})
    written = (folder / RECORD_FILE).read_bytes()
    claim_folder(folder, {"seed": 0, "sizes": [1, 2]})
    assert (folder / RECORD_FILE).read_bytes() == written
    with pytest.raises(ConfigError, match=rf"{re.escape(str(folder))} was made with another seed"):
        claim_folder(folder, {"seed": 1, "sizes": [1, 2]})
    assert (folder / RECORD_FILE).read_bytes() == written
    assert [path.name for path in folder.iterdir()] == [RECORD_FILE]


@pytest.mark.parametrize(("content", "message"), [(b"{cut off", "is damaged"), (b"[1]", "holds a list")])
def test_a_damaged_record_is_named(tmp_path, content, message):
    (tmp_path / RECORD_FILE).write_bytes(content)
    with pytest.raises(ArtifactError, match=f"{RECORD_FILE} {message}.*expected a JSON object"):
        claim_folder(tmp_path, {"seed": 0})


@given(one=values, other=values)
def test_digests_are_equal_where_the_values_are(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (digest(one) == digest(other)) == same


def test_a_file_is_told_by_its_content_and_a_folder_by_its_files_and_their_places(tmp_path):
    def written(folder, files):
        for name, content in files.items():
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).write_text(content)
        return tmp_path / folder

    first = written("first", {"a.txt": "1", "sub/b.txt": "2"})
    assert fingerprint(first) == fingerprint(written("second", {"sub/b.txt": "2", "a.txt": "1"}))
    assert fingerprint(first / "a.txt") == fingerprint(written("third", {"c.txt": "1"}) / "c.txt")
    others = [
        written("content", {"a.txt": "1", "sub/b.txt": "3"}),
        written("name", {"a.txt": "1", "sub/c.txt": "2"}),
        written("place", {"a.txt": "1", "b.txt": "2"}),
        written("swapped", {"a.txt": "2", "sub/b.txt": "1"}),
        written("more", {"a.txt": "1", "sub/b.txt": "2", "c.txt": ""}),
    ]
    assert len({fingerprint(folder) for folder in [first, *others]}) == 6
    with pytest.raises(ArtifactError, match="nowhere does not exist"):
        fingerprint(tmp_path / "nowhere")
