"""The paper's table on untrimmed videos: does pre-training on Sub-Pseudo Labels (SPL) beat the weak labels?

    python recipes/video_k200.py                             # generated videos, no download
    python recipes/video_k200.py --preset tennis --data DIR  # DIR/CLASS/*.mp4, made into untrimmed videos;
                                            # --weights FILE: ImageNet weights without a download
    python recipes/video_k200.py --preset tennis_3d --data DIR         # the same with a narrow 3D ResNet
    python recipes/video_k200.py --preset k200 --data DIR    # the paper's setting, on your copy of Kinetics
    python recipes/video_k200.py --preset k200 --data DIR --dry_run true   # checks all of it, trains nothing

`--data` is a manifest of videos (Parquet, CSV, JSON Lines) or a folder with
{weak,target_train,target_test}/CLASS/*, where a class of `weak` is the query that its videos were found by.
Untrimmed videos are cut into clips, which inherit the query as their weak label. A preset sets defaults and
every option overrides them (`--help`, `--print_config`, `--config run.yaml`); they stand in
`video_presets.py`. The method is `train_row` below: change it there. docs/video.md leads through the run.
"""

from __future__ import annotations

from pathlib import Path

from recipes.video_presets import PRESETS, DataOptions, Preset, clip_manifest
from sublabel.distributed import is_first_process
from sublabel.evaluation import Comparison, RunMetrics
from sublabel.options import RunOptions
from sublabel.report.command import report_of_study
from sublabel.study import (
    Row,
    Study,
    StudyOptions,
    for_data_seeds,
    parse_preset,
    plan_study,
    recipe_console,
    run_as_script,
)
from sublabel_video import VideoDomain


def train_row(study: Study, row: Row) -> RunMetrics:
    """The method for one row of the table and one seed; a stage that has ended is read from its folder.

    The first row is trained on the clean target set alone. Its model is the teacher: it looks at every weak
    clip before any other row is trained.
    """
    pretrained = None
    if row.strategy is not None:
        # (weak label, teacher prediction) → pre-training classes, by the row's strategy.
        labels = study.relabel(row)
        # A fresh backbone learns them on the weak clips.
        pretrained = study.pretrain(row, labels)
    # Its head is thrown away, and it is fine-tuned on the clean clips.
    finetuned = study.finetune(row, pretrained)
    # Several views of each test video, whose probabilities are averaged.
    return study.test(row, finetuned)


def main(arguments: list[str] | None = None) -> Comparison | None:
    """Cut the clips, train all rows, print their table."""
    preset, (study_options, run, data) = parse_preset(PRESETS, str(__doc__).splitlines()[0], arguments)

    def run_study(data_seed: int, folder: Path) -> Comparison | None:
        return compare(preset, study_options, run, data.drawn(data_seed), folder)

    out = Path(data.out or f"runs/{preset}")
    return for_data_seeds(out, data.first_seed(preset), data.data_seeds, run_study)


def compare(
    preset: Preset, study_options: StudyOptions, run: RunOptions, data: DataOptions, out: Path
) -> Comparison | None:
    """Run the study of one draw of the data; of a dry run print what would be done."""
    console = recipe_console()
    clips, cut = clip_manifest(preset, data, out)
    console.print(str(cut), soft_wrap=True)
    domain = VideoDomain(data.clip, image_size=data.image_size, short_side=data.short_side, views=data.views)
    study = Study(clips, domain, study_options, out, run=run)
    if data.dry_run:
        console.print(plan_study(study).to_rich())
        return None
    comparison = study.run(train_row)
    console.print(comparison.to_rich())
    console.print(f"table, models, labels and predictions: {out}/comparison.md and beside it", soft_wrap=True)
    if is_first_process():
        console.print(f"all of it to look at: {report_of_study(out)}", soft_wrap=True)
    return comparison


if __name__ == "__main__":
    run_as_script(main)
