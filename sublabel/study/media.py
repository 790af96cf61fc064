"""The media and labels of a study's splits, and the target samples that cannot be read.

Target samples are looked at before anything is trained, so that none of them stops a training hours later.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sublabel import distributed
from sublabel.errors import MediaError, TableError
from sublabel.files import write_json
from sublabel.labels import Vocabulary
from sublabel.media import MEDIA_COLUMNS, CachedReader, DecodedMedia, MediaTable, decode_manifest
from sublabel.media.domain import Domain
from sublabel.options import RunOptions
from sublabel.study.outcomes import tested_splits
from sublabel.tables import Manifest

_log = logging.getLogger(__name__)


class StudyMedia:
    """The media of a study's splits; each split is opened when it is first asked for.

    Args:
        manifest: The study's manifest.
        fingerprint: Digest of the manifest.
        vocabulary: The target classes.
        domain: The medium.
        run: How the study is run.
        out: The study's folder.
        is_settled: Whether something may have been trained in that folder. Until then what could not be read
            is tried again, and media of another manifest are replaced.
    """

    def __init__(
        self,
        manifest: Manifest,
        fingerprint: str,
        vocabulary: Vocabulary,
        domain: Domain,
        run: RunOptions,
        out: Path,
        *,
        is_settled: bool,
    ) -> None:
        self.manifest = manifest
        self.fingerprint = fingerprint
        self.vocabulary = vocabulary
        self.domain = domain
        self.run = run
        self.out = out
        self.is_settled = is_settled
        self.tested = tested_splits(manifest)
        """The splits that models are tested on: `target_val` only where the manifest has it."""
        self._media: dict[str, MediaTable] = {}
        self._labels: dict[str, np.ndarray] = {}

    def table(self, split: str) -> MediaTable:
        """The rows of a split and their media; decoded first if the study wants it so."""
        if split not in self._media:
            self._media[split] = self._decode(split) if self.run.decode_once else self._open(split)
        return self._media[split]

    def target_labels(self, split: str) -> np.ndarray:
        """The labels of a target split, -1 where the media cannot be read.

        Raises:
            TableError: Media cannot be read, and the options do not say to leave them out.
        """
        if split in self._labels:
            return self._labels[split]
        failures = self._failures(split)
        media = self.table(split)
        labels = media.labels("label", self.vocabulary)
        if failures and not self.run.leave_out_unreadable:
            listed = "; ".join(f"{sample_id!r}: {why}" for sample_id, why in failures.items())
            raise TableError(
                f"{len(failures)} of {len(labels)} samples of {split} cannot be read ({listed[:500]}): mend "
                "them, take them out of the manifest, or run with leave_out_unreadable: true "
                "(--leave_out_unreadable true)"
            )
        readable = pc.invert(pc.is_in(media.rows["sample_id"], pa.array(list(failures), pa.string())))
        self._labels[split] = np.where(readable.to_numpy(), labels, -1)
        return self._labels[split]

    def labeled_ids(self, split: str) -> pa.Array:
        """The ids of the samples of a target split that have a label and can be read, string (M,)."""
        ids = self.table(split).rows["sample_id"].combine_chunks().cast(pa.string())
        return ids.filter(pa.array(self.target_labels(split) >= 0))

    def _failures(self, split: str) -> dict[str, str]:
        """`sample_id` → reason of the target samples that cannot be read.

        What once could not be is tried again, unless something was trained without it.
        """
        final = self.is_settled and self.run.leave_out_unreadable
        if self.run.decode_once:
            self.table(split)
            failures = DecodedMedia(self._decoded_folder(split)).failures()
            return failures if final or not failures else self._decode_again(split, failures)
        # What is to be left out must be known for certain; else a look that costs less will do.
        thorough = self.run.leave_out_unreadable
        kind = "-decoded" if thorough else ""
        stored = self.out / f"{split}-{self.fingerprint[:12]}{kind}.json"
        if stored.exists():
            failures = dict(json.loads(stored.read_text(encoding="utf-8")))
            if final or not failures:
                return failures
            failures = self.table(split).failures(thorough=True, among=failures)
        else:
            failures = self.table(split).failures(thorough=thorough)
        _log.info("%s: %d of %d samples cannot be read", split, len(failures), len(self.table(split)))
        write_json(stored, failures)
        return failures

    def _open(self, split: str) -> MediaTable:
        spool = None
        if "image" in self.manifest.columns:
            spool = self.out / f"{split}-{self.fingerprint[:12]}.arrow"
        reader = CachedReader(self.domain, self.run.cache_bytes)
        return MediaTable.from_manifest(self.manifest.filter(split=split), reader, spool=spool)

    def _decoded_folder(self, split: str) -> Path:
        return self.out / "media" / split

    def _decode(self, split: str) -> MediaTable:
        manifest, folder = self.manifest.filter(split=split), self._decoded_folder(split)
        summary = decode_manifest(
            manifest,
            self.domain,
            folder,
            made_by={"manifest": self.fingerprint, "domain": self.domain.options()},
            num_workers=self.run.num_workers,
            replace=not self.is_settled,
        )
        _log.info("%s: %s", folder, summary)
        return MediaTable.from_manifest(manifest, DecodedMedia(folder))

    def _decode_again(self, split: str, failures: Collection[str]) -> dict[str, str]:
        """Decode the shards again that hold samples which could not be read and now can be."""
        folder = self._decoded_folder(split)
        mended = set().union(*distributed.gather(self._mended(split, failures)))
        if mended:
            if distributed.rank() == 0:
                DecodedMedia(folder).forget(mended)
            distributed.wait_for_all()
            self._media[split] = self._decode(split)
        return DecodedMedia(folder).failures()

    def _mended(self, split: str, failures: Collection[str]) -> set[str]:
        manifest, wanted = self.manifest.filter(split=split), pa.array(failures, pa.string())
        columns = [name for name in MEDIA_COLUMNS if name in manifest.columns]
        mended = set()
        for batch in manifest.batches(columns):
            rows = batch.filter(pc.is_in(batch["sample_id"], wanted)).to_pylist()
            media = self.domain.read_many(rows)
            mended |= {
                row["sample_id"]
                for row, entry in zip(rows, media, strict=True)
                if not isinstance(entry, MediaError)
            }
        return mended
