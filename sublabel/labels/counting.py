"""How samples are counted into a confusion matrix: options that start a stream of sums (ours)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, model_serializer

from sublabel.errors import LabelError
from sublabel.labels.alignment import Alignment, AlignmentLike
from sublabel.labels.builders import ConfidentBuilder, ConfusionBuilder, HardBuilder, MassBuilder
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.feature_builder import FeatureBuilder
from sublabel.labels.pairs import Pairs, need_pairs
from sublabel.labels.vocabulary import Vocabulary, VocabularyLike

Probability = Annotated[float, Field(ge=0, le=1)]
Thresholds = Literal["self_confidence"] | Probability | tuple[Probability, ...]


class Counting(BaseModel, ABC):
    """How samples are counted: frozen options. `start` makes the sums, `count` does all of it in memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset({"probabilities"})
    """What of the pairs is looked at beside the labels."""

    def start(
        self,
        weak_vocabulary: VocabularyLike,
        teacher_vocabulary: VocabularyLike | None = None,
        alignment: AlignmentLike = None,
    ) -> ConfusionBuilder:
        """Sums without samples, which chunks of pairs are added to.

        Args:
            weak_vocabulary: The W weak classes.
            teacher_vocabulary: The T teacher classes; None when they are the weak ones.
            alignment: Which classes agree; only confident counts look at it. Default: equal names.

        Raises:
            LabelError: The alignment does not fit the vocabularies, or an option does not.
        """
        weak = Vocabulary.of(weak_vocabulary)
        teacher = weak if teacher_vocabulary is None else Vocabulary.of(teacher_vocabulary)
        return self._builder(weak, teacher, alignment)

    @abstractmethod
    def _builder(self, weak: Vocabulary, teacher: Vocabulary, alignment: AlignmentLike) -> ConfusionBuilder:
        """The sums of these options."""

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: Any) -> dict[str, Any]:
        return {"kind": self.kind, **handler(self)}


class HardCounts(Counting):
    """Every sample counts one, in the cell of the teacher's most probable class."""

    kind: ClassVar[str] = "hard"
    needs: ClassVar[frozenset[str]] = frozenset()

    def _builder(self, weak: Vocabulary, teacher: Vocabulary, alignment: AlignmentLike) -> ConfusionBuilder:
        return HardBuilder(weak, teacher)


class ProbabilityMass(Counting):
    """Every sample counts one, spread over its row in proportion to the teacher's probabilities.

    The matrix holds whole samples: each row's expected counts, rounded to the nearest so that the row's total
    is exact (largest remainders).
    """

    kind: ClassVar[str] = "probability_mass"
    rest: Literal["renormalise", "other"] = Field(
        default="renormalise",
        description="the probability outside the top k: spread over them in proportion, or put into a last "
        "teacher class `(other)` of its own",
    )
    k: PositiveInt | None = Field(default=None, description="how many classes count; default: all given")

    def _builder(self, weak: Vocabulary, teacher: Vocabulary, alignment: AlignmentLike) -> ConfusionBuilder:
        return MassBuilder(weak, teacher, rest=self.rest, k=self.k)


class ConfidentCounts(Counting):
    """A sample counts one where the teacher's probability reaches its class's threshold; else it is unsure.

    With `thresholds="self_confidence"`, a class's is the mean of its probability over the samples whose weak
    label agrees with it (Northcutt, Jiang, Chuang, "Confident Learning", JAIR 2021), found in a first pass.
    Probabilities outside the top k count as 0. A teacher class that no weak class agrees with gets, ours, the
    mean probability of its own predictions, and 1 if it is never predicted.
    """

    kind: ClassVar[str] = "confident"
    thresholds: Thresholds = Field(
        default="self_confidence", description="found from the samples, one for all classes, or one for each"
    )
    candidates: Literal["top_1", "top_k"] = Field(
        default="top_1",
        description="top_1: only the teacher's prediction may pass; top_k: the most probable class that "
        "passes counts, as in confident learning",
    )

    def _builder(self, weak: Vocabulary, teacher: Vocabulary, alignment: AlignmentLike) -> ConfusionBuilder:
        aligned = Alignment.of(alignment, weak, teacher)
        return ConfidentBuilder(
            weak, teacher, aligned, thresholds=self.thresholds, candidates=self.candidates
        )


class FeatureCounts(Counting):
    """Every sample counts one; beside the counts stands a model of the weak labels given the features.

    The samples are read twice: for the regressions, and to choose among them.
    """

    kind: ClassVar[str] = "features"
    needs: ClassVar[frozenset[str]] = frozenset({"features"})
    folds: int = Field(
        default=5, ge=2, description="parts of the samples, each judged by a model of the others"
    )

    def _builder(self, weak: Vocabulary, teacher: Vocabulary, alignment: AlignmentLike) -> ConfusionBuilder:
        return FeatureBuilder(weak, teacher, folds=self.folds)


def count(pairs: Pairs, counting: Counting | None = None, alignment: AlignmentLike = None) -> ConfusionMatrix:
    """The confusion matrix of pairs.

    Args:
        pairs: All samples.
        counting: How; default: every sample counts one, in the cell of its most probable class. A strategy
            says in `strategy.counting` what it needs.
        alignment: Which classes agree; only confident counts look at it.

    Raises:
        LabelError: They are no pairs, the counting needs probabilities and they have none, or the alignment
            does not fit.

    Example:
        >>> count(Pairs(["bake", "bake", None], ["bake", "whisk", "bake"])).counts.toarray()
        array([[1, 1]])
    """
    need_pairs(pairs, "count")
    return count_chunks(lambda: [pairs], pairs.weak_vocabulary, pairs.teacher_vocabulary, counting, alignment)


def count_chunks(
    chunks: Callable[[], Iterable[Pairs]],
    weak_vocabulary: Vocabulary,
    teacher_vocabulary: Vocabulary,
    counting: Counting | None = None,
    alignment: AlignmentLike = None,
) -> ConfusionMatrix:
    """The confusion matrix of a stream of pairs, which is read as often as the counting needs it.

    Args:
        chunks: Called once for each pass; gives the pairs in chunks.
        weak_vocabulary: The W weak classes of all chunks.
        teacher_vocabulary: The T teacher classes of all chunks.
        counting: How; default: every sample counts one, in the cell of its most probable class.
        alignment: Which classes agree; only confident counts look at it.

    Raises:
        LabelError: As `count`, or a chunk is over other vocabularies.
    """
    counting = HardCounts() if counting is None else counting
    if not isinstance(counting, Counting):
        raise LabelError(
            f"the counting is {counting!r}; expected a Counting, such as HardCounts(), or the `counting` of "
            "a strategy"
        )
    builder = counting.start(weak_vocabulary, teacher_vocabulary, alignment)
    for number in range(builder.passes):
        if number:
            builder.next_pass()
        for chunk in chunks():
            builder.update(chunk)
    return builder.build()
