"""A teacher's look at a data set that fits into memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import DataLoader

from sublabel.errors import ConfigError
from sublabel.labels import Vocabulary
from sublabel.labels.vocabulary import VocabularyLike
from sublabel.teacher.base import (
    ModuleTeacher,
    Teacher,
    TeacherPrediction,
    as_feature_teacher,
    checked_prediction,
)
from sublabel.training import LabeledFeatures, LoadedModel, TrainedModel


def as_teacher(
    teacher: Teacher | TrainedModel | LoadedModel | nn.Module,
    vocabulary: VocabularyLike | None = None,
    *,
    top_k: int = 5,
    precision: str = "32-true",
) -> Teacher:
    """Make a teacher of a model.

    Args:
        teacher: A teacher, which stays as it is; the model that `finetune` or `load_model` returned; or a
            module that maps inputs to logits (B, T).
        vocabulary: The T classes of a module, in the order of its logits.
        top_k: How many classes to keep; at most T.
        precision: As `ModuleTeacher` takes it.

    Raises:
        ConfigError: It is none of these, or a module's classes are not known.
    """
    if isinstance(teacher, TrainedModel | LoadedModel):
        return ModuleTeacher(teacher.classifier, teacher.vocabulary, top_k=top_k, precision=precision)
    if isinstance(teacher, nn.Module):
        if vocabulary is None:
            raise ConfigError(
                f"the classes of the module {type(teacher).__name__} are not known: give them as "
                "`vocabulary=`, in the order of its logits"
            )
        return ModuleTeacher(teacher, Vocabulary.of(vocabulary), top_k=top_k, precision=precision)
    if not callable(getattr(teacher, "predict", None)) or not isinstance(
        getattr(teacher, "vocabulary", None), Vocabulary
    ):
        raise ConfigError(
            f"{type(teacher).__name__} is no teacher: expected `vocabulary` (a sublabel.Vocabulary), "
            "`fingerprint` and `predict(inputs)`, or a module with `vocabulary=`"
        )
    return teacher


def predict(
    teacher: Teacher | TrainedModel | LoadedModel | nn.Module,
    media: Any,
    *,
    vocabulary: VocabularyLike | None = None,
    top_k: int = 5,
    batch_size: int = 256,
    num_workers: int = 0,
) -> TeacherPrediction:
    """Let a teacher look at every sample of a data set.

    `predict_manifest` does so with a manifest of any size, in shards on disk, and goes on where it stopped.

    Args:
        teacher: As `as_teacher` takes it, with the model of `finetune` among others.
        media: A map-style data set of N inputs, or of tuples that begin with one.
        vocabulary: The classes of a module.
        top_k: How many classes to keep of a model's; at most T.
        batch_size: Samples a batch.
        num_workers: Loader processes.

    Returns:
        Ids int32 (N, k) and probabilities float32 (N, k), which `sublabel.Pairs` takes as `teacher`.

    Raises:
        ConfigError: The teacher is none, its answers are no predictions or not of one k, or there is no
            sample.

    Example:
        >>> from torch import nn, tensor
        >>> ids, probabilities = predict(
        ...     nn.Identity(), tensor([[0.0, 2.0], [3.0, 1.0]]), vocabulary=["a", "b"]
        ... )
        >>> ids
        array([[1, 0],
               [0, 1]], dtype=int32)
    """
    looking = as_teacher(teacher, vocabulary, top_k=top_k)
    if len(media) == 0:
        raise ConfigError("the data set to predict on has no samples: expected at least one")
    loader = DataLoader(media, batch_size=batch_size, num_workers=num_workers)
    answers = []
    for batch in loader:
        inputs = batch[0] if isinstance(batch, tuple | list) else batch
        answers.append(checked_prediction(looking.predict(inputs), len(inputs), looking.vocabulary))
    widths = sorted({answer.ids.shape[1] for answer in answers})
    if len(widths) > 1:
        raise ConfigError(
            f"the teacher named {widths[0]} classes of some samples and {widths[-1]} of others; expected as "
            "many of each"
        )
    return TeacherPrediction(*(np.concatenate(arrays) for arrays in zip(*answers, strict=True)))


def see(
    teacher: Teacher | TrainedModel | LoadedModel,
    dataset: Any,
    *,
    batch_size: int = 256,
    num_workers: int = 0,
) -> LabeledFeatures:
    """What a teacher sees in every sample of a labelled data set, in memory: as its pass keeps it.

    Args:
        teacher: A model that `finetune` or `load_model` returned, or a teacher with `num_features` and
            `look`.
        dataset: A map-style data set of N (input, label).
        batch_size: Samples a batch.
        num_workers: Loader processes.

    Returns:
        Features float32 (N, D) and labels int64 (N,).

    Raises:
        ConfigError: The teacher has no features, or there is no sample.
    """
    looking, _ = as_feature_teacher(as_teacher(teacher))
    if len(dataset) == 0:
        raise ConfigError("the data set to look at has no samples: expected at least one")
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=num_workers)
    seen = [(np.asarray(looking.look(inputs)[1]), np.asarray(labels)) for inputs, labels in loader]
    features, labels = (np.concatenate(arrays) for arrays in zip(*seen, strict=True))
    return LabeledFeatures(features.astype(np.float32), labels.astype(np.int64))
