"""How well advice foretells full comparisons: both rankings of finished studies, side by side.

    python benchmarks/advice.py runs/a runs/b [--unseen none] [--options.seeds 3] [--write true]

Advice sees the clean training and validation samples of a study and never its tests; the full comparison is
the study's own, on its tests. `--write true` makes the record that `sublabel advise` reads of its own worth.
"""

from __future__ import annotations

import json
from pathlib import Path

from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

import numpy as np  # noqa: E402
from jsonargparse import ArgumentParser  # noqa: E402
from scipy.stats import rankdata, spearmanr  # noqa: E402

from sublabel.advice import Advice, AdviceOptions, StudyValidation, Validation, advise  # noqa: E402
from sublabel.advice.looking import student_features, teacher_features  # noqa: E402
from sublabel.advice.options import StudentOptions  # noqa: E402
from sublabel.advice.reading import Unseen, join_inputs, looked_at, read_pairs  # noqa: E402
from sublabel.evaluation import Interval  # noqa: E402
from sublabel.files import write_json  # noqa: E402
from sublabel.study import BASELINE, StudyFolder, slug  # noqa: E402
from sublabel.study.folder import TEACHER_FOLDER  # noqa: E402
from sublabel.training import load_model  # noqa: E402

RECORD = Path(__file__).parents[1] / "sublabel" / "advice" / "validation.json"
FEWEST_STUDIES = 5
"""Over fewer, a correlation of facts and gains says nothing."""


def advice_of(folder: Path, options: AdviceOptions, unseen: Unseen | None, kept: Path) -> Advice:
    """What would have been advised before a study was run."""
    study = StudyFolder.open(folder)
    recorded = study.record.options
    domain = study.domain(study.record.domain or "image")
    manifest = study.manifest()
    pairs = read_pairs(study.predictions(f"seed0/{slug(BASELINE)}/pretrained"))
    pairs = pairs[looked_at(pairs, options)]
    starts_with = {"pretrained": recorded.pretrained, "weights": recorded.weights}
    has_weights = recorded.pretrained or recorded.weights is not None
    student = StudentOptions(backbone=recorded.backbone, **starts_with) if has_weights else StudentOptions()
    places = (folder / TEACHER_FOLDER, folder / "seed0" / TEACHER_FOLDER, folder / "seed0" / "teacher")
    teacher = load_model(next(place for place in places if (place / "card.json").exists()), domain=domain)
    inputs = join_inputs(
        manifest,
        pairs,
        student_features(manifest, pairs.need_sample_ids(), domain, student, folder=kept),
        teacher_features(manifest, pairs, domain, teacher, folder=kept),
        unseen=unseen,
    )
    return advise(
        **inputs._asdict(),
        strategies=recorded.strategies,
        alignment=recorded.alignment,
        options=options,
    )


def validated(folder: Path, advice: Advice) -> StudyValidation:
    """Advised and measured gains of a study's strategies over weak-only, which has none."""
    comparison = StudyFolder.open(folder).comparison()
    if comparison is None:
        raise SystemExit(f"{folder} has no comparison: run the study to its end")
    advised = {row.name: row.accuracy for row in advice.prospects if row.classes is not None}
    advised = {name: accuracy - advised[BASELINE] for name, accuracy in advised.items()}
    measured = {name: comparison.top1(name) - comparison.top1(BASELINE) for name in advised}
    correlation = spearmanr(list(advised.values()), list(measured.values())).statistic
    name = "/".join(folder.parts[-2:])
    return StudyValidation(name=name, advised=advised, measured=measured, spearman=float(correlation))


def pooled(studies: list[StudyValidation], draws: int = 10_000) -> Interval:
    """Rank correlation within studies, and its bootstrap interval over studies and their strategies."""
    generator = np.random.default_rng(0)
    pairs = [np.array([list(study.advised.values()), list(study.measured.values())]) for study in studies]

    def correlation(samples: list[np.ndarray]) -> float:
        ranks = [rankdata(sample, axis=1) - (sample.shape[1] + 1) / 2 for sample in samples]
        advised, measured = np.concatenate(ranks, axis=1)
        return float(advised @ measured / max(np.sqrt(advised @ advised * (measured @ measured)), 1e-12))

    drawn = []
    for _ in range(draws):
        chosen = (pairs[number] for number in generator.integers(len(pairs), size=len(pairs)))
        drawn.append(
            correlation([part[:, generator.integers(part.shape[1], size=part.shape[1])] for part in chosen])
        )
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    return Interval(correlation(pairs), low, high)


def facts_that_foretell(advices: list[Advice], studies: list[StudyValidation]) -> dict[str, float]:
    """Rank correlation over studies of each fact with what the best strategy gained, best first."""
    if len(studies) < FEWEST_STUDIES:
        return {}
    best = [max(study.measured.values()) for study in studies]
    named = {
        "agreement of weak label and teacher": [advice.facts.agreement for advice in advices],
        "information that weak label and teacher share": [
            advice.facts.label_information for advice in advices
        ],
        "accuracy of a linear probe on the teacher's features": [
            advice.facts.probe_accuracy for advice in advices
        ],
        "steadiness of the cells": [advice.facts.steadiness for advice in advices],
    }
    found = {name: float(spearmanr(values, best).statistic) for name, values in named.items()}
    return dict(sorted(found.items(), key=lambda item: -abs(item[1])))


def main() -> None:
    """Set the advice of finished studies against their comparisons."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, help="of studies")
    parser.add_argument("--unseen", type=Unseen | None, default=None, help="as of `sublabel advise`")
    parser.add_argument("--features", type=Path, default="runs/advice", help="where features are kept")
    parser.add_argument("--write", type=bool, default=False, help="write the record that the package ships")
    parser.add_class_arguments(AdviceOptions, "options")
    given = parser.parse_args()
    options = AdviceOptions(**given.options.as_dict())
    advices, studies = [], []
    for folder in (path.resolve() for path in given.folders):
        advice = advice_of(folder, options, given.unseen, given.features)
        study = validated(folder, advice)
        advices.append(advice)
        studies.append(study)
        print(f"{study.name}: Spearman {study.spearman:.2f}; {advice.verdict}", flush=True)
        for name, gain in study.advised.items():
            print(f"  {name:20} advised {100 * gain:+5.1f}  measured {100 * study.measured[name]:+5.1f}")
    found = Validation(
        studies=tuple(studies), pooled=pooled(studies), facts=facts_that_foretell(advices, studies)
    )
    print(found)
    if given.write:
        write_json(RECORD, json.loads(found.model_dump_json()))


if __name__ == "__main__":
    main()
