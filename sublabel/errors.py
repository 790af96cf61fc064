"""The errors that sublabel raises on bad input, all under one root."""

from __future__ import annotations


class SublabelError(Exception):
    """Root of all errors that a user of sublabel can cause."""


class LabelError(SublabelError, ValueError):
    """Labels, vocabularies or label spaces that are malformed or do not belong together."""


class TableError(SublabelError, ValueError):
    """A manifest, predictions or relabeled table that cannot be read or lacks what is needed."""


class ArtifactError(SublabelError, ValueError):
    """Weights, model cards or fingerprints that are damaged or do not fit each other."""


class ConfigError(SublabelError, ValueError):
    """An option that is out of range or contradicts another."""


class MediaError(SublabelError, OSError):
    """Media that cannot be read; `reason` becomes the status of the sample's row in the predictions.

    Args:
        reason: Short, the same for every sample that fails in the same way, so that a summary can count it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
