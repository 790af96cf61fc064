from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from pydantic import ConfigDict, Field

import sublabel as sl
from sublabel.labels import CellSpace
from sublabel.labels.strategies.spl import kept_cells_space
from sublabel.testing import BrokenPropertyError, check_strategy
from tests.labels.samples import EVERY, OWN, SOFT, ByTeacher, Split

NESTED = [
    sl.MatchedControl(of=Split()),
    sl.MatchedControl(of=ByTeacher()),
    sl.MatchedControl(of=sl.MergedSPL(), seed=3),
    sl.TopKSPL(of=ByTeacher(), k=2),
    sl.ConfidentSPL(of=Split(min_count=2)),
    sl.MergedSPL(of=Split(), within="all"),
    sl.MergedSPL(num_classes=4),
    sl.DensestSPL(max_classes=5),
]


@pytest.mark.parametrize("strategy", [*EVERY, *SOFT, *OWN, *NESTED], ids=str)
def test_ours_and_those_of_users_hold_what_all_must(strategy):
    check_strategy(strategy)


@pytest.mark.parametrize("kind", list(sl.strategies()))
def test_every_kind_holds_it_with_its_defaults(kind):
    check_strategy(kind, samples=25, seed=1)


# --- what breaks one property each


class Random(sl.Strategy):
    def class_of(self, cell):
        return str(random.random())


class Forgetful(sl.Strategy):
    """An option that is not stored."""

    option: int = 1

    def class_of(self, cell):
        return cell.weak

    def to_dict(self):
        return {"kind": self.kind}


class Thawed(sl.Strategy):
    model_config = ConfigDict(frozen=False)
    option: int = 1

    def class_of(self, cell):
        return cell.weak


class Crashing(sl.Strategy):
    def class_of(self, cell):
        return {"both 0": "fine"}[cell.weak]


class NoSpace(sl.Strategy):
    def fit(self, confusion, alignment=None):
        return None


class Refusing(sl.Strategy):
    def fit(self, confusion, alignment=None):
        raise sl.LabelError("never")


class Posing(sl.RawSPL):
    """Its space says that raw SPL made it."""

    def fit(self, confusion, alignment=None):
        return sl.RawSPL().fit(confusion, alignment)


class Wrapping(sl.RawSPL):
    """A strategy with a space of its own, which breaks something."""

    space: str

    def fit(self, confusion, alignment=None):
        cells = confusion.cells(alignment)
        return globals()[self.space].refining(
            kept_cells_space(self, confusion, cells, cells.count > 0, "drop")
        )


class RepeatedNames(CellSpace):
    def name_of(self, label):
        return "same"


class TooHigh(CellSpace):
    def assign(self, pairs):
        labels = super().assign(pairs)
        return sl.labels.Labels.of(np.where(labels == 0, 99, labels), pairs.weak, pairs.teacher)


class Narrow(CellSpace):
    def assign(self, pairs):
        labels = np.asarray(super().assign(pairs)).astype(np.int32)
        return sl.labels.Labels.of(labels, pairs.weak, pairs.teacher)


class LabelsAll(CellSpace):
    def assign(self, pairs):
        labels = np.array(super().assign(pairs))
        labels[pairs.weak < 0] = len(self) - 1
        return sl.labels.Labels.of(labels, pairs.weak, pairs.teacher)


class Loses(CellSpace):
    def look_up(self, weak, teacher):
        labels = super().look_up(weak, teacher)
        return np.where(labels == 1, -1, labels)


class ByNeighbours(CellSpace):
    """Right on the samples it was fitted on, at once; but not for parts of them."""

    def assign(self, pairs):
        labels = np.array(super().assign(pairs))
        if len(pairs) < self.sizes.sum():
            labels[:] = -1
        return sl.labels.Labels.of(labels, pairs.weak, pairs.teacher)


class Hungry(CellSpace):
    """Looks at sample ids, and does not say so."""

    def assign(self, pairs):
        pairs.need_sample_ids()
        return super().assign(pairs)


class Modest(CellSpace):
    """Says that it needs what it never looks at."""

    needs = frozenset({"probabilities"})


class OtherTargets(CellSpace):
    def targets(self, pairs):
        labels = np.array(super().assign(pairs))
        return sl.labels.HardTargets(np.where(labels > 0, 0, labels), len(self))


class Unreadable(CellSpace):
    def to_json(self):
        return super().to_json().replace('"size":[', '"size":[1,')


BROKEN = {
    "fitted twice": Random(),
    "to_dict holds all its options": Forgetful(option=3),
    "its options are frozen": Thawed(),
    "fit makes a space of any counts": Crashing(),
    "fit returns a label space": NoSpace(),
    "it makes a space of some samples": Refusing(),
    "its space names the strategy with all options": Posing(),
    "the names of its classes are unique": Wrapping(space="RepeatedNames"),
    "labels are -1 or one of 0 to K - 1": Wrapping(space="TooHigh"),
    "assign gives int64 labels": Wrapping(space="Narrow"),
    "samples without a weak label or a prediction get -1": Wrapping(space="LabelsAll"),
    "the size of a class is the number of fitted samples": Wrapping(space="Loses"),
    "chunks in any order give the same": Wrapping(space="ByNeighbours"),
    "its space works without what it does not need": Wrapping(space="Hungry"),
    "pairs without the probabilities that its space needs": Wrapping(space="Modest"),
    "targets are over the classes that assign gives": Wrapping(space="OtherTargets"),
    "its space can be saved and loaded": Wrapping(space="Unreadable"),
}


WITHOUT_SAMPLES = (
    "to_dict holds all its options",
    "its options are frozen",
    "it makes a space of some samples",
)


@pytest.mark.parametrize("name", BROKEN)
def test_each_broken_property_is_named_with_an_example(name):
    strategy = BROKEN[name]
    with pytest.raises(BrokenPropertyError) as caught:
        check_strategy(strategy)
    error = caught.value
    assert name in error.name
    assert isinstance(error, sl.SublabelError)
    assert not isinstance(error, AssertionError)
    assert str(error).startswith(f"{strategy!r} breaks the property “{error.name}”: ")
    assert ("weak = [" in error.example) == (name not in WITHOUT_SAMPLES)


def test_the_example_is_the_smallest():
    with pytest.raises(BrokenPropertyError) as caught:
        check_strategy(Crashing())
    example = dict(
        line.strip().split(" = ", 1) for line in caught.value.example.splitlines() if " = " in line
    )
    weak = eval(example["weak"])
    assert len(weak) == 1
    assert weak != ["both 0"]
    assert "KeyError" in str(caught.value)
    assert isinstance(caught.value.__cause__, KeyError)


def test_what_is_no_strategy_is_refused_as_everywhere():
    with pytest.raises(sl.LabelError, match="no strategy is called"):
        check_strategy("nothing")


def test_it_needs_no_torch():
    code = (
        "import sys; from sublabel.testing import check_strategy; check_strategy('raw_spl'); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "False"


class Unnamed(sl.Strategy):
    def class_of(self, cell):
        return ""


def test_fitting_no_samples_is_not_enough():
    with pytest.raises(BrokenPropertyError, match="makes a space of some samples.*refused all.*gave ''"):
        check_strategy(Unnamed())


class Listed(sl.Strategy):
    names: list[str] = Field(default=["a"])


class Calling(sl.Strategy):
    function: object = len


@pytest.mark.parametrize(("strategy", "name"), [(Listed(), "hashed"), (Calling(), "held by JSON")])
def test_options_that_are_no_values_are_named(strategy, name):
    with pytest.raises(BrokenPropertyError, match=f"its options can be {name}"):
        check_strategy(strategy)
