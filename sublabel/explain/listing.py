"""What was explained, as JSON beside the pictures; `sublabel report` shows it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, TypeAdapter

from sublabel.errors import ArtifactError
from sublabel.files import write_json

if TYPE_CHECKING:
    from sublabel.explain.query import ExplainQuery

PICTURES = "explanations"
"""The folder in a study's own that the pictures lie in, if no other is given."""
LISTING = "explanations.json"


class PanelInfo(BaseModel):
    """One overlay: the heat of a class of a model."""

    model_config = ConfigDict(frozen=True)

    model: str
    label: str
    probability: float
    """What the model gives the class on this sample, 0–1."""
    is_blank: bool = False
    """Whether nothing speaks for the class, so that the overlay is the picture itself."""


class Explanation(BaseModel):
    """One example and its overlays."""

    model_config = ConfigDict(frozen=True)

    group: str
    sample_id: str
    split: str
    panels: tuple[PanelInfo, ...]
    """Its overlays in the order in which the picture shows them, after the original."""
    files: tuple[str, ...]
    """Names in the folder: the picture, and of clips the animations."""
    available: int
    """Samples of the group, of which some were looked at."""
    unreadable: dict[str, int] = {}
    """Why → how many of those looked at could not be read."""


def write_listing(out: Path, query: ExplainQuery, explanations: Sequence[Explanation]) -> Path:
    """Write `explanations.json` beside the pictures.

    Args:
        out: The folder of the pictures.
        query: What was asked.
        explanations: What was found, in the order to show it.

    Returns:
        The file.
    """
    content = {
        "query": query.model_dump(mode="json"),
        "explanations": [explanation.model_dump(mode="json") for explanation in explanations],
    }
    write_json(out / LISTING, content)
    return out / LISTING


def read_listing(folder: Path) -> tuple[Explanation, ...]:
    """Read what was explained into a folder.

    Args:
        folder: What `sublabel explain` wrote.

    Raises:
        ArtifactError: There is no list of explanations, or it is damaged.
    """
    path = folder / LISTING
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(tuple[Explanation, ...]).validate_python(content["explanations"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path} is no list of explanations ({type(error).__name__}): give a folder that "
            "`sublabel explain` wrote"
        ) from error
