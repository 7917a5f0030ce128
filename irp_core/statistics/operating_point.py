"""The operating threshold of a detector, from images that are believed to be good: no labels.

Where images were removed the kept ones are a trimmed set: what was removed holds good images, too, and they are the
highest, so a threshold from the kept ones alone is exceeded by new good images far more often than it says. Removed
images therefore count with the probability of being good, and so do kept ones, of which some are defective.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["OperatingPoint", "operating_point", "weighted_operating_point"]


@dataclass(frozen=True)
class OperatingPoint:
    """A score above `threshold` is anomalous.

    `basis` says what `threshold` is: a `quantile` of the scores, or, where there are too few for the rate,
    `extrapolated` from them; `images` is how many there were.
    """

    threshold: float
    false_alarm_rate: float
    images: int
    basis: Literal["quantile", "extrapolated"]


def operating_point(scores: NDArray[np.float64], false_alarm_rate: float) -> OperatingPoint:
    """The threshold that a new good image exceeds with probability `false_alarm_rate` at most.

    It is the conformal quantile, the ⌈(n + 1)(1 - rate)⌉-th smallest score: the bound holds on average over sets, for
    any distribution, if the scores are out of fold and the images exchangeable. A rate below 1 / (n + 1) asks for more
    than n scores can say; the threshold is then the quantile of a log-normal distribution with the scores' median and
    median absolute deviation, and never below the highest score.

    Args:
        scores: out-of-fold scores (n,) of good images, positive, n ≥ 1.
        false_alarm_rate: in (0, 1).

    Example:
        >>> point = operating_point(np.arange(1.0, 100.0), false_alarm_rate=0.05)
        >>> point.threshold, point.basis
        (95.0, 'quantile')
    """
    count = len(scores)
    if count == 0 or not np.isfinite(scores).all():
        raise ValueError(f"operating_point expects at least one score, all finite. Got {count} scores.")
    rank = math.ceil((count + 1) * (1.0 - false_alarm_rate) - 1e-9)
    if rank <= count:
        return OperatingPoint(float(np.sort(scores)[rank - 1]), false_alarm_rate, count, "quantile")
    logs = np.log(scores)
    spread = float(stats.median_abs_deviation(logs, scale="normal"))
    quantile = math.exp(float(np.median(logs)) + float(stats.norm.isf(false_alarm_rate)) * spread)
    return OperatingPoint(max(quantile, float(scores.max())), false_alarm_rate, count, "extrapolated")


def weighted_operating_point(
    scores: NDArray[np.float64], good: NDArray[np.float64], false_alarm_rate: float
) -> OperatingPoint:
    """The threshold that a new good image exceeds with probability `false_alarm_rate`.

    It is the weighted conformal quantile (Tibshirani, Barber, Candès and Ramdas, 2019): the smallest score above which,
    the new image included, no more than `false_alarm_rate` of the weight lies. With weights 0 and 1 it is
    `operating_point` of the good images. A rate that the weight cannot say (below 1 / (total + 1)) is extrapolated as
    there: a log-normal distribution with the weighted median and median absolute deviation, and never below the highest
    likely good score.

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
