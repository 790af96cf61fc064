"""The image of a manifest row: bytes in the table, a local file, or any URL that fsspec opens."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import fsspec
import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from sublabel.errors import MediaError


def read_image(row: Mapping[str, Any]) -> Tensor:
    """Decode one image to RGB, upright as its EXIF orientation says.

    Args:
        row: A manifest row with `image` (bytes), or else `uri` (path or fsspec URL).

    Returns:
        uint8 (3, H, W).

    Raises:
        MediaError: There is no such image ("missing: …"), or Pillow cannot read it ("unreadable: …").
    """
    data = row.get("image")
    if data is None:
        data = _fetch(row.get("uri"))
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.array(_upright_rgb(image))
    except UnidentifiedImageError as error:
        raise MediaError("unreadable: not an image, or of a format that Pillow does not know") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"unreadable: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _fetch(uri: str | None) -> bytes:
    if not uri:
        raise MediaError("missing: the row has neither image bytes nor a uri")
    try:
        with fsspec.open(uri, "rb") as file:
            data: bytes = file.read()
            return data
    except FileNotFoundError as error:
        raise MediaError("missing: no such file") from error
    except (OSError, ValueError, ImportError) as error:
        raise MediaError(f"missing: {type(error).__name__} on opening the uri") from error


def _upright_rgb(image: Image.Image) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode == "P" or "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA", "PA"):
        # Flatten on white: dropping the alpha channel would show whatever colour lies under it.
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("RGB")


def image_bytes(pixels: np.ndarray) -> bytes:
    """Encode pixels, uint8 (H, W) or (H, W, 3), as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
