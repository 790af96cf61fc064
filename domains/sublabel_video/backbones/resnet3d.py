"""What every 3D backbone is made of: blocks under one global average, and a small network of ours."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F

from sublabel.media.domain import Preprocessing

__all__ = ["PaddedConv3d", "VideoBackbone", "small_resnet3d_blocks"]


class PaddedConv3d(nn.Conv3d):
    """An `nn.Conv3d` with the same results, which pads by itself where the input is smaller than the kernel.

    It serves bfloat16 training on CPUs with AVX512-BF16. There, oneDNN's weight gradients are wrong for a
    kernel of 3 frames over an input of 2, which short clips have deep in a network (seen in oneDNN 3.12 of
    torch 2.13: values of 1e30, NaN, even memory faults).
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Compute maps (B, C_out, T', H', W') of inputs (B, C_in, T, H, W)."""
        if isinstance(self.padding, str) or not any(
            size < kernel for size, kernel in zip(inputs.shape[2:], self.kernel_size, strict=True)
        ):
            return super().forward(inputs)
        # F.pad counts from the last axis.
        borders = [padding for padding in reversed(self.padding) for _ in range(2)]
        return F.conv3d(
            F.pad(inputs, borders), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


class VideoBackbone(nn.Module):
    """Blocks of 3D convolutions and a global average over time and space, so that any clip size goes.

    Args:
        blocks: Modules in order, from clips (B, 3, T, H, W) to feature maps (B, D, T', H', W'); their names
            in the state dict are pytorchvideo's, `blocks.0.…`.
        num_features: Width D of the features.
        preprocessing: How clips must come; `input_size` (C, T, H, W) is a default.
    """

    def __init__(
        self, blocks: Iterable[nn.Module], *, num_features: int, preprocessing: Preprocessing
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.num_features = num_features
        self.preprocessing = preprocessing
        for module in self.modules():
            if type(module) is nn.Conv3d:
                # pytorchvideo's builders take no other class for most of their convolutions; the parameters
                # are the same.
                module.__class__ = PaddedConv3d

    def forward_features(self, clips: Tensor) -> Tensor:
        """Compute feature maps (B, num_features, T', H', W') of clips (B, 3, T, H, W)."""
        for block in self.blocks:
            clips = block(clips)
        return clips

    def forward(self, clips: Tensor) -> Tensor:
        """Compute features (B, num_features) of clips (B, 3, T, H, W)."""
        return self.forward_features(clips).mean((-3, -2, -1))


def small_resnet3d_blocks(widths: tuple[int, int, int, int] = (8, 16, 32, 64)) -> list[nn.Module]:
    """Build the blocks of a 3D ResNet-6 for clips of 4 to 16 frames and 24 to 64 pixels (ours).

    It has a stem, three stages and one residual block. Kernels are 3 × 3 × 3 from the first layer on, so that
    opposite motions (left and right, in and out) differ in every layer.

    Args:
        widths: Channels of the stem and of the three stages; the last one is the number of features.
    """
    first, second, third, last = widths
    return [
        _convolution(3, first, stride=(1, 2, 2)),
        nn.Sequential(_convolution(first, second), _halve(1)),
        nn.Sequential(_convolution(second, third), _halve(2)),
        nn.Sequential(_convolution(third, last), _halve(2), _Residual(last)),
    ]


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_convolution(width, width), _convolution(width, width))

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = inputs + self.body(inputs)
        return output


def _convolution(in_width: int, out_width: int, stride: tuple[int, int, int] = (1, 1, 1)) -> nn.Sequential:
    convolution = PaddedConv3d(in_width, out_width, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(out_width), nn.ReLU(inplace=True))


def _halve(frames: int) -> nn.MaxPool3d:
    # Rounding up lets a clip of one frame or of few pixels through.
    return nn.MaxPool3d((frames, 2, 2), ceil_mode=True)
