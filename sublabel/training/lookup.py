"""Labels made on the device: a label space as a module of a training loop (ours)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sublabel.errors import ArtifactError, LabelError
from sublabel.labels import LabelSpace
from sublabel.training.losses import SoftLabels

DENSE_CELLS = 4_194_304
"""Spaces of at most this many cells are looked up in a table (16 MiB of int32)."""


class LabelLookup(nn.Module):
    """A label space on the device: targets for a teacher that looks at the batches of a training loop (ours).

    It holds buffers only: it moves with the module that has it, compiles without graph breaks, and its state
    dict is the space's map of cells; one of another space is refused.

    Args:
        space: Any but a matched control's, which draws by sample id.
        dense_cells: Spaces of at most this many cells (W × T) are looked up in a table, larger ones by
            bisection.

    Raises:
        LabelError: The space is a matched control's.

    Example:
        >>> from sublabel import relabel
        >>> result = relabel([0, 0, 1], [0, 1, 1], weak_vocabulary=["baking", "whisking"])
        >>> lookup = LabelLookup(result.space)
        >>> lookup(torch.tensor([0, 0, 1, -1]), torch.tensor([0, 1, 1, 0]))
        tensor([ 0,  1,  2, -1])
    """

    cells: Tensor
    cell_labels: Tensor
    row_default: Tensor
    column_default: Tensor
    unsure_labels: Tensor
    threshold_bits: Tensor
    fingerprint: Tensor
    table: Tensor | None

    def __init__(self, space: LabelSpace, *, dense_cells: int = DENSE_CELLS) -> None:
        super().__init__()
        if space.needs_sample_ids:
            raise LabelError(
                "a matched control draws its classes by sample id, which no device holds: take the labels "
                "that space.assign gave as targets"
            )
        self.num_weak, self.num_teacher = len(space.weak_vocabulary), len(space.teacher_vocabulary)
        self.two_heads, self.top_k, self.needs_confidence = (
            space.two_heads,
            space.top_k,
            space.needs_confidence,
        )
        # A last cell, larger than any, is where a search ends that finds none.
        end = torch.tensor([torch.iinfo(torch.int64).max])
        self.register_buffer("cells", torch.cat([torch.tensor(space.cells), end]))
        self.register_buffer("cell_labels", torch.cat([torch.tensor(space.cell_labels), torch.tensor([-1])]))
        for name in ("row_default", "column_default", "unsure_labels"):
            self.register_buffer(name, torch.tensor(getattr(space, name)))
        self.register_buffer("threshold_bits", _rounded_up(torch.tensor(space.thresholds)).view(torch.int32))
        fingerprint = list(bytes.fromhex(space.fingerprint))
        self.register_buffer("fingerprint", torch.tensor(fingerprint, dtype=torch.uint8))
        dense = self.num_weak * self.num_teacher <= dense_cells and not space.two_heads
        self.register_buffer("table", self._dense() if dense else None, persistent=False)

    def forward(self, weak: Tensor, teacher: Tensor, confidence: Tensor | None = None) -> Tensor:
        """The targets of a batch, as `LabelSpace.assign_heads` gives them.

        Args:
            weak: Weak labels, integers (N,), negative where there is none.
            teacher: The teacher's predictions, integers (N,), likewise.
            confidence: Its probability of each, floats (N,), compared in float32, NaN as below any threshold;
                a space with thresholds needs it.

        Returns:
            int64 (N,), or (N, 2) of a two-head space; -1 where a sample is dropped.

        Raises:
            LabelError: A space with thresholds got no confidence, or the labels are no integers (N,).
            IndexError: A label is outside its vocabulary (on CPU; other devices have their own assertions).
        """
        _check_shapes(weak, teacher, (len(weak),))
        abstained = (weak < 0) | (teacher < 0)
        rows, columns = weak.long().clamp(min=0), teacher.long().clamp(min=0)
        if self.two_heads:
            # Indexing their own ids is what refuses labels outside the vocabularies.
            heads = zip((rows, columns), (self.num_weak, self.num_teacher), strict=True)
            targets = [torch.arange(width, device=weak.device)[labels] for labels, width in heads]
            return torch.stack(targets, dim=-1).masked_fill(abstained[:, None], -1)
        labels = self._look_up(rows, columns)
        if self.needs_confidence:
            labels = torch.where(self._is_unsure(columns, confidence), self.unsure_labels[rows], labels)
        return labels.masked_fill(abstained, -1)

    def soft(self, weak: Tensor, top_ids: Tensor, top_probs: Tensor) -> tuple[Tensor, SoftLabels]:
        """The soft targets of a batch, as `LabelSpace.soft_targets` gives them.

        Args:
            weak: Weak labels, integers (N,), negative where there is none.
            top_ids: The teacher's classes, integers (N, k), the most probable first, negative where there is
                none.
            top_probs: Their probabilities, floats (N, k).

        Returns:
            Which samples are kept, bool (N,), and the targets of all, (N, k) each, which may name a class
            more than once; the weights of samples that are not kept are 0.

        Raises:
            LabelError: The labels and classes are no integers (N,) and (N, k), or not as many probabilities.
        """
        _check_shapes(weak, top_ids, (len(weak), *top_ids.shape[1:2]))
        if top_ids.ndim != 2 or top_probs.shape != top_ids.shape:
            raise LabelError(
                f"top_ids have shape {tuple(top_ids.shape)} and top_probs {tuple(top_probs.shape)}; expected "
                "(N, k) both"
            )
        ids, probs = top_ids[:, : self.top_k], top_probs[:, : self.top_k].float()
        known = (weak[:, None] >= 0) & (ids >= 0)
        rows, columns = weak.long().clamp(min=0)[:, None].expand_as(ids), ids.long().clamp(min=0)
        labels = self._look_up(rows, columns)
        if self.needs_confidence:
            unsure = self._is_unsure(columns[:, :1], probs[:, :1]) & known[:, :1]
            first = torch.arange(ids.shape[1], device=ids.device) == 0
            labels = torch.where(unsure, torch.where(first, self.unsure_labels[rows], -1), labels)
            probs = torch.where(unsure, 1.0, probs)
        # A probability that is NaN is none.
        weights = torch.where(known & (labels >= 0) & (probs > 0), probs, 0.0)
        sums = weights.sum(-1, keepdim=True)
        return sums[:, 0] > 0, SoftLabels(labels.clamp(min=0), weights / sums.where(sums > 0, 1.0))

    def _look_up(self, rows: Tensor, columns: Tensor) -> Tensor:
        if self.table is not None:
            return self.table[rows, columns].long()
        keys = rows * self.num_teacher + columns
        places = torch.searchsorted(self.cells, keys)
        # Also read where a cell is listed: indexing them is what refuses labels outside the vocabularies.
        row_labels, column_labels = self.row_default[rows], self.column_default[columns]
        defaults = torch.where(row_labels >= 0, row_labels, column_labels)
        return torch.where(self.cells[places] == keys, self.cell_labels[places], defaults)

    def _is_unsure(self, columns: Tensor, confidence: Tensor | None) -> Tensor:
        if confidence is None:
            raise LabelError(
                "this label space has confidence thresholds, and got no confidence: pass the teacher's "
                "probability of each prediction"
            )
        if confidence.shape != columns.shape:
            raise LabelError(
                f"the confidence has shape {tuple(confidence.shape)} for {tuple(columns.shape)} predictions; "
                "expected one probability for each"
            )
        return ~(confidence.float() >= self.threshold_bits.view(torch.float32)[columns])

    def _dense(self) -> Tensor:
        """The label of every cell, int32 (W, T)."""
        rows = self.row_default[:, None]
        table = torch.where(rows >= 0, rows, self.column_default[None]).int()
        table.view(-1)[self.cells[:-1]] = self.cell_labels[:-1].int()
        return table

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        stored = state_dict.get(f"{prefix}fingerprint")
        if stored is not None and not torch.equal(stored.cpu(), self.fingerprint.cpu()):
            raise ArtifactError(
                f"the state dict has the look-up of the label space {_hex(stored)}…, this module has that of "
                f"{_hex(self.fingerprint)}…: make it from the space that the training began with"
            )
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _check_shapes(weak: Tensor, teacher: Tensor, expected: tuple[int, ...]) -> None:
    if weak.ndim != 1 or teacher.shape != expected or weak.is_floating_point() or teacher.is_floating_point():
        raise LabelError(
            f"got weak labels {weak.dtype} {tuple(weak.shape)} and predictions {teacher.dtype} "
            f"{tuple(teacher.shape)}; expected integers, one weak label and one row of predictions a sample"
        )


def _rounded_up(thresholds: Tensor) -> Tensor:
    """The smallest float32 not below each float64: a float32 is below the one where it is below the other.

    They are held as bits, since a module that is cast to half precision would round them.
    """
    nearest = thresholds.float()
    above = torch.nextafter(nearest, torch.tensor(torch.inf))
    return torch.where(nearest.double() < thresholds, above, nearest)


def _hex(fingerprint: Tensor) -> str:
    return bytes(fingerprint.tolist()).hex()[:12]
