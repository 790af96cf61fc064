"""What every strategy must hold, whatever it makes classes of."""

from __future__ import annotations

import json
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from sublabel.errors import LabelError
from sublabel.labels import KINDS, REASONS, ConfusionMatrix, Labels, LabelSpace, Pairs, Strategy, count
from sublabel.testing._cases import NEEDS, Case, cases
from sublabel.testing.properties import BrokenPropertyError, Properties

SHRINKS = 200
"""Smaller cases that are tried, at most, once a property is broken."""


def check_strategy(strategy: Any, *, samples: int = 40, seed: int = 0) -> None:
    """Check what every strategy must hold: properties over random samples, not examples.

    It is fitted on matrices of all shapes, with classes that agree by name or by an alignment, on no samples
    at all, and in chunks; it is asked for labels, targets and names, stored and read again. It may refuse
    samples with a `LabelError`, as one does that allows too few classes, but not all of them.

    Args:
        strategy: A strategy with its options, or what `Strategy.parse` takes for one.
        samples: How many random cases; each takes a few milliseconds.
        seed: Of the cases.

    Raises:
        BrokenPropertyError: It does not hold one of them; the message names the property, and the smallest
            samples found that show it.

    Example:
        >>> from sublabel import RawSPL
        >>> check_strategy(RawSPL(min_count=2))
    """
    chosen = Strategy.parse(strategy)
    properties = Properties(repr(chosen))
    _check_options(chosen, properties)
    refused: LabelError | None = None
    fitted = 0
    for case in cases(samples, seed):
        try:
            _check_case(chosen, case)
        except BrokenPropertyError as broken:
            raise _smallest(chosen, case, broken) from broken.__cause__
        except LabelError as error:
            refused = error
        else:
            # Without samples there is nothing to refuse.
            fitted += len(case.pairs()) > case.pairs().abstained
    properties.require(
        fitted or refused is None, "it makes a space of some samples", f"it refused all of them: {refused}"
    )


def _check_options(strategy: Strategy, properties: Properties) -> None:
    for name in type(strategy).model_fields:
        try:
            setattr(strategy, name, getattr(strategy, name))
        except (ValidationError, AttributeError):
            continue
        properties.require(False, "its options are frozen", f"{name} could be set")
    with properties.works("its options can be held by JSON, as to_dict gives them"):
        stored = strategy.to_dict()
        again = json.loads(json.dumps(stored))
    missing = sorted(type(strategy).model_fields.keys() - {"kind"} - stored.keys())
    properties.require(not missing, "to_dict holds all its options", f"it lacks {', '.join(missing)}")
    with properties.works("Strategy.parse makes the same strategy of to_dict"):
        parsed = Strategy.parse(again)
    properties.require(
        parsed == strategy and type(parsed) is type(strategy) and parsed.to_dict() == stored,
        "Strategy.parse makes the same strategy of to_dict",
        f"of {stored} it makes {parsed!r}",
    )
    with properties.works("its options can be hashed, as tuples can and lists cannot"):
        hashes = {hash(parsed), hash(strategy)}
    properties.require(len(hashes) == 1, "equal strategies have the same hash", "the hashes differ")
    looked_at: Any = strategy.teacher_classes
    properties.require(
        isinstance(looked_at, int) and looked_at > 0,
        "teacher_classes is a number of classes",
        repr(looked_at),
    )


def _check_case(strategy: Strategy, case: Case) -> None:
    fitted = _Fitted(strategy, case)
    for check in _CHECKS:
        check(fitted)


def _smallest(strategy: Strategy, case: Case, broken: BrokenPropertyError) -> BrokenPropertyError:
    """The error that the smallest case raises which breaks the same property."""
    tries = SHRINKS
    shrunk = True
    while shrunk and tries > 0:
        shrunk = False
        for smaller in case.smaller():
            tries -= 1
            found = _broken_by(strategy, smaller)
            if found is not None and found.name == broken.name:
                case, broken, shrunk = smaller, found, True
                break
            if tries == 0:
                break
    return BrokenPropertyError(broken.subject, broken.name, broken.shown, str(case))


def _broken_by(strategy: Strategy, case: Case) -> BrokenPropertyError | None:
    try:
        _check_case(strategy, case)
    except BrokenPropertyError as error:
        return error
    except LabelError:
        pass
    return None


class _Fitted(Properties):
    """A strategy that is fitted on the samples of a case."""

    def __init__(self, strategy: Strategy, case: Case) -> None:
        super().__init__(repr(strategy))
        self.strategy, self.case = strategy, case
        self.pairs = case.pairs()
        with self.works("its counting takes pairs that have everything", may_refuse=(LabelError,)):
            self.confusion = count(self.pairs, strategy.counting, case.alignment)
        self.first = self.fit(self.confusion)
        with self.works("match_sizes takes the samples that it was fitted on"):
            self.space = self.first.match_sizes(lambda: [self.pairs])
        self.require(isinstance(self.space, LabelSpace), "match_sizes returns a label space", self.space)

    def fit(self, confusion: ConfusionMatrix) -> LabelSpace:
        """The space of a count."""
        with self.works("fit makes a space of any counts, or raises a LabelError", may_refuse=(LabelError,)):
            space = self.strategy.fit(confusion, self.case.alignment)
        self.require(isinstance(space, LabelSpace), "fit returns a label space", f"it returned {space!r}")
        return space

    def assign(self, pairs: Pairs) -> Labels:
        """Labels of pairs."""
        with self.works("assign labels any samples of the same vocabularies"):
            return self.space.assign(pairs)

    @cached_property
    def labels(self) -> Labels:
        """The labels of the samples that it was fitted on."""
        return self.assign(self.pairs)


def _check_space(fitted: _Fitted) -> None:
    space, case = fitted.space, fitted.case
    fitted.require(
        (space.weak_vocabulary, space.teacher_vocabulary)
        == (fitted.confusion.weak_vocabulary, fitted.confusion.teacher_vocabulary),
        "its space is over the vocabularies of the counts",
        f"{space.weak_vocabulary!r} × {space.teacher_vocabulary!r}",
    )
    fitted.require(
        space.strategy == fitted.strategy.to_dict(),
        "its space names the strategy with all options",
        f"it names {space.strategy}, and the strategy is {fitted.strategy.to_dict()}",
    )
    again = fitted.fit(count(case.pairs(), fitted.strategy.counting, case.alignment))
    fitted.require(
        again.fingerprint == fitted.first.fingerprint,
        "fitted twice on the same counts it makes the same space",
        f"{again.names} and {fitted.first.names}",
    )


def _check_classes(fitted: _Fitted) -> None:
    space = fitted.space
    wanted = space.num_classes
    lengths = len(space), len(space.names), len(space.kinds), len(space.sizes), len(space.classes)
    fitted.require(set(lengths) == {wanted}, "each class has one name, kind and size", f"numbers {lengths}")
    fitted.require(sum(space.heads) == wanted, "its heads are as wide as it has classes", space.heads)
    names: tuple[Any, ...] = space.names
    fitted.require(
        all(isinstance(name, str) and name for name in names),
        "the names of its classes are non-empty strings",
        names,
    )
    fitted.require(
        len(set(space.names)) == wanted, "the names of its classes are unique", sorted(space.names)
    )
    fitted.require(set(space.kinds) <= set(KINDS), "the kinds of its classes are among KINDS", space.kinds)
    fitted.require((space.sizes >= 0).all(), "no class has a negative size", space.sizes.tolist())
    for label, described in enumerate(map(space.describe, range(wanted))):
        fitted.require(
            (described.label, described.name, described.kind, described.size)
            == (label, space.names[label], space.kinds[label], space.sizes[label]),
            "describe says what names, kinds and sizes say",
            described,
        )


def _check_labels(fitted: _Fitted) -> None:
    several = len(fitted.space.heads) > 1
    for pairs in (fitted.pairs, fitted.case.grid()):
        labels = fitted.assign(pairs)
        shape = (len(pairs), len(fitted.space.heads)) if several else (len(pairs),)
        fitted.require(
            labels.shape == shape and labels.dtype == np.int64,
            "assign gives int64 labels, one for each sample and head",
            f"shape {labels.shape}, dtype {labels.dtype}; expected {shape}",
        )
        values = np.asarray(labels)
        fitted.require(
            not values.size or -1 <= values.min() <= values.max() < fitted.space.num_classes,
            "labels are -1 or one of 0 to K - 1",
            f"{sorted(set(values.ravel().tolist()))} of {fitted.space.num_classes} classes",
        )
        _check_reasons(fitted, pairs, labels)


def _check_reasons(fitted: _Fitted, pairs: Pairs, labels: Labels) -> None:
    for weak, teacher, kept, reason in zip(
        pairs.weak.tolist(),
        pairs.teacher.tolist(),
        labels.keep.tolist(),
        labels.reasons.tolist(),
        strict=True,
    ):
        fitted.require(
            not kept or min(weak, teacher) >= 0,
            "samples without a weak label or a prediction get -1",
            f"weak label {weak} and prediction {teacher} get a class",
        )
        missing = REASONS[1] if weak < 0 else REASONS[2] if teacher < 0 else REASONS[3]
        expected = REASONS[0] if kept else missing
        fitted.require(
            reason == expected, "reasons say why a sample has no label", f"{reason!r}, expected {expected!r}"
        )


def _check_sizes(fitted: _Fitted) -> None:
    space = fitted.space
    values = np.asarray(fitted.labels)
    counted = np.bincount(values[values >= 0], minlength=space.num_classes)
    if space.answers_with_one_label or len(space.heads) > 1:
        fitted.require(
            counted.tolist() == space.sizes.tolist(),
            "the size of a class is the number of fitted samples that assign puts into it",
            f"sizes {space.sizes.tolist()}, assigned {counted.tolist()}",
        )
        fitted.require(
            fitted.first.sizes.tolist() == space.sizes.tolist() and fitted.first.names == space.names,
            "match_sizes changes neither names nor sizes",
            f"sizes {fitted.first.sizes.tolist()}, then {space.sizes.tolist()}",
        )
    else:
        voted = int(((fitted.pairs.weak >= 0) & (fitted.pairs.teacher >= 0)).sum())
        fitted.require(
            space.sizes.sum() <= voted,
            "classes expect no more samples together than there are",
            f"{space.sizes.sum()} of {voted}",
        )


def _check_chunks(fitted: _Fitted) -> None:
    half = len(fitted.pairs) // 3
    rows = np.arange(len(fitted.pairs))
    for order in (rows, rows[::-1]):
        parts = [fitted.assign(fitted.pairs[part]) for part in (order[:half], order[half:])]
        joined = np.concatenate([np.asarray(part) for part in parts])
        fitted.require(
            np.array_equal(joined, np.asarray(fitted.labels)[order]),
            "the label of a sample depends on itself alone: chunks in any order give the same",
            f"{fitted.labels.tolist()} at once, {joined.tolist()} in chunks of the order {order.tolist()}",
        )


def _check_targets(fitted: _Fitted) -> None:
    space, labels = fitted.space, np.asarray(fitted.labels)
    with fitted.works("targets takes what assign takes"):
        targets = space.targets(fitted.pairs)
    fitted.require(targets.heads == space.heads, "targets have the heads of the space", targets.heads)
    found = targets.keep.tolist()
    fitted.require(
        found == fitted.labels.keep.tolist(),
        "a sample has a target where it has a label",
        f"targets {found}, labels {labels.tolist()}",
    )
    if targets.reasons is not None:
        reasons = targets.reasons.tolist()
        fitted.require(
            reasons == fitted.labels.reasons.tolist(), "targets and labels have the same reasons", reasons
        )
    for row in np.flatnonzero(targets.keep).tolist():
        classes = list(targets.classes(row))
        wanted = labels[row].ravel().tolist()
        fitted.require(
            set(wanted) <= set(classes) and (not space.answers_with_one_label or classes == wanted),
            "targets are over the classes that assign gives",
            f"sample {row} has the label {wanted} and the classes {classes}",
        )
    columns = targets.columns()
    with fitted.works("read_targets reads what columns gave"):
        again = space.read_targets(columns, targets.reasons)
    fitted.require(
        all(np.array_equal(_flat(again.columns()[name]), _flat(columns[name])) for name in columns),
        "read_targets makes the same targets of their columns",
        columns,
    )


def _flat(column: Any) -> np.ndarray:
    """All values of a column, with the offsets where it holds lists."""
    return np.concatenate([part.ravel() for part in (column if isinstance(column, tuple) else (column,))])


def _check_stored(fitted: _Fitted) -> None:
    space = fitted.space
    with tempfile.TemporaryDirectory() as folder, fitted.works("its space can be saved and loaded"):
        path = Path(folder) / "space.json"
        space.save(path)
        loaded = LabelSpace.load(path)
    fitted.require(
        loaded == space
        and (loaded.names, loaded.kinds, loaded.heads) == (space.names, space.kinds, space.heads),
        "a space that was saved and loaded is the same",
        f"{loaded!r} and {space!r}",
    )
    labels = np.asarray(loaded.assign(fitted.pairs))
    fitted.require(
        np.array_equal(labels, np.asarray(fitted.labels)),
        "a space that was saved and loaded gives the same labels",
        f"{labels.tolist()} and {fitted.labels.tolist()}",
    )


def _check_needs(fitted: _Fitted) -> None:
    space, case, counting = fitted.space, fitted.case, fitted.strategy.counting
    for needs, of in ((counting.needs, "its counting"), (space.needs, "its space")):
        fitted.require(
            set(needs) <= NEEDS, f"{of} needs sample_ids, probabilities or features, or nothing", set(needs)
        )
    with fitted.works("its counting works without what it does not need"):
        confusion = count(case.pairs(frozenset(counting.needs)), counting, case.alignment)
    fitted.require(
        confusion == fitted.confusion,
        "its counting looks only at what it needs",
        f"{confusion!r} without the rest",
    )
    with fitted.works("its space works without what it does not need"):
        labels = np.asarray(space.assign(case.pairs(frozenset(space.needs))))
    fitted.require(
        np.array_equal(labels, np.asarray(fitted.labels)),
        "its space looks only at what it needs",
        f"{labels.tolist()} without the rest, {fitted.labels.tolist()} with it",
    )
    for need in space.needs:
        lacking = case.pairs(frozenset(space.needs) - {need})
        name = f"pairs without the {need} that its space needs are refused with a LabelError"
        with fitted.works(name):
            fitted.require(_is_refused(space, lacking), name, "they were taken")


def _is_refused(space: LabelSpace, pairs: Pairs) -> bool:
    try:
        space.targets(pairs)
    except LabelError:
        return True
    return False


def _check_views(fitted: _Fitted) -> None:
    space, grid = fitted.space, fitted.case.grid()
    cells = grid[(grid.weak >= 0) & (grid.teacher >= 0)]
    with fitted.works("cell_classes, classes_touching and factors answer"):
        of_cells = space.cell_classes(cells.weak, cells.teacher)
        touching = space.classes_touching([*space.weak_vocabulary, *space.teacher_vocabulary])
        factors = space.factors()
    if of_cells is not None and not space.needs:
        fitted.require(
            np.array_equal(of_cells, np.asarray(fitted.assign(cells))),
            "cell_classes says what assign says, where a cell has a class of its own",
            of_cells.tolist(),
        )
    fitted.require(
        touching == sorted(set(touching)) and set(touching) <= set(range(space.num_classes)),
        "classes_touching gives classes, each once, in order",
        touching,
    )
    fitted.require(
        factors is None or all(len(axis) == space.num_classes for axis in factors),
        "factors gives each class a row and a column",
        factors,
    )


_CHECKS = (
    _check_space,
    _check_classes,
    _check_labels,
    _check_sizes,
    _check_chunks,
    _check_targets,
    _check_stored,
    _check_needs,
    _check_views,
)
