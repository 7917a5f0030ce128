"""Folds: which images a detector trains without, so that it can score them as if they were new."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from irp_core.features.feature_set import FeatureSet

__all__ = ["assign_folds", "contents_of", "drawn", "fold_by_fold", "folds_by_content", "score_folds", "score_in_parts"]


class _Scores(Protocol):
    def score(self, features: FeatureSet) -> NDArray[np.float64]: ...


class _Fitted(_Scores, Protocol):
    def fit(self, features: FeatureSet, *, epochs: int, seed: int) -> object: ...


def assign_folds(contents: Sequence[str], inside: NDArray[np.bool_], folds: int, *, seed: int) -> NDArray[np.intp]:
    """The fold of each image (n,), -1 for those outside; copies of one content share a fold.

    Folds differ in size by one content at most. There are never more folds than contents.

    Args:
        contents: digest of each image.
        inside: which images are to train.

    Raises:
        ValueError: fewer than two different contents inside, or fewer than two folds.

    Example:
        >>> contents = ["red", "red", "green", "blue"]  # the first two are copies of one image
        >>> folds = assign_folds(contents, np.array([True, True, True, False]), 2, seed=0)
        >>> bool(folds[0] == folds[1] != folds[2]), int(folds[3])
        (True, -1)
    """
    known = sorted({content for content, within in zip(contents, inside, strict=True) if within})
    if len(known) < 2 or folds < 2:
        raise ValueError(f"Folds expect 2 different images and 2 folds at least. Got {len(known)} and {folds}.")
    order = np.random.default_rng(seed).permutation(len(known))
    of_content = {known[index]: place % min(folds, len(known)) for place, index in enumerate(order)}
    return np.array(
        [of_content[content] if within else -1 for content, within in zip(contents, inside, strict=True)], dtype=np.intp
    )


def folds_by_content(features: FeatureSet, folds: int, *, seed: int, who: str) -> NDArray[np.intp]:
    """The fold of each image (n,) of a set that all trains; images of the same pooled features share one.

    Args:
        who: names the method in the error.

    Raises:
        ValueError: fewer than two different images.
    """
    contents = contents_of(features)
    if len(set(contents)) < 2:
        raise ValueError(f"{who} expects at least 2 different images. Got {len(features)}.")
    return assign_folds(contents, np.ones(len(features), dtype=bool), folds, seed=seed)


def contents_of(features: FeatureSet) -> list[str]:
    """The digest of each image's pooled features (n,)."""
    return [
        hashlib.md5(image.tobytes(), usedforsecurity=False).hexdigest()
        for block in features.blocks()
        for image in block.pooled
    ]


def drawn(contents: Sequence[str], among: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Of the images `among` those with the lowest digests, `most` at most, in their order.

    Which are drawn depends on what is in the images, and neither on their order nor on a seed: an image that comes to a
    set changes one of them.

    Example:
        >>> drawn(["c", "a", "d", "b"], np.array([0, 1, 2]), 2).tolist()
        [0, 1]
    """
    if len(among) <= most:
        return among
    return np.sort(np.asarray(sorted(among.tolist(), key=contents.__getitem__)[:most], dtype=np.intp))


def fold_by_fold(
    build: Callable[[], _Fitted], features: FeatureSet, folds: NDArray[np.intp], *, epochs: int, seed: int
) -> NDArray[np.float64]:
    """Scores (n,): each image's by the detector of its fold, trained on the others (see `score_folds`)."""

    def trained(fold: int) -> _Fitted:
        detector = build()
        detector.fit(features[(folds != fold) & (folds >= 0)], epochs=epochs, seed=seed)
        return detector

    return score_folds(trained, features, folds)


def score_folds(
    detector_of: Callable[[int], _Fitted], features: FeatureSet, folds: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Scores (n,): each image's by its fold's detector.

    An image outside (fold -1) trained nothing and gets the geometric mean of all detectors' scores.

    Args:
        detector_of: fold → the detector that did not train on it; asked for once per fold, in order.
    """
    count = int(folds.max()) + 1
    logs = np.zeros(len(features))
    outside = folds < 0
    for fold in range(count):
        detector = detector_of(fold)
        held_out = folds == fold
        logs[held_out] = np.log(score_in_parts(detector, features[held_out]))
        if outside.any():
            logs[outside] += np.log(score_in_parts(detector, features[outside])) / count
    scores: NDArray[np.float64] = np.exp(logs)
    return scores


def score_in_parts(detector: _Scores, features: FeatureSet) -> NDArray[np.float64]:
    """A fitted detector's scores (n,), of a set that is spread over processes by these: an image's score does not
    depend on the images beside it."""
    return np.concatenate(list(features.each_part(detector.score)))
