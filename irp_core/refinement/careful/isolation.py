"""Which images are removed without asking: those that are far from every kind of good image, and alone.

Scores cannot tell a kind of good image from a kind of defect; both are groups that stand apart. So only what stands
alone is removed, and only where the evidence is strong; a group is kept, and a person is asked. One pass over scores by
detectors that did not train on the image: no removed image comes back, and no removal depends on another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from irp_core.refinement.careful.landscape import Landscape
from irp_core.statistics.mixture import fit_mixture

__all__ = ["Group", "Isolation", "isolate"]

_BUDGET = 0.02  # share of the set that may be removed without asking: what it costs at most, were they all good
_RATE = 0.1  # expected share of good images among the far ones
_SKEW = 2.0  # how much wider the good images' upper side may be than their lower side
_ALONE = 0.1  # share of good images that stand so far above those they resemble
_COMPANY = 0.5  # share of those it resembles that are far, too
_SUSPECT = 0.5  # share of good images among those that are worth a question
_MINORITY = 0.5  # share of the set: what is more is not what stands apart
_FEWEST = 3  # images that make a group
_SHOWN = 4  # images that stand for a group


@dataclass(frozen=True)
class Group:
    """Images that form a population of their own above the rest, as contents of the landscape.

    `detector` is the one whose scores show it (its index), None for all together. `members` come the highest first;
    `representatives` are the most central ones by their components, at most four. `share` is the group's share of the
    images.
    """

    detector: int | None
    members: tuple[int, ...]
    representatives: tuple[int, ...]
    share: float


@dataclass(frozen=True)
class Isolation:
    """What stands out, content by content (c,) of a landscape.

    `removed` is removed without asking. `undecided` stands out and stays: as one of several (`groups`, the largest
    first) or by itself, but not far enough (`singles`, the highest first). `evidence` (c,) are the p-values of
    standing out; what is higher than `limit` is far.
    """

    removed: NDArray[np.bool_]
    undecided: NDArray[np.bool_]
    groups: tuple[Group, ...]
    singles: tuple[int, ...]
    evidence: NDArray[np.float64]
    limit: float


def isolate(landscape: Landscape, *, most: float | None = None) -> Isolation:
    """Decide which images are removed, and which a person is asked about.

    An image is *far* if its p-value passes Benjamini and Hochberg's (1995) step-up rule at a tenth. The p-value is that
    of an exponential tail above the median that is twice as wide as the scores below the median are spread: defects can
    only widen the upper side, so the lower side says how good images spread, and an upper side twice as wide, and
    heavier than a normal one, is still no reason to remove anything. It is *alone* if its height above the median of
    those it resembles is one that no more than a tenth of good images reach (that distribution is taken to be
    symmetric, and its lower side is used), and most of those it resembles are not far themselves. What is
    alone, and far by the same rule among the alone, is removed: the highest first, and never more than two in a
    hundred. A plant has rare good images that are as far and as alone as any defect (measured), so this is what
    removing without asking may cost.

    What stays and is undecided: the other far images; the upper of two populations, by one detector or by all together,
    if the Bayesian information criterion prefers two and the upper one is the smaller; and what is in the largest set
    of highest scores of which half are expected to be defective, were good images as spread above as below.

    Args:
        landscape: of the set.
        most: upper end of the share that is expected to be defective, in (0, 1); no more than that are removed.

    Raises:
        ValueError: `most` outside (0, 1).
    """
    if most is not None and not 0.0 < most < 1.0:
        raise ValueError(f"most must be a share in (0, 1). Got {most}.")
    heights = landscape.total
    evidence = _tail(heights, _SKEW)
    far = _step_up(evidence, _RATE)
    above = heights - np.median(heights[landscape.neighbours], axis=1)
    company = far[landscape.neighbours].mean(axis=1) >= _COMPANY
    alone = ~company & (above >= _reflected_quantile(above, _ALONE))
    # Anew among the alone: a crowd of defects, which stays, must not let a rare good image seem far.
    removed = _step_up(np.where(alone, evidence, 1.0), _RATE)
    allowed = math.floor(min(_BUDGET, _BUDGET if most is None else most) * len(heights))
    removed[_highest_first(np.where(removed, heights, -np.inf), np.arange(len(heights)))[allowed:]] = False
    groups = _groups(landscape, ~removed)
    grouped = np.zeros(len(heights), dtype=bool)
    grouped[[member for group in groups for member in group.members]] = True
    single = (far | _step_up(_tail(heights, 1.0), _SUSPECT)) & ~removed & ~grouped
    return Isolation(
        removed=removed,
        undecided=grouped | single,
        groups=groups,
        singles=tuple(_highest_first(heights, np.flatnonzero(single)).tolist()),
        evidence=evidence,
        limit=float(heights[~far].max(initial=-np.inf)),
    )


def _groups(landscape: Landscape, free: NDArray[np.bool_]) -> tuple[Group, ...]:
    """Upper populations among the free (c,), each image in the first that holds it: by all detectors, then by each."""
    views: list[tuple[int | None, NDArray[np.float64]]] = [(None, landscape.total)]
    views += [(detector, landscape.heights[:, detector]) for detector in range(landscape.heights.shape[1])]
    found = []
    free = free.copy()
    for detector, heights in views:
        upper = fit_mixture(np.exp(heights)).good < 0.5
        members = np.flatnonzero(upper & free)
        if upper.mean() <= _MINORITY and len(members) >= _FEWEST:
            found.append(_group(landscape, detector, _highest_first(heights, members)))
            free[members] = False
    return tuple(sorted(found, key=lambda group: -len(group.members)))


def _group(landscape: Landscape, detector: int | None, members: NDArray[np.intp]) -> Group:
    placed = landscape.components[members]
    from_centre = np.square(placed - placed.mean(axis=0)).sum(axis=1)
    central = members[np.argsort(from_centre, kind="stable")[:_SHOWN]]
    share = float(np.isin(landscape.of_image, members).mean())
    return Group(detector, tuple(members.tolist()), tuple(central.tolist()), share)


def _highest_first(heights: NDArray[np.float64], places: NDArray[np.intp]) -> NDArray[np.intp]:
    return places[np.argsort(-heights[places], kind="stable")]


def _tail(heights: NDArray[np.float64], skew: float) -> NDArray[np.float64]:
    """P-values (c,) under an exponential tail above the median, `skew` times as wide as below; 1 below it."""
    middle = float(np.median(heights))
    width = max(float((middle - heights[heights <= middle]).mean()), 1e-9) * skew
    above = np.maximum(heights - middle, 0.0)
    tail: NDArray[np.float64] = np.where(above > 0.0, 0.5 * np.exp(-above / width), 1.0)
    return tail


def _step_up(p_values: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """Benjamini and Hochberg: the largest set of smallest p-values, each below rate · rank / count."""
    order = np.argsort(p_values, kind="stable")
    passes = np.flatnonzero(p_values[order] <= rate * np.arange(1, len(order) + 1) / len(order))
    chosen = np.zeros(len(order), dtype=bool)
    if passes.size:
        chosen[order[: int(passes[-1]) + 1]] = True
    return chosen


def _reflected_quantile(values: NDArray[np.float64], share: float) -> float:
    """What `share` of values exceeds in a symmetric distribution with this median and this lower side."""
    middle = float(np.median(values))
    below = middle - values[values <= middle]
    # Half of the distribution lies above the median, so a share of the whole is twice that of the half.
    return middle + float(np.quantile(below, 1.0 - min(1.0, 2.0 * share)))
