"""Options: how samples are counted into a confusion matrix. `start` makes the builder that holds the sums."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from sublabel.labels.alignment import AlignmentLike
from sublabel.labels.builders import ConfidentBuilder, ConfusionBuilder, HardBuilder, MassBuilder
from sublabel.labels.vocabulary import VocabularyLike

Probability = Annotated[float, Field(ge=0, le=1)]
Thresholds = Literal["self_confidence"] | Probability | tuple[Probability, ...]


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HardCounts(_Options):
    """Every sample counts one, in the cell of the teacher's most probable class."""

    kind: Literal["hard"] = "hard"

    def start(
        self,
        weak_vocabulary: VocabularyLike,
        teacher_vocabulary: VocabularyLike | None = None,
        alignment: AlignmentLike = None,
    ) -> ConfusionBuilder:
        """A builder without samples. The alignment plays no part."""
        return HardBuilder(weak_vocabulary, teacher_vocabulary)


class ProbabilityMass(_Options):
    """Every sample counts one, spread over its row in proportion to the teacher's probabilities.

    The matrix holds whole samples: each row's expected counts, rounded to the nearest so that the row's total
    is exact (largest remainders).
    """

    kind: Literal["probability_mass"] = "probability_mass"
    rest: Literal["renormalise", "other"] = Field(
        default="renormalise",
        description="the probability outside the top k: spread over them in proportion, or put into a last "
        "teacher class `(other)` of its own",
    )
    k: PositiveInt | None = Field(default=None, description="how many classes count; default: all given")

    def start(
        self,
        weak_vocabulary: VocabularyLike,
        teacher_vocabulary: VocabularyLike | None = None,
        alignment: AlignmentLike = None,
    ) -> ConfusionBuilder:
        """A builder without samples. The alignment plays no part."""
        return MassBuilder(weak_vocabulary, teacher_vocabulary, rest=self.rest, k=self.k)


class ConfidentCounts(_Options):
    """A sample counts one where the teacher's probability reaches its class's threshold; else it is unsure.

    With `thresholds="self_confidence"`, a class's is the mean of its probability over the samples whose weak
    label agrees with it (Northcutt, Jiang, Chuang, "Confident Learning", JAIR 2021), found in a first pass.
    Probabilities outside the top k count as 0. A teacher class that no weak class agrees with gets, ours, the
    mean probability of its own predictions, and 1 if it is never predicted.
    """

    kind: Literal["confident"] = "confident"
    thresholds: Thresholds = Field(
        default="self_confidence", description="found from the samples, one for all classes, or one for each"
    )
    candidates: Literal["top_1", "top_k"] = Field(
        default="top_1",
        description="top_1: only the teacher's prediction may pass; top_k: the most probable class that "
        "passes counts, as in confident learning",
    )

    def start(
        self,
        weak_vocabulary: VocabularyLike,
        teacher_vocabulary: VocabularyLike | None = None,
        alignment: AlignmentLike = None,
    ) -> ConfusionBuilder:
        """A builder without samples; the alignment says whose samples make a class's threshold."""
        return ConfidentBuilder(
            weak_vocabulary,
            teacher_vocabulary,
            alignment,
            thresholds=self.thresholds,
            candidates=self.candidates,
        )


Counting = Annotated[HardCounts | ProbabilityMass | ConfidentCounts, Field(discriminator="kind")]
