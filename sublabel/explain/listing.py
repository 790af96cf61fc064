"""What was explained, as JSON and as a page that opens from disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, TypeAdapter

from sublabel.errors import ArtifactError
from sublabel.files import write_atomically

if TYPE_CHECKING:
    from sublabel.explain.query import ExplainQuery

PICTURES = "explanations"
"""The folder in a study's own that the pictures lie in, if no other is given."""
LISTING = "explanations.json"
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 1.5rem auto; max-width: 84rem; padding: 0 1rem; }
h2 { margin: 2rem 0 .5rem; }
figure { margin: 0 0 1.5rem; overflow-wrap: anywhere; }
img, video { max-width: 100%; height: auto; display: block; margin-bottom: .4rem; }
figcaption ol { margin: .2rem 0; padding-left: 1.4rem; }
.quiet { opacity: .75; }
"""
BLANK = "; nothing speaks for it"


class PanelInfo(BaseModel):
    """One overlay."""

    model_config = ConfigDict(frozen=True)

    model: str
    label: str
    probability: float
    """That the model gives the class on this sample."""
    is_blank: bool = False
    """Whether nothing speaks for the class, so that the overlay is the picture itself."""


class Explanation(BaseModel):
    """One example and its overlays."""

    model_config = ConfigDict(frozen=True)

    group: str
    sample_id: str
    split: str
    panels: tuple[PanelInfo, ...]
    """In the order in which the pictures show them, after the original."""
    files: tuple[str, ...]
    """In the folder: the picture, and of clips the animations."""
    available: int
    """Samples of the group, of which some were looked at."""
    unreadable: dict[str, int] = {}
    """Why → how many of those could not be read."""


def write_listing(out: Path, query: ExplainQuery, explanations: Sequence[Explanation]) -> None:
    """Write `explanations.json` and `index.html` beside the pictures."""
    content = {
        "query": query.model_dump(mode="json"),
        "explanations": [explanation.model_dump(mode="json") for explanation in explanations],
    }
    with write_atomically(out / LISTING) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())
    with write_atomically(out / "index.html") as file:
        file.write(_page(query, explanations).encode())


def read_listing(folder: Path) -> tuple[Explanation, ...]:
    """Read what was explained into this folder.

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


def _page(query: ExplainQuery, explanations: Sequence[Explanation]) -> str:
    sections = [
        f"<section><h2>{_text(title)}</h2>{''.join(map(_figure, members))}</section>"
        for title, members in groupby(explanations, key=lambda entry: entry.group)
    ]
    models = " versus ".join(_text(name) for name in (query.model, query.versus) if name is not None)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Grad-CAM: {models}</title><style>{STYLE}</style></head><body>"
        f"<h1>What the classes look at</h1><p>Grad-CAM of {models}. Each picture shows the input, then, in "
        "the order of the list below it, the places that speak for a class: yellow most, violet little, "
        "uncoloured not at all. Heat is relative to the maximum of each overlay.</p>"
        f"{''.join(sections)}</body></html>\n"
    )


def _figure(entry: Explanation) -> str:
    panels = [
        f"<li><strong>{_text(panel.label)}</strong> of {_text(panel.model)}, probability "
        f"{panel.probability:.1%}{BLANK if panel.is_blank else ''}</li>"
        for panel in entry.panels
    ]
    classes = ", ".join(panel.label for panel in entry.panels)
    media = f'<img src="{entry.files[0]}" alt="{_text(f"{entry.sample_id}: original, then {classes}")}">'
    for file in entry.files[1:]:
        if file.endswith(".mp4"):
            media += f'<video src="{file}" controls loop muted autoplay playsinline></video>'
        else:
            media += (
                f'<p class="quiet"><a href="{file}">The same as {file.rpartition(".")[2].upper()}</a></p>'
            )
    unreadable = sum(entry.unreadable.values())
    missing = f", {unreadable:,} that were looked at could not be read" if unreadable else ""
    return (
        f"<figure>{media}<figcaption><bdi>{_text(entry.sample_id)}</bdi>"
        f'<ol>{"".join(panels)}</ol><span class="quiet">one of {entry.available:,} samples of {entry.split}'
        f"{missing}</span></figcaption></figure>"
    )


def _text(name: str) -> str:
    return escape(name)
