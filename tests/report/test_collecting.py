from __future__ import annotations

import io
import json
import shutil
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from PIL import Image

from sublabel.errors import ArtifactError, ConfigError, SublabelError, TableError
from sublabel.evaluation import wilson_interval
from sublabel.explain.listing import read_listing
from sublabel.labels import MatchedControl, Pairs, RawSPL, TeacherOnly, count
from sublabel.media import decode_manifest
from sublabel.report import collect, from_confusion
from sublabel.study import slug
from sublabel.tables import open_manifest
from sublabel_image import ImageDomain
from tests.report.conftest import NAMES, REASON, SAMPLES, draw_labels, sample_id, write_explanations


@pytest.fixture(scope="module")
def data(study):
    return collect(study)


def read_rows():
    """(number, weak, teacher, probability) of the samples that were read, by hand."""
    weak, teacher, probability = draw_labels()
    return [
        (number, int(weak[number]), int(teacher[number]), probability[number])
        for number in range(SAMPLES)
        if number % 50 != 7
    ]


def write_json(path, change):
    """Change what a JSON file holds."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def test_sizes_and_shares_of_classes_are_those_counted_by_hand(data):
    cells = Counter((weak, teacher) for _, weak, teacher, _ in read_rows())
    rows = Counter(weak for _, weak, _, _ in read_rows())
    space = data.chosen_space.space
    assert data.chosen == "raw SPL"
    for label, kind in enumerate(space.kinds):
        weak, teacher = int(data.classes.weak[label]), int(data.chosen_space.space.classes.teacher[label])
        if kind == "other":
            continue
        assert data.classes.size[label] == cells[weak, teacher]
        assert data.classes.share[label] == pytest.approx(cells[weak, teacher] / rows[weak])
    assert data.classes.size.sum() == len(read_rows())


def stored_outputs(table, heads):
    """sample_id → its outputs in a relabeled table: of a list of weights the heaviest, of heads one each."""
    outputs = {}
    for row in table.to_pylist():
        label, weights = row["pretrain_label"], row.get("pretrain_weight")
        if row["status"] != "kept":
            outputs[row["sample_id"]] = ()
        elif weights is not None:
            outputs[row["sample_id"]] = (label[weights.index(max(weights))],)
        elif isinstance(label, list):
            starts = np.cumsum((0, *heads))
            outputs[row["sample_id"]] = tuple(own + start for own, start in zip(label, starts, strict=False))
        else:
            outputs[row["sample_id"]] = (label,)
    return outputs


def test_sizes_and_drops_are_those_that_stand_in_the_studys_tables(refined):
    data = collect(refined, pictures=0)
    pairs = {sample_id(number): (weak, teacher) for number, weak, teacher, _ in read_rows()}
    assert {entry.name for entry in data.spaces} >= {"matched control", "confident", "top-k", "two heads"}
    for entry in data.spaces:
        table = pq.read_table(refined / "seed0" / slug(entry.name) / "relabeled.parquet")
        outputs = stored_outputs(table, entry.space.heads)
        assert {len(outputs[own]) for own in pairs} <= {0, len(entry.space.heads)}
        expected = Counter(output for own in pairs for output in outputs[own])
        assert entry.outcome.size.tolist() == [expected[label] for label in range(entry.space.num_classes)]
        kept = {own for own in pairs if outputs[own]}
        assert entry.outcome.agreed == sum(pairs[own][0] == pairs[own][1] for own in kept)
        assert entry.outcome.agreed + entry.outcome.disagreed == len(kept)
        dropped = Counter(pairs[own][0] for own in pairs.keys() - kept)
        assert entry.outcome.dropped.tolist() == [dropped[row] for row in range(len(NAMES))]
        assert sum(dropped.values()) == table["status"].to_pylist().count("dropped by the strategy")
    confident = data.space("confident")
    unsure = confident.space.classes.is_kind("unsure")
    assert confident.outcome.size[unsure].all()
    assert (confident.outcome.size == confident.space.sizes).all()
    control = data.space("matched control")
    assert (control.outcome.size == control.space.sizes).all()


def test_a_table_of_other_samples_than_the_predictions_is_refused(refined, tmp_path):
    copied = shutil.copytree(refined, tmp_path / "copied")
    path = copied / "seed0" / "raw_spl" / "relabeled.parquet"
    table = pq.read_table(path)
    for other in (table.slice(1), table.slice(0, 200), pa.concat_tables([table, table.slice(0, 1)])):
        pq.write_table(other, path)
        with pytest.raises(TableError, match=r"raw_spl.*does not hold the samples of .*run the study again"):
            collect(copied, pictures=0)
    # Cut at other places, they are the same.
    pq.write_table(table, path, row_group_size=7)
    kept = table["pretrain_label"].filter(pc.equal(table["status"], "kept"))
    assert collect(copied, pictures=0).classes.size.tolist() == np.bincount(kept.to_numpy()).tolist()


def test_what_stands_in_a_table_is_counted_and_not_what_its_space_would_say_today(refined, tmp_path):
    copied = shutil.copytree(refined, tmp_path / "copied")
    path = copied / "seed0" / "raw_spl" / "relabeled.parquet"
    table = pq.read_table(path)
    emptied = pa.array(np.full(len(table), -1))
    at = table.column_names.index("pretrain_label")
    pq.write_table(table.set_column(at, table.field(at), emptied), path)
    outcome = collect(copied, pictures=0).space("raw SPL").outcome
    assert (outcome.size.sum(), outcome.agreed, outcome.disagreed) == (0, 0, 0)
    assert outcome.dropped.sum() == len(read_rows())


def test_counts_alone_give_a_control_the_sizes_that_are_expected():
    confusion = count(Pairs([0, 0, 0, 1], [0, 1, 1, 1], weak_vocabulary=2))
    control = from_confusion(confusion, {"control": MatchedControl(), "raw": RawSPL()}).space("control")
    assert control.outcome.size.tolist() == [1, 2, 1]
    assert (control.outcome.agreed, control.outcome.disagreed) == (2, 2)


def test_a_study_of_two_heads_shows_the_classes_of_both(refined):
    data = collect(refined, strategy="two heads")
    rows = Counter(weak for _, weak, _, _ in read_rows())
    columns = Counter(teacher for _, _, teacher, _ in read_rows())
    assert data.chosen_space.space.names[0] == f"weak: {NAMES[0]}"
    assert data.chosen_space.space.names[-1] == f"teacher: {NAMES[-1]}"
    assert data.classes.size.tolist() == [*(rows[w] for w in range(6)), *(columns[t] for t in range(6))]
    assert data.classes.share[:6].tolist() == [1.0] * 6
    assert data.classes.share[6] == pytest.approx(columns[0] / len(read_rows()))
    own = [p for _, _, teacher, p in read_rows() if teacher == 0]
    assert data.confidence[6] == pytest.approx(np.mean(own), abs=1e-6)
    assert all(len(example.pictures) == 3 for example in data.examples)


def test_a_study_of_nothing_but_two_heads_has_a_report(refined, tmp_path):
    copied = shutil.copytree(refined, tmp_path / "copied")
    write_json(copied / "study.json", keep_two_heads)
    assert collect(copied, pictures=0).chosen == "two heads"


def keep_two_heads(record):
    strategies = record["options"]["strategies"]
    record["options"]["strategies"] = {"two heads": strategies["two heads"]}


def test_confidence_of_a_class_is_the_mean_of_its_samples(data):
    label = int(np.argmax(data.classes.size))
    own = (int(data.classes.weak[label]), int(data.chosen_space.space.classes.teacher[label]))
    expected = np.mean([p for _, weak, teacher, p in read_rows() if (weak, teacher) == own])
    assert data.confidence[label] == pytest.approx(expected, abs=1e-6)


def test_examples_are_the_samples_the_teacher_is_surest_of(data):
    example = next(entry for entry in data.examples if entry.group == "most confused")
    own = (int(data.classes.weak[example.label]), int(data.chosen_space.space.classes.teacher[example.label]))
    surest = sorted((-p, number) for number, weak, teacher, p in read_rows() if (weak, teacher) == own)[:3]
    assert [picture.sample_id for picture in example.pictures] == [sample_id(number) for _, number in surest]


def test_pictures_show_their_own_sample(data):
    for example in data.examples:
        weak = data.classes.weak[example.label]
        for picture in example.pictures:
            shades = np.asarray(Image.open(io.BytesIO(picture.jpeg)))
            assert abs(int(shades.mean()) - (40 * weak + 10)) <= 2


def test_most_confused_are_disagreed_classes_by_a_cautious_share(data):
    shown = [entry.label for entry in data.examples if entry.group == "most confused"]
    kinds, rows = data.chosen_space.space.kinds, Counter(weak for _, weak, _, _ in read_rows())
    bounds = {
        label: wilson_interval(
            np.array([data.classes.size[label]]), np.array([rows[int(data.classes.weak[label])]])
        )[0][0]
        for label, kind in enumerate(kinds)
        if kind == "disagreed"
    }
    assert [bounds[label] for label in shown] == sorted(bounds.values(), reverse=True)[: len(shown)]


def test_failures_are_counted_by_reason(data):
    assert data.statuses == {"ok": len(read_rows()), REASON: SAMPLES - len(read_rows())}


def test_a_sample_whose_media_are_gone_says_so_and_has_no_picture(study, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(study, moved)
    (moved / "manifest.parquet").unlink()
    found = collect(moved)
    assert all(not example.pictures for example in found.examples)
    assert any("--manifest" in note for note in found.notes)
    assert collect(moved, manifest=study / "manifest.parquet").examples[0].pictures


@pytest.fixture
def copied(study, tmp_path):
    return shutil.copytree(study, tmp_path / "copied")


def test_media_that_the_study_decoded_are_shown_where_their_files_are_gone(copied):
    manifest = open_manifest(copied / "manifest.parquet").filter(split="weak")
    decode_manifest(manifest, ImageDomain(8), copied / "media" / "weak", made_by={})
    rows = pq.read_table(copied / "manifest.parquet").to_pylist()
    gone = [{**row, "image": b"gone"} for row in rows]
    pq.write_table(pa.Table.from_pylist(gone), copied / "manifest.parquet")
    shown = [picture for example in collect(copied).examples for picture in example.pictures]
    assert shown
    assert all(picture.jpeg for picture in shown)
    shutil.rmtree(copied / "media")
    assert not any(p.jpeg for example in collect(copied).examples for p in example.pictures)


def test_the_manifest_of_another_study_is_refused_and_its_own_is_told_of(copied, tmp_path):
    other = tmp_path / "other.parquet"
    pq.write_table(pq.read_table(copied / "manifest.parquet").slice(1), other)
    with pytest.raises(ConfigError, match=r"has no sample .*\(1 of 300 are missing.* not the one of this"):
        collect(copied, manifest=other, pictures=0)
    rows = pq.read_table(copied / "manifest.parquet").to_pylist()
    pq.write_table(pa.Table.from_pylist([{**row, "weak_label": "zumba"} for row in rows]), other)
    with pytest.raises(ConfigError, match=r"has the weak label 'zumba' for .* not the one of this study"):
        collect(copied, manifest=other, pictures=0)
    other.replace(copied / "manifest.parquet")
    found = collect(copied)
    assert "Manifest" not in dict(found.facts)
    assert [note for note in found.notes if "not the one of this study" in note]


def test_a_study_that_names_no_domain_says_so_and_does_not_ask_for_its_manifest(copied):
    write_json(copied / "study.json", lambda record: record.pop("domain"))
    [note] = collect(copied, manifest=copied / "manifest.parquet").notes
    assert "does not say of which domain" in note


def test_a_table_from_before_the_study_grew_says_what_it_lacks(copied):
    assert not [note for note in collect(copied, pictures=0).notes if "earlier state" in note]
    write_json(copied / "comparison.json", lambda kept: kept.update(runs=kept["runs"][:-1]))
    [note] = collect(copied, pictures=0).notes
    assert "1 of its 30 runs are not in it, such as raw SPL with 3 clips per video, seed 2" in note
    write_json(copied / "study.json", lambda record: record["options"].update(seeds=5))
    [note] = collect(copied, pictures=0).notes
    assert "21 of its 50 runs are not in it, such as weak-only, seed 3" in note


def drop_options(record):
    del record["options"]


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("study.json", drop_options, r"\(options: Field required\)"),
        ("study.json", lambda record: record["options"].pop("seeds"), r"\(options.seeds: Field required\)"),
        ("study.json", lambda record: record["options"].update(strategies=[]), "options.strategies: "),
        ("comparison.json", lambda kept: kept.pop("runs"), r"\(runs: Field required\)"),
        ("comparison.json", lambda kept: kept["runs"][0].pop("seed"), r"\(runs.0.seed: Field required\)"),
        ("seed0/teacher/card.json", lambda card: card.pop("made_by"), r"\(made_by: Field required\)"),
    ],
)
def test_a_damaged_file_is_named_with_what_is_wrong(copied, name, change, said):
    write_json(copied / name, change)
    with pytest.raises(ArtifactError, match=f"{name} is damaged .*{said}"):
        collect(copied, pictures=0)
    for content in (b"{", b"[]", b"\xff"):
        (copied / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=f"{name} is damaged"):
            collect(copied, pictures=0)


def test_a_study_that_has_not_ended_is_reported_as_far_as_it_is(study, tmp_path):
    unfinished = tmp_path / "unfinished"
    shutil.copytree(study, unfinished)
    (unfinished / "comparison.json").unlink()
    shutil.rmtree(unfinished / "seed0" / "spl_b")
    found = collect(unfinished)
    assert found.comparison is None
    assert "SPL-B" not in [entry.name for entry in found.spaces]
    assert any("SPL-B" in note for note in found.notes)


def test_predictions_alone_are_enough(study):
    found = collect(study / "seed0" / "predictions")
    assert found.confusion.total == len(read_rows())
    assert [entry.name for entry in found.spaces] == [
        "weak-only", "teacher-only", "agreement", "raw SPL", "SPL-B",
    ]  # fmt: skip


def test_vocabularies_without_agreement_leave_out_what_needs_it():
    confusion = count(Pairs([0, 1], [0, 0], weak_vocabulary=["a", "b"], teacher_vocabulary=["c"]))
    found = from_confusion(confusion)
    assert [entry.name for entry in found.spaces] == ["weak-only", "teacher-only", "raw SPL"]
    assert [note.partition(" ")[0] for note in found.notes] == ["agreement", "SPL-B"]


def test_the_chosen_strategy_is_raw_spl_unless_another_is_asked_for(study):
    assert collect(study, pictures=0).chosen == "raw SPL"
    assert collect(study, pictures=0, strategy="SPL-B").chosen == "SPL-B"
    confusion = count(Pairs([0, 1], [0, 1], weak_vocabulary=2))
    assert from_confusion(confusion, {"mine": TeacherOnly()}).chosen == "mine"
    assert from_confusion(confusion, {"t": TeacherOnly(), "r": RawSPL()}).chosen == "r"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"strategy": "raw spl"}, "no strategy 'raw spl' in this report: it has weak-only"),
        ({"pictures": -1}, "pictures is -1; expected examples a class, 0 for none"),
        ({"seed": 4}, "no predictions of seed 4 .*it has seed0"),
        ({"manifest": "nowhere.parquet"}, "no file or folder nowhere.parquet"),
    ],
)
def test_what_is_not_there_is_named(study, change, said):
    with pytest.raises(SublabelError, match=said):
        collect(study, **change)


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="neither a study"):
        collect(tmp_path)
    with pytest.raises(ConfigError, match="nothing at"):
        collect(tmp_path / "missing")


def test_explanations_in_the_study_are_shown_as_pictures_no_wider_than_the_page(data, study):
    stored = read_listing(study / "explanations")
    assert [entry.explanation for entry in data.explained] == [*stored]
    assert [Image.open(io.BytesIO(entry.jpeg)).size for entry in data.explained] == [(1000, 5)] * 2
    assert Image.open(io.BytesIO(data.explained[1].jpeg)).getpixel((0, 0)) == (5, 5, 5)


def test_explanations_of_another_folder_are_shown_when_it_is_named(study, tmp_path):
    folder = write_explanations(tmp_path, samples=30)
    (folder / "3.png").unlink()
    for path in (study, study / "seed0" / "predictions"):
        data = collect(path, pictures=0, explanations=folder)
        assert len(data.explained) == 23
        assert f"Shown are 24 of 30 explained samples in {folder}." in data.notes
        assert any("3.png cannot be shown" in note for note in data.notes)
    with pytest.raises(ArtifactError, match="no list of explanations.*`sublabel explain`"):
        collect(study, pictures=0, explanations=tmp_path / "none")
    (folder / "explanations.json").write_text('{"explanations": [{"group": 1}]}', encoding="utf-8")
    with pytest.raises(ArtifactError, match="no list of explanations"):
        collect(study, pictures=0, explanations=folder)
