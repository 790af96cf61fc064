"""The command line for video files: manifests from folders, prepared videos, clips, generated videos."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from jsonargparse import auto_cli

from sublabel.cli.rendering import console
from sublabel.cli.running import run_command
from sublabel.tables import open_manifest, write_folder_manifest
from sublabel_video.clips import ClipOptions, ClipSampling
from sublabel_video.cutting import cut_clips
from sublabel_video.demo import SyntheticOptions, contact_sheet, make_videos
from sublabel_video.prepare import prepare_videos


def manifest(folder: str, out: str, exclude: str | None = None) -> str:
    """Write the manifest of FOLDER/{weak,target_train,target_test}/CLASS/*.

    Args:
        folder: The folder.
        out: The Parquet file to write.
        exclude: Text file with the names of weak videos to leave out, one a line.
    """
    left_out = write_folder_manifest(out, folder, exclude=read_names(exclude))
    return f"{out}: {left_out:,} weak videos excluded"


def prepare(
    videos: str, out: str, short_side: int = 256, gop: int = 12, crf: int = 23, num_workers: int = 0
) -> str:
    """Transcode the videos of a manifest so that they are fast to read; OUT/manifest.parquet names them.

    Args:
        videos: Manifest of whole videos.
        out: Folder for the videos; a run that was stopped goes on there.
        short_side: Shorter side of the prepared videos, in pixels.
        gop: Frames from one keyframe to the next.
        crf: x264's constant rate factor; lower is better and larger.
        num_workers: Processes that transcode; 0 transcodes in this one.
    """
    options = {"short_side": short_side, "gop": gop, "crf": crf, "num_workers": num_workers}
    return str(prepare_videos(open_manifest(videos), out, **options))


def cut(
    videos: str,
    out: str,
    clip: ClipOptions | None = None,
    sampling: ClipSampling | None = None,
    num_workers: int = 0,
) -> str:
    """Write the manifest of the clips of the weak videos of a manifest.

    Args:
        videos: Manifest of whole videos.
        out: The Parquet file to write.
        clip: Frames of a clip and the time between them.
        sampling: How many clips of a video, and where.
        num_workers: Threads that read headers.
    """
    clips = cut_clips(
        open_manifest(videos), out, clip or ClipOptions(), sampling or ClipSampling(), num_workers=num_workers
    )
    return str(clips)


def generate(out: str, options: SyntheticOptions | None = None) -> str:
    """Generate untrimmed videos whose temporal noise is known.

    Args:
        out: Folder for videos and manifest.
        options: What is generated.
    """
    return str(make_videos(out, options))


def sheet(videos: list[str], out: str) -> str:
    """Draw a contact sheet of generated videos, with what they show.

    Args:
        videos: The MP4 files.
        out: The PNG to write.
    """
    contact_sheet(videos, out)
    return out


def read_names(path: str | None) -> list[str]:
    """Read the lines of a text file that are not blank; none without a file."""
    lines = [] if path is None else Path(path).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code, as `sublabel.cli.running.run_command` gives it."""
    logging.basicConfig(level=logging.WARNING)
    given = sys.argv[1:] if arguments is None else arguments

    def command() -> None:
        said = auto_cli([manifest, prepare, cut, generate, sheet], args=given, as_positional=True)
        console().print(said, soft_wrap=True)

    return run_command("sublabel-video", given, command)


if __name__ == "__main__":
    sys.exit(main())
