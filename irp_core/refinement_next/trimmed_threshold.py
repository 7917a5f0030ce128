"""The operating threshold where images were removed: the kept ones alone are a trimmed set, and promise too much.

What was removed holds good images, too, and they are the highest: a threshold from the kept images alone lies too
low, and new good images exceed it far more often than it says. So removed images count with the probability of being
good, and kept ones, of which some are defective, as well.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from irp_core.operating import OperatingPoint

__all__ = ["weighted_operating_point"]


def weighted_operating_point(
    scores: NDArray[np.float64], good: NDArray[np.float64], false_alarm_rate: float
) -> OperatingPoint:
    """The threshold that a new good image exceeds with probability `false_alarm_rate`.

    It is the weighted conformal quantile (Tibshirani, Barber, Candès and Ramdas, 2019): the smallest score above
    which, the new image included, no more than `false_alarm_rate` of the weight lies. With weights 0 and 1 it is
    `operating_point` of the good images. A rate that the weight cannot say (below 1 / (total + 1)) is extrapolated as
    there: a log-normal distribution with the weighted median and median absolute deviation, and never below the
    highest likely good score.

    Args:
        scores: (n,), positive: of the kept images out of fold, of the removed ones by detectors that did not
            train on them either.
        good: (n,) in [0, 1]: how likely each image is good.
        false_alarm_rate: in (0, 1).

    Returns:
        `images` is the total weight, rounded.

    Raises:
        ValueError: no weight at all, or values that are not finite or out of range.
    """
    finite = bool(np.isfinite(scores).all() and np.isfinite(good).all())
    if not finite or scores.shape != good.shape or (good < 0).any() or (good > 1).any() or good.sum() <= 0:
        raise ValueError(
            f"weighted_operating_point expects finite scores and as many weights in [0, 1], not all 0. "
            f"Got {scores.shape} and {good.shape}."
        )
    order = np.argsort(scores, kind="stable")
    ordered, total = scores[order], float(good.sum())
    # Weight up to and including each score; the new image itself stands at infinity with weight 1.
    reached = np.cumsum(good[order]) / (total + 1.0)
    enough = np.flatnonzero(reached >= 1.0 - false_alarm_rate - 1e-9)
    if enough.size:
        return OperatingPoint(float(ordered[enough[0]]), false_alarm_rate, round(total), "quantile")
    logs = np.log(scores)
    middle = _weighted_median(logs, good)
    spread = _weighted_median(np.abs(logs - middle), good) / float(stats.norm.ppf(0.75))
    quantile = math.exp(middle + float(stats.norm.isf(false_alarm_rate)) * spread)
    highest = float(scores[good >= 0.5].max(initial=0.0))
    return OperatingPoint(max(quantile, highest), false_alarm_rate, max(1, round(total)), "extrapolated")


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2.0)])
