"""Video backbones by name: 3D networks, and timm's image networks over the frames of a clip."""

from sublabel_video.backbones.building import BACKBONES, TSN_PREFIX, TemporalSegmentNetwork, create_backbone
from sublabel_video.backbones.inflation import inflate
from sublabel_video.backbones.resnet3d import PaddedConv3d, VideoBackbone

__all__ = [
    "BACKBONES",
    "TSN_PREFIX",
    "PaddedConv3d",
    "TemporalSegmentNetwork",
    "VideoBackbone",
    "create_backbone",
    "inflate",
]
