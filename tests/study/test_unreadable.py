from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sublabel as sl
from sublabel.errors import MediaError, TableError
from sublabel_image import ImageDomain
from tests.study.conftest import ONE_ROW, as_files, study


def test_an_unreadable_weak_image_is_left_out_and_counted(manifest, tmp_path):
    table = pq.read_table(manifest)
    images = table["image"].to_pylist()
    images[5] = b"broken"
    column = table.schema.get_field_index("image")
    pq.write_table(table.set_column(column, "image", pa.array(images)), tmp_path / "m.parquet")
    comparison = study(
        tmp_path / "m.parquet", tmp_path / "out", strategies={"weak-only": sl.WeakOnly()}
    ).run()
    assert (comparison.runs[1].samples, comparison.runs[1].pool) == (119, 120)


def test_an_unreadable_target_image_is_named_before_anything_is_trained(manifest, tmp_path):
    table = pq.read_table(manifest)
    images = table["image"].to_pylist()
    images[130] = b"broken"
    column = table.schema.get_field_index("image")
    pq.write_table(table.set_column(column, "image", pa.array(images)), tmp_path / "m.parquet")
    with pytest.raises(
        TableError, match="1 of 40 samples of target_train cannot be read .'s130': unreadable"
    ):
        study(tmp_path / "m.parquet", tmp_path / "out", decode_once=True).run()
    assert not (tmp_path / "out" / "seed0").exists()


def test_unreadable_target_images_can_be_left_out(manifest, tmp_path):
    table = pq.read_table(manifest)
    images = table["image"].to_pylist()
    images[130] = images[170] = b"broken"
    column = table.schema.get_field_index("image")
    pq.write_table(table.set_column(column, "image", pa.array(images)), tmp_path / "m.parquet")
    with pytest.raises(TableError, match="1 of 40 samples of target_test cannot be read .'s170'.*leave_out"):
        study(tmp_path / "m.parquet", tmp_path / "out").run()
    assert not list((tmp_path / "out").glob("seed*"))
    options = {"strategies": {"weak-only": sl.WeakOnly()}, "leave_out_unreadable": True}
    comparison = study(tmp_path / "m.parquet", tmp_path / "left_out", **options).run()
    assert comparison.test_samples == 39


@pytest.mark.parametrize("decode_once", [False, True])
def test_each_way_on_after_an_unreadable_target_sample_works_in_the_same_folder(
    manifest, tmp_path, decode_once
):
    options = {**ONE_ROW, "decode_once": decode_once}
    files = as_files(manifest, tmp_path / "files", 130, 140)
    whole = pq.read_table(manifest)["image"].to_pylist()
    outs = {way: tmp_path / way for way in ("mend", "take out", "leave out")}
    for out in outs.values():
        with pytest.raises(TableError, match="2 of 40 samples of target_train cannot be read"):
            study(files, out, **options).run()
    left_out = study(files, outs["leave out"], **options, leave_out_unreadable=True).run()
    table = pq.read_table(files)
    kept = [row for row in range(len(table)) if row not in (130, 140)]
    pq.write_table(table.take(kept), files.parent / "fewer.parquet")
    fewer = study(files.parent / "fewer.parquet", outs["take out"], **options).run()
    assert left_out.runs == fewer.runs
    (files.parent / "130.png").write_bytes(whole[130])
    with pytest.raises(TableError, match="1 of 40 samples of target_train cannot be read .'s140'"):
        study(files, outs["mend"], **options).run()
    (files.parent / "140.png").write_bytes(whole[140])
    mended = study(files, outs["mend"], **options).run()
    assert mended.runs == study(manifest, tmp_path / "whole", **options).run().runs


def test_what_was_left_out_of_a_training_stays_out_when_it_is_mended(manifest, tmp_path):
    files = as_files(manifest, tmp_path / "files", 130, 170)
    options = {**ONE_ROW, "leave_out_unreadable": True}
    comparison = study(files, tmp_path / "out", **options).run()
    for number in (130, 170):
        (files.parent / f"{number}.png").write_bytes(pq.read_table(manifest)["image"][number].as_py())
    more = {**options, "strategies": {"weak-only": sl.WeakOnly(), "SPL-B": sl.SPLB()}}
    again = study(files, tmp_path / "out", **more).run()
    assert again.test_samples == comparison.test_samples == 39
    assert again.runs[:2] == comparison.runs


def test_damage_that_only_decoding_finds_names_the_sample_and_can_be_left_out(
    manifest, tmp_path, monkeypatch
):
    files = as_files(manifest, tmp_path / "files", 130)
    # As for a video: its packets look well.
    monkeypatch.setattr(ImageDomain, "check", lambda *_: None)
    with pytest.raises(MediaError, match="sample 's130' cannot be read .*--leave_out_unreadable true"):
        study(files, tmp_path / "out", **ONE_ROW).run()
    comparison = study(files, tmp_path / "out", **ONE_ROW, leave_out_unreadable=True).run()
    assert len(comparison.runs) == 2
    assert json.loads(next((tmp_path / "out").glob("target_train-*-decoded.json")).read_text()).keys() == {
        "s130"
    }
