"""The README's code runs as it stands there, with the names that its reader has."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import sublabel as sl
from sublabel.options import TrainOptions
from sublabel.teacher import predict
from sublabel.training import finetune, pretrain, test
from sublabel_image import ImageDomain

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def block(marker):
    """The fenced code after a marker."""
    return re.search(rf"<!-- {marker} -->\n```python\n(.*?)```", README, re.DOTALL).group(1)


def test_the_five_lines_say_what_they_say():
    names = {}
    exec(block("five-lines"), names)
    result = names["result"]
    assert result.labels.tolist() == [0, 0, 1, 2, -1]
    assert result.labels.reasons[-1] == "no weak label"
    assert result.space.names == ("baking cookies", "baking cookies × whisking eggs", "whisking eggs")
    assert result.targets.torch().tolist() == [0, 0, 1, 2, -100]


class Backbone(nn.Module):
    num_features = 8

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU())

    def forward(self, inputs):
        return self.layers(inputs)


@pytest.fixture
def reader():
    """What the reader of the page has: a table, data sets, two backbones, options and a domain."""
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(60, 3, 2, 2, generator=generator), torch.arange(60) % 3
    data = TensorDataset(images, labels)
    data.classes = ["bake", "fold", "whisk"]
    return {
        "sl": sl, "finetune": finetune, "predict": predict, "pretrain": pretrain, "test": test,
        "df": pd.DataFrame(
            {
                "query": [data.classes[label] for label in labels.tolist()],
                "predicted": [
                    data.classes[(label + place % 2) % 3] for place, label in enumerate(labels.tolist())
                ],
                "path": [f"{place}.mp4" for place in range(60)],
            }
        ),
        "backbone": Backbone(), "fresh_backbone": Backbone(),
        "target_train": data, "target_test": data, "weak_media": TensorDataset(images),
        "options": TrainOptions(epochs=2, batch_size=20),
        "MyDomain": lambda: ImageDomain(16),
    }  # fmt: skip


def test_the_page_runs_word_for_word(reader):
    exec(block("one-page"), reader)
    assert reader["targets"].tolist() == reader["result"].labels.tolist()
    assert set(reader["targets"].reasons) == {"kept"}
    assert reader["student"].classifier.num_classes == len(reader["space"]) == 6
    assert reader["predictions"].ids.shape == (60, 3)
    assert set(reader["metrics"]) == {"top1", "top5"}
