from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import sublabel as sl
from sublabel.cli import main
from sublabel.errors import ConfigError
from sublabel.explain import ExplainQuery, explain_study, grad_cam, side_by_side
from sublabel.explain.models import StudyModel
from sublabel.explain.query import find_groups
from sublabel.options import RunOptions, TrainOptions
from sublabel.study import Study, StudyOptions
from sublabel.study.folder import StudyFolder, read_pairs
from sublabel.tables import open_manifest, read_relabeled
from sublabel.training import load_model
from sublabel_image import ImageDomain
from sublabel_image.demo import co_occurrence, page_queries
from sublabel_image.reading import image_bytes
from sublabel_video import ClipOptions, ClipSampling, VideoDomain, cut_clips
from sublabel_video.demo import SyntheticOptions, make_videos

NAMES = ["rows", "columns", "<b>plain & \u05d0\u05d1\u05d2"]
SPL, WEAK, FINE = "seed0/raw_spl/pretrained", "seed0/weak_only/pretrained", "seed0/raw_spl/finetuned"
TWO = "seed0/two_heads/pretrained"


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stripes(label, generator):
    pixels = generator.integers(0, 80, (16, 16))
    if label < 2:
        pixels = pixels + 150 * (np.indices((16, 16))[label] % 4 < 2)
    return image_bytes(pixels.astype(np.uint8))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    out = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 160)
    queries = page_queries(labels, co_occurrence(3, partners=(1.0,)))
    splits = ["weak"] * 100 + ["target_train"] * 30 + ["target_test"] * 30
    rows = [
        {
            "sample_id": f"s{index}",
            "image": stripes(label, generator) if index else b"broken",
            "weak_label": NAMES[query] if split == "weak" else None,
            "label": NAMES[label],
            "split": split,
        }
        for index, (label, query, split) in enumerate(zip(labels, queries, splits, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows), out / "manifest.parquet")
    quick = TrainOptions(epochs=2, batch_size=16, optimizer="adamw", learning_rate=4e-3, augmentation="shift")
    chosen = {
        "weak-only": sl.WeakOnly(),
        "raw SPL": sl.RawSPL(),
        "agreement": sl.AgreementFilter(),
        "two heads": sl.TwoHead(),
    }
    options = StudyOptions(
        backbone="small_resnet7",
        strategies=chosen,
        curve=(),
        pretrain=quick,
        finetune=quick,
        precision="32-true",
    )
    Study(out / "manifest.parquet", ImageDomain(16), options, out).run()
    return out


@pytest.fixture(scope="module")
def pairs(study):
    table = pq.read_table(study / "seed0" / "predictions").to_pylist()
    names = sorted(NAMES)
    return {
        row["sample_id"]: (row["weak_label"], names[row["top_ids"][0]])
        for row in table
        if row["status"] == "ok"
    }


def explain(study, tmp_path, **options):
    return explain_study(study, ExplainQuery(**{"model": SPL, **options}), tmp_path)


def test_a_class_is_shown_on_the_samples_that_its_model_is_surest_of(study, tmp_path):
    table = read_relabeled(study / "seed0" / "raw_spl" / "relabeled.parquet")
    labels = table.targets.labels
    label = int(np.bincount(labels[labels >= 0]).argmax())
    name = table.space.names[label]
    made = explain(study, tmp_path, label=name, top=3)
    classifier, card = load_model(study / SPL)
    transform = ImageDomain(16).evaluation_transform(card.preprocessing)
    rows = {row["sample_id"]: row for row in pq.read_table(study / "manifest.parquet").to_pylist()}
    probabilities = {}
    for sample_id, found in zip(table.sample_ids.to_pylist(), labels, strict=True):
        if found == label and sample_id != "s0":
            with torch.inference_mode():
                logits = classifier(transform(ImageDomain(16).read(rows[sample_id]))[None])
            probabilities[sample_id] = float(logits.softmax(1)[0, label])
    surest = sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:3]
    assert [entry.sample_id for entry in made] == surest
    assert [entry.panels[0].probability for entry in made] == [round(probabilities[i], 4) for i in surest]
    assert made[0].available == (labels == label).sum()


def test_the_picture_shows_the_input_and_its_heat(study, tmp_path):
    [made] = explain(study, tmp_path, sample_id="s5")
    shown = np.asarray(Image.open(tmp_path / made.files[0]))
    rows = {row["sample_id"]: row for row in pq.read_table(study / "manifest.parquet").to_pylist()}
    pixels = ImageDomain(16).read(rows["s5"])
    assert (shown[:160:10, :160:10] == pixels.permute(1, 2, 0).numpy()).all()
    classifier, card = load_model(study / SPL)
    heat = grad_cam(classifier, pixels[None], card.classes.index(made.panels[0].label))[0].numpy()
    assert heat.any()
    assert (shown == side_by_side(pixels.permute(1, 2, 0).numpy(), [heat])).all()


def test_another_model_is_explained_on_the_same_samples_with_its_own_class(study, pairs, tmp_path):
    cell = next(pair for pair in pairs.values() if pair[0] != pair[1])
    made = explain(study, tmp_path, versus=WEAK, cell=cell)
    assert made
    for entry in made:
        assert pairs[entry.sample_id] == cell
        ours, theirs = entry.panels
        assert (ours.model, ours.label) == (SPL, f"{cell[0]} × {cell[1]}")
        assert (theirs.model, theirs.label) == (WEAK, cell[0])
        assert Image.open(tmp_path / entry.files[0]).size == (3 * 160 + 2 * 4, 160)


def test_a_row_shows_its_agreed_class_beside_its_sub_concepts(study, pairs, tmp_path):
    made = explain(study, tmp_path, row="rows", top=2, sub_concepts=2)
    groups = list(dict.fromkeys(entry.group for entry in made))
    assert groups[0] == "rows"
    assert all(group.startswith("rows × ") for group in groups[1:])
    assert len(groups) > 1
    for entry in made:
        weak, teacher = pairs[entry.sample_id]
        assert entry.panels[0].label == entry.group == ("rows" if teacher == weak else f"{weak} × {teacher}")
        assert {panel.label for panel in entry.panels} >= {"rows"}
        assert len(entry.panels) == 2


def test_a_fine_tuned_model_is_explained_on_test_samples(study, tmp_path):
    made = explain(study, tmp_path, model=FINE, versus=SPL, label="columns", top=2)
    rows = {row["sample_id"]: row for row in pq.read_table(study / "manifest.parquet").to_pylist()}
    assert [entry.split for entry in made] == ["target_test"] * 2
    assert {rows[entry.sample_id]["label"] for entry in made} == {"columns"}
    assert [panel.label for panel in made[0].panels] == ["columns", "columns"]


def test_a_sample_is_explained_with_its_own_class_or_the_one_that_is_asked_for(study, pairs, tmp_path):
    [own] = explain(study, tmp_path, sample_id="s7")
    weak, teacher = pairs["s7"]
    assert own.panels[0].label == (weak if weak == teacher else f"{weak} × {teacher}")
    [asked] = explain(study, tmp_path, sample_id="s7", label="columns")
    assert asked.panels[0].label == "columns"
    [tested] = explain(study, tmp_path, model=FINE, sample_id="s159")
    assert tested.split == "target_test"


@pytest.mark.parametrize("side", ["weak", "teacher"])
def test_a_class_of_either_head_is_shown_on_its_own_samples(study, pairs, tmp_path, side):
    made = explain(study, tmp_path, model=TWO, label=f"{side}: columns", top=3)
    own = {sample_id for sample_id, pair in pairs.items() if pair[side == "teacher"] == "columns"}
    assert {entry.sample_id for entry in made} <= own
    assert made[0].available == len(own)
    assert [panel.label for panel in made[0].panels] == [f"{side}: columns"]


def test_a_cell_of_a_two_head_model_shows_the_class_of_each_head(study, pairs, tmp_path):
    cell = next(pair for pair in pairs.values() if pair[0] != pair[1])
    made = explain(study, tmp_path, model=SPL, versus=TWO, cell=cell, top=2)
    labels = [f"{cell[0]} × {cell[1]}", f"weak: {cell[0]}", f"teacher: {cell[1]}"]
    assert [[panel.label for panel in entry.panels] for entry in made] == [labels] * len(made)
    sample_id = made[0].sample_id
    [asked] = explain(study, tmp_path, model=TWO, sample_id=sample_id)
    assert [panel.label for panel in asked.panels] == labels[1:]
    assert [panel.probability for panel in asked.panels] == [
        panel.probability for panel in made[0].panels[1:]
    ]


def test_probabilities_of_a_two_head_model_sum_to_one_in_each_head(study):
    model, images = (
        StudyModel.load(StudyFolder.open(study), TWO),
        torch.randint(256, (5, 3, 16, 16), dtype=torch.uint8),
    )
    with torch.inference_mode():
        found, logits = model.probabilities(images), model.classifier(images)
    assert model.classes == tuple(f"{side}: {name}" for side in ("weak", "teacher") for name in sorted(NAMES))
    torch.testing.assert_close(found[:, :3], logits[:, :3].softmax(1))
    torch.testing.assert_close(found[:, 3:], logits[:, 3:].softmax(1))


def test_a_test_sample_has_the_teachers_class_of_a_two_head_model(study, tmp_path):
    made = explain(study, tmp_path, model=FINE, versus=TWO, label="columns", top=1)
    assert [panel.label for panel in made[0].panels] == ["columns", "teacher: columns"]


def test_candidates_are_spread_over_all_there_are(study):
    folder = StudyFolder.open(study)
    samples = read_pairs(folder.predictions(SPL))
    query = ExplainQuery(model=WEAK, label="rows", candidates=5)
    model = StudyModel.load(folder, WEAK)
    [group] = find_groups(query, [model], samples, {})
    everything = [
        sample_id
        for sample_id, labels in zip(samples.sample_ids, model.labels_of(samples), strict=True)
        if labels == model.named("rows")
    ]
    expected = [everything[index * len(everything) // 5] for index in range(5)]
    assert [candidate.sample_id for candidate in group.candidates] == expected
    assert group.available == len(everything)


def test_the_list_names_every_picture_and_there_is_no_page(study, tmp_path):
    made = explain(study, tmp_path, label=NAMES[2], top=2)
    files = [file for entry in made for file in entry.files]
    assert {path.name for path in tmp_path.iterdir()} == {"explanations.json", *files}
    stored = json.loads((tmp_path / "explanations.json").read_text(encoding="utf-8"))
    assert stored["query"]["label"] == NAMES[2]
    assert [entry["sample_id"] for entry in stored["explanations"]] == [entry.sample_id for entry in made]


def test_what_cannot_be_read_is_counted_and_progress_reaches_its_end(study, tmp_path):
    [group] = find_groups(
        ExplainQuery(model=WEAK, label="rows"),
        [StudyModel.load(StudyFolder.open(study), WEAK)],
        read_pairs(StudyFolder.open(study).predictions(WEAK)),
        {},
    )
    rows = pq.read_table(study / "manifest.parquet").to_pylist()
    names = [candidate.sample_id for candidate in group.candidates]
    for row in rows:
        row["image"] = b"broken" if row["sample_id"] in names[1:] else row["image"]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "manifest.parquet")
    steps = []
    [made] = explain_study(
        study,
        ExplainQuery(model=WEAK, label="rows"),
        tmp_path,
        manifest=tmp_path / "manifest.parquet",
        progress=lambda done, total: steps.append((done, total)),
    )
    assert made.sample_id == names[0]
    assert sum(made.unreadable.values()) == len(names) - 1
    assert steps[-1] == (len(names), len(names))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def test_a_sample_that_cannot_be_read_is_an_error(study, tmp_path):
    with pytest.raises(sl.MediaError, match="none of the 1 samples of 's0': 1 × "):
        explain(study, tmp_path, model=WEAK, sample_id="s0")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "row"}, "'row' is no class of seed0/raw_spl/pretrained; did you mean 'rows'"),
        ({"cell": ("rows", "zumba")}, "'zumba' is no teacher class"),
        ({"row": "zumba"}, "'zumba' is no weak class"),
        ({"row": "rows", "model": FINE}, "has no label space, so no rows"),
        (
            {"row": "rows", "model": TWO},
            "no classes within the row 'rows': give a cell, or the label 'weak: ",
        ),
        (
            {"label": "rows", "model": TWO},
            "'rows' is no class of seed0/two_heads/pretrained; there are 6, such as 'weak: ",
        ),
        ({"sample_id": "nobody"}, "no sample of the weak split or of target_test is called 'nobody'"),
        ({"label": "rows", "model": "seed0/raw_spl"}, "has no model 'seed0/raw_spl'; there are seed0/"),
        ({"label": "rows", "layer": "stage9"}, "no layer 'stage9'; did you mean stage"),
    ],
)
def test_what_does_not_exist_is_refused(study, tmp_path, options, message):
    with pytest.raises(sl.SublabelError, match=message):
        explain(study, tmp_path, **options)


@pytest.mark.parametrize("options", [{}, {"label": "a", "row": "b"}, {"cell": ("a", "b"), "sample_id": "c"}])
def test_a_query_asks_one_question(options):
    with pytest.raises(ValueError, match="give one of them"):
        ExplainQuery(model=SPL, **options)


def test_a_study_whose_manifest_moved_takes_it_as_an_option(study, tmp_path):
    query = ExplainQuery(model=WEAK, label="rows", top=1)
    moved = tmp_path / "moved.parquet"
    record = StudyFolder.open(study).record
    folder = StudyFolder(study, record.model_copy(update={"manifest": "nowhere.parquet"}))
    with pytest.raises(ConfigError, match=r"nowhere.parquet\): say where it is with --manifest"):
        folder.manifest()
    moved.write_bytes((study / "manifest.parquet").read_bytes())
    assert explain_study(study, query, tmp_path / "out", manifest=moved)
    whole = pq.read_table(moved)
    relabeled = pa.Table.from_pylist([{**row, "weak_label": "zumba"} for row in whole.to_pylist()])
    for other in (whole.slice(140), relabeled):
        pq.write_table(other, moved)
        with pytest.raises(sl.SublabelError, match="it is not the one of this study"):
            explain_study(study, query, tmp_path / "out", manifest=moved)


@pytest.fixture(scope="module")
def video_study(tmp_path_factory):
    out = tmp_path_factory.mktemp("videos")
    actions = ("slide left", "slide right", "zoom in")
    options = SyntheticOptions(videos=6, seconds=6, target_train=2, target_test=2, actions=actions)
    clip = ClipOptions(frames=8, stride=2, fps=15)
    videos = open_manifest(make_videos(out / "videos", options))
    cut_clips(videos, out / "clips.parquet", clip, ClipSampling(mode="uniform", clips_per_video=3))
    quick = TrainOptions(epochs=1, batch_size=2, augmentation="shift")
    chosen = {"weak-only": sl.WeakOnly(), "raw SPL": sl.RawSPL()}
    options = StudyOptions(
        backbone="small_resnet3d", strategies=chosen, curve=("weak-only",), clips_per_video=(2,),
        pretrain=quick, finetune=quick, precision="32-true",
    )  # fmt: skip
    domain, run = VideoDomain(clip, image_size=32, short_side=32), RunOptions(decode_once=True)
    Study(out / "clips.parquet", domain, options, out, run=run).run()
    return out


def test_the_command_explains_clips_with_strips_and_animations(video_study, tmp_path, capsys):
    arguments = [
        "explain",
        video_study,
        "--model",
        SPL,
        "--versus",
        WEAK,
        "--row",
        "slide left",
        "-o",
        tmp_path,
    ]
    assert main([*map(str, arguments), "--top", "1"]) == 0
    said = capsys.readouterr().out
    assert str(tmp_path / "explanations.json") in said
    assert f"sublabel report {video_study} --explanations {tmp_path}" in said
    stored = json.loads((tmp_path / "explanations.json").read_text(encoding="utf-8"))["explanations"]
    first = stored[0]
    assert first["files"] == ["00-00.png", "00-00.mp4", "00-00.webp"]
    assert all((tmp_path / file).stat().st_size for file in first["files"])
    panels = len(first["panels"])
    assert Image.open(tmp_path / "00-00.png").size == (8 * 160 + 7 * 4, (panels + 1) * 160 + panels * 4)
    assert Image.open(tmp_path / "00-00.webp").size == ((panels + 1) * 160 + panels * 4, 160)


def test_a_model_of_the_curve_has_its_own_pairs(video_study, tmp_path):
    model = "seed0/clips2/weak_only/pretrained"
    made = explain_study(video_study, ExplainQuery(model=model, label="slide left"), tmp_path)
    table = read_relabeled(video_study / "seed0" / "clips2" / "weak_only" / "relabeled.parquet")
    assert made[0].available == (table.targets.labels == table.space.names.index("slide left")).sum()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", SPL), "got none of label, cell, row and sample_id"),
        (("--model", SPL, "--row", "slide left", "--top", "0"), "--top: Input should be greater than 0"),
        (("--model", SPL, "--cell", "slide left", "zumba"), "'zumba' is no teacher class"),
    ],
)
def test_a_users_mistake_ends_with_one_message(video_study, tmp_path, capsys, arguments, message):
    assert main(["explain", str(video_study), "-o", str(tmp_path), *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_folder_that_is_no_study_is_refused(tmp_path, capsys):
    assert main(["explain", str(tmp_path), "--model", SPL, "--label", "a"]) == 2
    assert "holds no study.json: give the folder of a study" in capsys.readouterr().err
