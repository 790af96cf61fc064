"""Soft targets: the teacher's most probable classes as a distribution over the classes of a label space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from sublabel.errors import LabelError
from sublabel.labels._arrays import check_labels, check_top

if TYPE_CHECKING:
    from sublabel.labels.space import LabelSpace


def soft_rows(space: LabelSpace, weak: Any, top_ids: Any, top_probs: Any) -> Any:
    """`LabelSpace.soft_targets`."""
    if space.needs_sample_ids:
        raise LabelError(
            "a matched control has no soft targets: take those of the strategy that it controls for"
        )
    weak = check_labels(weak, space.weak_vocabulary, "weak")
    ids, probs = check_top(top_ids, top_probs, space.teacher_vocabulary, len(weak))
    ids, probs = ids[:, : space.top_k], probs[:, : space.top_k]
    k = ids.shape[1]
    labels = space._look_up(np.repeat(weak, k), ids.ravel()).reshape(ids.shape)
    if space.needs_confidence:
        unsure = space._is_unsure(ids[:, 0], probs[:, 0])
        labels[unsure] = -1
        labels[unsure, 0] = np.where(weak[unsure] >= 0, space.unsure_labels[weak[unsure]], -1)
        probs = np.where(unsure[:, None], 1.0, probs)
    weights = np.where(labels >= 0, probs, 0.0)
    sums = weights.sum(axis=1, keepdims=True)
    weights = np.divide(weights, sums, out=np.zeros_like(weights), where=sums > 0).astype(np.float32)
    kept = weights > 0
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
    entries: Any = (weights[kept], labels[kept], starts)
    targets = sparse.csr_array(entries, shape=(len(weak), len(space)))
    targets.sum_duplicates()
    return targets
