"""How much of a set is contaminated, and which images are: one or two normal distributions of the log scores.

Out of fold, the log scores of good images are close to normal (a sum of many squares). Defects that the detector sees
add a second population above. The Bayesian information criterion says whether there is one: where a single
distribution describes the scores as well, nothing is wrong and nothing is removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

__all__ = [
    "ContaminationEstimate",
    "Mixture",
    "defective_lower_bound",
    "estimate_contamination",
    "fit_mixture",
    "mixture_threshold",
    "resampled_shares",
    "share_bound",
]

_FEWEST = 10  # images; five parameters cannot be told from fewer scores
_STARTS = ((0.25, 0.75), (0.5, 0.9), (0.5, 0.97))  # quantiles at which the two means start
_RESAMPLES = 100
_FLOOR = 1e-3  # of the variances: without it a component shrinks onto two equal scores


@dataclass(frozen=True)
class Mixture:
    """The distribution of the scores: `share` of the upper population, 0 where there is but one.

    `good` (n,) is each image's posterior probability of belonging to the lower population.
    """

    share: float
    good: NDArray[np.float64]


@dataclass(frozen=True)
class ContaminationEstimate:
    """Estimated share of defective images, with a 90 % bootstrap interval; all in [0, 1]."""

    share: float
    low: float
    high: float


def fit_mixture(scores: NDArray[np.float64]) -> Mixture:
    """Fit one and two normal distributions to the log scores (n,), and keep the better by BIC.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> good, bad = rng.normal(0, 0.1, 180), rng.normal(1, 0.2, 20)
        >>> round(fit_mixture(np.exp(np.concatenate([good, bad]))).share, 2), fit_mixture(np.exp(good)).share
        (0.1, 0.0)
    """
    logs = np.log(scores)
    none = Mixture(0.0, np.ones(len(scores)))
    spread = float(logs.std())
    if len(scores) < _FEWEST or spread < 1e-9:
        return none
    values = ((logs - logs.mean()) / spread)[:, None]
    fitted = [
        GaussianMixture(2, means_init=np.quantile(values, start)[:, None], reg_covar=_FLOOR, random_state=0).fit(values)
        for start in _STARTS
    ]
    two = max(fitted, key=lambda model: float(model.lower_bound_))
    if two.bic(values) >= _bic_of_one(len(values)):
        return none
    lower = int(two.means_[:, 0].argmin())
    good = two.predict_proba(values)[:, lower]
    # The wider population reaches below the narrow one, too; a low score never speaks against an image.
    good[values[:, 0] <= two.means_[lower, 0]] = 1.0
    order = np.argsort(-values[:, 0], kind="stable")
    good[order] = np.maximum.accumulate(good[order])
    return Mixture(float(two.weights_[1 - lower]), good)


def _bic_of_one(n: int) -> float:
    """BIC of one normal distribution, in closed form, of n values with mean 0 and standard deviation 1."""
    log_likelihood = -0.5 * n * (np.log(2 * np.pi * (1 + _FLOOR)) + 1 / (1 + _FLOOR))
    return float(2 * np.log(n) - 2 * log_likelihood)


def mixture_threshold(
    scores: NDArray[np.float64], fdr: float, *, confidence: float = 0.0, lower_bound: float | None = None, seed: int = 0
) -> float:
    """The highest kept score if as many images are removed as keep the expected share of good ones among them at `fdr`.

    That share is the mean posterior of being good over the removed images (the Bayesian false discovery rate of Efron
    and Tibshirani, 2002). Where nothing may be removed it is the highest score of all.

    Args:
        scores: (n,).
        fdr: the expected share, in (0, 1).
        confidence: in [0, 1). Unless there is a second population in this share of bootstrap resamples
            (`defective_lower_bound`) nothing is removed; and no more images are than it holds in them. 0: no bound.
        lower_bound: with a confidence, a detector's lower bound on the share of defective images, which is then the
            bound on the share that may be removed; None where there is none.
        seed: of the resamples.
    """
    limit = _unbounded(scores, fdr)
    if confidence == 0.0 or not (scores > limit).any():
        return limit
    own = int(defective_lower_bound(scores, confidence, seed=seed) * len(scores))
    most = own if lower_bound is None or own == 0 else int(lower_bound * len(scores))
    return max(limit, float(np.sort(scores)[::-1][most]))


def defective_lower_bound(scores: NDArray[np.float64], confidence: float, *, seed: int) -> float:
    """The share that the upper population of `scores` (n,) has in `confidence` of the bootstrap resamples at least.

    A second population that vanishes when a few images are missing is no reason to remove any.
    """
    return share_bound(resampled_shares(scores, seed), confidence)


def share_bound(shares: Sequence[float], confidence: float) -> float:
    """The lower confidence bound on a share: what `confidence` of its bootstrap estimates `shares` reach at least."""
    return float(np.quantile(shares, 1.0 - confidence))


def _unbounded(scores: NDArray[np.float64], fdr: float) -> float:
    good = fit_mixture(scores).good
    order = np.argsort(-scores, kind="stable")
    expected = np.cumsum(good[order]) / np.arange(1, len(scores) + 1)
    allowed = np.flatnonzero(expected <= fdr)
    if allowed.size == 0:
        return float(scores.max())
    kept = order[int(allowed[-1]) + 1 :]
    return float(scores[kept].max()) if kept.size else 0.0


def estimate_contamination(scores: NDArray[np.float64], *, seed: int) -> ContaminationEstimate:
    """The share of the upper population among `scores` (n,), and its bootstrap interval."""
    low, high = np.quantile(resampled_shares(scores, seed), [0.05, 0.95])
    share = fit_mixture(scores).share
    return ContaminationEstimate(share, min(float(low), share), max(float(high), share))


def resampled_shares(scores: NDArray[np.float64], seed: int) -> list[float]:
    """The share of the upper population in each of 100 bootstrap resamples of `scores` (n,)."""
    rng = np.random.default_rng(seed)
    in_order = np.sort(scores)  # the images' order must not matter
    return [fit_mixture(rng.choice(in_order, size=len(scores))).share for _ in range(_RESAMPLES)]
