"""How the media of a manifest's rows are read: by a domain, from memory, from files decoded before."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sublabel.errors import MediaError

if TYPE_CHECKING:
    from torch import Tensor

MEDIA_COLUMNS = ("sample_id", "uri", "image", "start", "end")
"""Columns of a manifest that say where a sample's media are."""


class Reader(ABC):
    """Reads the media of manifest rows; it pickles, so that worker processes can have it."""

    columns: tuple[str, ...] = MEDIA_COLUMNS
    """Columns of a manifest that it looks at; who gives it rows may leave out all others."""

    @abstractmethod
    def read(self, row: Mapping[str, Any]) -> Tensor:
        """Decode the media of one manifest row to a uint8 tensor.

        Raises:
            MediaError: The media cannot be read; its `reason` becomes the row's status.
        """

    def check(self, row: Mapping[str, Any]) -> None:
        """Find out, as cheaply as can be, whether a row can be read; by default by reading it.

        Raises:
            MediaError: It cannot.
        """
        self.read(row)

    def read_many(self, rows: Sequence[Mapping[str, Any]]) -> list[Tensor | MediaError]:
        """Decode several rows, which may be faster than one by one: all clips of a video at once.

        Returns:
            For each row its media, or why it cannot be read.
        """
        return [self._read_or_error(row) for row in rows]

    def _read_or_error(self, row: Mapping[str, Any]) -> Tensor | MediaError:
        try:
            return self.read(row)
        except MediaError as error:
            return error


class CachedReader(Reader):
    """Keeps what another reader has read in memory, by `sample_id`, until the memory is full.

    It pickles without what it keeps: each worker process has a cache of its own.

    Args:
        reader: Reads what is not kept.
        max_bytes: Of the tensors; what comes when they are full is read at every access. 0 keeps none.

    Example:
        >>> import torch
        >>> class Ones(Reader):
        ...     def read(self, row):
        ...         print("reads", row["sample_id"])
        ...         return torch.ones(2, dtype=torch.uint8)
        >>> reader = CachedReader(Ones(), max_bytes=2)
        >>> for sample_id in ["a", "a", "b", "b"]:
        ...     _ = reader.read({"sample_id": sample_id})
        reads a
        reads b
        reads b
    """

    def __init__(self, reader: Reader, max_bytes: int) -> None:
        self.reader = reader
        self.max_bytes = max_bytes
        self.columns = tuple(dict.fromkeys(("sample_id", *reader.columns)))
        self._kept: dict[str, Tensor] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[CachedReader], tuple[Reader, int]]:
        return CachedReader, (self.reader, self.max_bytes)

    def read(self, row: Mapping[str, Any]) -> Tensor:
        """The media of one row, those that are kept or read now."""
        sample_id = row["sample_id"]
        kept = self._kept.get(sample_id)
        if kept is not None:
            return kept
        media = self.reader.read(row)
        with self._lock:
            if sample_id not in self._kept and self._bytes + media.nbytes <= self.max_bytes:
                self._kept[sample_id] = media
                self._bytes += media.nbytes
        return media

    def check(self, row: Mapping[str, Any]) -> None:
        """Check a row as the other reader does, unless its media are kept."""
        if row["sample_id"] not in self._kept:
            self.reader.check(row)

    def read_many(self, rows: Sequence[Mapping[str, Any]]) -> list[Tensor | MediaError]:
        """Read several rows together; of a pass that comes by once, nothing new is kept."""
        kept = [self._kept.get(row["sample_id"]) for row in rows]
        read = iter(
            self.reader.read_many([row for row, media in zip(rows, kept, strict=True) if media is None])
        )
        return [next(read) if media is None else media for media in kept]
