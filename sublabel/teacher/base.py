"""The teacher's interface: it looks at every sample and says which target class it sees."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from sublabel.errors import ConfigError, LabelError
from sublabel.labels import Pairs, Vocabulary
from sublabel.training.checkpoint import state_fingerprint
from sublabel.training.classifier import (
    HALF_PRECISIONS,
    default_device,
    lay_out_channels_last,
    memory_format,
)

Output = TypeVar("Output")


class TeacherPrediction(NamedTuple):
    """The k most probable classes of each sample of a batch, most probable first."""

    ids: np.ndarray
    """int32 (B, k)."""
    probabilities: np.ndarray
    """float32 (B, k)."""


def checked_prediction(answer: Any, samples: int, vocabulary: Vocabulary) -> TeacherPrediction:
    """What a teacher answered, as arrays, refused where it is no prediction.

    Args:
        answer: Ids and probabilities of a batch, as NumPy arrays or tensors on any device, (B, k) or (B,).
        samples: B.
        vocabulary: The teacher's T classes.

    Raises:
        ConfigError: The answer is of another form or shape, names a class that does not exist or one twice,
            or its probabilities are NaN, outside 0–1, or rise.

    Example:
        >>> checked_prediction(([[1, 0]], [[0.4, 0.6]]), 1, Vocabulary(["cat", "dog"]))
        Traceback (most recent call last):
            ...
        sublabel.errors.ConfigError: the teacher's answer to a batch of 1 samples is no prediction: ...
    """
    try:
        ids, probabilities = answer
        pairs = Pairs(
            np.full(samples, -1),
            (_as_rows(ids), _as_rows(probabilities)),
            weak_vocabulary=vocabulary,
            teacher_vocabulary=vocabulary,
        )
        found, probs = pairs.need_probabilities()
    except (LabelError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the teacher's answer to a batch of {samples} samples is no prediction: {error}; expected "
            "TeacherPrediction(ids, probabilities), both (B, k), the most probable class first"
        ) from error
    if (found[:, 0] < 0).any():
        raise ConfigError(
            f"the teacher's answer to a batch of {samples} samples has no class for sample "
            f"{int((found[:, 0] < 0).argmax())}: it must name one for each"
        )
    return TeacherPrediction(found.astype(np.int32, copy=False), probs.astype(np.float32, copy=False))


def _as_rows(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    array = np.asarray(values)
    return array[:, None] if array.ndim == 1 else array


class Teacher(Protocol):
    """Anything that classifies a batch.

    What it answers is checked by `checked_prediction`, so that arrays and tensors will do.
    """

    @property
    def vocabulary(self) -> Vocabulary:
        """The classes that the ids mean."""
        ...

    @property
    def fingerprint(self) -> str:
        """A hash that changes when the predictions may, and so tells them from another teacher's."""
        ...

    def predict(self, inputs: Tensor) -> TeacherPrediction:
        """Classify inputs (B, …)."""
        ...


class FeatureTeacher(Teacher, Protocol):
    """A teacher that also says what it saw."""

    @property
    def num_features(self) -> int | None:
        """Width D of its features; None where it has none after all."""
        ...

    def look(self, inputs: Tensor) -> tuple[TeacherPrediction, np.ndarray]:
        """What `predict` says of inputs (B, …), and their features, floats (B, D)."""
        ...


def as_feature_teacher(teacher: Teacher) -> tuple[FeatureTeacher, int]:
    """A teacher as one that also says what it saw, and how wide its features are.

    Raises:
        ConfigError: It says nothing.
    """
    width = getattr(teacher, "num_features", None)
    if width is None or not callable(getattr(teacher, "look", None)):
        raise ConfigError(
            f"the teacher {type(teacher).__name__} has no features to keep: expected `num_features` and "
            "`look(inputs)`, as of a model that `finetune` or `load_model` returned"
        )
    return teacher, width  # type: ignore[return-value]


class ModuleTeacher:
    """A trained torch module as a teacher.

    Args:
        module: Maps inputs (B, …) to logits (B, T); put in evaluation mode.
        vocabulary: The T classes, in the order of the logits.
        top_k: How many classes to keep; at most T.
        device: Where to run; default: the accelerator when there is one, else the CPU.
        precision: `bf16-mixed` and `16-mixed` multiply in half precision, as Lightning's flags of these
            names; all others run the module as it is.

    Raises:
        ConfigError: `top_k` < 1.
    """

    def __init__(
        self,
        module: nn.Module,
        vocabulary: Vocabulary,
        *,
        top_k: int = 5,
        device: torch.device | str | None = None,
        precision: str = "32-true",
    ) -> None:
        if top_k < 1:
            raise ConfigError(f"top_k is {top_k}; a teacher must name at least one class")
        self.device = default_device() if device is None else torch.device(device)
        self.module = module.eval().to(self.device)
        lay_out_channels_last(self.module)
        self.half_precision = HALF_PRECISIONS.get(precision)
        self.vocabulary = vocabulary
        self.top_k = min(top_k, len(vocabulary))
        self.fingerprint = hashlib.sha256(
            f"{state_fingerprint(module)}:{vocabulary.fingerprint}:{self.top_k}:{precision}".encode()
        ).hexdigest()

    def predict(self, inputs: Tensor) -> TeacherPrediction:
        """Classify a batch.

        Args:
            inputs: (B, …), as the module takes them.

        Raises:
            ConfigError: The module returns another number of logits than the vocabulary has names.
        """
        return self._prediction(self._run(self.module, inputs), len(inputs))

    @property
    def num_features(self) -> int | None:
        """Width D of the features of `look`; None of a module without `logits_and_features`."""
        return getattr(self.module, "num_features", None) if self._says_features else None

    def look(self, inputs: Tensor) -> tuple[TeacherPrediction, np.ndarray]:
        """Classify a batch, and say what was seen: of a `Classifier`, or an `Ensemble` of them.

        Args:
            inputs: (B, …), as the module takes them.

        Returns:
            The prediction, and features float32 (B, D).

        Raises:
            ConfigError: As `predict`.
        """
        look: Any = self.module.logits_and_features
        logits, features = self._run(look, inputs)
        return self._prediction(logits, len(inputs)), features.float().cpu().numpy()

    @property
    def _says_features(self) -> bool:
        return hasattr(self.module, "logits_and_features")

    @torch.inference_mode()
    def _run(self, function: Callable[[Tensor], Output], inputs: Tensor) -> Output:
        inputs = inputs.to(self.device, non_blocking=True)
        inputs = inputs.contiguous(memory_format=memory_format(inputs))
        half = self.half_precision
        with torch.autocast(self.device.type, half, enabled=half is not None):
            return function(inputs)

    def _prediction(self, logits: Tensor, samples: int) -> TeacherPrediction:
        if logits.shape != (samples, len(self.vocabulary)):
            raise ConfigError(
                f"the teacher returned logits of shape {tuple(logits.shape)} for {samples} inputs and a "
                f"vocabulary of {len(self.vocabulary)} classes; expected ({samples}, {len(self.vocabulary)})"
            )
        probabilities, ids = logits.float().softmax(-1).topk(self.top_k)
        return TeacherPrediction(ids.int().cpu().numpy(), probabilities.cpu().numpy())
