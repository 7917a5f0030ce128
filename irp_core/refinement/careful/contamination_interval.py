"""How large a share of the set is defective, and between which bounds: from a person's answers.

Two normal distributions fitted to the scores are no knowledge about the share: their intervals missed it on most
sets, because good images of two kinds resemble contamination. The answers are; without enough of them there is no
interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.special import expit

from irp_core.refinement.careful.asking import Belief
from irp_core.refinement.careful.landscape import Landscape

__all__ = ["ShareInterval", "share_interval"]

_FEWEST = 10  # answers; fewer leave the prior in charge
_DRAWS = 1000
_INFLATION = 2.0  # of the posterior's variance: the questions are chosen and the model is only nearly true


@dataclass(frozen=True)
class ShareInterval:
    """The share of defective images, all in [0, 1]: its posterior median, and an interval of probability `level`."""

    share: float
    low: float
    high: float
    level: float


def share_interval(landscape: Landscape, belief: Belief, *, level: float = 0.9, seed: int = 0) -> ShareInterval | None:
    """The posterior interval of the share of defective images; None with fewer than ten answers, or
    with answers that only report defects.

    Coefficients are drawn from the model's posterior, and each unanswered image's state from its odds under them;
    copies share their state. Answered images are what they were said to be. The variance of the drawn shares counts
    twice: the model shrinks towards its prior and the questions are no random sample, so that its own
    intervals are too narrow where defects come in many forms (simulated in the tests). As long as nobody has seen a
    defect, the interval begins at 0: a prior is no sighting.

    Args:
        landscape: of the set.
        belief: from its answers.
        level: probability of the interval, in (0, 1).
        seed: of the draws.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must be in (0, 1). Got {level}.")
    everyone = bool(belief.answered.all())
    if (belief.answered.sum() < _FEWEST or belief.one_sided) and not everyone:
        return None
    images = np.bincount(landscape.of_image, minlength=len(landscape)) / len(landscape.of_image)
    shares = _drawn_shares(belief, images, np.random.default_rng(seed))
    reach = float(stats.norm.cdf(stats.norm.isf((1.0 - level) / 2.0) * math.sqrt(_INFLATION)))
    low, share, high = (float(value) for value in np.quantile(shares, [1.0 - reach, 0.5, reach]))
    seen = float(images[belief.answered & (belief.defective == 1.0)].sum())
    if seen == 0.0:
        low = 0.0
    return ShareInterval(share, low, high, level)


def _drawn_shares(belief: Belief, images: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Shares of the images (draws,); `images` (c,) is the share of them that has each content."""
    root = np.linalg.cholesky(belief.covariance)
    drawn = belief.coefficients + rng.standard_normal((_DRAWS, len(root))) @ root.T
    shares = np.empty(_DRAWS)
    for number, coefficients in enumerate(drawn):  # one at a time: no draws x images table for a large set
        chance = expit(belief.sharpness * (belief.design @ coefficients))
        state = rng.random(len(chance)) < chance
        shares[number] = images[np.where(belief.answered, belief.defective == 1.0, state)].sum()
    return shares
