"""A medium without files, and manifests of it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from sublabel.errors import MediaError
from sublabel.media import Domain
from sublabel.tables import open_manifest


class Numbers(Domain):
    """A medium whose samples are told by their ids alone; it remembers what was read together."""

    name = "numbers"

    def __init__(self, broken=()):
        self.broken = frozenset(broken)
        self.reads = []

    def create_backbone(self, name, *, pretrained=False, weights=None):
        raise NotImplementedError

    def preprocessing(self, backbone):
        raise NotImplementedError

    def training_transform(self, preprocessing, augmentation=None, *, flip=True):
        raise NotImplementedError

    def generate(self, folder, samples):
        raise NotImplementedError

    def evaluation_transform(self, preprocessing):
        raise NotImplementedError

    def read(self, row):
        number = int(row["sample_id"])
        if number in self.broken:
            raise MediaError("unreadable: broken")
        return torch.full((1 + number % 3, 2), number % 256, dtype=torch.uint8)

    def read_many(self, rows):
        self.reads.append([int(row["sample_id"]) for row in rows])
        return super().read_many(rows)


def write_manifest(path, uris):
    table = pa.table(
        {
            "sample_id": [str(number) for number in range(len(uris))],
            "uri": pa.array(uris, pa.string()),
            "weak_label": [f"label {number % 5}" for number in range(len(uris))],
        }
    )
    pq.write_table(table, path, row_group_size=7)
    return open_manifest(path)


def videos(lengths):
    return [f"/{number}.mp4" for number, length in enumerate(lengths) for _ in range(length)]
