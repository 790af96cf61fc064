"""From the files of a run to what a report shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sublabel.errors import ConfigError, LabelError, TableError
from sublabel.evaluation import Comparison
from sublabel.explain.listing import LISTING, PICTURES
from sublabel.labels import Alignment, ConfusionMatrix, RawSPL, Strategy
from sublabel.labels.alignment import AlignmentLike
from sublabel.report.data import ExampleClass, ReportData, StrategySpace
from sublabel.report.examples import (
    ExampleChoice,
    SampleMedia,
    confidence_and_examples,
    explained_examples,
    most_confused,
)
from sublabel.report.facts import study_facts
from sublabel.report.outcome import Outcome, refuse_other_relabeled
from sublabel.study.folder import STUDY_FILE, RecordedOptions, StudyFolder, check_manifest, holds_study, slug
from sublabel.study.strategies import ORACLE, paper_strategies
from sublabel.tables import NO_STATUS, Manifest, count_statuses, count_table, read_relabeled

SHOWN_CLASSES = 8
"""Classes of each group that are shown with examples."""


def collect(
    path: str | Path,
    *,
    strategy: str | None = None,
    seed: int = 0,
    manifest: str | Path | None = None,
    pictures: int = 3,
    explanations: str | Path | None = None,
) -> ReportData:
    """Collect what a run left.

    Args:
        path: The folder of a study (with `study.json`), or predictions: a Parquet file or a folder of shards.
        strategy: The row whose classes are shown one by one; default: raw SPL, else the finest one.
        seed: Of a study: the seed whose matrix and classes are shown. The table is over all seeds.
        manifest: Where the media are listed; default: as the study says. Without it there are no pictures.
        pictures: Examples a class; 0 for none.
        explanations: A folder that `sublabel explain` wrote; default: the one in the study's own, if any.

    Raises:
        ArtifactError: What the study says of itself is damaged, or there are no explanations in the folder
            that was given.
        ConfigError: There is neither a study nor a prediction, no such strategy or seed, the manifest that
            was given is another one's, or `pictures` is below 0.
        TableError: A table of the run is damaged.
    """
    path = Path(path)
    if pictures < 0:
        raise ConfigError(f"pictures is {pictures}; expected examples a class, 0 for none")
    if holds_study(path):
        data = _collect_study(StudyFolder.open(path), strategy, seed, manifest, pictures)
    else:
        data = _collect_predictions(path, strategy)
    own = path / PICTURES
    if explanations is None and (own / LISTING).exists():
        explanations = own
    if explanations is None:
        return data
    explained, notes = explained_examples(Path(explanations))
    return replace(data, explained=explained, notes=(*data.notes, *notes))


def _collect_predictions(path: Path, strategy: str | None) -> ReportData:
    if not path.exists():
        raise ConfigError(f"there is nothing at {path}: give the folder of a study, or predictions")
    try:
        confusion = count_table(path)
    except TableError as error:
        raise ConfigError(
            f"{path} holds neither a study ({STUDY_FILE}) nor predictions ({error}): give the folder that a "
            "recipe wrote (--out), or that of a teacher pass"
        ) from error
    return from_confusion(confusion, strategy=strategy, title=path.name, statuses=_statuses(path))


def from_confusion(
    confusion: ConfusionMatrix,
    strategies: Mapping[str, Strategy] | None = None,
    *,
    alignment: AlignmentLike = None,
    strategy: str | None = None,
    title: str = "Confusion of weak labels and teacher predictions",
    statuses: Mapping[str, int] | None = None,
) -> ReportData:
    """What a report shows of a confusion matrix alone.

    Args:
        confusion: The counts.
        strategies: Row name → strategy; default: the paper's. A strategy that needs agreement is left out
            where no class agrees.
        alignment: Which classes agree; default: those of equal names.
        strategy: The one whose classes are shown one by one; default: raw SPL, else the finest one.
        title: The page's.
        statuses: Samples by status of the teacher's pass.

    Raises:
        LabelError: The alignment does not fit.
        ConfigError: No strategy could be fitted, or there is none of that name.

    Example:
        >>> from sublabel import Pairs, count
        >>> confusion = count(Pairs([0, 0, 1], [0, 1, 1], weak_vocabulary=["bake", "whisk"]))
        >>> from_confusion(confusion).chosen_space.space.names
        ('bake', 'bake × whisk', 'whisk')
    """
    aligned = Alignment.of(alignment, confusion.weak_vocabulary, confusion.teacher_vocabulary)
    spaces, notes = [], []
    for name, entry in (strategies or paper_strategies()).items():
        try:
            space = entry.fit(confusion, aligned)
        except LabelError as error:
            notes.append(f"{name} is left out: {error}")
        else:
            spaces.append(StrategySpace(name, space, Outcome.of_counts(space, confusion, aligned)))
    return _report(confusion, aligned, spaces, strategy, title, statuses or {}, notes)


def _report(
    confusion: ConfusionMatrix,
    alignment: Alignment,
    spaces: Sequence[StrategySpace],
    strategy: str | None,
    title: str,
    statuses: Mapping[str, int],
    notes: list[str],
    **more: Any,
) -> ReportData:
    data = ReportData(
        title,
        confusion,
        alignment,
        tuple(spaces),
        strategy or _default_strategy(spaces),
        statuses=statuses,
        notes=tuple(notes),
        **more,
    )
    # A name that is none is refused here, not when the page is written.
    data.space(data.chosen)
    return data


def _default_strategy(spaces: Sequence[StrategySpace]) -> str:
    """Raw SPL, else the one with the most classes."""
    if not spaces:
        raise ConfigError("the run has no label space to report on: run at least one strategy of the study")
    with_cells = [entry for entry in spaces if entry.has_cells] or spaces
    raw = (entry for entry in with_cells if entry.space.strategy.get("kind") == RawSPL().kind)
    return next(raw, max(with_cells, key=lambda entry: len(entry.space))).name


def _collect_study(
    study: StudyFolder, strategy: str | None, seed: int, manifest: str | Path | None, pictures: int
) -> ReportData:
    folder, options = study.path, study.record.options
    if not study.seed(seed).exists():
        raise ConfigError(
            f"{folder} has no predictions of seed {seed} ({study.seed(seed)}): it has "
            f"{', '.join(sorted(entry.name for entry in folder.glob('seed*'))) or 'none yet'}"
        )
    predictions = study.predictions(f"seed{seed}/teacher")
    confusion = count_table(predictions)
    alignment = Alignment.of(options.alignment, confusion.weak_vocabulary, confusion.teacher_vocabulary)
    spaces, notes = _stored_spaces(study.seed(seed), predictions, options.strategies, alignment)
    comparison = study.comparison()
    notes += _missing_results(comparison, options)
    listed, why = _manifest(study, predictions, manifest)
    data = _report(
        confusion,
        alignment,
        spaces,
        strategy,
        folder.resolve().name,
        _statuses(predictions),
        notes,
        comparison=comparison,
        options=options.model_dump(mode="json", exclude_unset=True),
        facts=study_facts(study, seed, listed, confusion, comparison),
    )
    return _with_examples(data, predictions, SampleMedia(study, listed, why), pictures)


def _missing_results(comparison: Comparison | None, options: RecordedOptions) -> list[str]:
    """What the table lacks: it is written when a study ends, and the study may have grown since."""
    if comparison is None:
        return ["The study has not ended: there is no result table yet."]
    named = [*options.strategies, *([ORACLE] if options.oracle else [])]
    rows: list[tuple[str, int | None]] = [(name, None) for name in named]
    rows += [(name, clips) for name in options.curve for clips in options.clips_per_video]
    there = {(run.strategy, run.clips_per_video, run.seed) for run in comparison.runs}
    lacking = [(*row, seed) for row in rows for seed in range(options.seeds) if (*row, seed) not in there]
    if not lacking:
        return []
    name, clips, seed = lacking[0]
    example = name if clips is None else f"{name} with {clips} clips per video"
    return [
        f"The result table is of an earlier state of the study: {len(lacking)} of its "
        f"{len(rows) * options.seeds} runs are not in it, such as {example}, seed {seed}. Run the study to "
        "its end."
    ]


def _manifest(
    study: StudyFolder, predictions: Path, given: str | Path | None
) -> tuple[Manifest | None, str | None]:
    """The manifest that was given, or the study's; None and the reason where that is of no use."""
    try:
        manifest = study.manifest(given)
        check_manifest(manifest, predictions)
    except (ConfigError, TableError) as error:
        if given is not None:
            raise
        return None, str(error)
    return manifest, None


def _with_examples(data: ReportData, predictions: Path, media: SampleMedia, pictures: int) -> ReportData:
    """The same with the teacher's confidence in each class and examples of the most telling ones."""
    largest = np.argsort(-data.classes.size, kind="stable")[:SHOWN_CLASSES].tolist()
    groups = (("largest", largest), ("most confused", most_confused(data, SHOWN_CLASSES)))
    shown = ExampleChoice(frozenset(label for _, labels in groups for label in labels), pictures)
    confidence, found, notes = confidence_and_examples(data, predictions, media, shown)
    examples = tuple(
        ExampleClass(label, group, found.get(label, ()))  # type: ignore[arg-type]
        for group, labels in groups
        for label in labels
    )
    return replace(data, confidence=confidence, examples=examples, notes=(*data.notes, *notes))


def _stored_spaces(
    seeded: Path, predictions: Path, strategies: Iterable[str], alignment: Alignment
) -> tuple[list[StrategySpace], list[str]]:
    """The spaces that a study trained on, and which of its strategies have none yet."""
    spaces, notes = [], []
    for name in strategies:
        table = seeded / slug(name) / "relabeled.parquet"
        if not table.exists():
            notes.append(f"{name} has not been run yet.")
            continue
        refuse_other_relabeled(predictions, table)
        relabeled = read_relabeled(table)
        outcome = Outcome.of_table(relabeled, alignment, predictions)
        spaces.append(StrategySpace(name, relabeled.space, outcome, _statuses(table)))
    return spaces, notes


def _statuses(table: Path) -> dict[str, int]:
    return {status or NO_STATUS: count for status, count in count_statuses(table).items()}
