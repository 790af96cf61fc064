"""Ordered class names; integer labels mean nothing without them."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Union

import numpy as np

from sublabel.errors import LabelError
from sublabel.labels._columns import Column, read_column

VocabularyLike = Union["Vocabulary", Iterable[str], Mapping[Any, Any], int]


class Vocabulary:
    """Ordered, unique class names: label i means `names[i]`.

    Args:
        names: Non-empty, unique strings in the order of their labels: any iterable or array of them, or a
            mapping `{id: name}` or `{name: id}` of the ids 0..K-1.

    Raises:
        LabelError: A name is empty, repeated or not a string, there is none, or the ids of a mapping are not
            0..K-1.

    Example:
        >>> actions = Vocabulary(["baking cookies", "whisking eggs"])
        >>> len(actions), actions.index("whisking eggs"), list(actions)
        (2, 1, ['baking cookies', 'whisking eggs'])
    """

    __slots__ = ("_fingerprint", "_index", "names")

    def __init__(self, names: Iterable[str] | Mapping[Any, Any]) -> None:
        if isinstance(names, str):
            raise LabelError(f"a vocabulary needs a list of names, and got the one string {names!r}")
        if isinstance(names, set | frozenset):
            raise LabelError(
                f"a vocabulary needs a list of names, and got a set of {len(names)}: its order differs from "
                "run to run; give sorted(names)"
            )
        if hasattr(names, "columns"):
            raise LabelError(
                f"a vocabulary needs a list of names, and got a {type(names).__name__}: give the one column "
                "of it that holds the names"
            )
        if isinstance(names, Mapping):
            names = _names_by_id(names)
        elif callable(to_list := getattr(names, "to_pylist", None) or getattr(names, "to_list", None)):
            # Arrow, Polars and pandas have scalars of their own.
            names = to_list()
        # NumPy strings become plain ones, so that a name reads the same wherever it came from.
        self.names = tuple(str(name) if issubclass(type(name), str) else name for name in names)
        self._fingerprint: str | None = None
        if not self.names:
            raise LabelError("a vocabulary needs at least one name, and got none")
        self._index: dict[str, int] = {}
        for position, name in enumerate(self.names):
            if not issubclass(type(name), str) or not name:
                raise LabelError(
                    f"name {position} of the vocabulary is {name!r}; names are non-empty strings"
                )
            first = self._index.setdefault(name, position)
            if first != position:
                raise LabelError(
                    f"the name {name!r} stands at positions {first} and {position} of the vocabulary; names "
                    "must be unique, so rename or merge one of them"
                )

    @classmethod
    def of(cls, value: VocabularyLike) -> Vocabulary:
        """A vocabulary from itself, from what the class takes, or from a number n: the classes "0" to "n-1".

        Raises:
            LabelError: The value is none of these.
        """
        if isinstance(value, Vocabulary):
            return value
        if isinstance(value, bool):
            raise LabelError(f"expected a Vocabulary, names or a number of classes, and got {value}")
        if isinstance(value, (int, np.integer)):
            if value < 1:
                raise LabelError(f"a vocabulary needs at least one class, and got {value}")
            return cls(str(label) for label in range(value))
        if isinstance(value, Iterable) or hasattr(value, "to_pylist"):
            return cls(value)
        raise LabelError(f"expected a Vocabulary, a list of names or a number of classes, and got {value!r}")

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the names in order, as hexadecimal digits."""
        if self._fingerprint is None:
            self._fingerprint = hashlib.sha256(json.dumps(self.names, ensure_ascii=True).encode()).hexdigest()
        return self._fingerprint

    def index(self, name: str) -> int:
        """The label of a name.

        Raises:
            LabelError: The name is not in the vocabulary; the message suggests the closest ones.
        """
        label = self._index.get(name)
        if label is None:
            raise LabelError(
                f"{name!r} is not in the vocabulary of {len(self)} classes{self._suggestion(name)}"
            )
        return label

    def encode(self, names: Any, what: str = "name") -> np.ndarray:
        """Labels of names.

        Args:
            names: Names (N,) as a list or any library's array; None, NaN and null abstain.
            what: What a name is called in messages, such as "weak label".

        Returns:
            int64 (N,), -1 where there is no name.

        Raises:
            LabelError: A name is not in the vocabulary, or the entries are no names.

        Example:
            >>> Vocabulary(["cat", "dog"]).encode(["dog", None, "cat"])
            array([ 1, -1,  0])
        """
        column = read_column(names, what)
        if column.names is None:
            if (column.values < 0).all():
                return np.full(len(column.values), -1)
            raise LabelError(
                f"the {what}s are integers, and names were expected: integers that are ids of this "
                "vocabulary need no encoding"
            )
        return self.encode_column(column, what)

    def encode_column(self, column: Column, what: str) -> np.ndarray:
        """Labels of names that were read already, int64 (N,).

        Raises:
            LabelError: A name is not in the vocabulary; the message says where it stands.
        """
        names = column.names or []
        labels = np.array([self._index.get(name, -2) for name in names] + [-1])
        encoded = np.asarray(labels[column.values])
        if len(encoded) and encoded.min() < -1:
            position = int(np.flatnonzero(encoded < -1)[0])
            name = names[column.values[position]]
            raise LabelError(
                f"{what} {name!r} at position {position} is not in the vocabulary of {len(self)} classes"
                f"{self._suggestion(name)}"
            )
        return encoded

    def _suggestion(self, name: object) -> str:
        if not isinstance(name, str):
            return "; names are strings, and None is no label: did a table or YAML make another type of it?"
        similar = difflib.get_close_matches(name, self.names, n=3)
        return (
            f"; did you mean {' or '.join(map(repr, similar))}?"
            if similar
            else f" (such as {self.names[0]!r})"
        )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __getitem__(self, label: int) -> str:
        return self.names[label]

    def __contains__(self, name: object) -> bool:
        return name in self._index

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.names == other.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.names[:3])) + (", …" if len(self) > 3 else "")
        return f"Vocabulary({len(self)}: {shown})"


def _names_by_id(mapping: Mapping[Any, Any]) -> list[Any]:
    """The names of `{id: name}` or `{name: id}` in the order of the ids, which JSON writes as text."""
    wanted = set(range(len(mapping)))
    for ids, names in ((mapping.keys(), mapping.values()), (mapping.values(), mapping.keys())):
        by_id = dict(zip(map(_as_id, ids), names, strict=True))
        if by_id.keys() == wanted:
            return [by_id[label] for label in range(len(mapping))]
    shown = ", ".join(f"{key!r}: {value!r}" for key, value in list(mapping.items())[:3])
    raise LabelError(
        f"a vocabulary from a mapping needs the ids 0 to {len(mapping) - 1}, each once, as its keys or as "
        f"its values, and got {{{shown}{', …' if len(mapping) > 3 else ''}}}: give the names as a list in "
        "the order of their ids"
    )


def _as_id(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal():
        return int(value)
    return int(value) if isinstance(value, (int, np.integer)) and not isinstance(value, bool) else None
