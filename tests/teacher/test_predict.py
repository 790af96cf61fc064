from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import sublabel as sl
from sublabel.errors import ConfigError
from sublabel.tables import open_manifest
from sublabel.teacher import (
    ModuleTeacher,
    TeacherPrediction,
    as_teacher,
    checked_prediction,
    predict,
    predict_manifest,
)
from sublabel.training import TrainOptions, finetune
from tests.media.numbers import Numbers
from tests.training.backbones import Tiny, brightness_data

NAMES = sl.Vocabulary(["dark", "middle", "bright"])


class Answering:
    """A teacher that says of every batch what it was told to."""

    vocabulary = NAMES
    fingerprint = "answering"

    def __init__(self, answer):
        self.answer = answer

    def predict(self, inputs):
        return self.answer(len(inputs)) if callable(self.answer) else self.answer


def test_the_answer_is_the_softmax_of_every_sample_in_order():
    logits = torch.randn(10, 3)
    found = predict(nn.Identity(), logits, vocabulary=NAMES, top_k=2, batch_size=4)
    expected = logits.softmax(-1).topk(2)
    assert (found.ids.dtype, found.probabilities.dtype) == (np.int32, np.float32)
    assert found.ids.tolist() == expected.indices.tolist()
    assert np.allclose(found.probabilities, expected.values)


def test_media_may_come_with_labels_and_from_worker_processes():
    logits = torch.randn(10, 3)
    alone = predict(nn.Identity(), logits, vocabulary=NAMES)
    beside = predict(
        nn.Identity(), TensorDataset(logits, torch.zeros(10)), vocabulary=NAMES, batch_size=3, num_workers=2
    )
    assert beside.ids.tolist() == alone.ids.tolist()
    assert beside.probabilities.tolist() == alone.probabilities.tolist()


def test_a_trained_model_brings_its_classes_and_pairs_take_what_it_says():
    options = TrainOptions(epochs=1, batch_size=16)
    model = finetune(Tiny(), brightness_data(32), options, classes=["dark", "bright"], seed=0)
    inputs = brightness_data(20).tensors[0]
    predictions = predict(model, inputs, top_k=5)
    with torch.inference_mode():
        expected = model.classifier(inputs).argmax(-1)
    pairs = sl.Pairs(["dark"] * 20, predictions, teacher_vocabulary=model.vocabulary)
    assert as_teacher(model).vocabulary == model.vocabulary == sl.Vocabulary(["dark", "bright"])
    assert pairs.teacher.tolist() == expected.tolist()
    assert pairs.top_probs.sum(1) == pytest.approx(1)


def test_a_teacher_of_ones_own_may_answer_with_tensors_or_one_class():
    ids, probabilities = torch.tensor([[2, 0]]), torch.tensor([[0.75, 0.25]], requires_grad=True)
    answers = [
        TeacherPrediction(np.array([[2, 0]]), np.array([[0.75, 0.25]])),
        (ids, probabilities),
        (ids, probabilities.bfloat16()),
    ]
    for answer in answers:
        found = predict(Answering(answer), torch.zeros(3, 4), batch_size=1)
        assert found.ids.tolist() == [[2, 0]] * 3
        assert found.probabilities.tolist() == [[0.75, 0.25]] * 3
    one = predict(Answering((ids[:, 0], probabilities[:, 0])), torch.zeros(1, 4))
    assert (one.ids.tolist(), one.probabilities.tolist()) == ([[2]], [[0.75]])


NO_PREDICTIONS = {
    "rising order": ([[0, 2], [0, 1]], [[0.2, 0.8], [0.9, 0.1]]),
    "NaN": ([[0, 2], [0, 1]], [[0.8, np.nan], [0.9, 0.1]]),
    "logits": ([[0, 2], [0, 1]], [[8.0, 2.0], [3.0, 1.0]]),
    "a class twice": ([[0, 0], [0, 1]], [[0.8, 0.2], [0.9, 0.1]]),
    "a class that is not there": ([[0, 3], [0, 1]], [[0.8, 0.2], [0.9, 0.1]]),
    "no class for a sample": ([[0, 2], [-1, -1]], [[0.8, 0.2], [0.0, 0.0]]),
    "fewer samples": ([[0, 2]], [[0.8, 0.2]]),
    "unequal shapes": ([[0, 2], [0, 1]], [[0.8], [0.9]]),
    "fractions": ([[0.5, 2.0], [0.0, 1.0]], [[0.8, 0.2], [0.9, 0.1]]),
    "probabilities alone": [[0.8, 0.1, 0.1], [0.9, 0.05, 0.05], [0.4, 0.3, 0.3]],
    "nothing": None,
}


@pytest.mark.parametrize("answer", NO_PREDICTIONS.values(), ids=NO_PREDICTIONS)
def test_what_is_no_prediction_is_refused_in_memory_and_in_a_pass(answer, tmp_path):
    message = "the teacher's answer to a batch of 2 samples (is no prediction|has no class)"
    with pytest.raises(ConfigError, match=message):
        checked_prediction(answer, 2, NAMES)
    with pytest.raises(ConfigError, match=message):
        predict(Answering(answer), torch.zeros(2, 4))
    rows = {"sample_id": ["0", "3"], "weak_label": ["dark", "dark"]}
    pq.write_table(pa.table(rows), tmp_path / "m.parquet")
    with pytest.raises(ConfigError, match=message):
        predict_manifest(
            open_manifest(tmp_path / "m.parquet"),
            Answering(answer),
            tmp_path / "out",
            reader=Numbers(),
            transform=lambda media: media[0],
        )
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_other_numbers_of_classes_in_other_batches_are_refused():
    def answer(samples):
        width = 2 if samples == 3 else 1
        return np.tile([[1, 0][:width]], (samples, 1)), np.tile([[0.6, 0.4][:width]], (samples, 1))

    with pytest.raises(ConfigError, match="named 1 classes of some samples and 2 of others"):
        predict(Answering(answer), torch.zeros(4, 1), batch_size=3)


def test_what_is_no_teacher_is_refused():
    with pytest.raises(ConfigError, match="the classes of the module Identity are not known.*`vocabulary=`"):
        predict(nn.Identity(), torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="str is no teacher: expected `vocabulary`"):
        predict("teacher", torch.zeros(2, 3))
    with pytest.raises(ConfigError, match="to predict on has no samples"):
        predict(nn.Identity(), torch.zeros(0, 3), vocabulary=NAMES)
    teacher = ModuleTeacher(nn.Identity(), NAMES)
    assert as_teacher(teacher) is teacher
