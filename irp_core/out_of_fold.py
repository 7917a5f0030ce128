"""Scores that are not flattered by memory: every image is scored by detectors that did not train on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from irp_core.config import Start
from irp_core.detectors.protocol import Detector
from irp_core.feature_set import FeatureSet
from irp_core.folds import assign_folds, fold_by_fold

__all__ = ["Concentrates", "FoldsAtOnce", "ScoredSet", "out_of_fold_scores"]


@runtime_checkable
class FoldsAtOnce(Protocol):
    """A detector that knows a quicker way than one fold after another."""

    def score_out_of_fold(
        self, features: FeatureSet, folds: NDArray[np.intp], *, epochs: int, seed: int
    ) -> NDArray[np.float64]:
        """As `irp_core.folds.fold_by_fold`."""
        ...


@runtime_checkable
class Concentrates(Protocol):
    """A detector that has, before any removal, a witness which defects do not move."""

    def most_ordinary(self, features: FeatureSet, *, seed: int) -> NDArray[np.bool_]:
        """Mask (n,) of a subset that is likely to be good; all images where nothing is wrong."""
        ...

    def supported_share(self, features: FeatureSet, *, confidence: float, seed: int) -> float:
        """The share of the images that are defective at least, with this confidence."""
        ...


class ScoredSet(NamedTuple):
    """Scores (n,), and the scorer's lower confidence bound on the share of defective images; None where it has none."""

    scores: NDArray[np.float64]
    lower_bound: float | None


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
        contents: digest of each image (n,): its copies are in its fold.
        inside: the current training set (n,), None for all; images outside train nothing.
        start: `ordinary`: a detector that `Concentrates` is trained on its most ordinary images only, as the minimum
            covariance determinant starts from a subset (Rousseeuw and Van Driessen, 1999). For the first look: later
            ones train on what the look before kept, so a good image that is not in the subset comes back.
        folds: how many; a detector that `leaves_itself_out` needs none and is fitted once.
        repeats: other folds each time; an image's score is the geometric mean.
        confidence: of the supported share; 0 where none is asked for.
    """
    within = np.ones(len(features), dtype=bool) if inside is None else inside
    detector = build()
    if detector.leaves_itself_out:
        detector.fit(features[within], epochs=epochs, seed=seed)
        return ScoredSet(detector.score(features), None)
    supported = None
    if isinstance(detector, Concentrates):
        if start == "ordinary":
            ordinary = within & detector.most_ordinary(features, seed=seed)
            if len({content for content, chosen in zip(contents, ordinary, strict=True) if chosen}) > 1:
                within = ordinary  # many copies of one image leave no fold to train on
        if confidence:
            supported = detector.supported_share(features, confidence=confidence, seed=seed)
    logs = np.zeros(len(features))
    for repeat in range(repeats):
        assigned = assign_folds(contents, within, folds, seed=seed * 1000 + repeat)
        if isinstance(detector, FoldsAtOnce):
            scores = detector.score_out_of_fold(features, assigned, epochs=epochs, seed=seed)
        else:
            scores = fold_by_fold(build, features, assigned, epochs=epochs, seed=seed)
        logs += np.log(scores)
    return ScoredSet(np.exp(logs / repeats), supported)
