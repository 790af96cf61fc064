"""What holds for every test."""

import os

import pytest
import torch
from hypothesis import settings

from sublabel.torchvision_cure import ensure_torchvision

# Tests import torchmetrics and timm as oracles, some of them before anything of ours.
ensure_torchvision()

# A slow machine is no defect; in CI the examples never change, so that a failure is the change's own.
settings.register_profile("sublabel", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("sublabel")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Fresh networks and inputs are the same in every run, also those of fixtures."""
    torch.manual_seed(0)
