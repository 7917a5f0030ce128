"""Near-duplicates in a stream: a camera that stands still, a trigger that fires twice, one part that is shown again.

Images of one line all look alike. So an image is held against those just before it, and how different that is against
what was usual at commissioning: two shots of one part differ by the sensor's noise alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

__all__ = ["BEFORE", "differences", "repeated", "small_picture"]

_SIDE = 32  # pixels
_USUAL = 0.05  # quantile of the differences at commissioning; half of it is a repetition
_LEAST = 1e-6  # `differences` rounds to it: images without any difference are repetitions whatever is usual
BEFORE = 16
"""Images that each one is held against."""


def small_picture(image: Image.Image) -> NDArray[np.uint8]:
    """What of an image is compared: grey, uint8 (32, 32), each pixel the mean of its part of the image."""
    return np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX))


def differences(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """How different each picture (side, side) is from the most similar one of the 16 before it (n,).

    The mean absolute difference of their pixels, as a share of white; NaN for the first.

    Example:
        >>> black, grey = (np.full((32, 32), value, dtype=np.uint8) for value in (0, 51))
        >>> differences([black, grey, black]).tolist()
        [nan, 0.2, 0.0]
    """
    found = np.full(len(pictures), np.nan)
    if len(pictures) < 2:
        return found
    stack = np.stack(pictures).reshape(len(pictures), -1).astype(np.float32)
    for place in range(1, len(stack)):
        apart = np.abs(stack[max(0, place - BEFORE) : place] - stack[place]).mean(axis=1)
        found[place] = round(float(apart.min()) / 255.0, 6)
    return found


def repeated(before: NDArray[np.float64], now: NDArray[np.float64]) -> tuple[float, float, float]:
    """(share of images at commissioning that repeat one just before, that share now, p of Fisher's exact test).

    An image repeats another where their difference is less than half of what all but a twentieth have at commissioning.

    Args:
        before, now: `differences` of both; not empty, without NaN.

    Example:
        >>> usual = np.linspace(0.02, 0.04, 100)
        >>> at_first, at_last, p = repeated(usual, np.where(np.arange(100) < 40, 0.001, usual))
        >>> at_first, at_last, p < 1e-9
        (0.0, 0.4, True)
    """
    limit = max(float(np.quantile(before, _USUAL)) / 2.0, _LEAST)
    counts = [[int((values < limit).sum()), int((values >= limit).sum())] for values in (before, now)]
    shares = [few / (few + many) for few, many in counts]
    return shares[0], shares[1], float(stats.fisher_exact(counts)[1])
