from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

import sublabel as sl
from sublabel import distributed
from sublabel.errors import ConfigError, LabelError, TableError
from sublabel.media import Preprocessing
from sublabel.tables import iter_batches, iter_pairs, open_manifest, read_predictions_metadata
from sublabel.teacher import Ensemble, ModuleTeacher, fit_temperature, predict_manifest
from sublabel.training import Classifier
from sublabel_image import ImageDomain

VOCABULARY = sl.Vocabulary(["dark", "middle", "bright"])
WANTED = Preprocessing(input_size=(3, 8, 8), mean=(0.5,) * 3, std=(0.25,) * 3)


class Brightness(nn.Module):
    """Logits fall with the distance of the mean grey value from 0, 127 and 255: its answers are known."""

    def forward(self, inputs):
        grey = inputs.float().mean((1, 2, 3))
        return -(grey[:, None] - torch.tensor([0.0, 127.0, 255.0])).abs() / 50


def image(grey):
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), grey, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def truncated_jpeg():
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        buffer, format="JPEG"
    )
    return buffer.getvalue()[:2000]


def manifest(tmp_path, samples=50, broken=()):
    greys = [(index * 37) % 256 for index in range(samples)]
    rows = [
        {
            "sample_id": f"s{index}",
            "image": broken[index] if index in broken else image(grey),
            "weak_label": None if index % 7 == 0 else VOCABULARY[index % 3],
        }
        for index, grey in enumerate(greys)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "m.parquet", row_group_size=11)
    return open_manifest(tmp_path / "m.parquet"), greys


def predict(manifest, out, **options):
    domain = ImageDomain()
    options = {"batch_size": 4, "rows_per_shard": 12, **options}
    return predict_manifest(
        manifest,
        options.pop("teacher", ModuleTeacher(Brightness(), VOCABULARY, top_k=2, device="cpu")),
        out,
        reader=options.pop("reader", domain),
        transform=domain.evaluation_transform(WANTED),
        **options,
    )


def rows(path):
    return pa.Table.from_batches(list(iter_batches(path))).to_pylist()


def test_every_sample_gets_the_teachers_answer_in_the_manifests_order(tmp_path):
    source, greys = manifest(tmp_path)
    summary = predict(source, tmp_path / "p")
    table = rows(tmp_path / "p")
    logits = -np.abs(np.array(greys)[:, None] - np.array([0, 127, 255])) / 50
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert [row["sample_id"] for row in table] == [f"s{index}" for index in range(50)]
    for row, probabilities in zip(table, expected, strict=True):
        order = np.argsort(-probabilities)[:2]
        assert row["top_ids"] == order.tolist()
        assert row["top_probs"] == pytest.approx(probabilities[order], abs=1e-4)
        assert row["status"] == "ok"
    assert (summary.rows, summary.failed) == (50, 0)
    assert len(list((tmp_path / "p").iterdir())) == 5


def test_labels_come_back_as_pairs(tmp_path):
    source, greys = manifest(tmp_path)
    predict(source, tmp_path / "p")
    pairs = list(iter_pairs(tmp_path / "p"))
    weak = np.concatenate([chunk.weak for chunk in pairs])
    teacher = np.concatenate([chunk.teacher for chunk in pairs])
    # The weak vocabulary is sorted by name: bright, dark, middle.
    names = sl.Vocabulary(["bright", "dark", "middle"])
    assert read_predictions_metadata(tmp_path / "p").weak_vocabulary == names
    expected = [-1 if i % 7 == 0 else names.index(VOCABULARY[i % 3]) for i in range(50)]
    assert weak.tolist() == expected
    assert teacher.tolist() == [min(2, round(grey / 127.5)) for grey in greys]


def test_what_cannot_be_read_is_a_row_with_its_reason(tmp_path):
    broken = {3: b"not an image", 8: truncated_jpeg(), 12: None, 13: None}
    source, _ = manifest(tmp_path, broken=broken)
    summary = predict(source, tmp_path / "p")
    table = {row["sample_id"]: row for row in rows(tmp_path / "p")}
    assert len(table) == summary.rows == 50
    assert summary.failed == 4
    assert table["s3"]["status"].startswith("unreadable: not an image")
    assert table["s8"]["status"].startswith("unreadable: ")
    assert table["s12"]["status"].startswith("missing: ")
    assert all(table[f"s{index}"]["top_ids"] is None for index in broken)
    assert summary.statuses[table["s12"]["status"]] == 2
    assert "50 samples, 4 could not be read; 2 × missing" in str(summary)


def test_a_batch_without_any_readable_sample_is_no_problem(tmp_path):
    source, _ = manifest(tmp_path, samples=4, broken=dict.fromkeys(range(4), b"x"))
    assert predict(source, tmp_path / "p").failed == 4


def test_a_killed_pass_goes_on_and_ends_with_the_same_bytes(tmp_path):
    source, _ = manifest(tmp_path)
    predict(source, tmp_path / "whole")
    seen = []

    class Seeing(ImageDomain):
        def read_many(self, rows):
            seen.extend(row["sample_id"] for row in rows)
            if "s30" in seen[:50]:
                raise KeyboardInterrupt
            return super().read_many(rows)

    with pytest.raises(KeyboardInterrupt):
        predict(source, tmp_path / "killed", reader=Seeing())
    assert len(list((tmp_path / "killed").iterdir())) == 2
    seen.clear()
    seen.extend(["-"] * 100)
    summary = predict(source, tmp_path / "killed", reader=Seeing())
    assert seen[100] == "s24"
    assert summary.rows == 50
    for path in (tmp_path / "whole").iterdir():
        assert (tmp_path / "killed" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("samples", [24, 30])
def test_an_ended_pass_is_not_run_again(tmp_path, samples):
    source, _ = manifest(tmp_path, samples=samples)
    first = predict(source, tmp_path / "p")

    class Unread(ImageDomain):
        def read_many(self, rows):
            raise AssertionError

    assert predict(source, tmp_path / "p", reader=Unread()) == first


def test_worker_processes_give_the_same_bytes(tmp_path):
    source, _ = manifest(tmp_path)
    predict(source, tmp_path / "one")
    predict(source, tmp_path / "two", num_workers=2)
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            {"teacher": ModuleTeacher(nn.Sequential(Brightness(), nn.Linear(3, 3)), VOCABULARY)},
            "teacher_fingerprint",
        ),
        (
            {"weak_vocabulary": sl.Vocabulary(["dark", "middle", "bright"])},
            "weak_vocabulary, weak_fingerprint",
        ),
        ({"rows_per_shard": 24}, "rows_per_shard"),
    ],
)
def test_predictions_of_another_pass_are_not_mixed(tmp_path, change, what):
    source, _ = manifest(tmp_path)
    predict(source, tmp_path / "p")
    with pytest.raises(ConfigError, match=f"parquet was made with another {what}: .*choose another"):
        predict(source, tmp_path / "p", **change)


def test_a_manifest_without_weak_labels_is_refused(tmp_path):
    pq.write_table(pa.table({"sample_id": ["a"], "uri": ["x"]}), tmp_path / "m.parquet")
    with pytest.raises(TableError, match="no column weak_label"):
        predict(open_manifest(tmp_path / "m.parquet"), tmp_path / "p")


def test_a_weak_label_outside_the_vocabulary_is_named(tmp_path):
    source, _ = manifest(tmp_path)
    message = r"m.parquet.*: the weak_label of sample 's\d+': 'bright' is not in the vocabulary of 2 classes"
    with pytest.raises(LabelError, match=message):
        predict(source, tmp_path / "p", weak_vocabulary=sl.Vocabulary(["dark", "middle"]))


def test_a_teacher_of_another_width_is_refused():
    teacher = ModuleTeacher(Brightness(), sl.Vocabulary(["a", "b"]), device="cpu")
    with pytest.raises(ConfigError, match=r"logits of shape \(2, 3\).*vocabulary of 2 classes"):
        teacher.predict(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="top_k is 0"):
        ModuleTeacher(Brightness(), VOCABULARY, top_k=0)


def test_half_precision_multiplies_in_bfloat16():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))
    inputs = torch.randn(4, 3, 8, 8)
    whole = ModuleTeacher(module, VOCABULARY, device="cpu")
    half = ModuleTeacher(module, VOCABULARY, device="cpu", precision="bf16-mixed")
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        expected = module(inputs).float().softmax(-1).topk(3).values.numpy()
    assert np.array_equal(half.predict(inputs).probabilities, expected)
    assert not np.array_equal(whole.predict(inputs).probabilities, expected)
    assert half.fingerprint != whole.fingerprint


def test_an_ensemble_says_the_mean_of_its_members_probabilities():
    members = [nn.Linear(5, 4) for _ in range(3)]
    inputs = torch.randn(8, 5)
    vocabulary = sl.Vocabulary.of(4)
    found = ModuleTeacher(Ensemble(members), vocabulary, top_k=2, device="cpu").predict(inputs)
    mean = torch.stack([member(inputs).softmax(1) for member in members]).mean(0)
    assert np.allclose(found.probabilities, mean.topk(2).values.detach(), atol=1e-6)
    assert found.ids.tolist() == mean.topk(2).indices.tolist()
    with pytest.raises(ConfigError, match="at least one module"):
        Ensemble([])


def test_several_processes_have_about_equal_shares_of_a_short_pass(tmp_path, monkeypatch):
    source, _ = manifest(tmp_path, samples=50)
    monkeypatch.setattr(distributed, "wait_for_all", lambda: None)
    predict(source, tmp_path / "alone")
    made = []
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        predict(source, tmp_path / "p", rows_per_shard=None)
        made.append(len(list((tmp_path / "p").glob("*.parquet"))))
    assert made == [4, 7, 10]
    assert rows(tmp_path / "p") == rows(tmp_path / "alone")
    # Another number of processes goes on with the shards there are.
    (tmp_path / "p" / "part-00003.parquet").unlink()
    monkeypatch.setattr(distributed, "world_size", lambda: 1)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    predict(source, tmp_path / "p", rows_per_shard=None)
    assert len(list((tmp_path / "p").glob("*.parquet"))) == 10


class Grey(nn.Module):
    """Means of the channels, a backbone whose features are known."""

    num_features = 3

    def forward(self, inputs):
        return inputs.float().mean((2, 3))


def test_a_pass_keeps_what_a_model_saw_and_says_the_same_without(tmp_path):
    source, greys = manifest(tmp_path, broken={3: b"no image"})
    teacher = ModuleTeacher(Classifier(Grey(), 3), VOCABULARY, top_k=2, device="cpu")
    predict(source, tmp_path / "with", teacher=teacher, features=True)
    predict(source, tmp_path / "without", teacher=teacher)
    found = np.concatenate([pairs.features for pairs in iter_pairs(tmp_path / "with", needs={"features"})])
    expected = np.repeat(np.float32(greys)[:, None] / 255, 3, axis=1)
    expected[3] = np.nan
    np.testing.assert_allclose(found, expected, atol=1e-3)
    kept = [{key: row[key] for key in row if key != "features"} for row in rows(tmp_path / "with")]
    assert kept == rows(tmp_path / "without")


def test_passes_with_and_without_features_are_not_mixed(tmp_path):
    source, _ = manifest(tmp_path)
    teacher = ModuleTeacher(Classifier(Grey(), 3), VOCABULARY, top_k=2, device="cpu")
    for first in (True, False):
        predict(source, tmp_path / str(first), teacher=teacher, features=first)
        with pytest.raises(ConfigError, match="was made with another features"):
            predict(source, tmp_path / str(first), teacher=teacher, features=not first)


def test_a_teacher_that_says_nothing_of_what_it_sees_is_refused(tmp_path):
    source, _ = manifest(tmp_path)
    with pytest.raises(ConfigError, match="the teacher ModuleTeacher has no features to keep"):
        predict(source, tmp_path / "p", features=True)


def test_features_of_another_width_than_promised_are_refused(tmp_path):
    class Promising(ModuleTeacher):
        num_features = 7

    source, _ = manifest(tmp_path)
    teacher = Promising(Classifier(Grey(), 3), VOCABULARY, device="cpu")
    with pytest.raises(ConfigError, match=r"shape \(4, 3\); expected \(4, 7\)"):
        predict(source, tmp_path / "p", teacher=teacher, features=True)


@pytest.mark.parametrize("views", [None, 3])
def test_an_ensemble_says_the_mean_over_its_members_views_and_flips(views):
    members = [nn.Sequential(nn.Flatten(), nn.Linear(2 * 4, 5)) for _ in range(2)]
    inputs = torch.randn(6, *([] if views is None else [views]), 2, 4)
    found = Ensemble(members, views=views, flip=True, temperature=2.5)(inputs)
    looks = [inputs] if views is None else [inputs[:, view] for view in range(views)]
    each = [
        (member(seen) / 2.5).softmax(1)
        for member in members
        for look in looks
        for seen in (look, torch.flip(look, [2]))
    ]
    assert torch.allclose(found.exp(), torch.stack(each).mean(0), atol=1e-6)


def test_how_an_ensemble_looks_is_in_its_fingerprint():
    member = nn.Linear(5, 4)
    ways = ({}, {"flip": True}, {"views": 2}, {"temperature": 2.0})
    prints = {ModuleTeacher(Ensemble([member], **way), sl.Vocabulary.of(4)).fingerprint for way in ways}
    assert len(prints) == len(ways)
    with pytest.raises(ConfigError, match=r"temperature is 0\.0; expected a number above 0"):
        Ensemble([member], temperature=0.0)


def test_calibration_finds_the_temperature_that_the_answers_were_drawn_with():
    generator = torch.Generator().manual_seed(0)
    true = 2 * torch.randn(20_000, 1, 6, generator=generator)
    labels = torch.multinomial(true[:, 0].softmax(1), 1, generator=generator)[:, 0]
    for temperature in (0.4, 1.0, 3.0):
        assert fit_temperature(true * temperature, labels) == pytest.approx(temperature, rel=0.03)
