"""Pictures of maps: overlays for people, and 16-bit maps for programs.

The colour says how far a spot is above what the kept training images show, on one scale for all images of a model. The
colours are those of `plasma`, whose lightness rises evenly: they are told apart with any kind of colour vision and
in print. What exceeds the threshold has an outline of white beside black, which shows on dark and bright parts alike.
"""

from __future__ import annotations

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from irp_core.localisation.geometry import Geometry
from irp_core.localisation.regions import Found
from irp_core.localisation.scale import MapScale

__all__ = ["LARGEST", "RAW_THRESHOLD", "colour_stops", "colours", "overlay", "raw_map"]

RAW_THRESHOLD = 1024
"""Value of a raw map where the score is the threshold; 0 is where the view shows nothing."""
LARGEST = 4096
"""Longest side of an overlay, in pixels."""
_STRIP = 256  # rows that are coloured at a time, which bounds memory
_SOLID = 0.72  # opacity of the colour at the upper end
_TABLE = (np.asarray(matplotlib.colormaps["plasma"](np.linspace(0.15, 1.0, 256)))[:, :3] * 255).round()


def colours(values: NDArray[np.float32], scale: MapScale) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colour (height, width, 3), 0 to 255, and opacity (height, width), 0 to 1, of scores (height, width)."""
    share = ((values - scale.low) / (scale.high - scale.low)).clip(0.0, 1.0)
    return _TABLE[(share * 255).round().astype(np.intp)], _SOLID * np.sqrt(share.astype(np.float64))


def colour_stops(count: int = 9) -> list[str]:
    """The colours from the lower end of the scale to the upper one, for the legend of a page.

    Example:
        >>> colour_stops(3)
        ['#5601a4', '#dc5d67', '#f0f921']
    """
    rows = _TABLE[np.linspace(0, len(_TABLE) - 1, count).round().astype(np.intp)].astype(int)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in rows]


def overlay(image: Image.Image, view: NDArray[np.float32], scale: MapScale, geometry: Geometry,
            found: Found, largest: int = LARGEST) -> Image.Image:  # fmt: skip
    """The upright image in grey with its map in colour, an outline around what exceeds the threshold and a rectangle
    around that; a cross where the map is highest if nothing does.

    As large as the image, at most `largest` pixels long.
    """
    factor = min(1.0, largest / max(image.size))
    values = geometry.to_image(view, factor)
    height, width = values.shape
    small = np.asarray(image if factor == 1.0 else image.resize((width, height), Image.Resampling.LANCZOS))
    mixed = np.empty((height, width, 3), dtype=np.uint8)
    for first in range(0, height, _STRIP):
        rows = slice(first, first + _STRIP)
        mixed[rows] = _coloured(small[rows], values[rows], scale)
    line = max(1, round(min(height, width) / 256))
    above = values > scale.threshold
    if above.any():
        outer = ndimage.binary_dilation(above, iterations=line)
        inner = ndimage.binary_erosion(above, iterations=line, border_value=1)
        mixed[outer & ~above] = 0
        mixed[above & ~inner] = 255
    picture = Image.fromarray(mixed)
    draw = ImageDraw.Draw(picture)
    for region in found.regions:
        left, top, right, bottom = (round(side * factor) for side in region.box)
        margin = 4 * line
        box = (max(0, left - margin), max(0, top - margin),
               min(width - 1, right + margin), min(height - 1, bottom + margin))  # fmt: skip
        draw.rectangle(box, outline=(0, 0, 0), width=2 * line)
        draw.rectangle(box, outline=(255, 255, 255), width=line)
    if not found.regions:
        x, y, arm = found.peak[0] * factor, found.peak[1] * factor, 5 * line
        for colour_, wide in (((0, 0, 0), 3 * line), ((255, 255, 255), line)):
            draw.line((x - arm, y, x + arm, y), fill=colour_, width=wide)
            draw.line((x, y - arm, x, y + arm), fill=colour_, width=wide)
    return picture


def _coloured(pixels: NDArray[np.uint8], values: NDArray[np.float32], scale: MapScale) -> NDArray[np.uint8]:
    # Not more grey than the eye needs to see colours that are the map's: a third of the image's own is left.
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    base = grey[..., None] + (pixels - grey[..., None]) / 3.0
    colour, opacity = colours(values, scale)
    mixed = base * (1.0 - opacity[..., None]) + colour * opacity[..., None]
    coloured: NDArray[np.uint8] = mixed.clip(0, 255).round().astype(np.uint8)
    return coloured


def raw_map(view: NDArray[np.float32], scale: MapScale, geometry: Geometry) -> NDArray[np.uint16]:
    """The map over the upright image (height, width): 1024 times the score's ratio to the threshold, at most 65535; 0
    where the view shows nothing, 1 at least elsewhere.

    Example:
        >>> scale = MapScale(low=1.0, threshold=2.0, high=3.0, false_alarm_rate=0.05, images=9, basis="quantile")
        >>> raw_map(np.full((32, 32), 3.0, dtype=np.float32), scale, Geometry(50, 40, (32, 32)))[0, 0]
        np.uint16(1536)
    """
    values = geometry.to_image(view)
    raised = (values * np.float32(RAW_THRESHOLD / scale.threshold)).round().clip(1, 65535)
    return np.where(values > 0, raised, 0).astype(np.uint16)
