"""What every teacher must hold: that its answers are predictions, and the same for the same inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from sublabel.labels import Vocabulary
from sublabel.teacher import Teacher, TeacherPrediction, checked_prediction
from sublabel.testing.properties import Properties

TOLERANCE = 1e-3
"""By how much a probability may differ with the batch that its sample is in."""


def check_teacher(teacher: Teacher, inputs: Tensor) -> None:
    """Check what every teacher must hold, on a few inputs.

    Args:
        teacher: With a vocabulary, a fingerprint and `predict`.
        inputs: (B, …), B of 2 or more, as the teacher takes them.

    Raises:
        BrokenPropertyError: It does not hold a property; the message names it, and what was found.
    """
    properties = Properties(type(teacher).__name__)
    vocabulary, fingerprint = (getattr(teacher, name, None) for name in ("vocabulary", "fingerprint"))
    properties.require(isinstance(vocabulary, Vocabulary), "its vocabulary is a Vocabulary", repr(vocabulary))
    properties.require(
        isinstance(fingerprint, str) and fingerprint and fingerprint == teacher.fingerprint,
        "its fingerprint is a text that stays",
        repr(fingerprint),
    )
    properties.require(len(inputs) > 1, "it is checked on two inputs or more", f"got {len(inputs)}")
    whole = _answer(teacher, inputs, properties)
    again = _answer(teacher, inputs, properties)
    properties.require(
        np.array_equal(whole.ids, again.ids) and np.array_equal(whole.probabilities, again.probabilities),
        "it says the same of the same inputs",
        "two calls differ",
    )
    properties.require(
        fingerprint == teacher.fingerprint, "its fingerprint is a text that stays", "predict changed it"
    )
    for number in range(len(inputs)):
        alone = _answer(teacher, inputs[number : number + 1], properties)
        _compare(alone, whole, number, properties)


def _answer(teacher: Teacher, inputs: Tensor, properties: Properties) -> TeacherPrediction:
    name = "its answers are predictions: classes and their probabilities, the most probable first"
    answer: Any = None
    with properties.works(name):
        answer = checked_prediction(teacher.predict(inputs), len(inputs), teacher.vocabulary)
    found: TeacherPrediction = answer
    return found


def _compare(alone: TeacherPrediction, whole: TeacherPrediction, number: int, properties: Properties) -> None:
    """The probability of each class may differ in the last bits; so classes of equal probability may swap."""
    name = "what it says of an input does not depend on the others of its batch"
    same_k = alone.ids.shape[1] == whole.ids.shape[1]
    properties.require(same_k, name, f"k is {alone.ids.shape[1]} and {whole.ids.shape[1]}")
    found, expected = alone.probabilities[0], whole.probabilities[number]
    properties.require(
        np.allclose(found, expected, atol=TOLERANCE),
        name,
        f"input {number} alone has {found.tolist()}, and in the batch {expected.tolist()}",
    )
