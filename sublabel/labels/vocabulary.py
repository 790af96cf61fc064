"""Ordered class names; integer labels mean nothing without them."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Union

import numpy as np

from sublabel.errors import LabelError

VocabularyLike = Union["Vocabulary", Iterable[str], int]


class Vocabulary:
    """Ordered, unique class names: label i means `names[i]`.

    Args:
        names: Non-empty, unique strings.

    Raises:
        LabelError: A name is empty, repeated or not a string, or there is none.

    Example:
        >>> actions = Vocabulary(["baking cookies", "whisking eggs"])
        >>> len(actions), actions.index("whisking eggs"), list(actions)
        (2, 1, ['baking cookies', 'whisking eggs'])
    """

    __slots__ = ("_fingerprint", "_index", "names")

    def __init__(self, names: Iterable[str]) -> None:
        if isinstance(names, str):
            raise LabelError(f"a vocabulary needs a list of names, and got the one string {names!r}")
        if isinstance(names, set | frozenset):
            raise LabelError(
                f"a vocabulary needs a list of names, and got a set of {len(names)}: its order differs from "
                "run to run; give sorted(names)"
            )
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
        """A vocabulary from itself, from names, or from a number n, which names the classes "0" to "n-1".

        Raises:
            LabelError: The value is none of these.
        """
        if isinstance(value, Vocabulary):
            return value
        if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            if value < 1:
                raise LabelError(f"a vocabulary needs at least one class, and got {value}")
            return cls(str(label) for label in range(value))
        if isinstance(value, Iterable):
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

    def encode(self, names: Iterable[str | None]) -> np.ndarray:
        """Labels of names, int64 (N,); None becomes -1 (abstained).

        Raises:
            LabelError: A name is not in the vocabulary.

        Example:
            >>> Vocabulary(["cat", "dog"]).encode(["dog", None, "cat"])
            array([ 1, -1,  0])
        """
        labels = []
        for position, name in enumerate(names):
            label = -1 if name is None else self._index.get(name)
            if label is None:
                raise LabelError(
                    f"{name!r} at position {position} is not in the vocabulary of {len(self)} classes"
                    f"{self._suggestion(name)}"
                )
            labels.append(label)
        return np.array(labels, dtype=np.int64)

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
