"""What is read of an image file, once: its digest, whether it can be read, and what the checks of the set need."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from irp_core.config import Images
from irp_core.errors import InputError
from irp_core.features.image_formats import decode_with_facts
from irp_core.packed.images import read_image

__all__ = ["THUMBNAIL", "Facts", "Figures", "Unreadable", "look"]

THUMBNAIL = 64  # pixels, side of the grey picture that near-copies are found by


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a readable image; `lowest`, `highest`, `white`, `bits` and `pages` as in `Decoded`.

    Attributes:
        near_binary: nearly every pixel is as dark as the darkest or as bright as the brightest, as in a mask.
    """

    md5: str
    width: int
    height: int
    near_binary: bool
    bits: int
    lowest: float
    highest: float
    white: float
    pages: int


@dataclass(frozen=True, slots=True)
class Facts(Figures):
    """All that is found in a readable image.

    Attributes:
        thumbnail: uint8 (THUMBNAIL, THUMBNAIL), grey.
    """

    thumbnail: NDArray[np.uint8]

    def figures(self) -> Figures:
        """Without the picture, which takes most of the memory."""
        return Figures(*(getattr(self, one.name) for one in fields(Figures)))


@dataclass(frozen=True)
class Unreadable:
    """Why a file cannot be used."""

    reason: str


def look(path: Path, images: Images) -> Facts | Unreadable:
    """Read a file once, to its last row: what is empty, truncated or foreign is found here, not in a run's middle."""
    try:
        content = read_image(path, images.max_bytes)
        decoded = decode_with_facts(content, images)
    except InputError as error:
        return Unreadable(str(error))
    grey = decoded.image.convert("L")
    side = (THUMBNAIL, THUMBNAIL)
    smaller = grey.width >= THUMBNAIL and grey.height >= THUMBNAIL
    small = grey.resize(side, Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR)
    return Facts(
        hashlib.md5(content, usedforsecurity=False).hexdigest(),
        grey.width,
        grey.height,
        _near_binary(np.array(grey.histogram())),
        decoded.bits,
        decoded.lowest,
        decoded.highest,
        decoded.white,
        decoded.pages,
        np.asarray(small),
    )


def _near_binary(counts: NDArray[np.int64]) -> bool:
    """Whether 98 % of the pixels are within an eighth of the range from its ends; counts (256,) of grey levels."""
    found = np.flatnonzero(counts)
    low, high = int(found[0]), int(found[-1])
    margin = (high - low) // 8
    at_ends = counts[low : low + margin + 1].sum() + counts[high - margin : high + 1].sum()
    return low == high or bool(at_ends >= 0.98 * counts.sum())
