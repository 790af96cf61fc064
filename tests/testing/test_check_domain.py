from __future__ import annotations

import pytest
import torch

import sublabel as sl
from sublabel.errors import MediaError
from sublabel.testing import BrokenPropertyError, check_domain
from sublabel_image import ImageDomain
from sublabel_video import ClipOptions, VideoDomain, ViewOptions


@pytest.mark.parametrize(
    "domain",
    [
        ImageDomain(16),
        VideoDomain(ClipOptions(frames=4, stride=2, fps=15), image_size=16, short_side=16),
        VideoDomain(
            ClipOptions(frames=4, stride=1, fps=30), image_size=16, views=ViewOptions(clips=2, crops=3)
        ),
    ],
    ids=["image", "video", "video views"],
)
def test_our_domains_hold_what_all_must(domain):
    sl.testing.check_domain(domain)


class Float(ImageDomain):
    def read(self, row):
        return super().read(row).float()


class Skips(ImageDomain):
    def read_many(self, rows):
        return [entry for entry in super().read_many(rows) if not isinstance(entry, MediaError)]


class Crops(ImageDomain):
    def evaluation_transform(self, preprocessing):
        return lambda media: media[:, :4, :4]


class Random(ImageDomain):
    def evaluation_transform(self, preprocessing):
        look = super().evaluation_transform(preprocessing)
        return lambda media: torch.randint_like(look(media), 256)


class Narrow(ImageDomain):
    def create_backbone(self, name, **options):
        backbone = super().create_backbone(name, **options)
        backbone.num_features += 1
        return backbone


class Raw(ImageDomain):
    def read(self, row):
        if row.get("image") is None:
            raise KeyError("image")
        return super().read(row)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Float, "media are uint8 tensors"),
        (Skips, "a sample that cannot be read leaves the others"),
        (Crops, r"an evaluation input is uint8 \(3, 16, 16\)"),
        (Random, "evaluation inputs are the same every time"),
        (Narrow, "the backbone makes float features"),
        (Raw, "what cannot be read is a MediaError.*KeyError"),
    ],
)
def test_a_domain_that_breaks_a_property_is_told_which(broken, message):
    with pytest.raises(BrokenPropertyError, match=message):
        check_domain(broken(16))
