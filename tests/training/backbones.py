"""Small networks and data sets that the tests of training share."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.data import TensorDataset


class Tiny(nn.Module):
    """Channel means after a convolution: the smallest backbone that keeps the contract."""

    num_features = 8

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, inputs):
        return self.norm(self.convolution(inputs)).relu().mean((-2, -1))


def brightness_data(samples=96, seed=0):
    """Two classes that a mean tells apart: dark and bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % 2
    inputs = torch.randint(0, 100, (samples, 3, 8, 8), generator=generator) + 120 * labels.view(-1, 1, 1, 1)
    return TensorDataset(inputs.to(torch.uint8), labels)
