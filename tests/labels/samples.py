"""Every strategy with several options, and random samples for all of them."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

import sublabel as sl
from sublabel.labels.classes import CODES, Classes
from sublabel.labels.strategies.base import cell_space
from sublabel.labels.strategies.spl import kept_cells_space


class Split(sl.Strategy):
    """A strategy of a user's own, by cells: SPL-B in other words, and rare cells dropped."""

    min_count: int = 1

    def class_of(self, cell):
        if cell.count < self.min_count:
            return None
        return cell.weak if cell.agreed else f"{cell.weak}, not agreed"


class ByTeacher(sl.Strategy):
    """Another, whose classes span rows."""

    def class_of(self, cell):
        return f"seen as {cell.teacher}"


class Lenient(sl.RawSPL):
    """A subclass of one of ours, with one more option."""

    factor: int = 2

    def fit(self, confusion, alignment=None):
        cells = confusion.cells(alignment)
        return kept_cells_space(
            self, confusion, cells, cells.count >= self.min_count * self.factor, self.rare
        )


class Constant(sl.Strategy):
    """One made of arrays: all samples of some rows in one class, whatever the teacher says."""

    rows: tuple[int, ...] = (0,)

    def fit(self, confusion, alignment=None):
        rows = np.array([row for row in self.rows if row < confusion.shape[0]], dtype=np.int64)
        default = np.full(confusion.shape[0], -1)
        default[rows] = 0
        sizes = np.asarray(confusion.counts.sum(axis=1)).ravel()
        classes = Classes([CODES["merged"]], [sizes[rows].sum()], [-1], [-1], {0: "all"})
        return cell_space(self, confusion, classes, row_default=default)


OWN = [Split(), Split(min_count=3), ByTeacher(), Lenient(), Lenient(min_count=2, factor=3), Constant()]


EVERY = [
    sl.WeakOnly(),
    sl.TeacherOnly(),
    sl.AgreementFilter(),
    sl.RawSPL(),
    sl.RawSPL(min_count=3, rare="weak"),
    sl.SPLB(),
    sl.MatchedControl(of=sl.RawSPL(min_count=2)),
    sl.DensestSPL(max_classes=30),
    sl.DensestSPL(max_classes=30, rare="drop"),
    sl.DensestSPL(max_classes=30, rare="weak"),
    sl.MergedSPL(),
    sl.MergedSPL(threshold=0.8, within="all", linkage="complete", of=sl.RawSPL(min_count=2)),
    sl.ConfidentSPL(),
    sl.ConfidentSPL(of=sl.SPLB(), thresholds=0.6),
    sl.ConfidentSPL(of=sl.DensestSPL(max_classes=30, rare="drop"), thresholds=0.4),
    sl.TopKSPL(k=2),
    sl.TwoHead(),
]
SOFT = [
    sl.TopKSPL(k=1),
    sl.TopKSPL(k=2),
    sl.TopKSPL(),
    sl.TopKSPL(k=3, of=sl.SPLB()),
    sl.TopKSPL(k=3, of=sl.RawSPL(min_count=3, rare="drop")),
    sl.TopKSPL(k=3, of=sl.RawSPL(min_count=3, rare="weak")),
    sl.TopKSPL(of=sl.AgreementFilter()),
    sl.TopKSPL(of=sl.MergedSPL(within="all", threshold=0.8)),
]


@st.composite
def cases(draw):
    """Vocabularies, an alignment, and samples with the probabilities of all classes."""
    width, height = draw(st.integers(1, 5)), draw(st.integers(2, 5))
    cell = st.tuples(st.integers(0, width - 1), st.integers(0, height - 1))
    agrees = draw(st.sets(cell, min_size=1, max_size=6))
    generator = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    size = draw(st.integers(0, 60))
    weak = generator.integers(-1, width, size)
    probs = generator.dirichlet(np.full(height, 0.3), size).reshape(size, height)
    ids = np.argsort(-probs, axis=1, kind="stable")
    probs = np.take_along_axis(probs, ids, axis=1).astype(np.float32)
    ids[generator.random(size) < 0.1] = -1
    return sl.Alignment(width, height, sorted(agrees)), weak, ids, probs


def pairs_of(case, sample_ids=None):
    """The samples of a case, with everything that a strategy may look at."""
    alignment, weak, ids, probs = case
    return sl.Pairs(
        weak,
        (ids, probs),
        weak_vocabulary=alignment.weak_vocabulary,
        teacher_vocabulary=alignment.teacher_vocabulary,
        sample_ids=np.arange(len(weak)) if sample_ids is None else sample_ids,
    )


def relabeled(strategy, case):
    """The relabeling of a case."""
    return sl.relabel(pairs_of(case), strategy, case[0])
