"""What the files of a set tell before anything is trained on it: what is odd, and at which size to read them.

Both are said, and left to a person.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from irp_core.config import Images
from irp_core.data.look import Figures
from irp_core.features.images import shape_at

__all__ = ["Size", "recommended_size", "set_notes"]

_SLIVER = 1 / 2  # of the range of more than 8 bits: a camera of fewer bits stores as many as fit
_DARK = 1 / 8  # of the range of 8 bits
Size = int | tuple[int, int]
"""`images.size`: a side, or (height, width)."""
_LARGE, _USUAL = 384, 256  # pixels: the side at which cells are made, and the default's
_STRIP = 3 / 2  # longer by as much as that, an image is no longer as good as square
_ONE_SHAPE = 5 / 4  # how far the shapes of nine in ten images may be apart to be called one
_ODD = 9  # times smaller or larger in area than the size that most images have


def set_notes(found: Mapping[str, Figures], images: Images) -> list[tuple[str | None, str]]:
    """(image, or None for the set, what is odd about it), of the images that are read."""
    return [*_range(found, images), *_pages(found), *_sizes(found)]


def recommended_size(found: Mapping[str, Figures]) -> Size:
    """The `images.size` that suits a set's own sizes: its shape, where that is one and a strip's, else a square.

    As many pixels as a square of 384 has, the side at which cells are made, where most images have more than the
    default's 256: at 256 what is small in them would be gone. A strip that is resized to a square loses what is small
    on it.
    """
    heights = np.array([facts.height for facts in found.values()], dtype=np.float64)
    widths = np.array([facts.width for facts in found.values()], dtype=np.float64)
    side = _LARGE if np.median(heights * widths) > _USUAL**2 else _USUAL
    shapes = widths / heights
    low, middle, high = np.quantile(shapes, (0.05, 0.5, 0.95))
    if high / low > _ONE_SHAPE or 1 / _STRIP < middle < _STRIP:
        return side
    at = int(np.argmin(np.abs(shapes - middle)))
    height, width = shape_at((int(heights[at]), int(widths[at])), side)
    return min(height, 2048), min(width, 2048)


def _range(found: Mapping[str, Figures], images: Images) -> list[tuple[str | None, str]]:
    notes: list[tuple[str | None, str]] = []
    deep = [facts for facts in found.values() if facts.bits > 8]
    if deep and len(deep) < len(found):
        notes.append((None, f"{len(deep)} images have more than 8 bits, {len(found) - len(deep)} have 8"))
    for group, share in ((deep, _SLIVER), ([facts for facts in found.values() if facts.bits <= 8], _DARK)):
        if not group:
            continue
        highest = max(facts.highest for facts in group)
        white = group[0].white
        if highest < share * white:
            what = f"no value above {highest:g} of {white:g} occurs in {len(group)} images of {group[0].bits} bits"
            depth = max(8, int(highest).bit_length())
            advice = f": if the camera has {depth} bits, set images.range=[0, {2**depth - 1}]" if group is deep else ""
            notes.append((None, what + advice))
    if images.range is not None:
        black, white = images.range
        outside = [facts for facts in deep if facts.lowest < black or facts.highest > white]
        if outside:
            low, high = min(facts.lowest for facts in outside), max(facts.highest for facts in outside)
            clipped = f"values outside images.range ({low:g} to {high:g}) become black or white"
            notes.append((None, f"{len(outside)} of {len(found)} images: {clipped}"))
    return notes


def _pages(found: Mapping[str, Figures]) -> list[tuple[str | None, str]]:
    return [
        (image, f"{facts.pages} pages or frames, of which the first is read")
        for image, facts in found.items()
        if facts.pages > 1
    ]


def _sizes(found: Mapping[str, Figures]) -> list[tuple[str | None, str]]:
    """Images of another order of size, where most have one and the same."""
    if not found:
        return []
    ((width, height), shared), *_ = Counter((facts.width, facts.height) for facts in found.values()).most_common()
    if 2 * shared <= len(found):
        return []
    usual = width * height
    return [
        (image, f"{facts.width} x {facts.height} pixels, where most images have {width} x {height}")
        for image, facts in found.items()
        if not usual < facts.width * facts.height * _ODD < usual * _ODD**2
    ]
