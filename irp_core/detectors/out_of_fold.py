"""Scores that are not flattered by memory: every image is scored by detectors that did not train on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from irp_core.config.refinement import Start
from irp_core.detectors.folds import assign_folds, fold_by_fold, score_in_parts
from irp_core.detectors.local import LocalScores
from irp_core.detectors.protocol import Detector
from irp_core.features.feature_set import FeatureSet

__all__ = ["FoldsAtOnce", "LocalAndGlobal", "ScoredSet", "VotingOnce", "out_of_fold_scores", "voters"]


@runtime_checkable
class FoldsAtOnce(Protocol):
    """A detector that knows a quicker way than one fold after another."""

    def score_out_of_fold(
        self, features: FeatureSet, folds: NDArray[np.intp], *, epochs: int, seed: int
    ) -> NDArray[np.float64]:
        """As `irp_core.detectors.folds.fold_by_fold`."""
        ...


@runtime_checkable
class LocalAndGlobal(Protocol):
    """A detector made of a local one, which many defects hardly move, and a global one, which is trained in folds.

    The local detector scores all images first; what it found is passed on to all that follows.
    """

    def score_locally(self, features: FeatureSet, *, seed: int, voter: NDArray[np.intp] | None = None) -> LocalScores:
        """The local detector's scores of the n images, fitted on all of them, of copies on one (`voters`)."""
        ...

    def combine_out_of_fold(
        self, features: FeatureSet, folds: NDArray[np.intp], local: LocalScores, *, epochs: int, seed: int
    ) -> NDArray[np.float64]:
        """Scores (n,) by both: the global detector's as `fold_by_fold` gives them, the local one's as given."""
        ...


@runtime_checkable
class VotingOnce(Protocol):
    """A detector in which images vote on each other."""

    def score_voting_once(self, features: FeatureSet, voter: NDArray[np.intp]) -> NDArray[np.float64]:
        """Scores (n,), of each image without its own vote and that of the one that votes for its copies."""
        ...


class ScoredSet(NamedTuple):
    """Scores (n,) of a set of images, in sample or out of fold.

    `lower_bound` is the lower confidence bound on the share of defective images among them, by a local detector; None
    where there is none, or where no confidence was asked for.
    """

    scores: NDArray[np.float64]
    lower_bound: float | None = None


def out_of_fold_scores(
    build: Callable[[], Detector],
    features: FeatureSet,
    contents: Sequence[str],
    *,
    inside: NDArray[np.bool_] | None = None,
    start: Start = "all",
    folds: int,
    repeats: int = 1,
    epochs: int,
    confidence: float = 0.0,
    seed: int,
) -> ScoredSet:
    """Score each image by the detectors of the folds that it is not in.

    Args:
        build: makes an untrained detector.
        features: of n images.
        contents: digest of each image (n,): its copies are in its fold, and have one vote together.
        inside: the current training set (n,), None for all; images outside train nothing.
        start: `ordinary`: a detector that is `LocalAndGlobal` trains the global one only on the images that the local
            one finds ordinary, as the minimum covariance determinant starts from a subset (Rousseeuw and Van Driessen,
            1999). For the first decision round: later ones train on what the round before kept, so a good image that
            is not in the subset comes back.
        folds: how many; a detector that `leaves_itself_out` needs none and is fitted once.
        repeats: other folds each time; an image's score is the geometric mean.
        confidence: of the lower bound; 0 where none is asked for.
    """
    within = np.ones(len(features), dtype=bool) if inside is None else inside
    detector = build()
    if detector.leaves_itself_out:
        voter = voters(contents, within)
        detector.fit(features[within & (voter == np.arange(len(voter)))], epochs=epochs, seed=seed)
        if isinstance(detector, VotingOnce):
            return ScoredSet(detector.score_voting_once(features, voter))
        return ScoredSet(score_in_parts(detector, features))
    if isinstance(detector, LocalAndGlobal):
        local = detector.score_locally(features, seed=seed, voter=voters(contents, np.ones_like(within)))
        lower_bound = local.lower_bound(confidence) if confidence else None
        if start == "ordinary":
            ordinary = within & local.ordinary()
            if len({content for content, chosen in zip(contents, ordinary, strict=True) if chosen}) > 1:
                within = ordinary  # many copies of one image leave no fold to train on
    else:
        local, lower_bound = None, None

    def of_folds(assigned: NDArray[np.intp]) -> NDArray[np.float64]:
        if isinstance(detector, LocalAndGlobal) and local is not None:
            return detector.combine_out_of_fold(features, assigned, local, epochs=epochs, seed=seed)
        if isinstance(detector, FoldsAtOnce):
            return detector.score_out_of_fold(features, assigned, epochs=epochs, seed=seed)
        return fold_by_fold(build, features, assigned, epochs=epochs, seed=seed)

    logs = np.zeros(len(features))
    for repeat in range(repeats):
        logs += np.log(of_folds(assign_folds(contents, within, folds, seed=seed * 1000 + repeat)))
    return ScoredSet(np.exp(logs / repeats), lower_bound)


def voters(contents: Sequence[str], within: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Which image votes for each one (n,): of copies the first one that is `within`, itself where none is.

    Example:
        >>> voters(["a", "b", "a", "c"], np.array([False, True, True, True])).tolist()
        [2, 1, 2, 3]
    """
    first: dict[str, int] = {}
    for number in np.flatnonzero(within).tolist():
        first.setdefault(contents[number], number)
    return np.array([first.get(content, number) for number, content in enumerate(contents)], dtype=np.intp)
