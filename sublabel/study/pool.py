"""One comparison of several studies that differ in their data only, such as in how they were drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sublabel.errors import ConfigError
from sublabel.evaluation import Comparison
from sublabel.files import local_path
from sublabel.provenance import differences
from sublabel.study.folder import StudyFolder

OF_THE_DATA = ("manifest", "predictions", "alignment", "number of devices")
"""What may differ between studies that are pooled, beside a given teacher."""


def pool_studies(folders: Sequence[str | Path], out: str | Path | None = None) -> Comparison:
    """Pool the studies of some folders, each of which has ended.

    Args:
        folders: Theirs, at least two; the data sets are named by them.
        out: Folder to write the comparison to; None writes nothing.

    Raises:
        ConfigError: A study has not ended, two are of the same data, or they differ in more than their data.
        ArtifactError: A folder holds no study, or is damaged.
    """
    if len(folders) < 2:
        raise ConfigError(f"got {len(folders)} study to pool; expected at least two")
    studies = [StudyFolder.open(folder) for folder in folders]
    for study in studies[1:]:
        _refuse_another(studies[0], study)
    prints: dict[object, StudyFolder] = {}
    for study in studies:
        same = prints.setdefault(study.record.same.get("manifest"), study)
        if same is not study:
            raise ConfigError(
                f"{same.path} and {study.path} are of the same data (their manifests are equal), which would "
                "count twice: give more seeds to one study, or another draw of the data to one of them"
            )
    names = _names([study.path for study in studies])
    comparisons = {}
    for name, study in zip(names, studies, strict=True):
        found = study.comparison()
        if found is None:
            raise ConfigError(f"the study in {study.path} has not ended: run it to its end first")
        comparisons[name] = found
    pooled = Comparison.pool(comparisons)
    if out is not None:
        pooled.save(local_path(out))
    return pooled


def _refuse_another(first: StudyFolder, other: StudyFolder) -> None:
    """Refuse studies whose runs are not made alike."""
    records = []
    for study in (first, other):
        same = {key: value for key, value in study.record.same.items() if key not in OF_THE_DATA}
        # A given teacher stands there by its fingerprint, and may have been trained on the data.
        if isinstance(same.get("teacher"), str):
            same["teacher"] = "given"
        records.append({**same, "strategies": study.record.options.strategies})
    found = differences(*records)
    if found:
        raise ConfigError(
            f"{first.path} and {other.path} cannot be pooled, as they were made with other options: "
            f"{', '.join(map(str, found))}; pool studies that differ in their data only"
        )


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    depth = next(
        depth
        for depth in range(1, 1 + max(map(len, parts)))
        if len({path[-depth:] for path in parts}) == len({*parts})
    )
    return ["/".join(path[-depth:]) for path in parts]
