from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import sublabel as sl
from sublabel.options import RunOptions, TrainOptions
from sublabel.study import Row, Study, StudyOptions, train_row
from sublabel_image import ImageDomain
from sublabel_image.demo import co_occurrence, page_queries
from sublabel_image.reading import image_bytes

FAST = {
    "backbone": "small_resnet7",
    "pretrain": TrainOptions(epochs=1, batch_size=16, learning_rate=0.05, augmentation="shift"),
    "finetune": TrainOptions(
        epochs=4, batch_size=8, optimizer="adamw", learning_rate=0.004, augmentation="shift"
    ),
}


CLASSES = 3


def stripes(label, generator):
    """Horizontal, vertical or no stripes, with noise: what a small network learns in an epoch or two."""
    pixels = generator.integers(0, 80, (8, 8))
    if label < 2:
        pixels = pixels + 150 * (np.indices((8, 8))[label] % 4 < 2)
    return image_bytes(pixels.astype(np.uint8))


@contextmanager
def single_threaded():
    """Sums over one and over two threads differ in the last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with single_threaded():
        yield


@pytest.fixture(scope="session")
def manifest(tmp_path_factory):
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, 200)
    queries = page_queries(labels, co_occurrence(CLASSES, partners=(1.0,)))
    names = ["rows", "columns", "plain"]
    splits = ["weak"] * 120 + ["target_train"] * 40 + ["target_test"] * 40
    rows = [
        {
            "sample_id": f"s{index}",
            "image": stripes(label, generator),
            "weak_label": names[query] if split == "weak" else None,
            "label": names[label],
            "split": split,
        }
        for index, (label, query, split) in enumerate(zip(labels, queries, splits, strict=True))
    ]
    path = tmp_path_factory.mktemp("study") / "manifest.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def study(manifest, out, **options):
    """A study of the small manifest; options may be of what is compared or of how it is run.

    `teacher` is a given one, `teacher_options` are those of one that the study trains.
    """
    given = {name: options.pop(name) for name in ("teacher", "predictions") if name in options}
    if "teacher_options" in options:
        options["teacher"] = options.pop("teacher_options")
    run = RunOptions(**{name: options.pop(name) for name in RunOptions.model_fields if name in options})
    return Study(manifest, ImageDomain(8), StudyOptions(**{**FAST, **options}), out, run=run, **given)


def train_teacher(made, seed=0):
    """The first row of a seed, whose model is the teacher, and its pass over the weak split."""
    metrics = train_row(made, Row(None, seed))
    made.predict(seed)
    return metrics


@pytest.fixture(scope="session")
def finished(manifest, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    with single_threaded():
        return out, study(manifest, out).run()


def with_sources(manifest, path, each=3):
    """The same samples, three of a source."""
    table = pq.read_table(manifest)
    sources = pa.array([f"page{row // each}" for row in range(len(table))])
    pq.write_table(table.append_column("source_id", sources), path)
    return path


def as_files(manifest, folder, *broken):
    """The same samples as files, some of which cannot be read."""
    table = pq.read_table(manifest)
    folder.mkdir()
    for number, image in enumerate(table["image"].to_pylist()):
        (folder / f"{number}.png").write_bytes(b"broken" if number in broken else image)
    uris = pa.array([f"{number}.png" for number in range(len(table))])
    pq.write_table(table.drop_columns(["image"]).append_column("uri", uris), folder / "m.parquet")
    return folder / "m.parquet"


ONE_ROW = {"strategies": {"weak-only": sl.WeakOnly()}}
