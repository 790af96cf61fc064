"""From a question about a study's model to a folder of pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sublabel.errors import MediaError
from sublabel.explain.gradcam import grad_cam
from sublabel.explain.listing import Explanation, PanelInfo, write_listing
from sublabel.explain.models import StudyModel
from sublabel.explain.pictures import film_strip, shown_pixels, side_by_side, write_png
from sublabel.explain.query import TEST, Candidate, ExplainQuery, Group, find_groups
from sublabel.media.domain import Domain
from sublabel.study.folder import StudyFolder, check_manifest, find_rows, read_pairs
from sublabel.tables import Manifest

BATCH = 16
ANIMATIONS = (".mp4", ".webp")

OnSamples = Callable[[int, int], None]
"""Is told how many samples were looked at, and how many there are."""


def explain_study(
    study: str | Path,
    query: ExplainQuery,
    out: str | Path,
    *,
    manifest: str | Path | None = None,
    domain: Domain | None = None,
    progress: OnSamples | None = None,
) -> list[Explanation]:
    """Explain classes of a study's models on its own samples, with Grad-CAM.

    An example of a class is a sample that the model's strategy put into it (of a fine-tuned model: a test
    sample of it); those are shown that the model is surest of. A second model is explained on the same
    samples, with the class that its own strategy gave them.

    Args:
        study: The folder of a study.
        query: What to explain.
        out: Folder for the pictures and `explanations.json`, which `sublabel report` shows.
        manifest: The study's manifest; default: where the study says that it is.
        domain: Default: the installed one that the model names, with the study's options.
        progress: Called after every batch.

    Returns:
        What was explained, in the order of `explanations.json`.

    Raises:
        ArtifactError: The folder is no study, or has no such model.
        ConfigError: What the query names does not exist, captum is not installed, or the model has no maps.
        MediaError: Not one of the candidates of a class could be read.
    """
    folder, out = StudyFolder.open(study), Path(out)
    names = [query.model] if query.versus is None else [query.model, query.versus]
    models = [StudyModel.load(folder, name, domain) for name in names]
    domain = domain or folder.domain(models[0].card.domain)
    rows, predictions = folder.manifest(manifest), folder.predictions(query.model)
    check_manifest(rows, predictions)
    wants_test_labels = query.sample_id is not None or models[0].space is None
    test_labels = _labels(rows.filter(split=TEST)) if wants_test_labels else {}
    groups = find_groups(query, models, read_pairs(predictions), test_labels)
    count = _Count(sum(len(group.candidates) for group in groups), progress)
    wanted = (candidate.sample_id for group in groups for candidate in group.candidates)
    session = _Session(folder, domain, models, find_rows(rows, wanted), out, query)
    made = [
        explanation
        for number, group in enumerate(groups)
        for explanation in session.explain(group, number, count)
    ]
    write_listing(out, query, made)
    return made


class _Example(NamedTuple):
    """An example that was chosen."""

    candidate: Candidate
    media: Tensor
    """The input, uint8 (C, H, W) or (C, T, H, W)."""
    probabilities: tuple[float, ...]
    """One for each panel, 0–1."""


@dataclass
class _Count:
    total: int
    progress: OnSamples | None
    done: int = 0

    def add(self, samples: int) -> None:
        self.done += samples
        if self.progress is not None:
            self.progress(self.done, self.total)


@dataclass(frozen=True)
class _Session:
    study: StudyFolder
    domain: Domain
    models: Sequence[StudyModel]
    rows: Mapping[str, Mapping[str, Any]]
    """The manifest's, by `sample_id`."""
    out: Path
    query: ExplainQuery

    def explain(self, group: Group, number: int, count: _Count) -> Iterator[Explanation]:
        """Choose the examples of a group, and write their pictures."""
        chosen, unreadable = self._choose(group, count)
        if not chosen:
            reasons = "; ".join(f"{many} × {reason}" for reason, many in unreadable.most_common())
            raise MediaError(f"none of the {len(group.candidates)} samples of {group.title!r}: {reasons}")
        heats = self._heats(chosen)
        for place, shown in enumerate(chosen):
            panels = [
                PanelInfo(
                    model=self.models[panel.model].name,
                    label=self.models[panel.model].classes[panel.label],
                    probability=round(probability, 4),
                    is_blank=not heat[place].any(),
                )
                for panel, probability, heat in zip(
                    shown.candidate.panels, shown.probabilities, heats, strict=True
                )
            ]
            yield Explanation(
                group=group.title,
                sample_id=shown.candidate.sample_id,
                split=group.split,
                panels=tuple(panels),
                files=self._write(f"{number:02d}-{place:02d}", shown.media, [heat[place] for heat in heats]),
                available=group.available,
                unreadable=dict(unreadable),
            )

    def _choose(self, group: Group, count: _Count) -> tuple[list[_Example], Counter[str]]:
        """The `top` candidates by the probability of the first panel's class; ties keep their order."""
        transform = self.domain.evaluation_transform(self.models[0].card.preprocessing)
        reader = self.study.reader(group.split, self.domain)
        kept: list[_Example] = []
        unreadable: Counter[str] = Counter()
        for start in range(0, len(group.candidates), BATCH):
            batch = group.candidates[start : start + BATCH]
            media = reader.read_many([self.rows[candidate.sample_id] for candidate in batch])
            unreadable.update(entry.reason for entry in media if isinstance(entry, MediaError))
            pairs = zip(batch, media, strict=True)
            readable = [(candidate, entry) for candidate, entry in pairs if not isinstance(entry, MediaError)]
            if readable:
                inputs = torch.stack([transform(entry) for _, entry in readable])
                kept += self._score([candidate for candidate, _ in readable], inputs)
                kept = sorted(kept, key=lambda shown: -shown.probabilities[0])[: self.query.top]
            count.add(len(batch))
        return kept, unreadable

    def _score(self, candidates: Sequence[Candidate], inputs: Tensor) -> Iterator[_Example]:
        with torch.inference_mode():
            scores = [model.probabilities(inputs) for model in self.models]
        for index, candidate in enumerate(candidates):
            found = tuple(float(scores[panel.model][index, panel.label]) for panel in candidate.panels)
            yield _Example(candidate, inputs[index].clone(), found)

    def _heats(self, chosen: Sequence[_Example]) -> list[np.ndarray]:
        """For each panel the heat maps of all examples, (N, …)."""
        inputs = torch.stack([shown.media for shown in chosen])
        heats = []
        for place, panel in enumerate(chosen[0].candidate.panels):
            classifier, card = self.models[panel.model].classifier, self.models[panel.model].card
            layer = self.query.layer or self.domain.cam_layer(classifier.backbone, card.preprocessing)
            labels = [shown.candidate.panels[place].label for shown in chosen]
            batches = [slice(start, start + BATCH) for start in range(0, len(inputs), BATCH)]
            parts = [grad_cam(classifier, inputs[part], labels[part], layer=layer) for part in batches]
            heats.append(torch.cat(parts).numpy())
        return heats

    def _write(self, stem: str, media: Tensor, heats: Sequence[np.ndarray]) -> tuple[str, ...]:
        pixels = shown_pixels(media)
        if media.ndim == 3:
            write_png(self.out / f"{stem}.png", side_by_side(pixels, heats))
            return (f"{stem}.png",)
        write_png(self.out / f"{stem}.png", film_strip(pixels, heats))
        rate = self.models[0].card.preprocessing.frames_per_second
        animated = side_by_side(pixels, heats)
        for suffix in ANIMATIONS:
            self.domain.save_animation(animated, self.out / f"{stem}{suffix}", frames_per_second=rate)
        return (f"{stem}.png", *(f"{stem}{suffix}" for suffix in ANIMATIONS))


def _labels(manifest: Manifest) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for batch in manifest.batches(["sample_id", "label"]):
        pairs.update(zip(batch["sample_id"].to_pylist(), batch["label"].to_pylist(), strict=True))
    return pairs
