"""The same small cases counted and looked up as large vocabularies are: sparse, in tiny blocks and chunks."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from sublabel.labels import _arrays, _sums, alignment, cell_space

REGIMES = ("dense", "sparse")


@contextmanager
def regime(name):
    with ExitStack() as stack:
        # Chunks of a few samples, so that a small case has several.
        for module, constant, value in ((_arrays, "CHUNK", 7), (_sums, "CHUNK", 7)):
            stack.enter_context(patch.object(module, constant, value))
        if name == "sparse":
            for module, constant, value in (
                (_sums, "DENSE_CELLS", 0),
                (cell_space, "DENSE_CELLS", 0),
                (alignment, "DENSE_CELLS", 0),
                (_sums, "BLOCK", 9),
                (cell_space, "LISTED_CHUNK", 7),
            ):
                stack.enter_context(patch.object(module, constant, value))
        yield
