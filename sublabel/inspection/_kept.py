"""Counting the samples that a label space keeps, for what counts of all samples do not tell."""

from __future__ import annotations

from typing import ClassVar

from pydantic import ConfigDict

from sublabel.labels import ConfusionBuilder, Counting, LabelSpace, Pairs, Vocabulary
from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.builders import HardBuilder


class KeptCounts(Counting):
    """Every sample that has a target counts one, in the cell of the teacher's most probable class."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    kind: ClassVar[str] = "kept"
    space: LabelSpace

    def _builder(self, weak: Vocabulary, teacher: Vocabulary, alignment: AlignmentLike) -> ConfusionBuilder:
        builder = _KeptBuilder(weak, teacher)
        builder.space = self.space
        return builder


class _KeptBuilder(HardBuilder):
    space: LabelSpace

    def update(self, pairs: Pairs) -> None:
        """Count the samples that the space keeps.

        Raises:
            LabelError: The pairs are over other vocabularies, or lack what the space needs.
        """
        super().update(pairs[self.space.targets(pairs).keep])
