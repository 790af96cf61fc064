"""A study's folder: how its parts are named, and reading what was left there, without torch."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError

from sublabel.errors import ArtifactError, ConfigError
from sublabel.evaluation import COMPARISON_FILE, Comparison
from sublabel.labels import Pairs
from sublabel.media.domain import Domain, load_domain
from sublabel.study.strategies import default_strategies
from sublabel.tables import Manifest, iter_pairs, open_manifest, read_predictions_metadata

if TYPE_CHECKING:
    from sublabel.media.reader import Reader

Item = TypeVar("Item")

STUDY_FILE = "study.json"
TEACHER_FOLDER = "teacher_model"
ACCURACY_FILE = "teacher_accuracy.json"
TEMPERATURE_FILE = "teacher_temperature.json"

DIGEST_LETTERS = 12
LONGEST_NAME = 60
"""Letters of a row's name that its folder keeps; file systems take 255 bytes."""
# Such a name is its own folder, with underscores, which it cannot have, for its spaces.
PLAIN_NAME = re.compile(r"[a-z0-9]+(?:[ -][a-z0-9]+)*")
# Beside the rows' folders lie the study's own; Windows keeps devices under some names.
TAKEN_NAMES = re.compile(r"teacher|teacher_model|predictions|clips\d+|con|prn|aux|nul|com\d|lpt\d")


def slug(name: str) -> str:
    """The name of a row's folder: safe on every file system, and another one for every other row.

    The paper's rows and plain names (small letters, digits, single spaces and hyphens) stay as they read; any
    other name is followed by a digest of it.

    Args:
        name: The row's; any text.

    Example:
        >>> slug("raw SPL"), slug("two heads"), slug("top-k")
        ('raw_spl', 'two_heads', 'top-k')
        >>> slug("../Raw SPL")
        'raw_spl.a50b54fa5ae0'
    """
    if name in PAPER_FOLDERS:
        return PAPER_FOLDERS[name]
    plain = name.replace(" ", "_")
    is_free = plain not in PAPER_FOLDERS.values() and not TAKEN_NAMES.fullmatch(plain)
    if is_free and len(name) <= LONGEST_NAME and PLAIN_NAME.fullmatch(name):
        return plain
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LETTERS]
    return f"{_readable(name) or 'row'}.{digest}"


def _readable(name: str) -> str:
    return re.sub("[^a-z0-9]+", "_", name.lower()).strip("_")[:LONGEST_NAME]


PAPER_FOLDERS = {name: _readable(name) for name in default_strategies()}


def seed_folder(study: Path, seed: int, clips_per_video: int | None = None) -> Path:
    """Where the artefacts of a seed lie, or those of a point of its curve.

    Args:
        study: The folder of the study.
        seed: From 0 on.
        clips_per_video: The point of the curve; None for the table, which uses all clips.
    """
    seeded = study / f"seed{seed}"
    return seeded if clips_per_video is None else seeded / f"clips{clips_per_video}"


def holds_study(out: str | Path) -> bool:
    """Whether a study was begun in a folder, so that something may have been trained there.

    Args:
        out: Any folder, also one that does not exist.
    """
    return (Path(out) / STUDY_FILE).exists()


class RecordedOptions(BaseModel):
    """The resolved options of a study, as far as they are looked at; all others are kept as they are."""

    model_config = ConfigDict(frozen=True, extra="allow")

    backbone: str
    strategies: dict[str, dict[str, Any]]
    seeds: int
    pretrain: dict[str, Any]
    finetune: dict[str, Any]
    pretrained: bool = False
    weights: str | None = None
    teacher: dict[str, Any] = {}
    alignment: dict[str, str | list[str]] | None = None
    oracle: bool = False
    clips_per_video: tuple[int, ...] = ()
    curve: tuple[str, ...] = ()


class StudyRecord(BaseModel):
    """The content of `study.json`."""

    model_config = ConfigDict(frozen=True, extra="allow")

    options: RecordedOptions
    same: dict[str, Any] = {}
    domain: str | None = None
    manifest: str
    """Relative to the folder where it lies within."""


def read_pairs(predictions: Path) -> Pairs:
    """All label pairs of predictions, in memory, with their sample ids.

    Args:
        predictions: A file, or a folder of shards.
    """
    metadata = read_predictions_metadata(predictions)
    chunks = list(iter_pairs(predictions))
    empty = np.empty(0, dtype=np.int64)
    return Pairs.trusted(
        np.concatenate([empty, *(chunk.weak for chunk in chunks)]),
        np.concatenate([empty, *(chunk.teacher for chunk in chunks)]),
        metadata.weak_vocabulary,
        metadata.teacher_vocabulary,
        sample_ids=np.concatenate(
            [np.empty(0, dtype=object), *(chunk.need_sample_ids() for chunk in chunks)]
        ),
    )


@dataclass(frozen=True)
class StudyFolder:
    """The folder of a study.

    Args:
        path: What `sublabel.study.Study` wrote.
        record: What its `study.json` holds.
    """

    path: Path
    record: StudyRecord

    @classmethod
    def open(cls, path: str | Path) -> StudyFolder:
        """Open the folder of a study by its `study.json`.

        Args:
            path: The folder.

        Raises:
            ArtifactError: There is none, or it is damaged.
        """
        path = Path(path)
        if not (path / STUDY_FILE).exists():
            raise ArtifactError(f"{path} holds no {STUDY_FILE}: give the folder of a study")
        return cls(path, read_artifact(path / STUDY_FILE, StudyRecord.model_validate))

    def seed(self, seed: int, clips_per_video: int | None = None) -> Path:
        """Where the artefacts of a seed lie, or those of a point of its curve.

        Args:
            seed: From 0 on.
            clips_per_video: The point of the curve; None for the table.
        """
        return seed_folder(self.path, seed, clips_per_video)

    def comparison(self) -> Comparison | None:
        """The result table; None where the study has not ended.

        Raises:
            ArtifactError: It is damaged.
        """
        path = self.path / COMPARISON_FILE
        return read_artifact(path, lambda _: Comparison.load(self.path)) if path.exists() else None

    def domain(self, name: str) -> Domain:
        """The domain with the study's options.

        Args:
            name: Under which the domain is installed.
        """
        return load_domain(name, self.record.same.get("domain", {}))

    def reader(self, split: str, domain: Domain) -> Reader:
        """What reads the media of a split: the files that the study decoded once, or the domain."""
        from sublabel.media import DecodedMedia

        decoded = self.path / "media" / split
        return DecodedMedia(decoded) if decoded.exists() else domain

    def predictions(self, model: str) -> Path:
        """The label pairs that a model's classes come from: a file, or a folder of shards.

        Args:
            model: The model's folder within the study, such as `seed0/raw_spl/pretrained`.

        Raises:
            ArtifactError: There are no predictions beside or above it.
        """
        folder = (self.path / model).resolve()
        while folder != self.path.resolve() and folder != folder.parent:
            folder = folder.parent
            for predictions in (folder / "predictions.parquet", folder / "predictions"):
                if predictions.exists():
                    return predictions
        raise ArtifactError(f"there are no predictions beside or above {model}: run the study's teacher")

    def manifest(self, path: str | Path | None = None) -> Manifest:
        """The study's manifest, or the one given.

        Args:
            path: Where it is now; default: where the study says that it was.

        Raises:
            ConfigError: It is not there.
        """
        recorded = self.path / self.record.manifest
        if path is None and not recorded.exists():
            raise ConfigError(
                f"the manifest of the study {self.path} is not there ({recorded}): say where it is with "
                "--manifest"
            )
        return open_manifest(recorded if path is None else path)


def check_manifest(manifest: Manifest, predictions: Path) -> None:
    """Refuse the manifest of another study, as far as the first predictions tell.

    Args:
        manifest: The one to look at.
        predictions: A file or a folder of shards of the study.

    Raises:
        ConfigError: The manifest lacks their samples, or has other weak labels for them.
    """
    names = read_predictions_metadata(predictions).weak_vocabulary
    for pairs in islice(iter_pairs(predictions), 1):
        sample_ids = pairs.need_sample_ids().tolist()
        rows = find_rows(manifest, sample_ids, ["sample_id", "weak_label"])
        for sample_id, label in zip(sample_ids, pairs.weak.tolist(), strict=True):
            listed = rows[sample_id]["weak_label"]
            if label >= 0 and listed != names[label]:
                raise ConfigError(
                    f"the manifest {manifest} has the weak label {listed!r} for {sample_id!r}, and the "
                    f"predictions have {names[label]!r}: it is not the one of this study"
                )


def find_rows(
    manifest: Manifest, sample_ids: Iterable[str], columns: Sequence[str] | None = None
) -> dict[str, dict[str, Any]]:
    """The rows of some samples, in one pass over the manifest.

    Args:
        manifest: The study's.
        sample_ids: Which samples.
        columns: Which columns; default: all.

    Returns:
        `sample_id` → row.

    Raises:
        ConfigError: The manifest lacks some of them.
    """
    wanted = set(sample_ids)
    ids = pa.array(sorted(wanted), pa.string())
    rows: dict[str, dict[str, Any]] = {}
    for batch in manifest.batches(columns):
        chosen = batch.filter(pc.is_in(batch["sample_id"], value_set=ids))
        rows.update((row["sample_id"], row) for row in chosen.to_pylist())
    missing = sorted(wanted - set(rows))
    if missing:
        similar = difflib.get_close_matches(missing[0], rows, n=1)
        raise ConfigError(
            f"the manifest {manifest} has no sample {missing[0]!r} ({len(missing)} of {len(wanted)} are "
            f"missing{f'; it has {similar[0]!r}' if similar else ''}): it is not the one of this study"
        )
    return rows


def read_artifact(path: Path, parse: Callable[[Any], Item]) -> Item:
    """Read a JSON file that a study wrote.

    Args:
        path: The file.
        parse: Makes of its content what is wanted; what it raises says what is wrong with it.

    Raises:
        ArtifactError: It is not there, no JSON, or its content is not as expected.
    """
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        found = error.errors()[0]
        why = ": ".join(filter(None, [".".join(map(str, found["loc"])), found["msg"]]))
    except KeyError as error:
        why = f"there is no {error}"
    except (OSError, ValueError, TypeError) as error:
        why = str(error)
    raise ArtifactError(f"{path} is damaged ({why}): run the study again, which writes it anew")
