"""Features of a manifest's samples: what a student starts from, and what a teacher sees; kept in files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor
from torch.nn import functional as F

from sublabel.advice.options import StudentOptions
from sublabel.advice.reading import CLEAN_SPLITS, FeatureTable, read_features
from sublabel.errors import ConfigError, LabelError
from sublabel.labels import Pairs
from sublabel.media import MediaTable
from sublabel.media.domain import Domain, Preprocessing
from sublabel.options import RunOptions
from sublabel.provenance import digest, fingerprint
from sublabel.tables import Manifest, TableWriter
from sublabel.training import Classifier, LabeledDataset, LoadedModel, MediaInputs
from sublabel.training.checkpoint import state_fingerprint
from sublabel.training.classifier import default_device
from sublabel.training.features import outputs_of

SMALL_PICTURE = (16, 16)
"""Height and width of a small input; in three colours 768 numbers."""
SMALL_CLIP = (4, 8, 8)
"""Frames, height and width of a small clip: as many numbers."""


def student_features(
    manifest: Manifest,
    sample_ids: np.ndarray,
    domain: Domain,
    student: StudentOptions,
    *,
    folder: str | Path,
    run: RunOptions | None = None,
) -> FeatureTable:
    """What a student starts from: features of a backbone with weights, or the small inputs themselves (ours).

    Args:
        manifest: The weak samples, and the clean ones, which are all looked at.
        sample_ids: Which weak samples, strings (N,).
        domain: Reads the media and builds the backbone.
        student: What it starts from.
        folder: Where a file keeps the features, which the next call with the same arguments reads.
        run: How it is run.

    Raises:
        MediaError: A sample cannot be read.
        ConfigError: The inputs are no pictures and no clips.
    """
    name = student.backbone or domain.small_backbone
    backbone = domain.create_backbone(name, pretrained=student.pretrained, weights=student.weights)
    wanted = domain.preprocessing(backbone).resized(student.image_size)
    record: dict[str, Any] = {"input": wanted.model_dump(mode="json")}
    function = small_inputs
    if student.backbone is not None:
        record["backbone"] = state_fingerprint(backbone)
        classifier = Classifier(backbone, 1, mean=wanted.mean, std=wanted.std).eval().to(default_device())
        function = classifier.features
    return _kept(manifest, sample_ids, domain, wanted, function, record, Path(folder), run)


def teacher_features(
    manifest: Manifest,
    pairs: Pairs,
    domain: Domain,
    model: LoadedModel,
    *,
    folder: str | Path,
    run: RunOptions | None = None,
) -> FeatureTable:
    """What a trained teacher sees before its head.

    Args:
        manifest: As for `student_features`.
        pairs: Of the weak samples, with sample ids; those with features are not looked at again.
        domain: The model's.
        model: The teacher.
        folder: As for `student_features`.
        run: How it is run.

    Raises:
        MediaError: A sample cannot be read.
        LabelError: The pairs' features are as wide as no teacher's like this one.
    """
    classifier = model.classifier.eval().to(default_device())
    record = {"backbone": state_fingerprint(classifier)}
    ids, known = pairs.need_sample_ids(), pairs.features
    asked = ids if known is None else ids[:0]
    function, wanted = classifier.features, model.preprocessing
    looked = _kept(manifest, asked, domain, wanted, function, record, Path(folder), run)
    if known is None:
        return looked
    if known.shape[1] != looked.values.shape[1]:
        raise LabelError(
            f"the predictions keep {known.shape[1]} features of each sample, and the teacher has "
            f"{looked.values.shape[1]}: they are those of another teacher"
        )
    there = np.isfinite(known).all(axis=1)
    both = pa.concat_arrays([pa.array(ids[there], pa.string()), looked.sample_ids])
    return FeatureTable(both, np.concatenate([known[there], looked.values]))


def small_inputs(inputs: Tensor) -> Tensor:
    """Inputs as few numbers: averages over the places of `SMALL_PICTURE` or `SMALL_CLIP`.

    Args:
        inputs: uint8 (B, C, H, W), or (B, C, T, H, W).

    Returns:
        float32 (B, D).

    Raises:
        ConfigError: They are neither.
    """
    if inputs.ndim not in (4, 5):
        raise ConfigError(
            f"the inputs of the domain have shape {tuple(inputs.shape)}; expected pictures (B, C, H, W) or "
            "clips (B, C, T, H, W): give the features of a backbone instead"
        )
    scaled = inputs.float() / 255
    if inputs.ndim == 4:
        return F.adaptive_avg_pool2d(scaled, SMALL_PICTURE).flatten(1)
    return F.adaptive_avg_pool3d(scaled, SMALL_CLIP).flatten(1)


def _kept(
    manifest: Manifest,
    sample_ids: np.ndarray,
    domain: Domain,
    preprocessing: Preprocessing,
    function: Callable[[Tensor], Tensor],
    record: dict[str, Any],
    folder: Path,
    run: RunOptions | None,
) -> FeatureTable:
    """What a function makes of inputs, from the file that keeps it, which is made if it is not there."""
    record = {
        **record,
        "manifest": fingerprint(manifest.path),
        "samples": digest(sample_ids.tolist()),
        "domain": [domain.name, domain.options()],
    }
    path = folder / f"features-{digest(record)[:12]}.parquet"
    if not path.exists():
        rows = _rows(manifest, sample_ids, domain)
        inputs = MediaInputs(MediaTable(rows, domain), domain.evaluation_transform(preprocessing))
        nothing = np.zeros(len(rows), dtype=np.int64)
        values = outputs_of(function, LabeledDataset(inputs, nothing), run=run)[0].numpy()
        lists = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        table = pa.table({"sample_id": rows["sample_id"], "features": lists})
        with TableWriter(path, table.schema, dictionary=False) as writer:
            writer.write(table)
    return read_features(path)


def _rows(manifest: Manifest, sample_ids: np.ndarray, domain: Domain) -> pa.Table:
    """The rows of the clean samples and of the given ones, with what the domain looks at."""
    chosen, clean = pa.array(sample_ids, pa.string()), pa.array(CLEAN_SPLITS)
    columns = list(dict.fromkeys(["sample_id", "split", *domain.columns]))
    wanted = [
        batch.filter(
            pc.or_(
                pc.is_in(batch.column("split"), value_set=clean),
                pc.is_in(batch.column("sample_id"), value_set=chosen),
            )
        )
        for batch in manifest.batches(columns)
    ]
    return pa.Table.from_batches(wanted).combine_chunks()
