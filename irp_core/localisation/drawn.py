"""An image with its map, from the image's bytes: the one way in which files, services and pages draw it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from irp_core.config import Images
from irp_core.features.image_formats import decode, orientation_of
from irp_core.localisation.geometry import NORMAL, ORIENTATION, Geometry, as_stored
from irp_core.localisation.regions import Found, find_regions
from irp_core.localisation.rendering import LARGEST, overlay, raw_map
from irp_core.localisation.scale import MapScale

__all__ = ["Drawn", "drawn"]


@dataclass(frozen=True, eq=False)
class Drawn:
    """An upright image, its map (height, width) of the view, and what of it exceeds the threshold."""

    image: Image.Image
    view: NDArray[np.float32]
    scale: MapScale
    geometry: Geometry
    orientation: int
    found: Found

    def overlay(self, largest: int = LARGEST) -> Image.Image:
        """See `irp_core.localisation.rendering.overlay`."""
        return overlay(self.image, self.view, self.scale, self.geometry, self.found, largest)

    def overlay_png(self) -> bytes:
        """The overlay as a file: upright, as people see the image."""
        buffer = io.BytesIO()
        self.overlay().save(buffer, "PNG")
        return buffer.getvalue()

    def raw_png(self) -> bytes:
        """The 16-bit map as a file: the pixels of the image's file, one for one, and its EXIF orientation."""
        stored = np.ascontiguousarray(as_stored(raw_map(self.view, self.scale, self.geometry), self.orientation))
        exif = Image.Exif()
        if self.orientation != NORMAL:
            exif[ORIENTATION] = self.orientation
        buffer = io.BytesIO()
        Image.fromarray(stored).save(buffer, "PNG", exif=exif)
        return buffer.getvalue()

    def says(self) -> dict[str, Any]:
        """`score`, `threshold`, where it is highest (`x`, `y`) and `boxes`: see `irp_core.localisation.writing`."""
        return {
            "score": self.found.score,
            "threshold": self.scale.threshold,
            "x": self.found.peak[0],
            "y": self.found.peak[1],
            "boxes": [list(region.box) for region in self.found.regions],
        }


def drawn(content: bytes | NDArray[np.uint8], view: NDArray[np.float32], scale: MapScale, images: Images) -> Drawn:
    """An image, given as the bytes of its file or as pixels (height, width[, 3]), with its map.

    Args:
        images: how an image is read, cropped and resized.

    Raises:
        InputError: no image that is read.

    Example:
        >>> buffer = io.BytesIO()
        >>> Image.new("RGB", (80, 40)).save(buffer, "PNG")
        >>> view = np.ones((256, 256), dtype=np.float32)
        >>> view[:128, :128] = 9.0
        >>> scale = MapScale(low=1.0, threshold=2.0, high=3.0, false_alarm_rate=0.05, images=9, basis="quantile")
        >>> found = drawn(buffer.getvalue(), view, scale, Images())
        >>> found.says()["boxes"], found.overlay().size, found.overlay(largest=20).size
        ([[0, 0, 40, 20]], (80, 40), (20, 10))
    """
    if isinstance(content, bytes):
        image, orientation = decode(content, images), orientation_of(content)
    else:
        image, orientation = Image.fromarray(content).convert("RGB"), NORMAL
    geometry = Geometry(image.width, image.height, images.shape, images.crop)
    return Drawn(image, view, scale, geometry, orientation, find_regions(view, scale.threshold, geometry))
