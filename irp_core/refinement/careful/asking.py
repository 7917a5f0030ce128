"""Thirty answers instead of a guess: a model of who is defective, and the image whose answer would tell it most.

Logistic regression with a prior (Gelman et al., 2008): an image's odds of being defective rise with its scores and
depend on its appearance. The posterior is approximated by a normal distribution around its mode (Laplace; MacKay,
1992), so that the model knows what it does not know. It is fitted anew from all answers after each: what it says is a
function of the images and of the answers, and not of their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, logit

from irp_core.refinement.careful.landscape import Landscape

__all__ = ["Belief", "Expected", "Question", "believe", "next_question"]

Expected = float | tuple[float, float] | None
"""The share of defective images that a plant expects, or the range that holds it nine times out of ten."""

_SHARE = 0.05  # where nobody says what to expect: nine in ten sets between 0.2 and 59 %
_DOUBT = 2.0  # standard deviation of its log-odds
_SLOPE = 1.5  # by which the log-odds rise per robust standard deviation of the members' common score
_LOOKS = 3.0  # standard deviation of the log-odds between images of equal scores
_CUT = 0.3  # a defect left in costs more than a good image lost …
_GOOD_AMONG_REMOVED = 0.3  # … but no more than so many of the removed may be good, in expectation,
_ENOUGH = 30  # answers; with fewer the model's expectation is itself a guess, and less is allowed in proportion
_MANY_BAD = 10  # answers "defective" …
_LEAST_GOOD = 3  # … and fewer than so many "good" ones …
_GOOD_SHARE = 0.1  # … or than this share: then they are reports of defects, not answers to questions
_SLOPE_DOUBT = 0.5  # standard deviation of the logarithm of the calibrating slope
_LEVERAGE = 0.05  # least share of an answer's weight that counts as its own
_POLLED = 1000  # images: bounds the time of a question


@dataclass(frozen=True)
class Belief:
    """What the answers say about every content of a landscape (c,).

    `defective` are the probabilities, 0 or 1 for the answered. `removed` are those that would be removed now.
    `good_removed` and `defects_left` are the expected numbers of contents on the wrong side. `answered` marks those a
    person decided. `one_sided`: they are nearly all defective, so that they tell of themselves alone. `coefficients`
    (p,), `covariance` (p, p) and `design` (c, p) are the model's; its log-odds are
    `sharpness * (design @ coefficients)`.
    """

    defective: NDArray[np.float64]
    removed: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    good_removed: float
    defects_left: float
    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]
    design: NDArray[np.float64]
    sharpness: float
    one_sided: bool = False


@dataclass(frozen=True)
class Question:
    """The image to show next: its content, as an index, what is believed of it, and what its answer is worth.

    `defective` is the probability before the answer. `worth` is the expected reduction of the summed variance of all
    probabilities. `like_it` are the unanswered contents that resemble it most and on which its answer tells
    most, up to three: to be shown beside it.
    """

    content: int
    defective: float
    worth: float
    like_it: tuple[int, ...]


def believe(landscape: Landscape, answers: Mapping[str, bool], *, expected: Expected = None) -> Belief:
    """Fit the model to all answers.

    Args:
        landscape: of the set.
        answers: content → whether it is defective. Contents that are not in the set are passed over.
        expected: the prior of the share of defective images.

    Raises:
        ValueError: a share outside (0, 1), or a range the wrong way round.
    """
    mean, precision = _prior(landscape, expected)
    design = np.column_stack([np.ones(len(landscape)), landscape.heights, landscape.components])
    place = {content: index for index, content in enumerate(landscape.contents)}
    given = sorted((place[content], said) for content, said in answers.items() if content in place)
    rows = np.array([row for row, _ in given], dtype=np.intp)
    bad = np.array([said for _, said in given], dtype=bool)
    coefficients, covariance = _posterior(design[rows], bad, mean, precision)
    sharpness = _sharpness(design[rows], bad, coefficients, covariance)
    defective = expit(sharpness * _margins(design, coefficients, covariance))
    answered = np.zeros(len(landscape), dtype=bool)
    answered[rows] = True
    defective[rows] = bad
    removed = _removed(defective, len(bad)) if bad.any() else np.zeros(len(landscape), dtype=bool)
    one_sided = _one_sided(bad)
    if one_sided:
        removed = answered & (defective == 1.0)
    return Belief(
        defective=defective,
        removed=removed,
        answered=answered,
        good_removed=float((1.0 - defective)[removed].sum()),
        defects_left=float(defective[~removed].sum()),
        coefficients=coefficients,
        covariance=covariance,
        design=design,
        sharpness=sharpness,
        one_sided=one_sided,
    )


def _one_sided(bad: NDArray[np.bool_]) -> bool:
    """Whether the answers report defects and hardly anything else, as a station does that says nothing of good parts.

    Whom to ask was then decided by the answer, and the model, which takes the rest of the set to be like those that
    were asked about, finds three images in four defective. Such answers remove the images they name and no other.
    """
    good = int((~bad).sum())
    return int(bad.sum()) >= _MANY_BAD and good < max(_LEAST_GOOD, _GOOD_SHARE * len(bad))


def _removed(defective: NDArray[np.float64], answers: int) -> NDArray[np.bool_]:
    """The most likely defective (c,), as long as the expected share of good ones among them is low enough."""
    allowed = _GOOD_AMONG_REMOVED * min(1.0, answers / _ENOUGH)
    order = np.argsort(-defective, kind="stable")
    good = np.cumsum(1.0 - defective[order]) / np.arange(1, len(order) + 1)
    removed = np.zeros(len(order), dtype=bool)
    removed[order[good <= allowed]] = True
    return removed & (defective > _CUT)


def next_question(landscape: Landscape, belief: Belief) -> Question | None:
    """The unanswered content whose answer reduces the doubt about all most; None where all are answered.

    Worth is the reduction of the summed variance of the probabilities by one more observation, to first order
    (A-optimal design: Cohn, Ghahramani and Jordan, 1996; for logistic regression Schein and Ungar, 2007): a content
    that is doubtful itself, that many others resemble, and that no answered one resembles.
    """
    free = np.flatnonzero(~belief.answered)
    if free.size == 0:
        return None
    chance = expit(_margins(belief.design, belief.coefficients, belief.covariance))
    doubt = chance * (1.0 - chance)
    if free.size > _POLLED:  # the most doubtful, and in equal doubt the first
        free = np.sort(free[np.argsort(-doubt[free], kind="stable")[:_POLLED]])
    shared = belief.design[free] @ belief.covariance @ belief.design[free].T  # covariances of the log-odds
    own = np.diag(shared)
    told = np.square(shared) * np.square(doubt[free])[:, None]  # row: about whom, column: by whom
    worth = doubt[free] / (1.0 + doubt[free] * own) * told.sum(axis=0)
    best = int(np.argmax(worth))
    beside = np.argsort(-told[:, best] * (np.arange(len(free)) != best), kind="stable")
    near = set(landscape.neighbours[free[best]].tolist())
    like_it = [int(free[row]) for row in beside if int(free[row]) in near][:3]
    return Question(int(free[best]), float(belief.defective[free[best]]), float(worth[best]), tuple(like_it))


def _prior(landscape: Landscape, expected: Expected) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and precisions (p,) of the coefficients: the share, a slope per member, the components."""
    share, doubt = _share_prior(expected)
    members, components = landscape.heights.shape[1], landscape.components.shape[1]
    slope = _SLOPE / math.sqrt(members)
    mean = np.concatenate([[share], np.full(members, slope), np.zeros(components)])
    spread = np.concatenate([[doubt], np.full(members, slope), np.full(components, _LOOKS)])
    return mean, 1.0 / np.square(spread)


def _share_prior(expected: Expected) -> tuple[float, float]:
    """Mean and standard deviation of the log-odds of an ordinary image."""
    if expected is None:
        return float(logit(_SHARE)), _DOUBT
    low, high = (expected, expected) if isinstance(expected, float) else expected
    if not 0.0 < low <= high < 1.0:
        raise ValueError(f"expected must be a share in (0, 1), or a range of two. Got {expected}.")
    centre, width = (logit(low) + logit(high)) / 2.0, (logit(high) - logit(low)) / 2.0
    return float(centre), max(float(width) / 1.645, 0.5)  # 1.645: nine out of ten; nobody knows it to a hair


def _posterior(
    design: NDArray[np.float64], bad: NDArray[np.bool_], mean: NDArray[np.float64], precision: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mode and covariance of the coefficients; the prior's where nothing was answered."""
    signs = np.where(bad, 1.0, -1.0)

    def loss(coefficients: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        margins = signs * (design @ coefficients)
        away = coefficients - mean
        value = -log_expit(margins).sum() + 0.5 * (precision * np.square(away)).sum()
        return float(value), precision * away - design.T @ (signs * expit(-margins))

    mode = mean if bad.size == 0 else np.asarray(minimize(loss, mean, jac=True, method="L-BFGS-B").x)
    chance = expit(design @ mode)
    curvature = (design.T * (chance * (1.0 - chance))) @ design + np.diag(precision)
    return mode, np.linalg.inv(curvature)


def _margins(
    design: NDArray[np.float64], coefficients: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Log-odds (c,) of the probabilities averaged over the posterior (MacKay, 1992): doubt draws them to 0."""
    spread = np.einsum("ij,jk,ik->i", design, covariance, design)
    margins: NDArray[np.float64] = design @ coefficients / np.sqrt(1.0 + math.pi / 8.0 * spread)
    return margins


def _sharpness(
    design: NDArray[np.float64],
    bad: NDArray[np.bool_],
    coefficients: NDArray[np.float64],
    covariance: NDArray[np.float64],
) -> float:
    """The slope that calibrates the log-odds (Cox, 1958; Platt, 1999): 1 where they are right, more where too timid.

    The prior shrinks the model, which then gives too much to the hundreds that were not asked about. The slope is
    fitted to what the model says of each answered image without its answer (one Newton step from the mode), with a
    log-normal prior around 1.
    """
    if bad.size == 0:
        return 1.0
    margins, spread = design @ coefficients, np.einsum("ij,jk,ik->i", design, covariance, design)
    chance = expit(margins)
    weight = np.maximum(1.0 - chance * (1.0 - chance) * spread, _LEVERAGE)
    without = (margins - (bad - chance) * spread / weight) / np.sqrt(1.0 + math.pi / 8.0 * spread / weight)
    signed = np.where(bad, without, -without)

    def loss(log_slope: float) -> float:
        return float(-log_expit(math.exp(log_slope) * signed).sum() + 0.5 * (log_slope / _SLOPE_DOUBT) ** 2)

    return math.exp(float(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))
