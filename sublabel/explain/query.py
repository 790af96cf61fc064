"""What to explain: a class, a cell, a row or a sample, and the examples and classes that this means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_validator

from sublabel.errors import ConfigError
from sublabel.explain.models import StudyModel, position_of
from sublabel.labels import Pairs

WEAK, TEST = "weak", "target_test"
Item = TypeVar("Item")


class ExplainQuery(BaseModel):
    """What to explain, by one of `label`, `cell`, `row` and `sample_id`; all defaults are ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="folder of a model within the study: seed0/raw_spl/pretrained")
    versus: str | None = Field(
        default=None, description="another model of the study, shown beside it: seed0/weak_only/pretrained"
    )
    label: str | None = Field(default=None, description="a class of the model by name")
    cell: tuple[str, str] | None = Field(default=None, description="a weak and a teacher class")
    row: str | None = Field(
        default=None, description="a weak class: its agreed class beside its largest sub-concepts"
    )
    sample_id: str | None = Field(
        default=None, description="a sample, with the class that it was given, or with `label`"
    )
    top: PositiveInt = Field(default=4, description="examples a class, those that the model is surest of")
    sub_concepts: PositiveInt = Field(default=3, description="of a row, at most")
    candidates: PositiveInt = Field(
        default=200, description="samples a class that the model looks at, spread evenly over them"
    )
    layer: str | None = Field(default=None, description="layer by name; default: the domain's choice")

    @model_validator(mode="after")
    def _asks_one_question(self) -> ExplainQuery:
        asked = [name for name in ("label", "cell", "row", "sample_id") if getattr(self, name) is not None]
        if len(asked) != 1 and asked != ["label", "sample_id"]:
            raise ValueError(
                f"got {' and '.join(asked) or 'none'} of label, cell, row and sample_id: give one of them "
                "(or a sample_id with a label)"
            )
        return self


class Panel(NamedTuple):
    """One heat map of an example: a class of a model."""

    model: int
    """0 is the model that is asked about, 1 is the one beside it."""
    label: int


class Candidate(NamedTuple):
    """A sample that may be shown, and what of it."""

    sample_id: str
    panels: tuple[Panel, ...]
    """The first one's probability ranks the candidates."""


@dataclass(frozen=True)
class Group:
    """Examples that belong together."""

    title: str
    split: str
    candidates: tuple[Candidate, ...]
    """All with as many panels, of the same models."""
    available: int
    """Samples that there are; `candidates` are at most `ExplainQuery.candidates` of them."""


def find_groups(
    query: ExplainQuery,
    models: Sequence[StudyModel],
    samples: Pairs,
    test_labels: Mapping[str, str],
) -> list[Group]:
    """Find the candidates of a question.

    Args:
        query: The question.
        models: The model, and the one beside it where the query has one.
        samples: The weak samples with their label pairs.
        test_labels: `sample_id` → class of the test split.

    Raises:
        ConfigError: A class, cell or sample does not exist, no sample belongs to it, or a model has no class
            for it.
    """
    finder = _Finder(query, models, samples, test_labels)
    if query.sample_id is not None:
        return [finder.sample(query.sample_id)]
    if query.cell is not None:
        return [finder.cell(*query.cell)]
    if query.row is not None:
        return finder.row(query.row)
    return [finder.label(str(query.label))]


@dataclass(frozen=True)
class _Finder:
    query: ExplainQuery
    models: Sequence[StudyModel]
    samples: Pairs
    test_labels: Mapping[str, str]

    def label(self, name: str) -> Group:
        model = self.models[0]
        label = position_of(name, model.classes, f"class of {model.name}")
        if model.space is None:
            chosen = [sample_id for sample_id, shown in self.test_labels.items() if shown == name]
            panels = tuple(Panel(number, other.named(name)) for number, other in enumerate(self.models))
            candidates = [Candidate(sample_id, panels) for sample_id in self._spread(chosen)]
            return self._group(name, TEST, candidates, len(chosen))
        found = np.flatnonzero((model.labels_of(self.samples) == label).any(axis=1))
        return self._weak_group(name, found, fixed={0: label})

    def cell(self, weak: str, teacher: str) -> Group:
        rows = self.samples.weak == position_of(weak, self.samples.weak_vocabulary.names, "weak class")
        columns = self.samples.teacher == position_of(
            teacher, self.samples.teacher_vocabulary.names, "teacher class"
        )
        return self._weak_group(f"{weak} × {teacher}", np.flatnonzero(rows & columns))

    def row(self, weak: str) -> list[Group]:
        """The agreed class of a row and its largest others; each example shows both of them."""
        model = self.models[0]
        if model.space is None:
            raise ConfigError(f"{model.name} has no label space, so no rows: give a pre-trained model")
        row = position_of(weak, self.samples.weak_vocabulary.names, "weak class")
        if len(model.heads) > 1:
            raise ConfigError(
                f"{model.name} has a head for the weak label and one for the teacher's, so no classes within "
                f"the row {weak!r}: give a cell, or the label {model.classes[row]!r}"
            )
        classes = model.space.classes
        members = np.flatnonzero(classes.weak == row)
        if not len(members):
            raise ConfigError(f"{model.name} has no class for the row {weak!r}: its strategy made other ones")
        largest_first = np.lexsort((-classes.size[members], ~classes.is_kind("agreed")[members]))
        ordered = members[largest_first].tolist()
        labels = model.labels_of(self.samples)[:, 0]
        groups = []
        for label in ordered[: self.query.sub_concepts + 1]:
            others = [other for other in ordered[:2] if other != label][:1]
            found = np.flatnonzero(labels == label)
            if len(found):
                groups.append(
                    self._weak_group(model.classes[label], found, fixed={0: label}, contrast=others)
                )
        if not groups:
            raise ConfigError(f"no sample belongs to the row {weak!r}")
        return groups

    def sample(self, sample_id: str) -> Group:
        [position] = np.flatnonzero(self.samples.need_sample_ids() == sample_id)[:1].tolist() or [None]
        name = self.query.label
        fixed = {}
        if name is not None:
            model = self.models[0]
            fixed[0] = position_of(name, model.classes, f"class of {model.name}")
        if position is not None:
            return self._weak_group(name or sample_id, np.array([position]), fixed=fixed)
        if sample_id not in self.test_labels:
            there = [*self.samples.need_sample_ids()[:1], *list(self.test_labels)[:1]]
            raise ConfigError(
                f"no sample of the weak split or of {TEST} is called {sample_id!r}; ids are case-sensitive, "
                f"such as {', '.join(map(repr, there))}"
            )
        wanted = name or self.test_labels[sample_id]
        panels = tuple(Panel(number, model.named(wanted)) for number, model in enumerate(self.models))
        return self._group(wanted, TEST, [Candidate(sample_id, panels)], 1)

    def _weak_group(
        self,
        title: str,
        found: np.ndarray,
        *,
        fixed: Mapping[int, int] | None = None,
        contrast: Sequence[int] = (),
    ) -> Group:
        """Weak samples with the classes that each model's own strategy gave them, unless one is fixed."""
        fixed = fixed or {}
        chosen = np.array(self._spread(found.tolist()), dtype=np.int64)
        labels = [
            np.full((len(chosen), 1), fixed[number])
            if number in fixed
            else model.classes_of(self.samples, chosen)
            for number, model in enumerate(self.models)
        ]
        more = tuple(Panel(0, label) for label in contrast)
        candidates = [
            Candidate(
                str(self.samples.need_sample_ids()[position]),
                (
                    *(
                        Panel(model, label)
                        for model, own in enumerate(labels)
                        for label in own[index].tolist()
                    ),
                    *more,
                ),
            )
            for index, position in enumerate(chosen)
        ]
        return self._group(title, WEAK, candidates, len(found))

    def _group(self, title: str, split: str, candidates: Sequence[Candidate], available: int) -> Group:
        if not candidates:
            raise ConfigError(f"no sample of {split} belongs to {title!r}: there is nothing to show")
        return Group(title, split, tuple(candidates), available)

    def _spread(self, found: Sequence[Item]) -> list[Item]:
        most = self.query.candidates
        if len(found) <= most:
            return list(found)
        return [found[index * len(found) // most] for index in range(most)]
