"""The health of images: what a dusty lens, a lamp that ages or a camera out of focus does to them, in plain figures.

Computed of the image as it is resized for the detector, so that figures of images of different sizes compare.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, stats

from irp_core.monitoring.drift import P_VALUE
from irp_core.monitoring.repeats import repeated

__all__ = ["MEASURES", "health", "health_drift"]

MEASURES = ("brightness", "contrast", "sharpness", "saturation", "white", "black")
_SMALLEST = {"white": 0.02, "black": 0.02}
_REPEATS = 0.1
_RELATIVE = 0.1
"""Changes that are told of: of the median by a tenth, of shares of clipped pixels by two in a hundred, and a tenth more
of the images that repeat one before. Below, a change may be significant and is of no consequence."""


def health(image: Image.Image) -> dict[str, float]:
    """The `MEASURES` of an RGB image.

    brightness, contrast: mean and standard deviation of the luma, as shares of white; sharpness: standard deviation of
    its Laplacian over its standard deviation, which neither light nor contrast changes; saturation: mean of HSV's;
    white, black: share of pixels whose luma is clipped.

    Example:
        >>> health(Image.new("RGB", (8, 8), (51, 51, 51)))["brightness"]
        0.2
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32) / np.float32(255.0)
    luma = (pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.float64)
    highest, lowest = pixels.max(axis=2), pixels.min(axis=2)
    contrast = float(luma.std())
    return {
        "brightness": round(float(luma.mean()), 6),
        "contrast": round(contrast, 6),
        "sharpness": round(float(ndimage.laplace(luma).std()) / max(contrast, 1 / 255), 6),
        "saturation": round(float(((highest - lowest) / np.maximum(highest, 1 / 255)).mean()), 6),
        "white": round(float((luma > 254 / 255).mean()), 6),
        "black": round(float((luma < 1 / 255).mean()), 6),
    }


def health_drift(reference: pd.DataFrame, new: pd.DataFrame, *, p_value: float = P_VALUE) -> pd.DataFrame:
    """What changed in the images, the largest change first: `measure, before, now, change, p, says`.

    A measure is in the table where the two-sample Kolmogorov-Smirnov test finds a difference, all together at `p_value`
    (Bonferroni), and the median moved by a tenth or more; `difference` where many more images repeat one before them.

    Args:
        reference, new: the `MEASURES` of images, a row each, in their order; and `difference`, where it is known: how
            different each is from those just before it (`irp_core.monitoring.repeats`).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> bright, dark = (pd.DataFrame({name: rng.normal(m, 0.01, 100) for name in MEASURES}) for m in (0.5, 0.5))
        >>> dark["brightness"] *= 0.7
        >>> health_drift(bright, dark)["says"].tolist()
        ['30 % darker']
    """
    rows = []
    for measure in MEASURES:
        before, now = (table[measure].dropna().to_numpy(np.float64) for table in (reference, new))
        if not len(before) or not len(now):
            continue
        p = float(stats.ks_2samp(before, now, method="asymp").pvalue)
        at_first, at_last = float(np.median(before)), float(np.median(now))
        change = at_last - at_first
        relative = change / max(abs(at_first), 1e-6)
        of_consequence = abs(change) >= _SMALLEST[measure] if measure in _SMALLEST else abs(relative) >= _RELATIVE
        if p < p_value / (len(MEASURES) + 1) and of_consequence:
            said = _says(measure, relative, before, now)
            rows.append(
                {"measure": measure, "before": at_first, "now": at_last, "change": relative, "p": p, "says": said}
            )
    rows += _repeats(reference, new, p_value / (len(MEASURES) + 1))
    found = pd.DataFrame(rows, columns=["measure", "before", "now", "change", "p", "says"])
    return found.sort_values("change", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def _repeats(reference: pd.DataFrame, new: pd.DataFrame, p_value: float) -> list[dict[str, Any]]:
    """A row where more images than before repeat one that came just before them."""
    values = [
        table.get("difference", pd.Series(dtype=float)).dropna().to_numpy(np.float64) for table in (reference, new)
    ]
    if not all(map(len, values)):
        return []
    before, now, p = repeated(*values)
    if p >= p_value or now - before < _REPEATS:
        return []
    said = f"{100 * now:.0f} % of the images repeat one just before, at commissioning {100 * before:.0f} %"
    return [{"measure": "difference", "before": before, "now": now, "change": now - before, "p": p, "says": said}]


def _says(measure: str, relative: float, before: NDArray[np.float64], now: NDArray[np.float64]) -> str:
    share = f"{100 * abs(relative):.0f} %"
    if measure in ("white", "black"):
        at_first, at_last = 100 * np.median(before), 100 * np.median(now)
        return f"{at_last:.0f} % of the pixels are clipped to {measure}, before {at_first:.0f} %"
    more, less = {
        "brightness": ("{} brighter", "{} darker"),
        "contrast": ("{} more contrast", "{} less contrast"),
        "sharpness": ("{} sharper", "{} less sharp: out of focus, moved, or a dirty lens"),
        "saturation": ("{} more colourful", "{} paler"),
    }[measure]
    return (more if relative > 0 else less).format(share)
