"""Labels made on the device: a label space as a module of a training loop (ours)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sublabel.errors import ArtifactError, LabelError
from sublabel.labels import LabelSpace, SoftLabels

DENSE_CELLS = 4_194_304
"""Spaces of at most this many cells are looked up in a table (16 MiB of int32)."""


class LabelLookup(nn.Module):
    """A label space on the device: targets for a teacher that looks at the batches of a training loop (ours).

    `LabelLookup.of(space)` makes it. It holds buffers only: it moves with the module that has it, compiles
    without graph breaks, and its state dict is the space's map of cells; one of another space is refused.

    Example:
        >>> from sublabel import Pairs, relabel
        >>> names = ["baking", "whisking"]
        >>> space = relabel(Pairs([0, 0, 1], [0, 1, 1], weak_vocabulary=names)).space
        >>> lookup = LabelLookup.of(space)
        >>> lookup(torch.tensor([0, 0, 1, -1]), torch.tensor([0, 1, 1, 0]))
        tensor([ 0,  1,  2, -1])
    """

    kind: ClassVar[str]
    """The kind of label spaces that the subclass looks up."""
    _by_kind: ClassVar[dict[str, type[LabelLookup]]] = {}
    fingerprint: Tensor

    def __init_subclass__(cls) -> None:
        cls._by_kind[cls.kind] = cls

    def __init__(self, space: Any, dense_cells: int) -> None:
        super().__init__()
        self.num_weak, self.num_teacher = len(space.weak_vocabulary), len(space.teacher_vocabulary)
        fingerprint = list(bytes.fromhex(space.fingerprint))
        self.register_buffer("fingerprint", torch.tensor(fingerprint, dtype=torch.uint8))

    @staticmethod
    def of(space: LabelSpace, *, dense_cells: int = DENSE_CELLS) -> LabelLookup:
        """Make the look-up of a label space.

        Args:
            space: Of any kind that has a subclass here; a matched control draws by sample id and has none.
            dense_cells: Spaces of at most this many cells (W × T) are looked up in a table, larger ones by
                bisection.

        Raises:
            LabelError: No device can look the space up.
        """
        if space.kind not in LabelLookup._by_kind:
            why = f"no LabelLookup is of the kind {space.kind!r}"
            if "sample_ids" in space.needs:
                why = "it draws its classes by sample id"
            raise LabelError(
                f"{space.strategy['kind']} cannot be looked up on a device, as {why}: take what "
                "`space.targets` gives"
            )
        return LabelLookup._by_kind[space.kind](space, dense_cells)

    @abstractmethod
    def forward(
        self, weak: Tensor, teacher: Tensor, probabilities: Tensor | None = None
    ) -> Tensor | SoftLabels:
        """Look up the targets of a batch, as `LabelSpace.targets` gives them.

        Args:
            weak: Weak labels, integers (N,), negative where there is none.
            teacher: The teacher's predictions, integers (N,), or (N, k) with the most probable first.
            probabilities: Of these classes, floats of the same shape, compared in float32; NaN counts as 0.
                Spaces with thresholds and soft ones need them.

        Returns:
            int64 (N,), or (N, 2) of a two-head space, -1 where a sample is not used; of soft targets the
            classes and weights (N, k), which may name a class more than once, with weights of 0 where a
            sample is not used.

        Raises:
            LabelError: The labels are no integers of these shapes, or there are no probabilities.
            IndexError: A label is outside its vocabulary (on CPU; other devices have their own assertions).
        """

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        stored = state_dict.get(f"{prefix}fingerprint")
        if stored is not None and not torch.equal(stored.cpu(), self.fingerprint.cpu()):
            raise ArtifactError(
                f"the state dict has the look-up of the label space {_hex(stored)}…, this module has that of "
                f"{_hex(self.fingerprint)}…: make it from the space that the training began with"
            )
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class CellLookup(LabelLookup):
    """The class of each sample's cell, from a table or by bisection of the listed cells."""

    kind = "cells"
    cells: Tensor
    cell_labels: Tensor
    row_default: Tensor
    column_default: Tensor
    table: Tensor | None

    def __init__(self, space: Any, dense_cells: int) -> None:
        super().__init__(space, dense_cells)
        # A last cell, larger than any, is where a search ends that finds none.
        end = torch.tensor([torch.iinfo(torch.int64).max])
        self.register_buffer("cells", torch.cat([torch.tensor(space.cells), end]))
        self.register_buffer("cell_labels", torch.cat([torch.tensor(space.cell_labels), torch.tensor([-1])]))
        self.register_buffer("row_default", torch.tensor(space.row_default))
        self.register_buffer("column_default", torch.tensor(space.column_default))
        is_small = self.num_weak * self.num_teacher <= dense_cells
        self.register_buffer("table", self._dense() if is_small else None, persistent=False)

    def forward(
        self, weak: Tensor, teacher: Tensor, probabilities: Tensor | None = None
    ) -> Tensor | SoftLabels:
        """Labels int64 (N,)."""
        teacher = _first(weak, teacher)
        labels = self.look_up(weak.long().clamp(min=0), teacher.long().clamp(min=0))
        return labels.masked_fill((weak < 0) | (teacher < 0), -1)

    def look_up(self, rows: Tensor, columns: Tensor) -> Tensor:
        """The class of each cell, int64, of rows and columns int64 of one shape, none negative."""
        if self.table is not None:
            return self.table[rows, columns].long()
        keys = rows * self.num_teacher + columns
        places = torch.searchsorted(self.cells, keys)
        # Also read where a cell is listed: indexing them is what refuses labels outside the vocabularies.
        row_labels, column_labels = self.row_default[rows], self.column_default[columns]
        defaults = torch.where(row_labels >= 0, row_labels, column_labels)
        return torch.where(self.cells[places] == keys, self.cell_labels[places], defaults)

    def _dense(self) -> Tensor:
        """The label of every cell, int32 (W, T)."""
        rows = self.row_default[:, None]
        table = torch.where(rows >= 0, rows, self.column_default[None]).int()
        table.view(-1)[self.cells[:-1]] = self.cell_labels[:-1].int()
        return table


class ConfidentLookup(CellLookup):
    """The class of the cell where the teacher is sure, else the row's unsure class."""

    kind = "confident"
    unsure_labels: Tensor
    threshold_bits: Tensor

    def __init__(self, space: Any, dense_cells: int) -> None:
        super().__init__(space, dense_cells)
        self.register_buffer("unsure_labels", torch.tensor(space.unsure_labels))
        self.register_buffer("threshold_bits", _rounded_up(torch.tensor(space.thresholds)).view(torch.int32))

    def forward(
        self, weak: Tensor, teacher: Tensor, probabilities: Tensor | None = None
    ) -> Tensor | SoftLabels:
        """Labels int64 (N,)."""
        probabilities = _needed(probabilities, teacher)
        teacher, confidence = _first(weak, teacher), _first(weak, probabilities, "probabilities")
        rows, columns = weak.long().clamp(min=0), teacher.long().clamp(min=0)
        unsure = ~(confidence.float() >= self.threshold_bits.view(torch.float32)[columns])
        labels = torch.where(unsure, self.unsure_labels[rows], self.look_up(rows, columns))
        return labels.masked_fill((weak < 0) | (teacher < 0), -1)


class SoftLookup(CellLookup):
    """A distribution over the cells of the teacher's k most probable classes."""

    kind = "soft"

    def __init__(self, space: Any, dense_cells: int) -> None:
        super().__init__(space, dense_cells)
        self.k: int = space.k

    def forward(
        self, weak: Tensor, teacher: Tensor, probabilities: Tensor | None = None
    ) -> Tensor | SoftLabels:
        """Classes int64 (N, k) and their weights float32 (N, k)."""
        probabilities = _needed(probabilities, teacher)
        _first(weak, teacher)
        ids = teacher.reshape(len(weak), -1)[:, : self.k]
        probs = probabilities.reshape(len(weak), -1)[:, : self.k].float()
        known = (weak[:, None] >= 0) & (ids >= 0)
        rows, columns = weak.long().clamp(min=0)[:, None].expand_as(ids), ids.long().clamp(min=0)
        labels = self.look_up(rows, columns)
        # A probability that is NaN is none.
        weights = torch.where(known & (labels >= 0) & (probs > 0), probs, 0.0)
        sums = weights.sum(-1, keepdim=True)
        return SoftLabels(labels.clamp(min=0), weights / sums.where(sums > 0, 1.0))


class HeadLookup(LabelLookup):
    """The labels themselves, one for each of two heads."""

    kind = "two_heads"

    def forward(
        self, weak: Tensor, teacher: Tensor, probabilities: Tensor | None = None
    ) -> Tensor | SoftLabels:
        """Labels int64 (N, 2)."""
        teacher = _first(weak, teacher)
        # Indexing their own ids is what refuses labels outside the vocabularies.
        heads = ((weak, self.num_weak), (teacher, self.num_teacher))
        targets = [
            torch.arange(width, device=weak.device)[labels.long().clamp(min=0)] for labels, width in heads
        ]
        abstained = (weak < 0) | (teacher < 0)
        return torch.stack(targets, dim=-1).masked_fill(abstained[:, None], -1)


def _first(weak: Tensor, values: Tensor, what: str = "predictions") -> Tensor:
    """The first of each sample's classes, or of their probabilities, (N,)."""
    if (
        weak.ndim != 1
        or values.ndim not in (1, 2)
        or len(values) != len(weak)
        or weak.is_floating_point()
        or (values.is_floating_point() and what == "predictions")
    ):
        raise LabelError(
            f"got weak labels {weak.dtype} {tuple(weak.shape)} and {what} {values.dtype} "
            f"{tuple(values.shape)}; expected integer labels, one weak label and one row "
            "of predictions a sample"
        )
    return values if values.ndim == 1 else values[:, 0]


def _needed(probabilities: Tensor | None, teacher: Tensor) -> Tensor:
    if probabilities is None or probabilities.shape != teacher.shape:
        got = "none" if probabilities is None else f"them of shape {tuple(probabilities.shape)}"
        raise LabelError(
            f"this label space looks at the teacher's probabilities, and got {got} for predictions of shape "
            f"{tuple(teacher.shape)}: pass one for each prediction"
        )
    return probabilities


def _rounded_up(thresholds: Tensor) -> Tensor:
    """The smallest float32 not below each float64: a float32 is below the one where it is below the other.

    They are held as bits, since a module that is cast to half precision would round them.
    """
    nearest = thresholds.float()
    above = torch.nextafter(nearest, torch.tensor(torch.inf))
    return torch.where(nearest.double() < thresholds, above, nearest)


def _hex(fingerprint: Tensor) -> str:
    return bytes(fingerprint.tolist()).hex()[:12]
