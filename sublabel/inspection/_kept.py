"""Counting the samples that a label space keeps, for what counts of all samples do not tell."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import ConfigDict

from sublabel.labels import ConfusionBuilder, ConfusionMatrix, Counting, LabelSpace, Pairs, Vocabulary
from sublabel.labels.alignment import AlignmentLike


class KeptCounts(Counting):
    """Every sample that has a target counts one, in the cell of the teacher's most probable class."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    kind: ClassVar[str] = "kept"
    space: LabelSpace

    def _builder(self, weak: Vocabulary, teacher: Vocabulary, alignment: AlignmentLike) -> ConfusionBuilder:
        return KeptBuilder(self.space)


class KeptBuilder(ConfusionBuilder):
    """The sums of `KeptCounts`.

    Args:
        space: Whose targets decide.
    """

    def __init__(self, space: LabelSpace) -> None:
        super().__init__(space.weak_vocabulary, space.teacher_vocabulary)
        self.space = space
        self.confusion = ConfusionMatrix(space.weak_vocabulary, space.teacher_vocabulary)

    def update(self, pairs: Pairs) -> None:
        """Count the samples that the space keeps.

        Raises:
            LabelError: The pairs are over other vocabularies, or lack what the space needs.
        """
        self.confusion.update(pairs[self.space.targets(pairs).keep])

    def merge(self, other: Self) -> Self:
        """A new builder with the samples of both.

        Raises:
            LabelError: The other one is of other vocabularies.
        """
        merged = type(self)(self.space)
        merged.confusion = self.confusion.merge(other.confusion)
        return merged

    def build(self) -> ConfusionMatrix:
        """The confusion matrix of the kept samples."""
        return self.confusion
