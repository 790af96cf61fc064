"""A teacher, and strategies, of a user's own: other processes find them by their import path."""

from __future__ import annotations

import torch

import sublabel as sl
from sublabel.teacher import TeacherPrediction


class Seeing:
    """Looks for stripes, and so is always right; the names of its classes are its own matter."""

    def __init__(self, names=("rows", "columns", "plain"), top_k=3):
        self.vocabulary = sl.Vocabulary(names)
        self.fingerprint = f"seeing {top_k} of {', '.join(names)}"
        self.top_k = top_k

    def predict(self, inputs):
        grey = inputs.float().mean(1)
        # Noise alone spreads the means of eight pixels by about 8, stripes by about 75.
        spreads = torch.stack(
            [grey.mean(2).std(1), grey.mean(1).std(1), torch.full((len(grey),), 30.0)], dim=1
        )
        probabilities, ids = (spreads / spreads.sum(1, keepdim=True)).topk(self.top_k)
        return TeacherPrediction(ids.int().numpy(), probabilities.numpy())


class OneOfEach(sl.Strategy):
    """The teacher's class; where it is another than the weak label and seen often, that also says so."""

    min_count: int = 2

    def class_of(self, cell):
        if cell.agreed or cell.count < self.min_count:
            return cell.teacher
        return f"{cell.teacher} for {cell.weak}"


class NamedRaw(sl.RawSPL):
    """Raw SPL with one more option: a stored study must not take it for raw SPL."""

    author: str = "nobody"
