"""Every strategy on the same clean samples: labels, pre-training, fine-tuning, and who was told right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sublabel.advice.features import Features
from sublabel.advice.network import Data, HiddenLayers, finetune, probabilities, train
from sublabel.advice.options import AdviceOptions
from sublabel.labels import HardTargets, Pairs, Strategy, relabel
from sublabel.labels.alignment import AlignmentLike
from sublabel.options import ProbeOptions
from sublabel.training import LabeledFeatures, fit_probe
from sublabel.training.probe import Logistic

TEACHER_CLASSES = 5
"""How many classes of a stand-in for the teacher are kept."""


class Split(NamedTuple):
    """A fold of the clean samples."""

    train: np.ndarray
    """Positions int64."""
    test: np.ndarray
    """Positions int64."""


@dataclass(frozen=True, eq=False)
class CleanSamples:
    """The M clean samples.

    Args:
        labels: int64 (M,), in 0..K-1.
        num_classes: K.
        tested: bool (M,), those that are tested on, each in one fold; the others are always trained on.
    """

    labels: np.ndarray
    num_classes: int
    tested: np.ndarray

    def splits(self, folds: int, seed: int) -> tuple[Split, ...]:
        """Folds of the tested samples with each class in about equal parts.

        Args:
            folds: How many.
            seed: Of the order in which a class is dealt out.
        """
        return self._splits(np.flatnonzero(self.tested), folds, seed)

    def all_splits(self, folds: int, seed: int) -> tuple[Split, ...]:
        """The same of all clean samples.

        Args:
            folds: How many.
            seed: As for `splits`.
        """
        return self._splits(np.arange(len(self.labels)), folds, seed)

    def _splits(self, tested: np.ndarray, folds: int, seed: int) -> tuple[Split, ...]:
        order = tested[np.random.default_rng(seed).permutation(len(tested))]
        order = order[np.argsort(self.labels[order], kind="stable")]
        parts = [np.sort(order[fold::folds]) for fold in range(min(folds, len(order)))]
        everyone = np.arange(len(self.labels))
        return tuple(Split(np.setdiff1d(everyone, part), part) for part in parts)

    def targets(self, rows: np.ndarray) -> HardTargets:
        """Their labels as targets, of some rows."""
        return HardTargets(self.labels[rows], self.num_classes)


@dataclass(frozen=True, eq=False)
class Trials:
    """What all strategies are tried on.

    Args:
        pairs: Weak labels and the teacher's predictions of the N weak samples, with sample ids.
        student: What the small networks look at.
        teacher: What stand-ins for the teacher look at.
        clean: The clean samples.
        stand_ins: Whether each fold has a teacher of its own: a linear probe on the clean samples that are
            trained on, whose labels over the teacher's vocabulary these are. False: the predictions of
            `pairs`, which then must not have seen what is tested on.
        options: How networks are trained.
        alignment: Which classes agree.
    """

    pairs: Pairs
    student: Features
    teacher: Features
    clean: CleanSamples
    stand_ins: bool
    options: AdviceOptions
    alignment: AlignmentLike = None

    def run(self, strategies: Mapping[str, Strategy]) -> dict[str | None, list[np.ndarray]]:
        """Try all strategies, and None: no pre-training.

        Args:
            strategies: Row name → strategy.

        Returns:
            For each, of every fold, bool (S, R): whether each of its R tested samples was told right, in each
            of S seeds.
        """
        right: dict[str | None, list[np.ndarray]] = {name: [] for name in (None, *strategies)}
        with torch.random.fork_rng():
            for split in self.clean.splits(self.options.folds, self.options.seed):
                pairs = self.predicted_by(self.probe(split.train)) if self.stand_ins else self.pairs
                for name in right:
                    data = None
                    if name is not None:
                        targets = relabel(pairs, strategies[name], self.alignment).targets
                        data = Data.of(self.student.weak, targets)
                    answers = [self._answers(data, split, seed) for seed in range(self.options.seeds)]
                    right[name].append(np.stack(answers))
        return right

    def _answers(self, weak: Data | None, split: Split, seed: int) -> np.ndarray:
        """Whether the tested samples are told right after pre-training on the weak data, bool (R,)."""
        # Other networks in every fold, and the same start for all strategies.
        torch.manual_seed(int(split.test[0]) * self.options.seeds + seed)
        options, features = self.options, self.student
        backbone: nn.Module = HiddenLayers(features.weak.shape[1], options.width)
        if weak is not None:
            backbone = train(
                backbone, weak, options.steps, options.batch_size, options.learning_rate
            ).backbone
        clean = Data.of(features.clean[split.train], self.clean.targets(split.train))
        said = probabilities(finetune(backbone, clean, options), features.clean[split.test])
        return np.asarray(said.argmax(axis=1) == self.clean.labels[split.test])

    @cached_property
    def penalty(self) -> float:
        """The penalty of all probes, chosen once by cross-validation on the clean samples."""
        _, losses = fit_probe(self._labelled(np.arange(len(self.clean.labels))), self.clean.num_classes)
        return min(losses, key=lambda l2: losses[l2])

    def probe(self, rows: np.ndarray) -> Logistic:
        """A linear probe on the teacher's features of some clean samples.

        Args:
            rows: Positions int64.
        """
        options = ProbeOptions(l2=(self.penalty,))
        return fit_probe(self._labelled(rows), self.clean.num_classes, options)[0]

    def _labelled(self, rows: np.ndarray) -> LabeledFeatures:
        return LabeledFeatures(self.teacher.clean[rows].cpu().numpy(), self.clean.labels[rows])

    def predicted_by(self, probe: Logistic) -> Pairs:
        """The pairs with the predictions of a probe in place of the teacher's."""
        pairs, said = self.pairs, probe_probabilities(probe, self.teacher.weak)
        ids = np.argsort(-said, axis=1, kind="stable")[:, :TEACHER_CLASSES]
        return Pairs.trusted(
            pairs.weak,
            ids[:, 0],
            pairs.weak_vocabulary,
            pairs.teacher_vocabulary,
            sample_ids=pairs.sample_ids,
            top_ids=ids,
            top_probs=np.take_along_axis(said, ids, axis=1),
            features=pairs.features,
        )


def probe_probabilities(probe: Logistic, features: Tensor) -> np.ndarray:
    """What a linear probe says of samples.

    Args:
        probe: Of K classes.
        features: float32 (N, D).

    Returns:
        float32 (N, K).
    """
    logits = features @ probe.weight.to(features).T + probe.bias.to(features)
    return logits.softmax(-1).cpu().numpy()
