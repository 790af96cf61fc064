"""Which classes are worth a look, and pictures of the samples that the teacher is surest of."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from sublabel.errors import ConfigError, MediaError, TableError
from sublabel.evaluation import wilson_interval
from sublabel.explain.listing import read_listing
from sublabel.report.data import ExplainedExample, Picture, ReportData
from sublabel.study.folder import StudyFolder, find_rows
from sublabel.tables import Manifest, iter_pairs
from sublabel.tables.io import iter_batches

if TYPE_CHECKING:
    from torch import Tensor

HEIGHT = 96
"""Pixels of a picture, at most."""
EXPLAINED_WIDTH = 1000
"""Pixels of a picture with Grad-CAM, at most."""
MOST_EXPLAINED = 24
JPEG_QUALITY = 80


class ExampleChoice(NamedTuple):
    """Which classes are shown with examples, and with how many."""

    labels: frozenset[int]
    pictures: int


class SampleMedia(NamedTuple):
    """Where the samples of a study can be seen."""

    study: StudyFolder
    manifest: Manifest | None
    why: str | None
    """Why there is no manifest."""


class SureSample(NamedTuple):
    """A sample that may be shown: the surest first, then by id, so that the choice is the same every time."""

    doubt: float
    sample_id: str


def most_confused(data: ReportData, most: int) -> list[int]:
    """The classes in which the teacher most often contradicts one weak label (the order is ours).

    They are ordered by the lower end of Wilson's 95% interval of their share of the weak class, so that a
    share of few samples counts for less.

    Args:
        data: The report, with its chosen strategy.
        most: How many classes at most.

    Returns:
        Their labels.
    """
    columns = data.classes
    finer = np.array(
        [
            label
            for label, kind in enumerate(data.chosen_space.space.kinds)
            if kind == "disagreed" and columns.weak[label] >= 0 and columns.size[label]
        ],
        dtype=np.int64,
    )
    if not len(finer):
        return []
    bound, _ = wilson_interval(columns.size[finer], columns.out_of[finer])
    found: list[int] = finer[np.argsort(-bound, kind="stable")][:most].tolist()
    return found


def confidence_and_examples(
    data: ReportData,
    predictions: Path,
    media: SampleMedia,
    shown: ExampleChoice,
) -> tuple[np.ndarray, dict[int, tuple[Picture, ...]], list[str]]:
    """The teacher's mean confidence in each class, and examples of some classes, in one pass.

    Args:
        data: The report so far, with its chosen strategy.
        predictions: The teacher's pass over the same samples.
        media: Where the samples can be seen.
        shown: Which classes are shown.

    Returns:
        Confidence, float64 (K,), NaN for a class without samples; label → pictures; notes on what is missing.
    """
    confidence, chosen = _confidence_and_choice(data, predictions, shown)
    wanted = sorted({entry.sample_id for entries in chosen.values() for entry in entries})
    pictures, notes = _draw(media, wanted)
    examples = {
        label: tuple(_picture(entry, pictures[entry.sample_id]) for entry in entries)
        for label, entries in chosen.items()
        if pictures
    }
    return confidence, examples, notes


def _picture(entry: SureSample, drawn: bytes | MediaError) -> Picture:
    confidence = None if np.isinf(entry.doubt) else -entry.doubt
    if isinstance(drawn, MediaError):
        return Picture(entry.sample_id, None, confidence, drawn.reason)
    return Picture(entry.sample_id, drawn, confidence)


def _confidence_and_choice(
    data: ReportData, predictions: Path, shown: ExampleChoice
) -> tuple[np.ndarray, dict[int, list[SureSample]]]:
    space = data.chosen_space.space
    total, count = np.zeros(len(space)), np.zeros(len(space), dtype=np.int64)
    best: defaultdict[int, list[SureSample]] = defaultdict(list)
    # The two streams are of the same rows in the same order, but not cut at the same places.
    batches = iter_batches(predictions, ["top_probs"])
    probabilities = np.concatenate([np.empty(0), *(_first(batch.column(0)) for batch in batches)])
    for pairs in iter_pairs(predictions, needs=space.needs):
        probability, probabilities = np.split(probabilities, [len(pairs)])
        sample_ids = pairs.need_sample_ids()
        for labels in space.targets(pairs).main_classes.T:
            known = (labels >= 0) & ~np.isnan(probability)
            np.add.at(total, labels[known], probability[known])
            np.add.at(count, labels[known], 1)
            for position in np.flatnonzero(np.isin(labels, list(shown.labels))).tolist():
                doubt = float(-np.nan_to_num(probability[position], nan=-np.inf))
                best[int(labels[position])].append(SureSample(doubt, str(sample_ids[position])))
        for label, candidates in best.items():
            best[label] = sorted(candidates)[: shown.pictures]
    mean = np.divide(total, count, out=np.full(len(space), np.nan), where=count > 0)
    return mean, best


def _first(lists: pa.Array) -> np.ndarray:
    """The first of each list, float64 (N,), NaN where there is none."""
    filled = pc.if_else(pc.greater(pc.list_value_length(lists), 0), lists, pa.scalar(None, lists.type))
    values: np.ndarray = pc.list_element(filled, 0).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _draw(media: SampleMedia, sample_ids: Sequence[str]) -> tuple[dict[str, bytes | MediaError], list[str]]:
    """JPEG of each sample or why it has none; all of them, or none of them and a note that says why."""
    study, name = media.study, media.study.record.domain
    if not sample_ids:
        return {}, []
    if media.manifest is None:
        return {}, [f"There are no pictures: {media.why}"]
    if name is None:
        return {}, [f"There are no pictures: {study.path} does not say of which domain its media are."]
    try:
        domain = study.domain(name)
        rows = find_rows(media.manifest, sample_ids)
        found = study.reader("weak", domain).read_many([rows[sample_id] for sample_id in sample_ids])
    except (ConfigError, TableError) as error:
        return {}, [f"There are no pictures: {error}"]
    return {
        sample_id: entry if isinstance(entry, MediaError) else _jpeg(domain.thumbnail(entry))
        for sample_id, entry in zip(sample_ids, found, strict=True)
    }, []


def _jpeg(pixels: Tensor) -> bytes:
    """Encode uint8 (C, H, W), C of 1 or 3, no higher than `HEIGHT`."""
    array = pixels.permute(1, 2, 0).numpy()
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    if image.height > HEIGHT:
        image = image.resize((max(1, round(image.width * HEIGHT / image.height)), HEIGHT))
    return _encode(image)


def _encode(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.convert("RGB").save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def explained_examples(folder: Path) -> tuple[tuple[ExplainedExample, ...], list[str]]:
    """The pictures that `sublabel explain` left in a folder, and notes on what is missing.

    Args:
        folder: Of its pictures and `explanations.json`.

    Raises:
        ArtifactError: It left none there.
    """
    explanations = read_listing(folder)
    notes = []
    if len(explanations) > MOST_EXPLAINED:
        notes.append(f"Shown are {MOST_EXPLAINED} of {len(explanations)} explained samples in {folder}.")
    found = []
    for explanation in explanations[:MOST_EXPLAINED]:
        path = folder / explanation.files[0]
        try:
            with Image.open(path) as image:
                image.thumbnail((EXPLAINED_WIDTH, image.height))
                found.append(ExplainedExample(explanation, _encode(image)))
        except OSError as error:
            notes.append(f"{path} cannot be shown: {error}")
    return tuple(found), notes


def data_uri(jpeg: bytes) -> str:
    """A picture as the `src` of an image.

    Args:
        jpeg: The file's bytes.
    """
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
