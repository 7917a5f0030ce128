"""Thirty answers instead of a guess: a model of who is defective, and the image whose answer would tell it most.

Logistic regression with a prior (Gelman et al., 2008): an image's odds of being defective rise with its scores and
depend on what it looks like. The posterior is approximated by a normal distribution around its mode (Laplace; MacKay,
1992), so that the model knows what it does not know. It is fitted anew from all answers after each: what it says is a
function of the images and of the answers, and not of their order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from irp_core.refinement.landscape import Landscape

__all__ = ["Belief", "Expected", "Question", "believe", "next_question"]

Expected = float | tuple[float, float] | None
"""The share of defective images that a plant expects, or the range that holds it nine times out of ten."""

_SHARE = 0.05  # where nobody says what to expect: nine in ten sets between 0.2 and 59 %
_DOUBT = 2.0  # standard deviation of its log-odds
_SLOPE = 1.0  # by which the log-odds rise per robust standard deviation of the members' common score
_LOOKS = 3.0  # standard deviation of the log-odds between images of equal scores
_CUT = 0.4  # a defect left in costs more than a good image lost …
_GOOD_AMONG_REMOVED = 0.25  # … but no more than so many of those that go may be good, in expectation
_POLLED = 1000  # images: bounds the time of a question


@dataclass(frozen=True)
class Belief:
    """What the answers say about every content of a landscape (c,).

    `defective` are the probabilities, 0 or 1 for the answered. `removed` is who would go now. `good_removed` and
    `defects_left` are the expected numbers of contents on the wrong side. `answered` marks those a person decided.
    `coefficients` (p,), `covariance` (p, p) and `design` (c, p) are the model's, its log-odds `design @ coefficients`.
    """

    defective: NDArray[np.float64]
    removed: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    good_removed: float
    defects_left: float
    coefficients: NDArray[np.float64]
    covariance: NDArray[np.float64]
    design: NDArray[np.float64]


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
    members = landscape.heights.shape[1]
    design = np.column_stack([np.ones(len(landscape)), landscape.heights, landscape.components])
    place = {content: index for index, content in enumerate(landscape.contents)}
    given = sorted((place[content], bad) for content, bad in answers.items() if content in place)
    rows = np.array([row for row, _ in given], dtype=np.intp)
    bad = np.array([bad for _, bad in given], dtype=bool)
    assert len(mean) == design.shape[1] and members >= 1
    coefficients, covariance = _posterior(design[rows], bad, mean, precision)
    spread = np.einsum("ij,jk,ik->i", design, covariance, design)
    # The probability averaged over the posterior (MacKay's approximation): doubt draws it towards a half.
    defective = expit(design @ coefficients / np.sqrt(1.0 + math.pi / 8.0 * spread))
    answered = np.zeros(len(landscape), dtype=bool)
    answered[rows] = True
    defective[rows] = bad
    removed = _who_goes(defective) if bad.any() else np.zeros(len(landscape), dtype=bool)
    return Belief(
        defective=defective,
        removed=removed,
        answered=answered,
        good_removed=float((1.0 - defective)[removed].sum()),
        defects_left=float(defective[~removed].sum()),
        coefficients=coefficients,
        covariance=covariance,
        design=design,
    )


def _who_goes(defective: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The most likely defective (c,), as long as the expected share of good ones among them is low enough."""
    order = np.argsort(-defective, kind="stable")
    good = np.cumsum(1.0 - defective[order]) / np.arange(1, len(order) + 1)
    removed = np.zeros(len(order), dtype=bool)
    removed[order[good <= _GOOD_AMONG_REMOVED]] = True
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
    doubt = belief.defective * (1.0 - belief.defective)
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
