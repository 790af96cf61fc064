from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from sublabel.media import Share
from sublabel.training import LabelDataModule, LabeledDataset, MediaTable
from tests.test_media import Numbers


def media(rows, broken=()):
    table = pa.table({"sample_id": [str(number) for number in range(rows)]})
    return MediaTable(table, Numbers(broken))


@pytest.mark.parametrize("devices", [1, 2, 3, 8])
@pytest.mark.parametrize("samples", [1, 7, 8, 15, 16, 22, 23, 64])
def test_a_device_whose_share_is_less_than_a_batch_has_one_all_the_same(monkeypatch, samples, devices):
    monkeypatch.setattr(Share, "of_process", classmethod(lambda cls: cls(0, devices)))
    dataset = LabeledDataset(media(samples), np.zeros(samples, np.int64), lambda clip: clip[:1])
    loader = LabelDataModule(dataset, batch_size=8).train_dataloader()
    share = -(-samples // devices)
    assert loader.drop_last == (share >= 8)
    sampler = torch.utils.data.DistributedSampler(dataset, num_replicas=devices, rank=0)
    batches = torch.utils.data.BatchSampler(sampler, 8, drop_last=loader.drop_last)
    assert len(list(batches)) == max(1, share // 8)


def test_processes_that_train_together_share_the_look_for_what_cannot_be_read(monkeypatch):
    table = media(40, broken={3, 8, 21})
    whole = table.failures()
    assert list(whole) == ["3", "8", "21"]
    assert list(table.failures(among=["8", "9"])) == ["8"]
    gathered = []
    monkeypatch.setattr(Share, "gather", lambda self, found: gathered.append(found) or list(gathered))
    looked = []
    for rank in range(3):
        monkeypatch.setattr(Share, "of_process", classmethod(lambda cls, rank=rank: cls(rank, 3)))
        monkeypatch.setattr(
            table.domain, "check", lambda row: looked.append(int(row["sample_id"])) or table.domain.read(row)
        )
        shared = table.failures()
    assert shared == whole
    assert sorted(looked) == list(range(40))
