"""Media of a manifest: what a medium must supply, how rows are read, and tables of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sublabel.media.decoded import DecodedMedia, decode_manifest
    from sublabel.media.domain import Domain, Preprocessing, domain_names, load_domain
    from sublabel.media.reader import MEDIA_COLUMNS, CachedReader, Reader
    from sublabel.media.shards import MediaRow, PassSummary, iter_shards
    from sublabel.media.table import MediaTable

_MODULES = {
    "decoded": ("DecodedMedia", "decode_manifest"),
    "domain": ("Domain", "Preprocessing", "domain_names", "load_domain"),
    "reader": ("MEDIA_COLUMNS", "CachedReader", "Reader"),
    "shards": ("MediaRow", "PassSummary", "iter_shards"),
    "table": ("MediaTable",),
}

__all__ = [
    "MEDIA_COLUMNS",
    "CachedReader",
    "DecodedMedia",
    "Domain",
    "MediaRow",
    "MediaTable",
    "PassSummary",
    "Preprocessing",
    "Reader",
    "decode_manifest",
    "domain_names",
    "iter_shards",
    "load_domain",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use (PEP 562): who looks for a domain needs no torch."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"sublabel.media.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
