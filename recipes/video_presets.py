"""Presets of `video_k200.py`: what each compares, how it trains, how it runs, and where its clips come from.

The paper publishes the network (3D ResNet50), its ImageNet initialisation, and the numbers of classes, videos
and clips; all other settings are ours.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from sublabel.errors import ConfigError
from sublabel.labels import AgreementFilter, MatchedControl, RawSPL, WeakOnly
from sublabel.options import RunOptions, TeacherOptions, TrainOptions
from sublabel.study import BASELINE, StudyOptions, default_strategies, holds_study
from sublabel.tables import open_manifest, write_folder_manifest
from sublabel_video import ClipOptions, ClipSampling, ViewOptions, cut_clips
from sublabel_video.cli import read_names
from sublabel_video.cutting import CutSummary
from sublabel_video.demo import CollageOptions, SyntheticOptions, make_collages, make_videos, shown_in

Preset = Literal["demo", "tennis", "tennis_3d", "k200"]


class DataOptions(BaseModel):
    """Where the videos come from, and how clips are cut from them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str | None = Field(None, description="manifest or folder; demo makes its own")
    exclude: str | None = Field(
        None,
        description="file with the names of weak videos to leave out, one a line (those of the test set)",
    )
    out: str | None = Field(
        None, description="folder for all artefacts, default runs/PRESET; a stopped run goes on there"
    )
    clip: ClipOptions = Field(ClipOptions(), description="frames of a clip")
    sampling: ClipSampling = Field(ClipSampling(), description="clips of an untrimmed video")
    views: ViewOptions = Field(ViewOptions(), description="of a test video, whose probabilities are averaged")
    image_size: PositiveInt = Field(112, description="input pixels")
    short_side: PositiveInt | None = Field(None, description="decoded pixels; default: image_size × 8/7")
    synthetic: SyntheticOptions = Field(SyntheticOptions(), description="demo: the generated videos")
    collage: CollageOptions = Field(CollageOptions(), description="tennis, tennis_3d: the untrimmed videos")
    data_seeds: PositiveInt = Field(
        1,
        description="studies of videos made anew, with their seed and those after it, in OUT/data0, …",
    )
    dry_run: bool = Field(
        False, description="check paths, vocabularies and shapes, say what would be done, stop"
    )

    def first_seed(self, preset: Preset) -> int:
        """The seed of the videos that a preset makes.

        Raises:
            ConfigError: The videos are the user's, and more than one data seed is asked for.
        """
        if preset == "k200" and self.data_seeds > 1:
            raise ConfigError("data_seeds are for videos that are made; yours are as they are: leave it at 1")
        return self.synthetic.seed if preset == "demo" else self.collage.seed

    def drawn(self, seed: int) -> DataOptions:
        """The same with another seed of the videos that are made."""
        seeded = {name: getattr(self, name).model_copy(update={"seed": seed}) for name in MADE}
        return self.model_copy(update=seeded)


MADE = ("synthetic", "collage")
"""Options of videos that are made."""
FAST: dict[str, Any] = {
    "optimizer": "adamw",
    "learning_rate": 4e-3,
    "weight_decay": 0.05,
    "schedule": "one_cycle",
}
DEMO = StudyOptions(
    backbone="small_resnet3d",
    strategies={
        BASELINE: WeakOnly(),
        "agreement": AgreementFilter(),
        "raw SPL": RawSPL(),
        "matched control": MatchedControl(of=RawSPL()),
    },
    oracle=True,
    curve=(BASELINE, "raw SPL"),
    seeds=3,
    # A teacher decides whether its labels help: it sees the students' clean clips, four times as long.
    teacher=TeacherOptions(
        backbone="small_resnet3d",
        training="finetune",
        finetune=TrainOptions(steps=1200, batch_size=16, augmentation="shift", **FAST),
    ),
    pretrain=TrainOptions(steps=400, batch_size=32, augmentation="shift", **FAST),
    finetune=TrainOptions(steps=300, batch_size=16, augmentation="shift", **FAST),
)
SLOW: dict[str, Any] = {**FAST, "batch_size": 16, "augmentation": "resized_crop"}
TENNIS = StudyOptions(
    backbone="tsn:tf_efficientnet_lite0",
    pretrained=True,
    strategies=default_strategies(RawSPL(min_count=5)),
    oracle=True,
    seeds=3,
    pretrain=TrainOptions(epochs=4, **{**SLOW, "learning_rate": 5e-4}),
    finetune=TrainOptions(epochs=15, **{**SLOW, "learning_rate": 5e-4}),
    # On CPUs, depthwise convolutions are slower in bfloat16.
    precision="32-true",
)
TENNIS_3D = TENNIS.model_copy(
    update={
        "backbone": "small_resnet3d",
        "pretrained": False,
        "pretrain": TrainOptions(epochs=10, **{**SLOW, "learning_rate": 2e-3}),
        "finetune": TrainOptions(epochs=30, **{**SLOW, "learning_rate": 2e-3}),
        "precision": "auto",
    }
)
K200 = StudyOptions(
    backbone="slow_r50",
    pretrained=True,
    strategies=default_strategies(RawSPL(min_count=10)),
    clips_per_video=(1, 2, 3),
    pretrain=TrainOptions(epochs=50, batch_size=16, learning_rate=0.1, weight_decay=1e-4),
    finetune=TrainOptions(epochs=30, batch_size=16, learning_rate=0.02, weight_decay=1e-4),
)
DECODED = RunOptions(decode_once=True, jobs=2)
PRESETS: dict[Preset, tuple[StudyOptions, RunOptions, DataOptions]] = {
    "demo": (
        DEMO,
        DECODED,
        DataOptions(
            synthetic=SyntheticOptions(videos=200, target_train=40, target_test=60, size=24, fps=8),
            clip=ClipOptions(frames=8, stride=1, fps=8),
            sampling=ClipSampling(mode="uniform", clips_per_video=16),
            image_size=24,
            short_side=24,
        ),
    ),
    "tennis": (
        TENNIS,
        DECODED.model_copy(update={"eval_batch_size": 32}),
        DataOptions(clip=ClipOptions(frames=4, stride=12, fps=30), sampling=ClipSampling(mode="all")),
    ),
    "tennis_3d": (
        TENNIS_3D,
        DECODED.model_copy(update={"eval_batch_size": 32}),
        DataOptions(
            clip=ClipOptions(frames=8, stride=6, fps=30), sampling=ClipSampling(mode="all"), image_size=64
        ),
    ),
    "k200": (
        K200,
        RunOptions(eval_batch_size=60, num_workers=12, checkpoints=True, cache_bytes=0),
        DataOptions(
            sampling=ClipSampling(mode="random", clips_per_video=5),
            views=ViewOptions(clips=10, crops=3),
            image_size=224,
        ),
    ),
}


def video_manifest(preset: Preset, options: DataOptions, out: Path, scratch: Path) -> Path:
    """Write the preset's manifest of whole videos, that of a folder to `scratch`; or take the user's."""
    data = Path(options.data or "")
    # Tables may lie beside the videos; a folder of tables alone is a manifest in shards.
    is_table = any(data.glob("*.parquet")) and not (data / "weak").is_dir()
    is_folder = preset == "k200" and data.is_dir() and not is_table
    if (not options.data) != (preset == "demo"):
        raise ConfigError(
            f"the preset {preset} needs --data; the top of recipes/video_k200.py says what"
            if not options.data
            else "the preset demo makes its own videos: choose another --preset for your --data"
        )
    if options.exclude is not None and not is_folder:
        raise ConfigError("--exclude is for a folder of videos; take the rows out of your manifest instead")
    if preset == "demo":
        return make_videos(out / "videos", options.synthetic)
    if preset.startswith("tennis"):
        return make_collages(data, out / "videos", options.collage)
    if not is_folder:
        return data
    write_folder_manifest(scratch / "videos.parquet", data, exclude=read_names(options.exclude))
    return scratch / "videos.parquet"


def clip_manifest(preset: Preset, options: DataOptions, out: Path) -> tuple[Path, CutSummary]:
    """Write the manifest of clips; that of a study which was begun in `out` is never changed.

    Raises:
        TableError: The study that was begun in `out` has other clips.
    """
    clips, is_begun = out / "clips.parquet", holds_study(out)
    with TemporaryDirectory() as scratch:
        videos = open_manifest(video_manifest(preset, options, out, Path(scratch) if is_begun else out))
        cut = cut_clips(
            videos,
            clips,
            options.clip,
            options.sampling,
            num_workers=8,
            # Where the videos are made, what they show is known.
            true_label=None if preset == "k200" else shown_in,
            replace_others=not is_begun,
        )
    return clips, cut
