"""The command `sublabel advise`; without torch until it runs."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from sublabel.advice.options import AdviceOptions
from sublabel.advice.reading import Unseen, join_inputs, read_features
from sublabel.labels import Strategy
from sublabel.tables import open_manifest

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def advise(options: Namespace) -> None:
    """Say what to expect of each strategy before anything large is trained, from frozen features."""
    from sublabel.advice.advising import advise as give_advice

    teacher = options.teacher_features
    inputs = join_inputs(
        open_manifest(options.manifest),
        options.predictions,
        read_features(*options.features),
        read_features(*teacher) if teacher else None,
        unseen=options.unseen,
    )
    values = options.as_dict()
    advice = give_advice(
        inputs.pairs,
        inputs.weak_features,
        inputs.clean_features,
        inputs.clean_labels,
        teacher_features=inputs.teacher_features,
        unseen=inputs.unseen,
        strategies=options.strategies,
        alignment=options.alignment,
        options=AdviceOptions(**{name: values[name] for name in AdviceOptions.model_fields}),
    )
    if options.json:
        sys.stdout.write(json.dumps(advice.to_dict(), ensure_ascii=False, indent=2) + "\n")
    else:
        Console(markup=False, emoji=False, highlight=False).print(advice.to_rich())


def advise_arguments(command: ArgumentParser) -> None:
    """Add the options of `advise`."""
    command.add_argument(
        "manifest", type=str, help="Parquet, CSV or JSON Lines with a split `target_train`, and `label`"
    )
    command.add_argument("--predictions", type=str, required=True, help="the teacher's, of the weak samples")
    command.add_argument(
        "--features",
        type=tuple[str, ...] | str,
        required=True,
        help="what the student starts from: tables with sample_id and features (Parquet or .npz), of the "
        "weak samples or some of them, and of the clean ones",
    )
    command.add_argument(
        "--teacher_features",
        type=tuple[str, ...] | str,
        default=(),
        help="what the teacher looks at, in such tables; default: what the student does",
    )
    command.add_argument(
        "--unseen",
        type=Unseen | None,
        default=None,
        help="clean samples that the teacher has not learned from; default: target_val where there is one",
    )
    command.add_argument(
        "--strategies",
        type=dict[str, Strategy] | None,
        default=None,
        help="row name → strategy; default: those of `compare`",
    )
    command.add_argument("--json", action="store_true", help="print JSON, for machines")
    command.add_class_arguments(AdviceOptions, as_group=True)
