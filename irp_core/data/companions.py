"""Files that lie beside images and are none of the set: their masks, their thumbnails, contact sheets of the folder."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from irp_core.data.layouts.names import masked_stem
from irp_core.data.look import Figures

__all__ = ["Companion", "companions"]

_SMALL_NAME = "(?:thumb(?:nail)?|tn|small|preview)"
_THUMBNAIL = re.compile(rf"^{_SMALL_NAME}[ _.-]+(.+)$|^(.+?)[ _.-]+{_SMALL_NAME}$", re.IGNORECASE)
_SHEET = re.compile(
    r"(?:^|[ _.-])(?:contact[ _-]?sheet|index|montage|overview|collage|mosaic|gallery)(?:[ _.-]|\d|$)", re.IGNORECASE
)
_SMALL = 0.25  # of the area of its image, or of the usual image: a thumbnail has less


@dataclass(frozen=True)
class Companion:
    """Why a file is no image of the set; `mask_of` is the image whose mask it is, None for what is no mask."""

    reason: str
    mask_of: str | None = None


def companions(found: Mapping[str, Figures]) -> dict[str, Companion]:
    """The companions among the images `found`, each with the reason.

    A mask has an image of its own name beside it, with another ending or without the mask's suffix (`x.jpg` and
    `x.png`, `x_mask.png` or `x_GT.png`); in the first case it must be nearly black and white, and its image not. A
    thumbnail or a contact sheet is called so, and of another size.
    """
    by_stem: dict[tuple[str, str], list[str]] = {}
    for image in found:
        path = PurePosixPath(image)
        by_stem.setdefault((str(path.parent), path.stem), []).append(image)
    if not found:
        return {}
    usual = float(np.median([facts.width * facts.height for facts in found.values()]))
    ((size, shared),) = Counter((facts.width, facts.height) for facts in found.values()).most_common(1)
    result: dict[str, Companion] = {}
    for image, facts in found.items():
        path = PurePosixPath(image)
        here = str(path.parent)
        masked = masked_stem(path.stem)
        if masked and (partners := by_stem.get((here, masked))):
            result[image] = Companion(f"the mask of {partners[0]}", partners[0])
            continue
        twins = [other for other in by_stem[here, path.stem] if other != image and not found[other].near_binary]
        if facts.near_binary and twins:
            result[image] = Companion(f"the mask of {twins[0]}: nearly black and white, of the same name", twins[0])
            continue
        area = facts.width * facts.height
        if named := _THUMBNAIL.match(path.stem):
            partners = by_stem.get((here, named.group(1) or named.group(2)), [])
            of = min((found[other].width * found[other].height for other in partners), default=usual)
            if area < _SMALL * of:
                result[image] = Companion(f"a thumbnail ({facts.width} x {facts.height} pixels)")
        elif _SHEET.search(path.stem) and (facts.width, facts.height) != size and 2 * shared >= len(found):
            result[image] = Companion(f"a contact sheet by its name ({facts.width} x {facts.height} pixels)")
    return result
