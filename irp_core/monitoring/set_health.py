"""What the images of a set are like, and which of them are unlike the rest: said once, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from irp_core.monitoring.health import MEASURES

__all__ = ["HEALTH_COLUMNS", "noted_oddities", "summary_of"]

HEALTH_COLUMNS = ("image_id", "md5", "width", "height", *MEASURES, "odd")
"""The columns of a set's health: a row per image; `odd` says in which respects it is unlike the rest."""

_FAR = 6.0  # standard deviations, robust: of normal values two in a thousand million lie beyond
_RELATIVE = 0.25  # of the median: nearer to it, an image may be far from the rest and looks like them
_ABSOLUTE = {"white": 0.05, "black": 0.05}  # shares of pixels
_WORDS = {
    "brightness": ("darker", "brighter"),
    "contrast": ("less contrast", "more contrast"),
    "sharpness": ("blurred", "sharper"),
    "saturation": ("paler", "more colourful"),
    "white": ("fewer white pixels", "overexposed"),
    "black": ("fewer black pixels", "underexposed"),
}


def noted_oddities(table: pd.DataFrame) -> pd.DataFrame:
    """The table with `odd`: how each image is unlike the others, in words; empty where it is like them.

    Args:
        table: the columns of `HEALTH_COLUMNS` but the last.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> of = {name: rng.normal(0.5, 0.01, 50) for name in MEASURES}
        >>> of["brightness"][7] = 0.1
        >>> table = pd.DataFrame({"image_id": range(50), "md5": "", "width": 64, "height": 48, **of})
        >>> table.loc[9, "height"] = 64
        >>> noted = noted_oddities(table)["odd"]
        >>> noted[noted != ""].to_dict()
        {7: 'darker', 9: '64 x 64'}
    """
    said: list[list[str]] = [[] for _ in range(len(table))]
    for measure, (less, more) in _WORDS.items():
        far = _far(table[measure].to_numpy(np.float64), measure)
        for place in np.flatnonzero(far):
            said[place].append(less if far[place] < 0 else more)
    sizes = table["width"].astype(str) + " x " + table["height"].astype(str)
    counts = sizes.value_counts()
    if len(counts) > 1 and counts.iloc[0] > 0.5 * len(table):  # most have one size: the others are odd
        for place in np.flatnonzero(sizes.to_numpy() != counts.index[0]):
            said[place].append(str(sizes.iloc[place]))
    return table.assign(odd=["; ".join(one) for one in said])[list(HEALTH_COLUMNS)]


def summary_of(table: pd.DataFrame) -> list[Mapping[str, str | int]]:
    """A row per measure, as it is read at a glance: `measure`, `low`, `median`, `high` (5 %, 50 %, 95 %) and `odd`, the
    number of images that are unlike the others in it."""
    rows: list[Mapping[str, str | int]] = []
    for measure in MEASURES:
        values = table[measure].to_numpy(np.float64)
        low, middle, high = (f"{value:.2f}" for value in np.quantile(values, (0.05, 0.5, 0.95)))
        odd = int(np.count_nonzero(_far(values, measure)))
        rows.append({"measure": measure, "low": low, "median": middle, "high": high, "odd": odd})
    return rows


def _far(values: NDArray[np.float64], measure: str) -> NDArray[np.int_]:
    """-1, 0 or 1 (n,): far below the others, like them, far above."""
    middle = float(np.median(values))
    spread = 1.4826 * float(np.median(np.abs(values - middle)))
    least = _ABSOLUTE.get(measure, _RELATIVE * abs(middle))
    apart = values - middle
    return np.where(np.abs(apart) > np.maximum(_FAR * spread, max(least, 0.01)), np.sign(apart), 0).astype(int)
