from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from sublabel.errors import ConfigError, MediaError
from sublabel.media import Reader, domain_names, load_domain
from sublabel.media.domain import STRIP_FRAMES
from sublabel_image import ImageDomain
from sublabel_video import ClipOptions, VideoDomain, ViewOptions
from tests.media.numbers import Numbers


def test_the_thumbnail_of_an_image_is_the_image():
    image = torch.randint(0, 256, (3, 5, 7), dtype=torch.uint8)
    assert torch.equal(ImageDomain().thumbnail(image), image)


def test_the_thumbnail_of_a_clip_is_a_strip_of_frames_in_their_order():
    clip = torch.arange(16, dtype=torch.uint8).view(16, 1, 1, 1).expand(16, 3, 4, 40)
    strip = VideoDomain().thumbnail(clip)
    assert strip.shape == (3, 4, STRIP_FRAMES * 40 + STRIP_FRAMES - 1)
    assert [int(strip[0, 0, frame * 41]) for frame in range(4)] == [2, 6, 10, 14]
    assert [int(strip[0, 0, frame * 41 + 40]) for frame in range(3)] == [255, 255, 255]
    assert clip[0].max() == 0


def test_a_clip_of_few_frames_shows_them_all_once():
    clip = torch.tensor([10, 20], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 2, 2)
    assert VideoDomain().thumbnail(clip)[0, 0].tolist() == [10, 10, 255, 20, 20]


def test_a_domain_is_built_again_from_its_options():
    clip = ClipOptions(frames=4, stride=3, fps=12)
    mine = VideoDomain(clip, image_size=24, short_side=30, views=ViewOptions(clips=2, crops=3))
    again = load_domain("video", mine.options())
    assert isinstance(again, VideoDomain)
    assert again.options() == mine.options()
    assert load_domain("image", ImageDomain(48).options()).options() == {"image_size": 48}


def test_installed_domains_are_found_by_name_and_another_name_is_refused():
    assert {"image", "video"} <= set(domain_names())
    with pytest.raises(ConfigError, match="no domain is called 'smell': installed are image.*install"):
        load_domain("smell")


def test_a_domain_that_reads_one_row_reads_and_checks_many():
    domain = Numbers(broken={1})
    assert isinstance(domain, Reader)
    rows = [{"sample_id": str(number)} for number in range(3)]
    first, broken, last = domain.read_many(rows)
    assert torch.equal(first, domain.read(rows[0]))
    assert torch.equal(last, domain.read(rows[2]))
    assert isinstance(broken, MediaError)
    domain.check(rows[0])
    with pytest.raises(MediaError, match="unreadable: broken"):
        domain.check(rows[1])


def test_domains_are_looked_for_without_torch():
    code = (
        "from sublabel.media import domain_names; domain_names(); import sys; print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "False"
