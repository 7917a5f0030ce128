"""What of a map exceeds its threshold: places in the image, each with its rectangle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from irp_core.localisation.geometry import Geometry
from irp_core.localisation.pixel_metrics import components

__all__ = ["Found", "Region", "find_regions"]


@dataclass(frozen=True)
class Region:
    """A connected spot above the threshold: its rectangle (left, top, right, bottom) in pixels of the image, and its
    highest score."""

    box: tuple[int, int, int, int]
    score: float


@dataclass(frozen=True)
class Found:
    """What a map says: where it is highest (x, y, in pixels of the upright image), how high, and what exceeds its
    threshold, highest first."""

    peak: tuple[float, float]
    score: float
    regions: tuple[Region, ...]


def find_regions(view: NDArray[np.float32], threshold: float, geometry: Geometry) -> Found:
    """What a map of the view (height, width) shows.

    Example:
        >>> view = np.ones((4, 4), dtype=np.float32)
        >>> view[1, 2] = 5.0
        >>> found = find_regions(view, 2.0, Geometry(40, 80, (4, 4)))
        >>> found.peak, [region.box for region in found.regions]
        ((25.0, 30.0), [(20, 20, 30, 40)])
    """
    numbered, count = components(view > threshold)
    regions = [
        Region(geometry.rectangle(rows, columns), float(view[rows, columns].max()))
        for rows, columns in (ndimage.find_objects(numbered) if count else [])
    ]
    row, column = np.unravel_index(int(view.argmax()), view.shape)
    peak = geometry.point(float(row), float(column))
    return Found(peak, float(view.max()), tuple(sorted(regions, key=lambda region: -region.score)))
