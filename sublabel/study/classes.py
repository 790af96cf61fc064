"""The classes of a study, and what is wrong with them, found before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import ConfigError, TableError
from sublabel.labels import Alignment, Vocabulary
from sublabel.study.options import StudyOptions
from sublabel.study.outcomes import tested_splits
from sublabel.tables import Manifest, iter_batches, read_predictions_metadata
from sublabel.teacher import Teacher


@dataclass(frozen=True)
class StudyClasses:
    """Three vocabularies, and which weak class agrees with which of the teacher's."""

    weak: Vocabulary
    teacher: Vocabulary
    """As the target ones, unless a teacher or predictions were given."""
    target: Vocabulary
    alignment: dict[str, str | list[str]] | None
    """As the options say, with the equal names that they do not list; None: equal names only."""

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        options: StudyOptions,
        teacher: Teacher | None = None,
        predictions: str | Path | None = None,
    ) -> Self:
        """The classes of a manifest and of a given teacher or predictions.

        Args:
            manifest: With the splits of a study.
            options: Whose alignment and `no_flip` name classes.
            teacher: The given one, if there is one.
            predictions: Finished predictions, if they are given.

        Raises:
            ConfigError: A class of `no_flip` does not exist.
            LabelError: The alignment names a class that does not exist.
            TableError: A class is tested that is not trained, or the predictions lack a weak sample.
        """
        target = manifest.filter(split="target_train").vocabulary("label")
        if predictions is not None:
            metadata = read_predictions_metadata(predictions)
            weak, seen = metadata.weak_vocabulary, metadata.teacher_vocabulary
            _refuse_missing_predictions(manifest, predictions)
        else:
            weak = manifest.filter(split="weak").vocabulary("weak_label")
            seen = target if teacher is None else teacher.vocabulary
        _refuse_untrained(manifest, target)
        _refuse_unknown(options.no_flip, {*weak, *seen, *target})
        alignment = options.alignment
        if alignment is not None:
            alignment = {**{name: name for name in weak if name in seen}, **alignment}
            # A wrong name must not wait until the teacher is trained.
            Alignment.of(alignment, weak, seen)
        return cls(weak, seen, target, alignment)


def weak_sample_ids(manifest: Manifest) -> pa.Array:
    """The ids of the weak split, string (N,)."""
    batches = manifest.filter(split="weak").batches(["sample_id"])
    return pa.chunked_array([batch.column(0) for batch in batches], pa.string()).combine_chunks()


def _refuse_missing_predictions(manifest: Manifest, predictions: str | Path) -> None:
    rows = iter_batches(predictions, columns=["sample_id"])
    predicted = pa.chunked_array([batch.column(0) for batch in rows], pa.string())
    wanted = weak_sample_ids(manifest)
    missing = wanted.filter(pc.invert(pc.is_in(wanted, predicted)))
    if len(missing):
        raise TableError(
            f"{predictions} has no row for {len(missing)} of the {len(wanted)} weak samples, such as "
            f"{missing[0].as_py()!r}; expected one for each, with a status where there is no prediction"
        )


def _refuse_untrained(manifest: Manifest, target: Vocabulary) -> None:
    for split in tested_splits(manifest):
        untrained = sorted({*manifest.filter(split=split).vocabulary("label")} - {*target})
        if untrained:
            raise TableError(
                f"{split} has the class {untrained[0]!r}, and target_train has not: every class that is "
                "tested needs training samples"
            )


def _refuse_unknown(names: tuple[str, ...], known: set[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ConfigError(
            f"no_flip names {', '.join(map(repr, unknown))}, which is neither a weak label nor a class of "
            "the target set or the teacher: check the spelling"
        )
