"""The command `sublabel advise`; without torch until it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sublabel.advice.options import AdviceOptions, StudentOptions
from sublabel.advice.reading import Unseen, join_inputs, looked_at, read_features, read_pairs
from sublabel.errors import ConfigError
from sublabel.labels import Pairs, Strategy
from sublabel.media.domain import load_domain
from sublabel.tables import Manifest, open_manifest

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from sublabel.advice.reading import FeatureTable


def advise(options: Namespace) -> None:
    """Say what to expect of each strategy before anything large is trained, from frozen features."""
    from sublabel.advice.advising import advise as give_advice

    values = options.as_dict()
    looking = AdviceOptions(**{name: values[name] for name in AdviceOptions.model_fields})
    manifest, pairs = open_manifest(options.manifest), read_pairs(options.predictions)
    if not options.features:
        pairs = pairs[looked_at(pairs, looking)]
    student = _student_features(options, manifest, pairs)
    inputs = join_inputs(
        manifest, pairs, student, _teacher_features(options, manifest, pairs), unseen=options.unseen
    )
    advice = give_advice(
        **inputs._asdict(),
        strategies=options.strategies,
        alignment=options.alignment,
        options=looking,
    )
    if options.json:
        sys.stdout.write(json.dumps(advice.to_dict(), ensure_ascii=False, indent=2) + "\n")
    else:
        Console(markup=False, emoji=False, highlight=False).print(advice.to_rich())


def advise_arguments(command: ArgumentParser) -> None:
    """Add the options of `advise`."""
    command.add_argument("--config", action="config", help="YAML file with any of these options")
    command.add_argument(
        "manifest", type=str, help="Parquet, CSV or JSON Lines with a split `target_train`, and `label`"
    )
    command.add_argument("--predictions", type=str, required=True, help="the teacher's, of the weak samples")
    command.add_argument(
        "--teacher",
        type=str | None,
        default=None,
        help="folder of the teacher's model; what it sees is computed, and kept beside the predictions",
    )
    for whose, instead in (("", "--student"), ("teacher_", "--teacher")):
        command.add_argument(
            f"--{whose}features",
            type=tuple[str, ...] | str,
            default=(),
            help=f"in place of {instead}: tables with sample_id and features (Parquet or .npz), of the weak "
            "samples or some of them, and of the clean ones",
        )
    command.add_argument(
        "--unseen",
        type=Unseen | None,
        default=None,
        help="clean samples that the teacher has not learned from, to be tested on; none: all are tested on, "
        "and linear probes stand in for it. Default: none, but target_val where what it sees is not known",
    )
    command.add_argument(
        "--strategies",
        type=dict[str, Strategy] | None,
        default=None,
        help="row name → strategy; default: those of `compare`",
    )
    command.add_argument("--domain", type=str, default="image", help="the installed domain of the media")
    command.add_argument("--json", action="store_true", help="print JSON, for machines")
    command.add_class_arguments(StudentOptions, "student")
    command.add_class_arguments(AdviceOptions, as_group=True)


def _student_features(options: Namespace, manifest: Manifest, pairs: Pairs) -> FeatureTable:
    if options.features:
        return read_features(*_listed(options.features))
    from sublabel.advice.looking import student_features

    student = StudentOptions(**options.student.as_dict())
    folder, domain = _beside(options.predictions), load_domain(options.domain)
    return student_features(manifest, pairs.need_sample_ids(), domain, student, folder=folder)


def _teacher_features(options: Namespace, manifest: Manifest, pairs: Pairs) -> FeatureTable | None:
    if options.teacher_features and options.teacher is not None:
        raise ConfigError("--teacher and --teacher_features are both given; expected one of the two")
    if options.teacher_features:
        return read_features(*_listed(options.teacher_features))
    if options.teacher is None:
        return None
    from sublabel.advice.looking import teacher_features
    from sublabel.training import card_domain, load_model

    model = load_model(options.teacher)
    folder, domain = _beside(options.predictions), card_domain(model.card)
    return teacher_features(manifest, pairs, domain, model, folder=folder)


def _listed(given: Any) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _beside(predictions: str) -> Path:
    """The folder that computed features are kept in."""
    path = Path(predictions)
    return path.parent / f"{path.stem}-features"
