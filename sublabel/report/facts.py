"""What was run, in words: data, teacher, training, versions."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow.compute as pc
from pydantic import BaseModel

from sublabel.evaluation import Comparison, teacher_accuracy_text
from sublabel.labels import ConfusionMatrix
from sublabel.study.folder import RecordedOptions, StudyFolder, read_artifact
from sublabel.tables import Manifest


class _MadeBy(BaseModel):
    precision: str
    versions: dict[str, str]


class _Card(BaseModel):
    """The part of a model's card that is shown here: the whole of it takes torch to read."""

    made_by: _MadeBy


def study_facts(
    study: StudyFolder,
    seed: int,
    manifest: Manifest | None,
    confusion: ConfusionMatrix,
    comparison: Comparison | None,
) -> tuple[tuple[str, str], ...]:
    """What a study was run on and with, as (what, value), most telling first.

    Args:
        study: The study's folder.
        seed: Whose teacher is described.
        manifest: None where it is not known.
        confusion: The counts of that seed.
        comparison: None where the study has not ended.
    """
    return tuple(_facts(study, seed, manifest, confusion, comparison))


def _facts(
    study: StudyFolder,
    seed: int,
    manifest: Manifest | None,
    confusion: ConfusionMatrix,
    comparison: Comparison | None,
) -> Iterator[tuple[str, str]]:
    options = study.record.options
    rows, columns = confusion.shape
    if manifest is not None:
        yield "Manifest", str(manifest)
        yield "Samples", _splits(manifest)
    yield "Vocabularies", f"{rows:,} weak classes × {columns:,} classes of the teacher"
    if study.record.domain is not None:
        yield "Domain", f"{study.record.domain}: {_short(study.record.same.get('domain', {}))}"
    start = "published weights" if options.pretrained else (options.weights or "random weights")
    yield "Backbone", f"{options.backbone}, from {start}"
    card = study.seed(seed) / "teacher" / "card.json"
    if card.exists():
        made_by = read_artifact(card, _Card.model_validate).made_by
        yield "Teacher", _teacher(options, comparison)
        yield "Precision", made_by.precision
        yield "Versions", ", ".join(f"{name} {found}" for name, found in made_by.versions.items())
    yield "Pre-training", _short(options.pretrain)
    yield "Fine-tuning", _short(options.finetune)
    yield "Seeds", f"{options.seeds} (matrix and classes below: seed {seed})"
    yield "Report", f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"


def _teacher(options: RecordedOptions, comparison: Comparison | None) -> str:
    own = options.teacher.get("backbone")
    trained = (
        f"{options.backbone} trained on the clean target set"
        if own is None
        else f"{own} ({options.teacher.get('training')} on the clean target set)"
    )
    accuracy = comparison.teacher_accuracy if comparison else {}
    return f"{trained}; right on {teacher_accuracy_text(accuracy)}" if accuracy else trained


def _splits(manifest: Manifest) -> str:
    """Rows and sources by split."""
    counted: Counter[str] = Counter()
    sources: set[str | None] = set()
    for batch in manifest.batches(["split", "source_id"]):
        for entry in pc.value_counts(batch.column("split")).to_pylist():
            counted[entry["values"] or "no split"] += entry["counts"]
        weak = batch.filter(pc.fill_null(pc.equal(batch.column("split"), "weak"), False))
        sources.update(pc.unique(weak.column("source_id")).to_pylist())
    sources.discard(None)
    found = ", ".join(f"{name} {rows:,}" for name, rows in counted.items())
    return f"{found}; the weak ones of {len(sources):,} sources" if sources else found


def _short(options: Mapping[str, Any]) -> str:
    """Options that are set, on a line."""
    shown = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            value = f"({_short(value)})"
        if value not in (None, "", 0.0, "()"):
            shown.append(f"{name.replace('_', ' ')} {value}")
    return ", ".join(shown)
