"""From the network's view of an image back to the image: crop, aspect, and the orientation that its file notes.

Three frames: the file's pixels as they are stored, the upright image that people see and the network is shown, and the
view (height, width) that `irp_core.features.images.resized` makes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from irp_core.features.images import center_box

__all__ = ["NORMAL", "ORIENTATION", "Geometry", "as_stored", "mask_in_view"]

ORIENTATION = 0x0112
"""The EXIF tag."""
NORMAL = 1
_STORED: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {  # upright → stored: what ImageOps.exif_transpose undoes
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}


@dataclass(frozen=True)
class Geometry:
    """How a view lies in an upright image.

    Attributes:
        width, height: of the upright image, in pixels.
        shape: (height, width) of the view.
        crop: `images.crop`.

    Example:
        >>> Geometry(640, 480, (256, 256), "center").box
        (80, 0, 560, 480)
    """

    width: int
    height: int
    shape: tuple[int, int]
    crop: str = "none"

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) of the part of the image that the view shows."""
        return center_box(self.width, self.height) if self.crop == "center" else (0, 0, self.width, self.height)

    def to_image(self, view: NDArray[np.float32], scale: float = 1.0) -> NDArray[np.float32]:
        """A map of the view (rows, columns) over the image (height, width); 0 where the view shows nothing.

        Args:
            scale: of the image: below 1 the map of a smaller copy of it.
        """
        height, width = max(1, round(self.height * scale)), max(1, round(self.width * scale))
        left, top, right, bottom = self.box
        left, right = round(left * width / self.width), round(right * width / self.width)
        top, bottom = round(top * height / self.height), round(bottom * height / self.height)
        found = np.zeros((height, width), dtype=np.float32)
        right, bottom = max(right, left + 1), max(bottom, top + 1)
        shown = Image.fromarray(np.ascontiguousarray(view, dtype=np.float32)).resize(
            (right - left, bottom - top), Image.Resampling.BILINEAR
        )
        found[top:bottom, left:right] = np.asarray(shown)
        return found

    def point(self, row: float, column: float) -> tuple[float, float]:
        """(x, y) in the image, in pixels, of the centre of a pixel of the view."""
        left, top, right, bottom = self.box
        rows, columns = self.shape
        x = left + (column + 0.5) * (right - left) / columns
        y = top + (row + 0.5) * (bottom - top) / rows
        return min(x, self.width - 0.5), min(y, self.height - 0.5)

    def rectangle(self, rows: slice, columns: slice) -> tuple[int, int, int, int]:
        """(left, top, right, bottom) in whole pixels of the image around rows and columns of the view."""
        left, top, right, bottom = self.box
        across, down = (right - left) / self.shape[1], (bottom - top) / self.shape[0]
        return (
            left + int(np.floor(columns.start * across)),
            top + int(np.floor(rows.start * down)),
            min(right, left + int(np.ceil(columns.stop * across))),
            min(bottom, top + int(np.ceil(rows.stop * down))),
        )


def as_stored(upright: NDArray[Any], orientation: int) -> NDArray[Any]:
    """An array over the upright image (height, width, ...) in the order of the file's own pixels.

    Args:
        orientation: the file's EXIF orientation; what is none counts as 1.

    Example:
        >>> as_stored(np.array([[1, 2, 3], [4, 5, 6]]), 6)
        array([[3, 6],
               [2, 5],
               [1, 4]])
    """
    return _STORED.get(orientation, _STORED[NORMAL])(upright)


def mask_in_view(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.bool_]:
    """A mask over the upright image as the view shows it (nearest pixel): what is smaller than a pixel may vanish.

    Raises:
        ValueError: a mask of another size than the image's.
    """
    if mask.shape != (geometry.height, geometry.width):
        raise ValueError(f"mask_in_view expects a mask of {(geometry.height, geometry.width)}. Got {mask.shape}.")
    left, top, right, bottom = geometry.box
    shown = Image.fromarray(mask[top:bottom, left:right].astype(np.uint8))
    rows, columns = geometry.shape
    return np.asarray(shown.resize((columns, rows), Image.Resampling.NEAREST)).astype(bool)
