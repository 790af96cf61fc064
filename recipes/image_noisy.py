"""Noisy images: does pre-training on Sub-Pseudo Labels (SPL) beat the weak labels? The whole comparison.

    python recipes/image_noisy.py                                       # scikit-learn's digits, no download
    python recipes/image_noisy.py --preset cifar10n --data DIR          # real human label noise
    python recipes/image_noisy.py --preset cifar10_pages --data DIR     # the noise of untrimmed videos
    python recipes/image_noisy.py --preset cifar100_pages --data DIR    # classes outside the target
    python recipes/image_noisy.py --preset cifar100_queries --data DIR  # the words that found the images
    python recipes/image_noisy.py --preset manifest --data MANIFEST     # yours: Parquet, CSV, JSON Lines
    python recipes/image_noisy.py --preset folder --data DIR            # yours: DIR/SPLIT/CLASS/*.jpg

The splits are weak, target_train and target_test; the presets of cifar100 also keep some clean images as
target_val, to choose by. A preset sets defaults and every option overrides them
(`--help`, `--print_config`, `--config run.yaml`); they stand in `image_presets.py`. The method is `train_row`
below: change it there.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from recipes.image_presets import PRESETS, DataOptions, Preset, make_manifest, with_alignment
from sublabel.distributed import is_first_process
from sublabel.errors import ConfigError
from sublabel.evaluation import Comparison, RunMetrics
from sublabel.options import RunOptions
from sublabel.provenance import fingerprint, refuse_others
from sublabel.report.command import report_of_study
from sublabel.study import (
    Row,
    Study,
    StudyOptions,
    for_data_seeds,
    holds_study,
    parse_preset,
    recipe_console,
    run_as_script,
)
from sublabel_image import ImageDomain


def train_row(study: Study, row: Row) -> RunMetrics:
    """The method for one row of the table and one seed; a stage that has ended is read from its folder.

    The first row is trained on the clean target set alone. Its model is the teacher: it looks at every weak
    image before any other row is trained.
    """
    pretrained = None
    if row.strategy is not None:
        # (weak label, teacher prediction) → pre-training classes, by the row's strategy.
        labels = study.relabel(row)
        # A fresh backbone learns them on the weak images.
        pretrained = study.pretrain(row, labels)
    # Its head is thrown away, and it is fine-tuned on the clean images.
    finetuned = study.finetune(row, pretrained)
    return study.test(row, finetuned)


def main(arguments: list[str] | None = None) -> Comparison | None:
    """Make the data, train all rows, print their table."""
    preset, (study_options, run, data) = parse_preset(PRESETS, str(__doc__).splitlines()[0], arguments)
    out = Path(data.out or f"runs/{preset}")
    if data.data_seeds > 1 and preset in ("manifest", "folder"):
        raise ConfigError("data_seeds are for data that are drawn; yours are as they are: leave it at 1")

    def run_study(data_seed: int, folder: Path) -> Comparison:
        drawn = data.model_copy(update={"data_seed": data_seed})
        return compare(preset, study_options, run, drawn, folder)

    return for_data_seeds(out, data.data_seed, data.data_seeds, run_study)


def compare(
    preset: Preset, study_options: StudyOptions, run: RunOptions, data: DataOptions, out: Path
) -> Comparison:
    """Run the study of one draw of the data."""
    manifest = study_manifest(preset, data, out)
    study_options = with_alignment(preset, study_options, data, manifest)
    study = Study(manifest, ImageDomain(data.image_size), study_options, out, run=run)
    comparison = study.run(train_row)
    console = recipe_console()
    console.print(comparison.to_rich())
    console.print(f"table, models, labels and predictions: {out}/comparison.md and beside it", soft_wrap=True)
    if is_first_process():
        console.print(f"all of it to look at: {report_of_study(out)}", soft_wrap=True)
    return comparison


def study_manifest(preset: Preset, options: DataOptions, out: Path) -> Path:
    """Make the manifest; that of a study which was begun in `out` is never changed."""
    path = out / "manifest.parquet"
    if not (holds_study(out) and path.exists()):
        return make_manifest(preset, options, path)
    with TemporaryDirectory() as scratch:
        made = make_manifest(preset, options, Path(scratch) / path.name)
        if made.parent != Path(scratch):
            return made
        refuse_others(path, {"manifest": fingerprint(path)}, {"manifest": fingerprint(made)})
    return path


if __name__ == "__main__":
    run_as_script(main)
