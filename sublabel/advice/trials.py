"""Every strategy on the same clean samples: labels, pre-training, fine-tuning, and who was told right."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


class Teaching(NamedTuple):
    """Predictions of one teacher, and the splits whose test samples it has not seen."""

    pairs: Pairs
    splits: tuple[Split, ...]


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

    def run(self, strategies: Mapping[str, Strategy]) -> dict[str | None, np.ndarray]:
        """Try all strategies, and None: no pre-training.

        Args:
            strategies: Row name → strategy.

        Returns:
            For each bool (S, R): whether each of the R tested samples was told right, in each of S seeds.
        """
        right: dict[str | None, np.ndarray] = {
            name: np.zeros((self.options.seeds, len(self.clean.labels)), dtype=bool)
            for name in (None, *strategies)
        }
        with torch.random.fork_rng():
            for seed in range(self.options.seeds):
                for teaching in self._teachings(seed):
                    for name in right:
                        self._try(strategies.get(name or ""), teaching, seed, right[name][seed])
        return {name: answers[:, self.clean.tested] for name, answers in right.items()}

    def _teachings(self, seed: int) -> Iterator[Teaching]:
        splits = self.clean.splits(self.options.folds, self.options.seed + seed)
        if not self.stand_ins:
            yield Teaching(self.pairs, splits)
            return
        for split in splits:
            yield Teaching(self.predicted_by(self.probe(split.train)), (split,))

    def _try(self, strategy: Strategy | None, teaching: Teaching, seed: int, right: np.ndarray) -> None:
        """One strategy by one teacher's predictions; notes in `right`, (M,), who was told right."""
        torch.manual_seed(seed)
        options = self.options
        backbone: nn.Module = HiddenLayers(self.student.weak.shape[1], options.width)
        if strategy is not None:
            targets = relabel(teaching.pairs, strategy, self.alignment).targets
            data = Data.of(self.student.weak, targets)
            backbone = train(
                backbone, data, options.steps, options.batch_size, options.learning_rate
            ).backbone
        for split in teaching.splits:
            torch.manual_seed(seed)
            data = Data.of(self.student.clean[split.train], self.clean.targets(split.train))
            said = probabilities(finetune(backbone, data, options), self.student.clean[split.test])
            right[split.test] = said.argmax(axis=1) == self.clean.labels[split.test]

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
