"""Strategies of a user's own: known, stored and found again like ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import ClassVar, Literal

import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sublabel as sl
from tests.labels.samples import OWN, ByTeacher, Lenient, Split, cases, relabeled

MODULE = """
import sublabel as sl


class Frequent(sl.Strategy):
    min_count: int = 1

    def class_of(self, cell):
        return cell.weak if cell.count >= self.min_count else None


class Renamed(sl.RawSPL):
    extra: float = 0.5
"""


def run(code, *paths):
    """What a fresh process prints, with more folders on its path."""
    path = os.pathsep.join([*map(str, paths), *sys.path])
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.strip()


@pytest.fixture
def package(tmp_path):
    """A folder with a module `my_strategies`, and one where its package is installed with an entry point."""
    plain, installed = tmp_path / "plain", tmp_path / "installed"
    for folder in (plain, installed):
        folder.mkdir()
        (folder / "my_strategies.py").write_text(MODULE)
    info = installed / "my_strategies-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-strategies\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[sublabel.strategies]\nfrequent = my_strategies:Frequent\nraw_spl = my_strategies:Renamed\n"
        "broken = my_strategies:Missing\n"
    )
    return {"plain": plain, "installed": installed}


MAKE = """
import sublabel as sl, my_strategies
strategy = sl.TopKSPL(of=my_strategies.Frequent(min_count=2), k=1)
pairs = sl.Pairs(["a", "a", "b"], (["a", "a", "b"], [0.5, 0.5, 0.5]))
space = sl.relabel(pairs, strategy).space
space.save({path!r})
print(my_strategies.Frequent.kind, my_strategies.Frequent().kind, my_strategies.Renamed.kind)
"""
READ = """
import sublabel as sl
space = sl.LabelSpace.load({path!r})
print(space.names, space.strategy["of"]["kind"], repr(sl.Strategy.parse(space.strategy)))
"""


@pytest.mark.parametrize(("where", "kind"), [("plain", "my_strategies:Frequent"), ("installed", "frequent")])
def test_what_one_process_stores_another_finds_again(where, kind, package, tmp_path):
    path = str(tmp_path / "space.json")
    made = run(MAKE.format(path=path), package[where])
    # A name of ours cannot be taken: what goes by it would be found as ours.
    assert made == f"{kind} {kind} my_strategies:Renamed"
    assert run(READ.format(path=path), package[where]) == (
        f"('a',) {kind} TopKSPL(of=Frequent(min_count=2), k=1)"
    )


@pytest.mark.parametrize("where", ["plain", "installed"])
def test_what_cannot_be_found_again_is_refused_by_name(where, package, tmp_path):
    path = str(tmp_path / "space.json")
    run(MAKE.format(path=path), package[where])
    # The space itself can be used without the class that made it.
    space = sl.LabelSpace.load(path)
    pairs = sl.Pairs(["a", "b"], (["a", "b"], [0.5, 0.5]))
    assert space.assign(pairs).tolist() == [0, -1]
    kind = space.strategy["of"]["kind"]
    with pytest.raises(sl.LabelError, match=f"(no strategy is called|the strategy) '{kind}'"):
        sl.Strategy.parse(space.strategy)


def test_announced_strategies_are_listed_and_ours_stay(package):
    code = """
import sublabel as sl
try:
    sl.strategies()
except sl.LabelError as error:
    print(error)
print(sl.Strategy.parse({"kind": "frequent", "min_count": 3}), type(sl.Strategy.parse("raw_spl")).__name__)
"""
    printed = run(code, package["installed"]).splitlines()
    assert "the strategy 'broken' cannot be found" in printed[0]
    assert printed[1] == "min_count=3 RawSPL"
    (package["installed"] / "my_strategies-1.0.dist-info" / "entry_points.txt").write_text(
        "[sublabel.strategies]\nfrequent = my_strategies:Frequent\n"
    )
    listed = run("import sublabel as sl; print(list(sl.strategies()))", package["installed"])
    assert listed == str([*sl.strategies(), "frequent"])


def test_a_class_of_a_script_is_known_in_its_own_process_only(tmp_path):
    code = """
import sublabel as sl
class Mine(sl.Strategy):
    def class_of(self, cell):
        return cell.weak
stored = sl.relabel(sl.Pairs(["a"], ["b"]), Mine()).space.strategy
print(stored["kind"], sl.Strategy.parse(stored) == Mine())
"""
    assert run(code) == "__main__:Mine True"
    other = (
        "import sublabel as sl\ntry: sl.Strategy.parse('__main__:Mine')\nexcept sl.LabelError as e: print(e)"
    )
    assert "the strategy '__main__:Mine' cannot be found" in run(other)


def test_a_local_class_works_and_the_latest_of_its_name_is_meant():
    def define(default):
        class Local(sl.Strategy):
            option: int = default

            def class_of(self, cell):
                return f"{cell.weak} {self.option}"

        return Local

    first, latest = define(1), define(2)
    assert first.kind == latest.kind == f"{__name__}:{first.__qualname__}"
    assert type(sl.Strategy.parse(latest().to_dict())) is latest
    assert sl.relabel(sl.Pairs(["a"], ["b"]), first()).space.names == ("a 1",)


@pytest.mark.filterwarnings("ignore:Field name:UserWarning")
def test_a_kind_that_an_author_gives_breaks_nothing():
    class Given(sl.RawSPL):
        kind: ClassVar[str] = "raw_spl"
        extra: int = 0

    class Constant(sl.RawSPL):
        kind: Literal["mine"] = "mine"
        extra: int = 0

    for own in (Given, Constant):
        strategy = own(extra=3)
        assert own.kind == strategy.kind == strategy.to_dict()["kind"] == f"{__name__}:{own.__qualname__}"
        assert sl.Strategy.parse(json.loads(json.dumps(strategy.to_dict()))) == strategy
        assert sl.relabel(sl.Pairs([0], [0]), strategy).space.strategy["extra"] == 3
    with pytest.raises(sl.LabelError, match="has an option `kind`, and that is the name of the strategy"):
        type("Refused", (sl.Strategy,), {"__annotations__": {"kind": str}, "kind": "x"})


def test_fields_hold_any_strategy_with_all_its_options():
    class Options(pydantic.BaseModel):
        strategy: sl.Strategy
        rows: tuple[sl.Strategy, ...] = ()
        raw: sl.RawSPL = sl.RawSPL()

    options = Options(
        strategy={"kind": "top_k_spl", "of": Split(min_count=4).to_dict()},
        rows=("spl_b", Lenient(factor=5), sl.TwoHead),
        raw=Lenient(factor=7),
    )
    assert options.strategy.of == Split(min_count=4)
    assert [type(row) for row in options.rows] == [sl.SPLB, Lenient, sl.TwoHead]
    stored = options.model_dump_json(serialize_as_any=True)
    assert Options.model_validate_json(stored) == options
    assert json.loads(options.model_dump_json())["rows"][1]["factor"] == 5


class Around(sl.Strategy):
    of: sl.RawSPL = sl.RawSPL()

    def class_of(self, cell):
        return cell.weak


def test_an_option_that_is_a_strategy_keeps_the_options_of_subclasses():
    strategy = Around(of=Lenient(factor=7))
    for stored in (strategy.to_dict(), strategy.model_dump(), json.loads(strategy.model_dump_json())):
        assert stored["of"]["factor"] == 7
        assert sl.Strategy.parse(stored) == strategy
    with pytest.raises(sl.LabelError, match="'spl_b' is no RawSPL"):
        sl.Strategy.parse({"kind": Around.kind, "of": {"kind": "spl_b"}})


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("nothing", "no strategy is called 'nothing'; there are weak_only, .*your own by import path"),
        ("no.module:Mine", "the strategy 'no.module:Mine' cannot be found .*install the package"),
        ("json:nothing", "the strategy 'json:nothing' cannot be found"),
        ("json:JSONDecoder", "'json:JSONDecoder' names .*expected a subclass of sublabel.Strategy"),
        (
            {"kind": "raw_spl", "min": 3},
            "'raw_spl' does not take .*min: Extra.*its options are min_count, rare",
        ),
        ({"min_count": 3}, "expected a strategy and got"),
        (3, "expected a strategy and got 3"),
        (None, "expected a strategy and got None"),
        (dict, "expected a strategy and got"),
    ],
)
def test_what_is_no_strategy_is_refused_in_words(value, message):
    with pytest.raises(sl.LabelError, match=message):
        sl.Strategy.parse(value)


@pytest.mark.parametrize("strategy", OWN, ids=str)
@given(case=cases())
def test_they_work_alone_and_as_the_cells_of_others(strategy, case):
    plain = relabeled(strategy, case)
    for outer in (sl.MatchedControl(of=strategy), sl.TopKSPL(of=strategy), sl.ConfidentSPL(of=strategy)):
        result = relabeled(outer, case)
        assert result.space.strategy["of"] == strategy.to_dict()
        assert sl.LabelSpace.from_json(result.space.to_json()) == result.space
    control = relabeled(sl.MatchedControl(of=strategy), case)
    assert control.space.names == plain.space.names
    assert (control.labels < 0).tolist() == (plain.labels < 0).tolist()


@given(case=cases())
def test_spl_b_in_other_words_is_spl_b(case):
    ours, own = relabeled(sl.SPLB(), case), relabeled(Split(), case)
    ours_named = dict(
        zip(ours.space.names, zip(ours.space.kinds, ours.space.sizes, strict=True), strict=True)
    )
    own_named = dict(zip(own.space.names, zip(own.space.kinds, own.space.sizes, strict=True), strict=True))
    assert {
        name.replace(" × (disagreed)", ", not agreed"): rest for name, rest in ours_named.items()
    } == own_named
    names = [
        ours.space.names[label].replace(" × (disagreed)", ", not agreed")
        for label in ours.labels[ours.labels.keep]
    ]
    assert names == [own.space.names[label] for label in own.labels[own.labels.keep]]


@given(case=cases(), seed=st.integers(0, 9))
def test_class_of_is_asked_once_for_each_cell_that_holds_samples(case, seed):
    asked = []

    class Asked(sl.Strategy):
        def class_of(self, cell):
            asked.append(cell)
            return str((hash((cell.weak, cell.teacher)) + seed) % 3)

    alignment, weak, ids, _ = case
    result = relabeled(Asked(), case)
    pairs = [pair for pair in zip(weak.tolist(), ids[:, 0].tolist(), strict=True) if min(pair) >= 0]
    agreed = {tuple(pair) for pair in alignment.pairs.tolist()}
    assert [(int(c.weak), int(c.teacher), c.count, c.agreed) for c in asked] == [
        (*pair, pairs.count(pair), pair in agreed) for pair in sorted(set(pairs))
    ]
    name_of = {(int(c.weak), int(c.teacher)): str((hash((c.weak, c.teacher)) + seed) % 3) for c in asked}
    found = [result.space.names[label] for label in result.labels[result.labels.keep]]
    assert found == [name_of[pair] for pair in pairs]


@pytest.mark.parametrize("answer", ["", 3, b"a", True, ("a",)], ids=repr)
def test_an_answer_that_is_no_name_is_refused(answer):
    class Wrong(sl.Strategy):
        def class_of(self, cell):
            return answer

    with pytest.raises(
        sl.LabelError, match=r"class_of of .*:.*Wrong gave .* for the cell 'a' × 'b'; expected the name"
    ):
        sl.relabel(sl.Pairs(["a"], ["b"]), Wrong())


def test_a_subclass_without_either_method_has_the_classes_of_raw_spl():
    class Mine(sl.Strategy): ...

    pairs = sl.Pairs(["a", "a", "b", "b"], ["a", "b", "a", "c"])
    mine, raw = sl.relabel(pairs, Mine()), sl.relabel(pairs, sl.RawSPL())
    assert mine.labels.tolist() == raw.labels.tolist()
    assert mine.space.names == raw.space.names == ("a", "a × b", "b × a", "b × c")


def test_options_of_a_nested_strategy_need_no_kind_where_its_default_has_one():
    parsed = sl.Strategy.parse({"kind": "matched_control", "of": {"min_count": 9}})
    assert parsed == sl.MatchedControl(of=sl.RawSPL(min_count=9))
    assert sl.ConfidentSPL.model_validate({"of": {"kind": "spl_b"}}).of == sl.SPLB()
    with pytest.raises(sl.LabelError, match="min_counts"):
        sl.Strategy.parse({"kind": "matched_control", "of": {"min_counts": 9}})


def test_classes_across_rows_have_no_row():
    result = sl.relabel(sl.Pairs(["a", "b", "b"], ["x", "x", "y"]), ByTeacher())
    described = [result.space.describe(label) for label in range(2)]
    assert [(entry.name, entry.kind, entry.weak, entry.teacher, entry.size) for entry in described] == [
        ("seen as x", "merged", None, "x", 2),
        ("seen as y", "disagreed", "b", "y", 1),
    ]
    both = sl.relabel(sl.Pairs(["a", "b"], ["x", "x"]), ByTeacher(), {"a": "x", "b": "x"})
    assert both.space.kinds == ("agreed",)
    assert both.labels.tolist() == [0, 0]


def test_a_million_cells_take_seconds():
    generator = np.random.default_rng(0)
    pairs = sl.Pairs(*generator.integers(0, 1000, (2, 300_000)), weak_vocabulary=1000)
    assert len(sl.relabel(pairs, Split()).space) > 1000


class WithOptions(sl.Strategy):
    names: frozenset[str] = frozenset("abcdefgh")
    threshold: float = float("inf")


def test_stored_options_are_the_same_in_every_process():
    assert WithOptions().to_dict()["names"] == list("abcdefgh")


def test_infinite_options_are_not_lost():
    assert sl.Strategy.parse(WithOptions().to_dict()) == WithOptions()


class WithParsedDefault(sl.Strategy):
    of: sl.Strategy = "spl_b"


def test_defaults_are_parsed_as_what_is_given():
    assert WithParsedDefault().of == sl.SPLB()


class WithFunction(sl.Strategy):
    function: object = len


def test_options_that_json_cannot_hold_are_refused():
    with pytest.raises(sl.LabelError, match="cannot be stored.*expected numbers"):
        sl.relabel(sl.Pairs(["a"], ["a"]), WithFunction())


class NoSpace(sl.Strategy):
    def fit(self, confusion, alignment=None):
        return {"a": 1}


class NoCounting(sl.Strategy):
    @property
    def counting(self):
        return "hard"


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (NoSpace(), "fit of .*:NoSpace returned dict.*expected a LabelSpace"),
        (sl.MatchedControl(of=NoSpace()), "matched_control refines.*one with {'a': 1} does not"),
        (NoCounting(), "the counting is 'hard'; expected a Counting"),
    ],
)
def test_what_a_strategy_must_not_return_is_named(strategy, message):
    with pytest.raises(sl.LabelError, match=message):
        sl.relabel(sl.Pairs(["a"], ["a"], sample_ids=[1]), strategy)
