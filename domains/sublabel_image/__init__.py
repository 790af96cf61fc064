"""The image domain: timm backbones, torchvision v2 transforms, images from files, URLs and Parquet bytes."""

from sublabel.extras import needs_extra
from sublabel.torchvision_cure import ensure_torchvision

ensure_torchvision()

with needs_extra("the domain 'image'", "sublabel[image]"):
    from sublabel_image.backbones import create_backbone
    from sublabel_image.domain import ImageDomain
    from sublabel_image.reading import read_image
    from sublabel_image.transforms import AUGMENTATIONS, evaluation_transform, training_transform

__all__ = [
    "AUGMENTATIONS",
    "ImageDomain",
    "create_backbone",
    "evaluation_transform",
    "read_image",
    "training_transform",
]
