"""The operating threshold of a detector, from images that are believed to be good: no labels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from irp_core.statistics.finite import finite_threshold

__all__ = ["OperatingPoint", "operating_point"]


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
    threshold = finite_threshold(max(quantile, float(scores.max())), "the operating threshold, extrapolated")
    return OperatingPoint(threshold, false_alarm_rate, count, "extrapolated")
