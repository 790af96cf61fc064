from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import sublabel as sl
from sublabel.teacher import Ensemble, ModuleTeacher, TeacherPrediction
from sublabel.testing import BrokenPropertyError, check_teacher

INPUTS = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def network(classes=4):
    return nn.Sequential(nn.Flatten(), nn.Linear(48, classes))


def test_our_teachers_hold_what_all_must():
    check_teacher(ModuleTeacher(network(), sl.Vocabulary.of(4), top_k=3), INPUTS)
    check_teacher(ModuleTeacher(Ensemble([network(), network()]), sl.Vocabulary.of(4)), INPUTS)


class Good:
    vocabulary = sl.Vocabulary(["cat", "dog", "eel"])
    fingerprint = "good"

    def scores(self, inputs):
        flat = inputs.flatten(1)
        return torch.stack([flat.sum(1), flat.abs().sum(1), flat.mean(1)], 1).softmax(1)

    def predict(self, inputs):
        # Tensors will do.
        probabilities, ids = self.scores(inputs).topk(2)
        return ids, probabilities


class Rising(Good):
    def predict(self, inputs):
        ids, probabilities = super().predict(inputs)
        return ids.flip(1), probabilities.flip(1)


class Nan(Good):
    def predict(self, inputs):
        ids, probabilities = super().predict(inputs)
        return ids, torch.full_like(probabilities, torch.nan)


class Logits(Good):
    def predict(self, inputs):
        ids, probabilities = super().predict(inputs)
        return ids, probabilities * 10


class Short(Good):
    def predict(self, inputs):
        return super().predict(inputs[:-1])


class Centred(Good):
    def predict(self, inputs):
        return super().predict(inputs - inputs.mean(0))


class Listed(Good):
    vocabulary = ("cat", "dog", "eel")


class Counting(Good):
    calls = 0

    @property
    def fingerprint(self):
        return str(self.calls)

    def predict(self, inputs):
        self.calls += 1
        return super().predict(inputs)


class Drawing(Good):
    def __init__(self):
        self.generator = np.random.default_rng(0)

    def predict(self, inputs):
        first = self.generator.integers(0, 3, (len(inputs), 1))
        return TeacherPrediction(first, np.ones((len(inputs), 1)))


def test_a_teacher_may_answer_with_tensors():
    check_teacher(Good(), INPUTS)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Rising, "the most probable class first"),
        (Nan, "its answers are predictions"),
        (Logits, "its answers are predictions"),
        (Short, "its answers are predictions"),
        (Centred, "does not depend on the others of its batch"),
        (Listed, "its vocabulary is a Vocabulary"),
        (Counting, "its fingerprint is a text that stays"),
        (Drawing, "it says the same of the same inputs"),
    ],
)
def test_a_teacher_that_breaks_a_property_is_told_which(broken, message):
    with pytest.raises(BrokenPropertyError, match=message):
        check_teacher(broken(), INPUTS)
