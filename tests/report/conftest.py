from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sublabel.evaluation import Comparison, RunMetrics
from sublabel.explain import ExplainQuery
from sublabel.explain.listing import Explanation, PanelInfo, write_listing
from sublabel.explain.pictures import write_png
from sublabel.labels import ConfidentSPL, RawSPL, TopKSPL, TwoHead, Vocabulary
from sublabel.study import StudyOptions, default_strategies, slug
from sublabel.tables import (
    PREDICTIONS_SCHEMA,
    PredictionsMetadata,
    TableWriter,
    relabel_table,
)
from sublabel_image.reading import image_bytes

NAMES = (
    "<script>window.broken = 1</script>",
    "a 'quote', a \"quote\" & <b>bold</b>",
    "مرحبا بالعالم",
    "🥁 drums",
    'x" onmouseover="window.broken = 1',
    "plain",
)
REASON = "unreadable: <i>cut off</i>"
SAMPLES, SOURCES = 300, 40


def sample_id(number):
    return f"<img src=x onerror='window.broken=1'>/{number}.png"


def draw_labels():
    """Weak labels that the teacher shares half of the time, and else mostly takes for the next class."""
    generator = np.random.default_rng(0)
    weak = generator.integers(0, len(NAMES), SAMPLES)
    shift = generator.choice([0, 1, 2, 3], SAMPLES, p=[0.5, 0.3, 0.15, 0.05])
    return weak, (weak + shift) % len(NAMES), generator.uniform(0.3, 1.0, SAMPLES)


def write_predictions(folder, weak, teacher, probability):
    vocabulary = Vocabulary(NAMES)
    metadata = PredictionsMetadata(vocabulary, vocabulary, "teacher").to_strings()
    rows = []
    for number in range(SAMPLES):
        read, first = number % 50 != 7, float(probability[number])
        rows.append(
            {
                "sample_id": sample_id(number),
                "weak_label": NAMES[weak[number]],
                "top_ids": [int(teacher[number]), int(teacher[number] + 1) % len(NAMES)] if read else None,
                "top_probs": [first, min(first, 1 - first) / 2] if read else None,
                "status": "ok" if read else REASON,
            }
        )
    with TableWriter(folder / "part-00000.parquet", PREDICTIONS_SCHEMA, metadata) as writer:
        writer.write(pa.Table.from_pylist(rows, PREDICTIONS_SCHEMA))


def write_manifest(path, weak):
    rows = [
        {
            "sample_id": sample_id(number),
            "image": image_bytes(np.full((8, 8), 40 * weak[number] + 10, dtype=np.uint8)),
            "weak_label": NAMES[weak[number]],
            "source_id": f"page {number % SOURCES}",
            "split": "weak",
        }
        for number in range(SAMPLES)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_explanations(folder, samples=2):
    """As `sublabel explain` leaves them: of the first two classes side by side, the last without heat."""
    entries = []
    for number in range(samples):
        panels = [
            PanelInfo(model="seed0/raw_spl/pretrained", label=f"{NAMES[0]} × {NAMES[1]}", probability=0.625),
            PanelInfo(model="seed0/weak_only/pretrained", label=NAMES[1], probability=0.1, is_blank=True),
        ]
        write_png(folder / f"{number}.png", np.full((16, 3000, 3), 5 * number, dtype=np.uint8))
        entries.append(
            Explanation(
                group=f"{NAMES[0]} × {NAMES[2]}",
                sample_id=sample_id(number),
                split="weak",
                panels=tuple(panels),
                files=(f"{number}.png", f"{number}.mp4", f"{number}.webp"),
                available=1234,
                unreadable={"missing": 2, "<i>cut off</i>": 1},
            )
        )
    write_listing(folder, ExplainQuery(model="seed0/raw_spl/pretrained", row=NAMES[0]), entries)
    return folder


def comparison(strategies):
    generator = np.random.default_rng(1)
    runs = [
        RunMetrics(
            strategy=row,
            seed=seed,
            metrics={"top1": top1, "top5": min(1.0, top1 + 0.2)},
            classes=6,
            samples=290,
            pool=300,
        )
        for row in (None, *strategies)
        for seed, top1 in enumerate(generator.uniform(0.5, 0.7, 3))
    ]
    runs += [
        RunMetrics(
            strategy=row,
            seed=seed,
            metrics={"top1": 0.4 + 0.01 * clips, "top5": 0.9},
            pool=40 * clips,
            clips_per_video=clips,
        )
        for row in ("weak-only", "raw SPL")
        for clips in (1, 3)
        for seed in range(3)
    ]
    return Comparison(runs=tuple(runs), baseline="weak-only", test_samples=500)


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """The folder of a study that has ended, without the hours of training: names as bad as they get."""
    out = tmp_path_factory.mktemp("study") / "run <b>of everything"
    seeded = out / "seed0"
    weak, teacher, probability = draw_labels()
    seeded.mkdir(parents=True)
    write_manifest(out / "manifest.parquet", weak)
    write_predictions(seeded / "predictions", weak, teacher, probability)
    strategies = default_strategies(RawSPL(min_count=4))
    for name, strategy in strategies.items():
        relabel_table(seeded / "predictions", seeded / slug(name) / "relabeled.parquet", strategy)
    options = StudyOptions(
        backbone="small_resnet7",
        strategies=strategies,
        seeds=3,
        clips_per_video=(1, 3),
        curve=("weak-only", "raw SPL"),
    )
    record = {
        "same": {"domain": {"image_size": 8}},
        "options": options.model_dump(mode="json"),
        "domain": "image",
        "manifest": "manifest.parquet",
    }
    (out / "study.json").write_text(json.dumps(record), encoding="utf-8")
    (out / "comparison.json").write_text(json.dumps(comparison(strategies).to_dict()), encoding="utf-8")
    (seeded / "teacher").mkdir()
    card = {"made_by": {"precision": "32-true", "versions": {"torch": "2.13.0"}}}
    (seeded / "teacher" / "card.json").write_text(json.dumps(card), encoding="utf-8")
    write_explanations(out / "explanations")
    return out


@pytest.fixture(scope="session")
def refined(study, tmp_path_factory):
    """The same with strategies whose cells do not decide the class."""
    out = shutil.copytree(study, tmp_path_factory.mktemp("refined") / "run")
    more = {
        "confident": ConfidentSPL(thresholds=0.9),
        "top-k": TopKSPL(of=RawSPL(min_count=12, rare="drop"), k=2),
        "two heads": TwoHead(),
    }
    for name, strategy in more.items():
        relabel_table(
            out / "seed0" / "predictions", out / "seed0" / slug(name) / "relabeled.parquet", strategy
        )
    record = json.loads((out / "study.json").read_text(encoding="utf-8"))
    record["options"]["strategies"] |= {name: entry.to_dict() for name, entry in more.items()}
    (out / "study.json").write_text(json.dumps(record), encoding="utf-8")
    return out
