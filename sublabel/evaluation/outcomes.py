"""Which test samples every run of a comparison was right on, as one small table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel.errors import ConfigError
from sublabel.tables import TableWriter, iter_batches


class RunKey(NamedTuple):
    """What a run of the table is told from the others by."""

    data: str
    """The data set."""
    row: str
    seed: int


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Whether top-1 was right, for each test sample of each data set and each run on it.

    Args:
        sample_ids: Data set → ids of its N test samples, in their order.
        correct: Run → bool (N,).

    Raises:
        ConfigError: A run has not one outcome for each sample of its data set.
    """

    sample_ids: Mapping[str, Sequence[str]]
    correct: Mapping[RunKey, np.ndarray]

    def __post_init__(self) -> None:
        for key, right in self.correct.items():
            expected = len(self.sample_ids.get(key.data, ()))
            if len(right) != expected:
                raise ConfigError(
                    f"{key.row!r}, seed {key.seed}, has {len(right)} outcomes; expected one for each of the "
                    f"{expected} test samples of the data set {key.data!r}"
                )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Outcomes):
            return NotImplemented
        samples = {data: list(ids) for data, ids in self.sample_ids.items()}
        return (
            samples == {data: list(ids) for data, ids in other.sample_ids.items()}
            and self.correct.keys() == other.correct.keys()
            and all(np.array_equal(right, other.correct[key]) for key, right in self.correct.items())
        )

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def positions(self) -> dict[str, np.ndarray]:
        """Data set → a number for each of its samples, int64 (N,); equal ids have the same in all of them."""
        everything = np.concatenate([np.asarray(ids, dtype=object) for ids in self.sample_ids.values()])
        numbers = np.unique(everything.astype(str), return_inverse=True)[1]
        ends = np.cumsum([len(ids) for ids in self.sample_ids.values()])
        return dict(zip(self.sample_ids, np.split(numbers, ends[:-1]), strict=True))

    def save(self, path: str | Path) -> None:
        """Write the table: a row for each sample, a column of bits for each row and seed.

        Args:
            path: The Parquet file.

        Raises:
            ConfigError: The path is a URL or a folder.
        """
        columns = dict.fromkeys((key.row, key.seed) for key in self.correct)
        names = [f"seed{seed}/{row}" for row, seed in columns]
        schema = pa.schema(
            [("data", pa.string()), ("sample_id", pa.string()), *((name, pa.bool_()) for name in names)]
        )
        with TableWriter(path, schema, dictionary=["data"]) as writer:
            for data, ids in self.sample_ids.items():
                outcomes = (self.correct.get(RunKey(data, row, seed)) for row, seed in columns)
                filled = [
                    pa.nulls(len(ids), pa.bool_()) if right is None else pa.array(right) for right in outcomes
                ]
                writer.write(
                    pa.table([pa.repeat(data, len(ids)), pa.array(ids, pa.string()), *filled], schema=schema)
                )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Args:
            path: The Parquet file.

        Raises:
            TableError: It is not there, or damaged.
        """
        table = pa.Table.from_batches(iter_batches(path))
        sample_ids, correct = {}, {}
        for data in table["data"].unique().to_pylist():
            rows = table.filter(pc.equal(table["data"], data))
            sample_ids[data] = rows["sample_id"].to_pylist()
            for name in rows.column_names[2:]:
                seed, _, row = name.removeprefix("seed").partition("/")
                if not rows[name].null_count:
                    correct[RunKey(data, row, int(seed))] = rows[name].to_numpy()
        return cls(sample_ids, correct)

    def renamed(self, data: str) -> Outcomes:
        """The same of one data set under another name.

        Args:
            data: The name.
        """
        [ids] = self.sample_ids.values()
        return Outcomes({data: ids}, {key._replace(data=data): right for key, right in self.correct.items()})

    @classmethod
    def joined(cls, parts: Sequence[Outcomes]) -> Self:
        """The outcomes of several data sets in one.

        Args:
            parts: Of different data sets.
        """
        return cls(
            {data: ids for part in parts for data, ids in part.sample_ids.items()},
            {key: right for part in parts for key, right in part.correct.items()},
        )
