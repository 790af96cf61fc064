"""The frozen result of a strategy: what class, or what distribution over classes, a sample gets.

There is one class of spaces for each kind of answer, and one interface for all of them: nobody needs to ask
which one a space is.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np

from sublabel.errors import LabelError
from sublabel.files import write_atomically
from sublabel.html import html_table
from sublabel.labels._codec import decode_array, digest_array, encode_array
from sublabel.labels.assigned import Labels
from sublabel.labels.classes import KINDS, Classes, Kind, class_name
from sublabel.labels.pairs import Pairs, check_pairs
from sublabel.labels.targets import HardTargets, Reasons, Targets, check_labels
from sublabel.labels.vocabulary import Vocabulary

FORMAT = "sublabel.LabelSpace"
VERSION = 4
CLASS_ARRAYS = ("kind", "size", "weak", "teacher")
CHANGED = "the label space does not match its own fingerprint: the file was edited or damaged"
SHOWN_IN_NOTEBOOK = 10
Need = Literal["sample_ids", "probabilities", "features"]


@dataclass(frozen=True)
class ClassDescription:
    """One class in words: what `LabelSpace.describe` returns."""

    label: int
    name: str
    kind: Kind
    size: int
    weak: str | None
    teacher: str | None

    def __str__(self) -> str:
        return f"{self.label}: {self.name} ({self.kind}, {self.size} samples)"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class LabelSpace(ABC):
    """What a strategy makes of (weak label, teacher prediction): K pre-training classes, each with a name.

    Strategies make spaces; users call `assign` and `targets`. A subclass is a frozen dataclass that names its
    `kind` and adds fields: arrays, whose dtypes it lists in `ARRAYS`, and plain values that JSON can hold.
    One outside this package leaves `kind` out, and is found again by its import path.
    """

    kind: ClassVar[str]
    """Names the subclass in stored spaces."""
    ARRAYS: ClassVar[Mapping[str, type]] = {}
    needs: ClassVar[frozenset[Need]] = frozenset()
    """What of the pairs `assign` and `targets` look at beside the labels."""
    answers_with_one_label: ClassVar[bool] = True
    """Whether `targets` are one label a sample, so that `assign` says all of it."""
    _registered: ClassVar[dict[str, type[LabelSpace]]] = {}

    weak_vocabulary: Vocabulary
    teacher_vocabulary: Vocabulary
    classes: Classes
    """The K classes as arrays."""
    strategy: Mapping[str, Any]
    """The strategy that made it, as `Strategy.to_dict` says it; `Strategy.parse` makes it again."""

    @property
    def num_features(self) -> int:
        """Width D of the features (N, D) that it looks at; 0 where it needs none."""
        return 0

    def __init_subclass__(cls) -> None:
        """Know the kind of a subclass; one without a name of its own is known by its import path."""
        if "kind" not in cls.__dict__:
            cls.kind = f"{cls.__module__}:{cls.__qualname__}"
        cls._registered[cls.kind] = cls

    def __post_init__(self) -> None:
        """Make the arrays read-only: what is derived from them is computed once."""
        for name, dtype in self.ARRAYS.items():
            # A copy of ours, so that the caller's own array stays writable.
            array: np.ndarray = np.array(getattr(self, name), dtype=dtype)
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @abstractmethod
    def assign(self, pairs: Pairs) -> Labels:
        """The class of each sample.

        Args:
            pairs: Over the vocabularies of the space, with what it `needs`.

        Returns:
            int64 (N,), -1 where either side abstained or the cell is dropped, with `.reasons`; of soft
            targets the most probable class. Of a two-head space (N, 2), a class for each head.

        Raises:
            LabelError: The pairs are over other vocabularies, or lack what the space needs.
        """

    def targets(self, pairs: Pairs) -> Targets:
        """What a student is trained towards, as a loss takes it.

        Args:
            pairs: Samples over the vocabularies of the space, with what it `needs`.

        Returns:
            One label a sample; a distribution over the classes, where targets are soft; a label for each of
            two heads.

        Raises:
            LabelError: The pairs are over other vocabularies, or lack what the space needs.
        """
        return HardTargets(self.assign(pairs), len(self))

    def read_targets(self, columns: Mapping[str, Any], reasons: Reasons = None) -> Targets:
        """The targets that stand in a table, as `Targets.columns` gave them.

        Args:
            columns: `pretrain_label` and, of soft targets, `pretrain_weight`.
            reasons: Why each sample has a target or none, as `Targets` takes them.

        Raises:
            LabelError: A label is outside 0..K-1.
        """
        return HardTargets(check_labels(columns["pretrain_label"], len(self)), len(self), reasons)

    def match_sizes(self, samples: Callable[[], Iterable[Pairs]]) -> LabelSpace:
        """Adapt the space to its own samples, where it must see them: a matched control's shuffle (ours).

        Args:
            samples: Called once for each pass; gives the pairs that the space was fitted on, in chunks.

        Returns:
            A space whose classes have exactly their sizes; itself, where nothing needs to be seen.
        """
        return self

    def cell_classes(self, weak: np.ndarray, teacher: np.ndarray) -> np.ndarray | None:
        """The class of each cell, where a cell has one whatever sample lies in it.

        Args:
            weak: Integers (C,), each in 0..W-1.
            teacher: Integers (C,), each in 0..T-1.

        Returns:
            int64 (C,), -1 where a cell is dropped; None where cells have no classes of their own.
        """
        return None

    @abstractmethod
    def classes_touching(self, names: Iterable[str]) -> list[int]:
        """The classes that hold a cell of a weak or a teacher class of these names, in order."""

    def factors(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The row and the column of each class, for a head whose classes share weights (ours).

        Returns:
            Rows int64 (K,) and columns int64 (K,), both counted from 0. A class that is not one cell has a
            column of its own; classes of no single row share one. None where there are several heads.
        """
        several = len(self.teacher_vocabulary) + np.arange(len(self))
        columns = np.where(self.classes.teacher >= 0, self.classes.teacher, several)
        return np.unique(self.classes.weak, return_inverse=True)[1], np.unique(columns, return_inverse=True)[
            1
        ]

    @property
    def num_classes(self) -> int:
        """K, the width of the pre-training head, or of all heads together."""
        return len(self.classes)

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def heads(self) -> tuple[int, ...]:
        """The widths of the student's heads, which sum to K: (K,), or (W, T) of a two-head space."""
        return (self.num_classes,)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """A name for each class: `baking cookies`, or `baking cookies × whisking eggs`."""
        return tuple(map(self.name_of, range(len(self))))

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """For each class one of `KINDS`: `agreed`, `disagreed`, `other` (a row's rare cells) and so on."""
        return tuple(KINDS[code] for code in self.classes.kind.tolist())

    @property
    def sizes(self) -> np.ndarray:
        """Samples of each class when the space was fitted, int64 (K,), read-only."""
        return self.classes.size

    def describe(self, label: int) -> ClassDescription:
        """One class in words.

        Raises:
            LabelError: The label is not in 0..K-1.
        """
        if not 0 <= label < len(self):
            raise LabelError(f"label {label} is outside this space of {len(self)} classes; they count from 0")
        weak, teacher = int(self.classes.weak[label]), int(self.classes.teacher[label])
        return ClassDescription(
            label=int(label),
            name=self.name_of(int(label)),
            kind=KINDS[self.classes.kind[label]],
            size=int(self.classes.size[label]),
            weak=None if weak < 0 else self.weak_vocabulary[weak],
            teacher=None if teacher < 0 else self.teacher_vocabulary[teacher],
        )

    def name_of(self, label: int) -> str:
        """The name of one class, without making those of all."""
        agreed_cells = int(self._agreed_cells[self.classes.weak[label]])
        return class_name(self.classes, label, self.weak_vocabulary, self.teacher_vocabulary, agreed_cells)

    @cached_property
    def _agreed_cells(self) -> np.ndarray:
        return self.classes.agreed_cells_by_row()

    def check(self, pairs: Pairs) -> None:
        """Refuse what is no pairs, and pairs of other vocabularies than the space was fitted on.

        Raises:
            LabelError: It is one of these.
        """
        check_pairs(pairs, self.weak_vocabulary, self.teacher_vocabulary, "this label space")

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of everything that the space is made of; how its arrays are packed plays no part."""
        content = {
            **self._header(),
            "weak_vocabulary": self.weak_vocabulary.fingerprint,
            "teacher_vocabulary": self.teacher_vocabulary.fingerprint,
            "classes": [digest_array(getattr(self.classes, name)) for name in CLASS_ARRAYS],
            "arrays": [digest_array(getattr(self, name)) for name in self.ARRAYS],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()

    def to_json(self) -> str:
        """The space as JSON text, with its fingerprint; long arrays are packed, so that it stays small."""
        content = {
            **self._header(),
            "weak_vocabulary": list(self.weak_vocabulary),
            "teacher_vocabulary": list(self.teacher_vocabulary),
            "classes": {name: encode_array(getattr(self.classes, name)) for name in CLASS_ARRAYS},
            "arrays": {name: encode_array(getattr(self, name)) for name in self.ARRAYS},
            "fingerprint": self.fingerprint,
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":"))

    def _header(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "kind": self.kind,
            "strategy": self.strategy,
            "plain": {name: getattr(self, name) for name in self._plain_fields()},
            "names": {str(label): name for label, name in sorted(self.classes.given_names.items())},
        }

    @classmethod
    def _plain_fields(cls) -> list[str]:
        shared = {field.name for field in fields(LabelSpace)}
        return [
            field.name for field in fields(cls) if field.name not in shared and field.name not in cls.ARRAYS
        ]

    @staticmethod
    def from_json(text: str | bytes) -> LabelSpace:
        """Read what `to_json` wrote, of any kind.

        Raises:
            LabelError: The text is not a label space, of another version, or was changed.
        """
        content = _parsed(text)
        space_class = _class_of_kind(content.get("kind"))
        try:
            space = space_class._from_content(content)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, zlib.error) as error:
            raise LabelError(f"{CHANGED} ({error})") from error
        if space.fingerprint != content.get("fingerprint"):
            raise LabelError(CHANGED)
        return space

    @classmethod
    def _from_content(cls, content: Mapping[str, Any]) -> Self:
        stored = {name: decode_array(content["classes"][name], np.int64) for name in CLASS_ARRAYS}
        if len({array.shape for array in stored.values()}) > 1 or (stored["kind"] >= len(KINDS)).any():
            raise ValueError("its classes are incomplete")
        space = cls(
            weak_vocabulary=Vocabulary(content["weak_vocabulary"]),
            teacher_vocabulary=Vocabulary(content["teacher_vocabulary"]),
            classes=Classes(
                **stored, given_names={int(label): str(name) for label, name in content["names"].items()}
            ),
            strategy=content["strategy"],
            **{name: decode_array(content["arrays"][name], dtype) for name, dtype in cls.ARRAYS.items()},
            **{name: content["plain"][name] for name in cls._plain_fields()},
        )
        space._refuse_damage()
        return space

    def _refuse_damage(self) -> None:
        """Refuse stored arrays that do not belong together.

        Raises:
            ValueError: They do not.
        """
        check_inside(len(self.weak_vocabulary), self.classes.weak)
        check_inside(len(self.teacher_vocabulary), self.classes.teacher)

    def save(self, path: str | Path) -> None:
        """Write the JSON text, atomically: one file, however many cells there are."""
        with write_atomically(path) as file:
            file.write(self.to_json().encode())

    @staticmethod
    def load(path: str | Path) -> LabelSpace:
        """Read what `save` wrote, of any kind.

        Raises:
            LabelError: The file is not a label space, or it was changed.
        """
        try:
            return LabelSpace.from_json(Path(path).read_bytes())
        except LabelError as error:
            raise LabelError(f"{path}: {error}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LabelSpace) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def _repr_html_(self) -> str:
        """For notebooks: the largest classes by name."""
        largest = np.argsort(-self.sizes, kind="stable")[:SHOWN_IN_NOTEBOOK].tolist()
        rows = [(entry.name, entry.kind, entry.size) for entry in map(self.describe, largest)]
        listed = html_table(("class", "kind", "samples"), rows, "the largest classes")
        return f"<p>{escape(repr(self))}</p>{listed}"

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.strategy['kind']}: {len(self)} classes over "
            f"{len(self.weak_vocabulary)} weak × {len(self.teacher_vocabulary)} teacher)"
        )


def _class_of_kind(kind: Any) -> type[LabelSpace]:
    """The class of spaces of a kind; one by import path is imported where it is not yet known."""
    if isinstance(kind, str) and kind not in LabelSpace._registered and ":" in kind:
        with suppress(ImportError):
            import_module(kind.partition(":")[0])
    if not isinstance(kind, str) or kind not in LabelSpace._registered:
        raise LabelError(
            f"the label space is of the kind {kind!r}, which is not known here (known are "
            f"{', '.join(sorted(LabelSpace._registered))}): import the module that has its class first"
        )
    return LabelSpace._registered[kind]


def check_inside(num_classes: int, *labels: np.ndarray) -> None:
    """Refuse stored labels that are no classes, for `LabelSpace._refuse_damage`.

    Raises:
        ValueError: One is outside -1..K-1.
    """
    for array in labels:
        if len(array) and not -1 <= array.min() <= array.max() < num_classes:
            raise ValueError(f"a label is outside its {num_classes} classes")


def _parsed(text: str | bytes) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise LabelError(f"not a label space: the text is not JSON ({error})") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise LabelError(
            f"not a label space: expected JSON with format {FORMAT!r}; was it saved by LabelSpace.save?"
        )
    if content.get("version") != VERSION:
        raise LabelError(
            f"the label space has format version {content.get('version')}; this release reads {VERSION}: "
            "make it again from the predictions with `sublabel relabel`"
        )
    return content
