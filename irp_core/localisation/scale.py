"""Maps of the view from a detector's cells, and the scale that all maps of a model share.

A map is the detector's score per cell, enlarged to the view and smoothed. Everything that is shown, compared with a
threshold or measured is this map.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, FiniteFloat, model_validator
from scipy import ndimage

from irp_core.statistics.operating_point import operating_point

__all__ = ["Cells", "MapScale", "map_scale", "view_map"]

_FROM = 0.9  # quantile of the kept images' cells from which on a map is coloured
_SMOOTH = 1 / 64  # of the view's side: standard deviation of the smoothing (PaDiM: 4 of 224 pixels)
Cells = NDArray[np.float32]


class MapScale(BaseModel):
    """What the maps of one model are held against: the same for every image, from the kept training images alone.

    Attributes:
        low: below it nothing is coloured.
        threshold: what exceeds it is marked; the share `false_alarm_rate` of new good images has a marked spot.
        high: from it on the colour stays the same; as far above the threshold as `low` is below.
        images: kept images that it was taken from, each scored without having trained.
        basis: see `irp_core.statistics.operating_point.OperatingPoint`.
    """

    model_config = ConfigDict(frozen=True)

    low: FiniteFloat
    threshold: FiniteFloat
    high: FiniteFloat
    false_alarm_rate: float
    images: int
    basis: str

    @model_validator(mode="after")
    def _in_order(self) -> MapScale:
        if not 0.0 < self.low < self.threshold < self.high:
            raise ValueError(
                f"a scale of maps expects 0 < low < threshold < high. Got {self.low}, {self.threshold}, {self.high}."
            )
        return self


def view_map(cells: Cells, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Cells (rows, columns) enlarged (bilinear) to a view of `shape` (height, width), and smoothed.

    Example:
        >>> view_map(np.full((4, 4), 2.0, dtype=np.float32), (64, 64)).shape
        (64, 64)
    """
    height, width = shape
    enlarged = np.asarray(
        Image.fromarray(np.ascontiguousarray(cells, dtype=np.float32)).resize(
            (width, height), Image.Resampling.BILINEAR
        )
    )
    smoothed: NDArray[np.float32] = ndimage.gaussian_filter(
        enlarged, [_SMOOTH * height, _SMOOTH * width], mode="nearest", truncate=3.0
    )
    return smoothed


def map_scale(cells: Cells, shape: tuple[int, int], false_alarm_rate: float) -> MapScale:
    """The scale of a model's maps.

    Args:
        cells: out-of-fold cells (n, rows, columns) of the kept images.
        shape: (height, width) of the view.
        false_alarm_rate: share of new good images of which some spot may exceed the threshold.

    Example:
        >>> cells = np.random.default_rng(0).gamma(20.0, size=(99, 8, 8)).astype(np.float32)
        >>> scale = map_scale(cells, (64, 64), 0.05)
        >>> above = [float(view_map(one, (64, 64)).max()) > scale.threshold for one in cells]
        >>> scale.low < scale.threshold < scale.high, sum(above)
        (True, 4)
    """
    highest, lows = [], []
    for one in cells:  # one map at a time: a large set's would not fit into memory
        view = view_map(one, shape)
        highest.append(view.max())
        lows.append(np.quantile(view, _FROM))
    point = operating_point(np.array(highest, dtype=np.float64), false_alarm_rate)
    low = float(np.mean(lows))
    # Images that are all the same have one value everywhere.
    threshold = max(point.threshold, low * (1.0 + 1e-6))
    return MapScale(
        low=low,
        threshold=threshold,
        high=2.0 * threshold - low,
        false_alarm_rate=false_alarm_rate,
        images=point.images,
        basis=point.basis,
    )
