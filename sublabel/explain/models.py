"""Models of a study, and the classes that their strategies gave its weak samples."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sublabel.errors import ArtifactError, ConfigError
from sublabel.labels import LabelSpace, Pairs
from sublabel.media.domain import Domain
from sublabel.study.folder import StudyFolder
from sublabel.tables import read_relabeled
from sublabel.training import Classifier, ModelCard, load_model, read_card


@dataclass(frozen=True)
class StudyModel:
    """A model of a study."""

    name: str
    """Its folder within the study."""
    classifier: Classifier
    card: ModelCard
    space: LabelSpace | None
    """The pre-training classes; None for the teacher and fine-tuned models, which have the target's."""
    assigned: dict[str, Sequence[int]]
    """`sample_id` → its main class in each head, -1 where it was dropped; empty without a space."""

    @classmethod
    def load(cls, study: StudyFolder, name: str, domain: Domain | None = None) -> StudyModel:
        """Load a model by its folder within the study.

        Args:
            study: The study's folder.
            name: Such as `seed0/raw_spl/pretrained`.
            domain: Default: the installed one that the model names, with the study's options.

        Raises:
            ArtifactError: There is none, or its label space is another one's.
        """
        folder = study.path / name
        if not (folder / "card.json").exists():
            there = sorted(str(card.parent.relative_to(study.path)) for card in study.path.rglob("card.json"))
            raise ArtifactError(f"{study.path} has no model {name!r}; there are {', '.join(there) or 'none'}")
        domain = domain or study.domain(read_card(folder).domain)
        classifier, card = load_model(folder, domain=domain)
        if "label_space" not in card.fingerprints:
            return cls(name, classifier, card, None, {})
        table = folder.parent / "relabeled.parquet"
        sample_ids, targets, space = read_relabeled(table)
        if space.fingerprint != card.fingerprints["label_space"]:
            raise ArtifactError(f"{table} has another label space than {folder} was trained on")
        assigned = zip(sample_ids.to_pylist(), targets.main_classes.tolist(), strict=True)
        return cls(name, classifier, card, space, dict(assigned))

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the outputs; of a two-head model `weak: NAME` and `teacher: NAME`."""
        return self.card.classes

    @property
    def heads(self) -> tuple[int, ...]:
        """The widths of the heads, whose outputs follow each other in `classes`."""
        return (len(self.classes),) if self.space is None else self.space.heads

    def probabilities(self, inputs: Tensor) -> Tensor:
        """Probability of each class for each input; the classes of a head sum to 1.

        Args:
            inputs: As for the classifier, (B, …).

        Returns:
            float32 (B, K).
        """
        logits = self.classifier(inputs).float().split(self.heads, 1)
        return torch.cat([part.softmax(1) for part in logits], 1)

    def labels_of(self, samples: Pairs) -> np.ndarray:
        """The classes that the model's strategy gave each sample, one for each head.

        Args:
            samples: N weak samples.

        Returns:
            int64 (N, H), -1 where the sample was dropped.
        """
        none = (-1,) * len(self.heads)
        if self.space is not None:
            self.space.check(samples)
        labels = [self.assigned.get(str(sample_id), none) for sample_id in samples.need_sample_ids()]
        return np.array(labels, dtype=np.int64).reshape(len(labels), len(self.heads))

    def classes_of(self, samples: Pairs, chosen: np.ndarray) -> np.ndarray:
        """The classes to explain for each chosen sample.

        A sample has the classes that the model's strategy gave it; without one, the class of the teacher's
        name or else of the weak label's.

        Args:
            samples: The weak samples.
            chosen: Positions among them, int64 (M,).

        Returns:
            int64 (M, H), one class for each head.

        Raises:
            ConfigError: The model has no such class.
        """
        part = samples[chosen]
        labels = self.labels_of(part)
        for index in np.flatnonzero((labels < 0).any(axis=1)):
            pairs = ((part.teacher[index], part.teacher_vocabulary), (part.weak[index], part.weak_vocabulary))
            names = [vocabulary[int(label)] for label, vocabulary in pairs if label >= 0]
            known = [name for name in names if name in self.classes]
            if len(self.heads) > 1 or not known:
                raise ConfigError(
                    f"{self.name} has no class for the sample {part.need_sample_ids()[index]!r} "
                    f"({' × '.join(reversed(names)) or 'without labels'}): name one of its classes"
                )
            labels[index] = self.classes.index(known[0])
        return labels

    def named(self, name: str) -> int:
        """The position of a class by its name.

        Args:
            name: The class's; in a two-head model a teacher's class may also go by its bare name.

        Raises:
            ConfigError: There is none.
        """
        is_other = len(self.heads) > 1 and name not in self.classes
        if is_other and self.space is not None and name in self.space.teacher_vocabulary:
            return self.heads[0] + self.space.teacher_vocabulary.index(name)
        return position_of(name, self.classes, f"class of {self.name}")


def position_of(name: str, names: Sequence[str], what: str) -> int:
    """Where a name stands among others.

    Args:
        name: The name that is asked for.
        names: All names.
        what: What they are names of, for the error.

    Raises:
        ConfigError: It is not there; the error says what is meant, or what there is.
    """
    if name in names:
        return names.index(name)
    similar = difflib.get_close_matches(name, names, n=3)
    hint = (
        f"did you mean {' or '.join(map(repr, similar))}?"
        if similar
        else f"there are {len(names)}, such as {', '.join(map(repr, names[:3]))}"
    )
    raise ConfigError(f"{name!r} is no {what}; {hint}")
