"""What a strategy is: frozen options, and how the cells of a confusion matrix become pre-training classes.

Strategies are open. Those of this package and of the entry point group `sublabel.strategies` are known by a
short `kind`; any other subclass of `Strategy` is known by its import path, `package.module:Class`.
"""

from __future__ import annotations

import inspect
import sys
from abc import ABC
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, model_serializer
from pydantic_core import core_schema

from sublabel.errors import LabelError
from sublabel.labels.alignment import Alignment, AlignmentLike
from sublabel.labels.cell_space import CellSpace
from sublabel.labels.cells import Cell, Cells
from sublabel.labels.classes import CODES, Classes
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.counting import Counting, HardCounts
from sublabel.labels.space import LabelSpace

ENTRY_POINT_GROUP = "sublabel.strategies"


class Strategy(BaseModel, ABC):
    """How cells of the confusion matrix become classes: the base of all strategies, and of yours.

    A subclass overrides `class_of`, which looks at one cell at a time, or `fit`, which sees the whole matrix.
    Its options are fields, as of any pydantic model. It then works wherever ours do: `relabel`, tables,
    studies, YAML, the command line, and as the `of` of another strategy.

    Example:
        >>> class Agreed(Strategy):
        ...     min_count: int = 2
        ...
        ...     def class_of(self, cell):
        ...         return cell.weak if cell.agreed or cell.count < self.min_count else f"{cell.weak}, not"
        >>> from sublabel import Pairs, relabel
        >>> result = relabel(Pairs(["a", "a", "a", "b"], ["a", "b", "b", "a"]), Agreed())
        >>> result.labels.tolist(), result.space.names
        ([0, 1, 1, 2], ('a', 'a, not', 'b'))
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ClassVar[str]
    """The name that stored spaces, YAML and the command line know a class by; yours get their import path."""

    quick_cells: ClassVar[int | None] = None
    """Cells from which on `fit` takes more than a moment, so that a look at all strategies leaves it out."""

    def class_of(self, cell: Cell) -> str | None:
        """The name of the class that the samples of one cell get; None drops them.

        Cells of the same name are one class, also in several rows. Cells that are empty in `fit` are dropped.

        Args:
            cell: Names of weak and teacher class, number of samples, and whether the two agree.
        """
        raise NotImplementedError(f"{type(self).__name__} overrides neither class_of nor fit")

    def fit(self, confusion: ConfusionMatrix, alignment: AlignmentLike = None) -> LabelSpace:
        """Make the label space of this strategy.

        Args:
            confusion: Counts over all samples; `confusion.cells(alignment)` has its cells as arrays.
            alignment: Which weak class agrees with which teacher class: an `Alignment`, a mapping of names,
                or None for equal names.

        Returns:
            The space; cells that were empty in `confusion` follow the policy of the strategy.

        Raises:
            LabelError: The alignment does not fit the vocabularies.
        """
        cells = confusion.cells(alignment)
        names = [self.class_of(cell) for cell in cells]
        return named_space(self, cells, names)

    @property
    def counting(self) -> Counting:
        """How the samples must be counted for `fit`: one for each sample, unless the strategy says else."""
        return HardCounts()

    @property
    def teacher_classes(self) -> int:
        """How many of the teacher's most probable classes of a sample the strategy looks at."""
        return 1

    def to_dict(self) -> dict[str, Any]:
        """The kind and all options, as JSON can hold them; `Strategy.parse` makes the same strategy of it."""
        return self.model_dump(mode="json")

    @classmethod
    def parse(cls, value: Any) -> Strategy:
        """A strategy from what people give for one.

        Args:
            value: A strategy, a kind such as `raw_spl` or `package.module:Class`, a mapping with `kind` and
                options, or a class whose options all have defaults.

        Raises:
            LabelError: There is no such strategy, or it does not take these options.

        Example:
            >>> Strategy.parse({"kind": "raw_spl", "min_count": 5})
            RawSPL(min_count=5, rare='disagreed')
        """
        if isinstance(value, Strategy):
            return value
        if isinstance(value, str):
            value = {"kind": value}
        if inspect.isclass(value) and issubclass(value, Strategy):
            return _made(value, {})
        if isinstance(value, Mapping) and isinstance(value.get("kind"), str):
            options = {key: entry for key, entry in value.items() if key != "kind"}
            return _made(strategy_class(value["kind"]), options)
        raise LabelError(
            f"expected a strategy and got {value!r}: give one such as RawSPL(min_count=5), its kind "
            '("raw_spl"), or a mapping with its kind and options ({"kind": "raw_spl", "min_count": 5})'
        )

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Give a class its import path as its kind, also where its base has a short one."""
        super().__pydantic_init_subclass__(**options)
        if "kind" not in cls.__dict__ and "kind" not in cls.model_fields:
            cls.kind = _import_path(cls)

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: Any) -> dict[str, Any]:
        return {**dict.fromkeys(["kind"]), **handler(self), "kind": kind_of(type(self))}

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Let a field of type `Strategy` hold any strategy, and store its kind and options."""
        if BaseModel not in cls.__bases__:
            return handler(source)
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(cls.to_dict)
        )


def strategies() -> dict[str, type[Strategy]]:
    """All strategies that have a short name, by kind: ours in the order of METHOD's table, then others'.

    Others come from packages that announce them in the entry point group `sublabel.strategies`.
    """
    found = {model.kind: model for model in _built_in()}
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name):
        found.setdefault(entry.name, _loaded(entry.name, entry.load))
    return found


def strategy_class(kind: str) -> type[Strategy]:
    """The class that a kind names.

    Raises:
        LabelError: There is none, or what is there is no strategy.
    """
    for model in _built_in():
        if model.kind == kind:
            return model
    for entry in entry_points(group=ENTRY_POINT_GROUP, name=kind):
        return _loaded(kind, entry.load)
    # One that was defined in a function or a notebook can be found in its own process only.
    for model in _subclasses(Strategy):
        if kind in (_import_path(model), model.kind):
            return model
    module, colon, name = kind.partition(":")
    if not colon:
        raise LabelError(
            f"no strategy is called {kind!r}; there are {', '.join(strategies())}, and your own by import "
            "path, such as my_package.my_module:MyStrategy"
        )
    return _loaded(kind, lambda: _attribute(module, name))


@cache
def kind_of(model: type[Strategy]) -> str:
    """The kind of a class: its short name if that leads back to it in any process, else its import path."""
    path = _import_path(model)
    announced = (entry.name for entry in entry_points(group=ENTRY_POINT_GROUP) if entry.value == path)
    return model.kind if model in _built_in() else next(announced, path)


def _import_path(model: type[Strategy]) -> str:
    return f"{model.__module__}:{model.__qualname__}"


def _built_in() -> tuple[type[Strategy], ...]:
    listed: tuple[type[Strategy], ...] = import_module("sublabel.labels.strategies").BUILT_IN
    return listed


def _subclasses(model: type[Strategy]) -> Iterator[type[Strategy]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)


def _attribute(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module) or import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _loaded(kind: str, load: Any) -> type[Strategy]:
    try:
        found = load()
    except (ImportError, AttributeError, ValueError) as error:
        raise LabelError(
            f"the strategy {kind!r} cannot be found ({error}): install the package that has it, or make its "
            "module importable; a class that was defined in a notebook or a script is known only there"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, Strategy)):
        raise LabelError(f"{kind!r} names {found!r}; expected a subclass of sublabel.Strategy")
    return found


def _made(model: type[Strategy], options: Mapping[str, Any]) -> Strategy:
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(map(str, entry['loc'])) or 'options'}: {entry['msg']}" for entry in error.errors()
        )
        raise LabelError(
            f"the strategy {kind_of(model)!r} does not take {dict(options)!r} ({found}); its options are "
            f"{', '.join(model.model_fields) or 'none'}"
        ) from error


def needed_alignment(confusion: ConfusionMatrix, alignment: AlignmentLike) -> Alignment:
    """The alignment, for a strategy that makes no sense without one.

    Raises:
        LabelError: No pair of classes agrees.
    """
    aligned = Alignment.of(alignment, confusion.weak_vocabulary, confusion.teacher_vocabulary)
    if len(aligned) == 0:
        raise LabelError(
            f"no weak class agrees with a teacher class ({confusion.weak_vocabulary!r} and "
            f"{confusion.teacher_vocabulary!r}): the strategy needs agreement, so give an alignment such as "
            "{weak name: teacher name}"
        )
    return aligned


def cell_space(
    strategy: Strategy,
    confusion: ConfusionMatrix,
    classes: Classes,
    *,
    row_default: np.ndarray | None = None,
    column_default: np.ndarray | None = None,
    cells: np.ndarray | None = None,
    cell_labels: np.ndarray | None = None,
) -> CellSpace:
    """The space of a map from cells to classes.

    Args:
        strategy: The one that makes it.
        confusion: Whose vocabularies the space is over.
        classes: The K classes.
        row_default: int64 (W,), the class of a row's cells that are not listed; default: -1, dropped.
        column_default: int64 (T,), likewise for columns, where the row has none.
        cells: int64 (C,), weak × T + teacher, sorted: the cells with a class of their own.
        cell_labels: int64 (C,), their classes, -1 for dropped.
    """
    height, width = confusion.shape
    empty = np.empty(0, dtype=np.int64)
    return CellSpace(
        weak_vocabulary=confusion.weak_vocabulary,
        teacher_vocabulary=confusion.teacher_vocabulary,
        classes=classes,
        strategy=strategy.to_dict(),
        row_default=np.full(height, -1) if row_default is None else row_default,
        column_default=np.full(width, -1) if column_default is None else column_default,
        cells=empty if cells is None else cells,
        cell_labels=empty if cell_labels is None else cell_labels,
    )


def named_space(strategy: Strategy, cells: Cells, names: list[str | None]) -> CellSpace:
    """The space in which each cell is in the class of a name, or dropped.

    Args:
        strategy: The one that makes it.
        cells: Of the confusion matrix.
        names: For each cell the name of its class, or None. Classes count in the order of their first cell.

    Raises:
        LabelError: A name is neither None nor a non-empty string.
    """
    for cell, name in zip(cells, names, strict=True):
        if name is not None and not (isinstance(name, str) and name):
            raise LabelError(
                f"{type(strategy).__name__}.class_of gave {name!r} for the cell {cell.weak!r} × "
                f"{cell.teacher!r}; expected the name of a class, or None to drop its samples"
            )
    label_of = {name: label for label, name in enumerate(dict.fromkeys(n for n in names if n is not None))}
    # labels[c]: the class of cell c, -1 where it is dropped, (C,)
    labels = np.array([-1 if name is None else label_of[name] for name in names], dtype=np.int64)
    kept = np.flatnonzero(labels >= 0)
    size = np.zeros(len(label_of), dtype=np.int64)
    np.add.at(size, labels[kept], cells.count[kept])
    members = np.bincount(labels[kept], minlength=len(label_of))
    agreed = np.bincount(labels[kept], weights=cells.agreed[kept], minlength=len(label_of))
    kind = np.select(
        [agreed == members, members == 1], [CODES["agreed"], CODES["disagreed"]], CODES["merged"]
    )
    return CellSpace(
        weak_vocabulary=cells.weak_vocabulary,
        teacher_vocabulary=cells.teacher_vocabulary,
        classes=Classes(
            kind,
            size,
            _common(cells.weak[kept], labels[kept], len(label_of)),
            _common(cells.teacher[kept], labels[kept], len(label_of)),
            {label: name for name, label in label_of.items()},
        ),
        strategy=strategy.to_dict(),
        row_default=np.full(cells.shape[0], -1),
        column_default=np.full(cells.shape[1], -1),
        cells=cells.keys,
        cell_labels=labels,
    )


def _common(values: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """The value that all cells of a class share, int64 (K,), -1 where they differ."""
    least, most = np.full(num_classes, np.iinfo(np.int64).max), np.full(num_classes, -1)
    np.minimum.at(least, labels, values)
    np.maximum.at(most, labels, values)
    return np.where(least == most, most, -1)


def cells_needed(space: LabelSpace, strategy: str) -> CellSpace:
    """The space, for a strategy that refines one in which each cell has a class.

    Args:
        space: Of the strategy that is refined.
        strategy: The kind of the one that refines it, for the message.

    Raises:
        LabelError: Its cells have no classes of their own.
    """
    if type(space) is not CellSpace:
        raise LabelError(
            f"{strategy} refines a strategy that gives each cell a class, and {space.strategy['kind']} does "
            "not: take its own `of`, or another such as raw_spl"
        )
    return space
