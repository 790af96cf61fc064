"""What a strategy is: frozen options, and how the cells of a confusion matrix become pre-training classes.

Strategies are open. Those of this package and of the entry point group `sublabel.strategies` are known by a
short `kind`; any other subclass of `Strategy` is known by its import path, `package.module:Class`.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, ClassVar, Literal, cast, get_args, get_origin
from weakref import WeakValueDictionary

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticSerializationError, core_schema

from sublabel.errors import LabelError
from sublabel.labels.alignment import Alignment, AlignmentLike
from sublabel.labels.cell_space import CellSpace, named_classes
from sublabel.labels.cells import Cell
from sublabel.labels.classes import Classes
from sublabel.labels.confusion import ConfusionMatrix
from sublabel.labels.counting import Counting, HardCounts
from sublabel.labels.space import LabelSpace

ENTRY_POINT_GROUP = "sublabel.strategies"
_latest: WeakValueDictionary[str, type[Strategy]] = WeakValueDictionary()
"""Classes by import path; a cell of a notebook that runs again defines its class anew."""


class _Kind:
    """The kind of a class, looked up when it is asked for: entry points are unknown while a class is made."""

    def __get__(self, instance: object, owner: type[Strategy]) -> str:
        return kind_of(owner)

    def __set__(self, instance: object, value: object) -> None:
        raise AttributeError("the kind of a strategy is the name of its class, and cannot be set")


class Strategy(BaseModel):
    """How cells of the confusion matrix become classes: the base of all strategies, and of yours.

    A strategy of your own takes three lines: a subclass whose `class_of` says, for one cell of the matrix at
    a time, the name of the class that its samples get. Where that is not enough, override `fit`, which sees
    the whole matrix; `cell_space` makes a space of arrays. Options are fields, as of any pydantic model:
    frozen, checked, with a default each so that the kind alone makes a strategy.

    It then works wherever ours do: `relabel`, tables, studies, YAML, the command line, and as the `of` of
    another strategy. Stored spaces and studies name it with all its options: by the name under which its
    package announces it in the entry point group `sublabel.strategies`, else by its import path,
    `package.module:Class`, so keep it in a module that can be imported when they are read again.
    `sublabel.testing.check_strategy` tells whether it holds what a strategy must.

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

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, ser_json_inf_nan="strings")

    kind: ClassVar[str] = cast(str, _Kind())
    """The name that stored spaces, YAML and the command line know the class by; never set it in your own."""

    quick_cells: ClassVar[int | None] = None
    """Cells from which on `fit` takes more than a moment, so that a look at all strategies leaves it out."""

    def class_of(self, cell: Cell) -> str | None:
        """The name of the class that the samples of one cell get; None drops them.

        It is asked once for each cell that holds samples, row by row; the classes count in the order in which
        their names first come up. Cells of the same name are one class, also in several rows. Cells that are
        empty in `fit`, but not in `assign`, are dropped. Where it is not overridden, every disagreed cell is
        a class, as in raw SPL.

        Args:
            cell: `cell.weak` and `cell.teacher` are the names of its two classes, `cell.count` its samples
                (1 or more), and `cell.agreed` says whether the alignment lets the two classes agree.

        Returns:
            A non-empty name, or None.
        """
        return cell.weak if cell.agreed else f"{cell.weak} × {cell.teacher}"

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
        classes, labels = named_classes(self.kind, cells, [self.class_of(cell) for cell in cells])
        return cell_space(self, confusion, classes, cells=cells.keys, cell_labels=labels)

    @property
    def counting(self) -> Counting:
        """How the samples must be counted for `fit`: one for each sample, unless the strategy says else."""
        return HardCounts()

    @property
    def teacher_classes(self) -> int:
        """How many of the teacher's most probable classes of a sample the strategy looks at."""
        return 1

    def to_dict(self) -> dict[str, Any]:
        """The kind and all options, as JSON can hold them; `Strategy.parse` makes the same strategy of it.

        Raises:
            LabelError: JSON cannot hold an option, such as a function.
        """
        try:
            # As any: a field typed with a class of strategies also holds subclasses, with their own options.
            return self.model_dump(mode="json", serialize_as_any=True)
        except PydanticSerializationError as error:
            raise LabelError(
                f"the options of {self!r} cannot be stored ({error}); expected numbers, strings, lists and "
                "strategies"
            ) from error

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
        """Let the kind of a class follow from where it lives, whatever its base or its author says.

        Raises:
            LabelError: The class has an option called `kind`, which would be lost.
        """
        super().__pydantic_init_subclass__(**options)
        if "kind" in cls.model_fields and not _is_constant(cls.model_fields["kind"].annotation):
            raise LabelError(
                f"{_import_path(cls)} has an option `kind`, and that is the name of the strategy itself: "
                "call the option something else"
            )
        _latest[_import_path(cls)] = cls
        if not (cls.__module__.startswith(f"{__package__}.") and "kind" in cls.__dict__):
            cls.kind = cast(str, _Kind())

    @model_validator(mode="wrap")
    @classmethod
    def _of_kind(cls, value: Any, handler: Any) -> Any:
        """Let a field that is typed with a class read what `to_dict` stored of it and of its subclasses."""
        if isinstance(value, Mapping):
            value = {name: cls._with_default_kind(name, entry) for name, entry in value.items()}
        if not (isinstance(value, Mapping) and "kind" in value) or "kind" in cls.model_fields:
            return handler(value)
        named = strategy_class(value["kind"])
        if not issubclass(named, cls):
            raise ValueError(f"{value['kind']!r} is no {cls.__name__}")
        options = {key: entry for key, entry in value.items() if key != "kind"}
        return handler(options) if named is cls else _made(named, options)

    @classmethod
    def _with_default_kind(cls, name: str, value: Any) -> Any:
        """The options of a strategy within a strategy; without a kind they are those of its default."""
        default = cls.model_fields[name].default if name in cls.model_fields else None
        if isinstance(default, Strategy) and isinstance(value, Mapping) and "kind" not in value:
            return {"kind": kind_of(type(default)), **value}
        return value

    @model_serializer(mode="wrap")
    def _with_kind(self, handler: Any) -> dict[str, Any]:
        stored = {"kind": kind_of(type(self))}
        for name, value in handler(self).items():
            own = getattr(self, name, None)
            if isinstance(own, Strategy):
                # A strategy within a strategy says itself what it is, whatever the field is typed with.
                value = own.to_dict()
            elif isinstance(own, set | frozenset) and isinstance(value, list):
                # Sets have another order in each process, and a space with another order another fingerprint.
                value = sorted(value, key=repr)
            stored |= {name: value} if name != "kind" else {}
        return stored

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
    module, colon, name = kind.partition(":")
    if not colon:
        announced = sorted({entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)})
        known = [*(model.kind for model in _built_in()), *announced]
        raise LabelError(
            f"no strategy is called {kind!r}; there are {', '.join(known)}, and your own by import path, "
            "such as my_package.my_module:MyStrategy"
        )
    # One that was defined in a function or a notebook is found in its own process only.
    return _latest.get(kind) or _loaded(kind, lambda: _attribute(module, name))


@cache
def kind_of(model: type[Strategy]) -> str:
    """The kind of a class: its short name if that leads back to it in any process, else its import path."""
    for built_in in _built_in():
        if built_in is model:
            return built_in.kind
    package = model.__module__.partition(".")[0]
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        # Other packages are not imported to find out that they announce other classes.
        if entry.module.partition(".")[0] == package:
            with suppress(LabelError):
                if strategy_class(entry.name) is model:
                    return entry.name
    return _import_path(model)


def _is_constant(annotation: Any) -> bool:
    """Whether a field can hold one value only, so that nothing is lost with it."""
    return get_origin(annotation) is Literal and len(get_args(annotation)) == 1


def _import_path(model: type[Strategy]) -> str:
    return f"{model.__module__}:{model.__qualname__}"


def _built_in() -> tuple[type[Strategy], ...]:
    listed: tuple[type[Strategy], ...] = import_module("sublabel.labels.strategies").BUILT_IN
    return listed


def _attribute(module: str, name: str) -> Any:
    found: Any = sys.modules.get(module) or import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def _loaded(kind: str, load: Any) -> type[Strategy]:
    try:
        found = load()
    except Exception as error:
        # A module of someone else may fail in any way while it is imported.
        raise LabelError(
            f"the strategy {kind!r} cannot be found ({type(error).__name__}: {error}): install the "
            "package that has it, or make its module importable; a class that was defined in a notebook or a "
            "script is known only there"
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
        column_default: int64 (T,), the class of a column's cells that are not listed and whose row has none.
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


def fitted_space(strategy: Strategy, confusion: ConfusionMatrix, alignment: AlignmentLike) -> LabelSpace:
    """What a strategy makes of a matrix, which is someone else's code and may be anything.

    Raises:
        LabelError: It is no label space, or the strategy refuses the matrix.
    """
    space: Any = strategy.fit(confusion, alignment)
    if not isinstance(space, LabelSpace):
        raise LabelError(
            f"fit of {strategy.kind} returned {type(space).__name__} {str(space)[:40]!r}; expected a "
            "LabelSpace: return what cell_space makes, or the space of another strategy's fit"
        )
    return space


def cells_needed(space: Any, strategy: str) -> CellSpace:
    """The space, for a strategy that refines one in which each cell has a class.

    Args:
        space: What the strategy that is refined has made.
        strategy: The kind of the one that refines it, for the message.

    Raises:
        LabelError: Its cells have no classes of their own.
    """
    if type(space) is not CellSpace:
        kind = space.strategy["kind"] if isinstance(space, LabelSpace) else f"one with {space!r}"
        raise LabelError(
            f"{strategy} refines a strategy that gives each cell a class, and {kind} does "
            "not: take its own `of`, or another such as raw_spl"
        )
    return space
